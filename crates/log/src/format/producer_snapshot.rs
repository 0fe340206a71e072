//! `<base>.producers`: the state of the idempotent producers as it was before the record at `base`.
//!
//! ```text
//!  envelope(kind Producers, version 1):
//!  0          8           9             17         21
//!  ┌──────────┬───────────┬─────────────┬──────────┬─ producers, by rising id ─
//!  │ offset   │ history   │ lost since  │ count    │
//!  │ i64      │ u8        │ i64         │ u32      │
//!  └──────────┴───────────┴─────────────┴──────────┴───────────────────────────
//!  one producer:
//!  ┌────────┬───────┬───────┬─────────────┬─────────┬─ 1 to 5 batches, oldest first ─────────────
//!  │ id     │ epoch │ known │ last append │ batches │ first seq │ last seq │ last offset │ timestamp
//!  │ i64    │ i16   │ u32   │ i64         │ u8      │ i32       │ i32      │ i64         │ i64
//!  └────────┴───────┴───────┴─────────────┴─────────┴────────────────────────────────────────────
//!  history: 0 complete, 1 some forgotten, 2 lost (since when; else -1)
//! ```
//! Rebuildable from the log as long as nothing was trimmed; a snapshot that does not open is deleted and rebuilt.

use std::collections::BTreeMap;

use millrace_types::limits::{PRODUCER_WINDOW, PRODUCERS_PER_PARTITION_MAX};
use millrace_types::{Offset, ProducerEpoch, ProducerId, TimestampMs};

use super::envelope::{self, DecodeError, FileKind};
use super::fields::Fields;
use crate::producers::{History, Producer, ProducerState, RememberedBatch, Sequence};

/// The newest version that this build reads, and the one that it writes.
pub const VERSION: u16 = 1;

const HEAD_BYTES: usize = 21;
const PRODUCER_BYTES: usize = 23;
const BATCH_BYTES: usize = 24;

/// The largest file.
pub const BYTES_MAX: usize = envelope::OVERHEAD_BYTES
    + HEAD_BYTES
    + PRODUCERS_PER_PARTITION_MAX * (PRODUCER_BYTES + PRODUCER_WINDOW * BATCH_BYTES);

/// The content of the file that holds `state` as it was before the record at `offset`.
#[must_use]
pub fn encode(state: &ProducerState, offset: Offset) -> Vec<u8> {
    let producers = state.producers();
    let mut body = Vec::with_capacity(HEAD_BYTES + producers.len() * (PRODUCER_BYTES + BATCH_BYTES));
    body.extend_from_slice(&offset.get().to_be_bytes());
    let (history, since) = match state.history() {
        History::Complete => (0, TimestampMs::NONE),
        History::SomeForgotten => (1, TimestampMs::NONE),
        History::Lost { since } => (2, since),
    };
    body.push(history);
    body.extend_from_slice(&since.0.to_be_bytes());
    body.extend_from_slice(&u32::try_from(producers.len()).unwrap_or(u32::MAX).to_be_bytes());
    for (id, producer) in producers {
        put_producer(&mut body, *id, producer);
    }
    envelope::seal(FileKind::Producers, VERSION, &body)
}

fn put_producer(body: &mut Vec<u8>, id: ProducerId, producer: &Producer) {
    body.extend_from_slice(&id.0.to_be_bytes());
    body.extend_from_slice(&producer.epoch.0.to_be_bytes());
    body.extend_from_slice(&producer.known.to_be_bytes());
    body.extend_from_slice(&producer.last_append.0.to_be_bytes());
    body.push(u8::try_from(producer.batches().len()).unwrap_or(u8::MAX));
    for batch in producer.batches() {
        body.extend_from_slice(&batch.first.get().to_be_bytes());
        body.extend_from_slice(&batch.last.get().to_be_bytes());
        body.extend_from_slice(&batch.last_offset.get().to_be_bytes());
        body.extend_from_slice(&batch.timestamp.0.to_be_bytes());
    }
}

/// Reads the content of the file: the offset and the state before it.
///
/// # Errors
/// Damage, a newer version, or a state that no log can lead to.
pub fn decode(bytes: &[u8]) -> Result<(Offset, ProducerState), DecodeError> {
    let opened = envelope::open(FileKind::Producers, VERSION, bytes)?;
    let mut fields = Fields::new(opened.body);
    let offset = fields.offset()?;
    let history = match (fields.byte()?, fields.timestamp()?) {
        (0, TimestampMs::NONE) => History::Complete,
        (1, TimestampMs::NONE) => History::SomeForgotten,
        (2, since) => History::Lost { since },
        _ => return Err(DecodeError::Invalid("an unknown history of producers")),
    };
    let count = fields.length()?;
    let count = fields.count_of(count, PRODUCER_BYTES + BATCH_BYTES)?;
    let mut producers = BTreeMap::new();
    for _ in 0..count {
        let (id, producer) = take_producer(&mut fields, offset)?;
        if id.0 < 0 || producers.last_key_value().is_some_and(|(last, _)| *last >= id) {
            return Err(DecodeError::Invalid("producer ids that do not rise"));
        }
        producers.insert(id, producer);
    }
    fields.end()?;
    let state = ProducerState::from_parts(producers, history);
    state.map(|state| (offset, state)).ok_or(DecodeError::Invalid("more producers than the limit"))
}

fn take_producer(fields: &mut Fields<'_>, end: Offset) -> Result<(ProducerId, Producer), DecodeError> {
    let id = ProducerId(fields.i64()?);
    let epoch = ProducerEpoch(fields.i16()?);
    let known = fields.u32()?;
    let last_append = fields.timestamp()?;
    let count = usize::from(fields.byte()?);
    if count > PRODUCER_WINDOW {
        return Err(DecodeError::Invalid("more batches of a producer than the window"));
    }
    let mut batches = Vec::with_capacity(count);
    for _ in 0..count {
        let sequence = |wire| Sequence::new(wire).ok_or(DecodeError::Invalid("a negative sequence"));
        batches.push(RememberedBatch {
            first: sequence(fields.i32()?)?,
            last: sequence(fields.i32()?)?,
            last_offset: fields.offset()?,
            timestamp: fields.timestamp()?,
        });
    }
    if batches.iter().any(|batch| batch.last_offset >= end) {
        return Err(DecodeError::Invalid("a batch at or behind the offset of the snapshot"));
    }
    let producer = Producer::restore(epoch, known, last_append, &batches);
    Ok((id, producer.ok_or(DecodeError::Invalid("batches of a producer that do not follow on"))?))
}

#[cfg(test)]
mod tests {
    use super::super::exam;
    use super::*;
    use crate::producers::BatchFacts;

    fn example() -> (ProducerState, Offset) {
        let mut state = ProducerState::lost(TimestampMs(77));
        let mut end = Offset::ZERO;
        for (producer, first_sequence, last_offset_delta) in [
            (7, i32::MAX - 1, 4),
            (3, 0, 0),
            (7, 3, 9),
            (3, 1, 1),
            (3, 3, 2),
            (3, 6, 0),
            (3, 7, 0),
            (3, 8, 0),
        ] {
            let batch = BatchFacts {
                producer: ProducerId(producer),
                epoch: ProducerEpoch(2),
                first_sequence,
                last_offset_delta,
                timestamp: TimestampMs(1000 + i64::from(first_sequence)),
            };
            state.apply(&batch, end, TimestampMs(5));
            end = end.saturating_add(u64::try_from(last_offset_delta).unwrap() + 1);
        }
        (state, end)
    }

    #[test]
    fn the_state_comes_back() {
        let (state, end) = example();
        assert_eq!(decode(&encode(&state, end)), Ok((end, state)));
        let empty = ProducerState::new();
        assert_eq!(decode(&encode(&empty, Offset::ZERO)), Ok((Offset::ZERO, empty)));
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let (state, end) = example();
        let bytes = encode(&state, end);
        exam::every_cut_is_refused(&bytes, decode);
        exam::every_flip_is_refused(&bytes, decode);
    }

    #[test]
    fn an_intact_body_cut_anywhere_is_refused() {
        let (state, end) = example();
        let bytes = encode(&state, end);
        let body = envelope::open(FileKind::Producers, VERSION, &bytes).unwrap().body;
        exam::every_cut_is_refused(body, |body| decode(&envelope::seal(FileKind::Producers, VERSION, body)));
    }

    #[test]
    fn a_state_that_claims_more_than_the_log_holds_is_refused() {
        let (state, end) = example();
        let bytes = encode(&state, end.saturating_sub(1));
        assert!(matches!(decode(&bytes), Err(DecodeError::Invalid(_))));
    }
}
