//! The internal door: what brokers of one cluster say to each other, over gRPC on a listener of its own.
//!
//! ```text
//!  Peers (the broker asks)                                            PeerService (the broker answers)
//!    └► peers ─► messages ─► link: control ══ HTTP/2 ══► connection ─► service ─► messages ─┘
//!                        └─► link: data    ══ HTTP/2 ══►
//! ```
//! Two connections lead to every broker that is asked: what decides never waits behind records. They are made when they are
//! needed, kept, and made again after they broke.

mod calls;
mod commands;
mod connection;
mod door;
mod fetches;
mod link;
mod peers;
mod quorum_calls;
mod service;
mod wire;

pub use door::InternalDoor;
pub use peers::InternalPeers;

/// Takes a message between brokers apart, whichever of them the bytes are; what can be read must say the same once it is written
/// again. True if it can be read.
#[cfg(fuzzing)]
pub(crate) fn read_and_write(kind: u8, message: bytes::Bytes) -> bool {
    use millrace_proto::{Shape, check_shape, internal};
    use prost::Message;

    fn decode<M: Message + Default + Shape>(message: bytes::Bytes) -> Option<M> {
        check_shape::<M>(&message).ok()?;
        M::decode(message).ok()
    }
    let call = match kind % 7 {
        0 => decode::<internal::DecideCall>(message).and_then(|message| calls::decide_call(message).ok()),
        1 => decode::<internal::FetchCall>(message).and_then(|message| fetches::fetch_call(message).ok()),
        2 => {
            let answer = decode(message).and_then(|message| calls::decide_answer(message).ok());
            let again = answer.clone().and_then(calls::to_decide_answer);
            assert_eq!(again.and_then(|message| calls::decide_answer(message).ok()), answer);
            return answer.is_some();
        }
        3 => {
            let answer = decode(message).and_then(|message| fetches::fetch_answer(message).ok());
            let again = answer.clone().map(fetches::to_fetch_answer);
            assert_eq!(again.and_then(|message| fetches::fetch_answer(message).ok()), answer);
            return answer.is_some();
        }
        4 => decode::<internal::RecordsCall>(message).and_then(|message| fetches::records_call(message).ok()),
        5 => return decode(message).is_some_and(|reply| quorum_calls::answer_of(reply).is_ok()),
        _ => {
            let mut parts = quorum_calls::Parts::default();
            let part = decode::<internal::QuorumPart>(message);
            return part.is_some_and(|part| parts.take(&part).is_ok() && parts.whole().is_ok());
        }
    };
    let Some(call) = call else { return false };
    let again = match calls::Message::from(call.clone()) {
        calls::Message::Decide(message) => calls::decide_call(message),
        calls::Message::Fetch(message) => fetches::fetch_call(message),
        calls::Message::Records(message) => fetches::records_call(message),
    };
    assert_eq!(again, Ok(call));
    true
}
