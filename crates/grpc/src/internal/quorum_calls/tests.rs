//! Requests in parts, whole and not, and replies.

use millrace_broker::QuorumVoter;
use millrace_types::NodeId;
use prost::Message as _;

use super::*;

fn collect(parts: &[internal::QuorumPart]) -> Result<Bytes, Malformed> {
    let mut collected = Parts::default();
    parts.iter().try_for_each(|part| collected.take(part))?;
    collected.whole()
}

fn whole() -> Bytes {
    (0..3 * PEER_PART_BYTES + 17).map(|number| u8::try_from(number % 251).unwrap()).collect()
}

#[test]
fn a_request_in_parts_comes_back() {
    let parts: Vec<_> = parts_of(whole()).collect();
    assert_eq!(parts.len(), 4);
    assert_eq!(collect(&parts).unwrap(), whole());
    let exact = whole().slice(..2 * PEER_PART_BYTES);
    assert_eq!(parts_of(exact.clone()).count(), 2);
    assert_eq!(collect(&parts_of(exact.clone()).collect::<Vec<_>>()).unwrap(), exact);
}

#[test]
fn a_part_too_few_or_too_many_is_named() {
    let parts: Vec<_> = parts_of(whole()).collect();
    let said = |parts: &[internal::QuorumPart]| collect(parts).unwrap_err().to_string();
    assert_eq!(said(&parts[..3]), "bytes: 3145728 of 3145745");
    assert_eq!(said(&[]), "bytes: missing");
    let twice = [parts.clone(), parts[..1].to_vec()].concat();
    assert_eq!(said(&twice), "bytes: more than the 3145745 that were announced");
    let mut other = parts.clone();
    other[2].total += 1;
    assert_eq!(said(&other), "total: not the same in all parts");
    let empty = internal::QuorumPart { total: 5, bytes: Bytes::new() };
    assert_eq!(said(&[empty]), "bytes: an empty part");
    let large = internal::QuorumPart { total: 1 << 40, bytes: Bytes::from_static(b"x") };
    assert_eq!(said(&[large]), "total: 1099511627776, 269484032 at most");
}

#[test]
fn every_reply_comes_back() {
    let found = QuorumVoter { node: NodeId(2), incarnation: 1 << 63 };
    for told in [
        Ok(QuorumAnswer::Appended),
        Ok(QuorumAnswer::AppendedUpTo(None)),
        Err(CallError::OtherVoter { found }),
        Err(CallError::Stopped("s".to_owned())),
        Err(CallError::Protocol("p".to_owned())),
        Err(CallError::Unreachable("u".to_owned())),
    ] {
        let bytes = to_reply(told.clone()).encode_to_vec();
        let heard = internal::QuorumReply::decode(bytes.as_slice()).unwrap();
        assert_eq!(answer_of(heard), told);
        for length in 0..bytes.len() {
            let Ok(message) = internal::QuorumReply::decode(&bytes[..length]) else { continue };
            assert_ne!(answer_of(message), told, "at {length}");
        }
    }
}
