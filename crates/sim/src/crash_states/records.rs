//! The records of an uncompressed batch as the oracle reads them: by the layout alone.
//!
//! ```text
//!   16+5   attributes          16+27  producer id            record: length, attributes, time delta, offset delta,
//!   16+7   last offset delta   16+37  first sequence                 key, value, headers; all but the attributes
//!   16+11  base timestamp      16+41  records, and they follow       are varints, in zigzag
//! ```

use super::raw::Stored;
use crate::ledger::Keyed;

const LAST_OFFSET_DELTA_AT: usize = 7;
const BASE_TIMESTAMP_AT: usize = 11;
const PRODUCER_AT: usize = 27;
const SEQUENCE_AT: usize = 37;
const COUNT_AT: usize = 41;
const RECORDS_AT: usize = 45;

/// A record where it lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Placed {
    pub(super) offset: u64,
    pub(super) timestamp: i64,
    pub(super) record: Keyed,
}

/// What a batch's header says that compaction must leave as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Kept {
    pub(super) last_delta: i32,
    pub(super) producer: i64,
    pub(super) sequence: i32,
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

pub(super) fn kept(tail: &[u8]) -> Option<Kept> {
    Some(Kept {
        last_delta: i32::from_be_bytes(field(tail, LAST_OFFSET_DELTA_AT)?),
        producer: i64::from_be_bytes(field(tail, PRODUCER_AT)?),
        sequence: i32::from_be_bytes(field(tail, SEQUENCE_AT)?),
    })
}

/// All records of a batch; none if its bytes are not what they should be.
pub(super) fn records(batch: &Stored<'_>) -> Option<Vec<Placed>> {
    let tail = batch.tail;
    let base_timestamp = i64::from_be_bytes(field(tail, BASE_TIMESTAMP_AT)?);
    let count = i32::from_be_bytes(field(tail, COUNT_AT)?);
    let mut rest = tail.get(RECORDS_AT..)?;
    let mut found = Vec::new();
    for _ in 0..count {
        let length = usize::try_from(varint(&mut rest)?).ok()?;
        let (mut body, behind) = rest.split_at_checked(length)?;
        rest = behind;
        body = body.get(1..)?;
        let timestamp = base_timestamp.checked_add(varint(&mut body)?)?;
        let offset = batch.base.checked_add_signed(varint(&mut body)?)?;
        let key = nullable(&mut body)??;
        let value = nullable(&mut body)?;
        found.push(Placed { offset, timestamp, record: Keyed { key, value } });
    }
    rest.is_empty().then_some(found)
}

fn varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let magnitude = (value >> 1).cast_signed();
            return Some(if value & 1 == 0 { magnitude } else { !magnitude });
        }
    }
    None
}

/// Bytes behind their length; the inner `None` is a null.
#[expect(clippy::option_option, reason = "bytes that are no record, and a record without the field")]
fn nullable(bytes: &mut &[u8]) -> Option<Option<Vec<u8>>> {
    let length = varint(bytes)?;
    if length < 0 {
        return Some(None);
    }
    let (taken, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(Some(taken.to_vec()))
}
