//! What voters say to each other, as messages: whole if it is small, in parts if not.

use bytes::{Bytes, BytesMut};
use millrace_broker::{CallError, QuorumAnswer};
use millrace_proto::internal;
use millrace_proto::internal::quorum_reply::Reply;
use millrace_types::limits::{PEER_PART_BYTES, PEER_PARTS_BYTES_MAX};

use super::wire::{Malformed, to_voter, voter};

/// The parts of a request. None of them is empty.
pub(super) fn parts_of(request: Bytes) -> impl Iterator<Item = internal::QuorumPart> + Send {
    let total = request.len() as u64;
    let mut rest = request;
    std::iter::from_fn(move || {
        let bytes = rest.split_to(rest.len().min(PEER_PART_BYTES));
        (!bytes.is_empty()).then_some(internal::QuorumPart { total, bytes })
    })
}

/// Parts as they come, until all are there.
#[derive(Debug, Default)]
pub(super) struct Parts {
    total: Option<usize>,
    bytes: BytesMut,
}

impl Parts {
    /// Takes the next one.
    pub(super) fn take(&mut self, part: &internal::QuorumPart) -> Result<(), Malformed> {
        let total = usize::try_from(part.total).ok().filter(|bytes| *bytes <= PEER_PARTS_BYTES_MAX);
        let total = total.ok_or_else(|| {
            Malformed::new("total", format!("{}, {PEER_PARTS_BYTES_MAX} at most", part.total))
        })?;
        if part.bytes.is_empty() {
            return Err(Malformed::new("bytes", "an empty part"));
        }
        if *self.total.get_or_insert(total) != total {
            return Err(Malformed::new("total", "not the same in all parts"));
        }
        if self.bytes.len() + part.bytes.len() > total {
            return Err(Malformed::new("bytes", format!("more than the {total} that were announced")));
        }
        self.bytes.extend_from_slice(&part.bytes);
        Ok(())
    }

    /// All of it.
    pub(super) fn whole(self) -> Result<Bytes, Malformed> {
        match self.total {
            Some(total) if total == self.bytes.len() => Ok(self.bytes.freeze()),
            Some(total) => Err(Malformed::new("bytes", format!("{} of {total}", self.bytes.len()))),
            None => Err(Malformed::missing("bytes")),
        }
    }
}

pub(super) fn to_reply(answer: Result<QuorumAnswer, CallError>) -> internal::QuorumReply {
    let reply = match answer {
        Ok(answer) => Reply::Answer(answer.encode().into()),
        Err(CallError::OtherVoter { found }) => Reply::OtherVoter(to_voter(found)),
        Err(CallError::Stopped(why)) => Reply::Stopped(why),
        Err(CallError::Protocol(why)) => Reply::Protocol(why),
        Err(CallError::Unreachable(why) | CallError::NoAnswer(why)) => Reply::Unreachable(why),
    };
    internal::QuorumReply { reply: Some(reply) }
}

pub(super) fn answer_of(message: internal::QuorumReply) -> Result<QuorumAnswer, CallError> {
    Err(match message.reply {
        Some(Reply::Answer(bytes)) => {
            return QuorumAnswer::decode(&bytes).map_err(|error| CallError::Protocol(error.to_string()));
        }
        Some(Reply::OtherVoter(message)) => match voter(&message) {
            Ok(found) => CallError::OtherVoter { found },
            Err(error) => CallError::Protocol(error.to_string()),
        },
        Some(Reply::Stopped(why)) => CallError::Stopped(why),
        Some(Reply::Protocol(why)) => CallError::Protocol(why),
        Some(Reply::Unreachable(why)) => CallError::Unreachable(why),
        None => CallError::Protocol("a reply without an answer".to_owned()),
    })
}

#[cfg(test)]
mod tests;
