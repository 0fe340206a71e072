//! Batches that are written with one call, before anybody else can see them.

use std::sync::Arc;
use std::task::Waker;

use bytes::BytesMut;
use millrace_record::{Batch, HEAD_BYTES};
use millrace_types::{Offset, ProducerId, TimestampMs};

use super::Writer;
use crate::Appended;
use crate::producers::{BatchFacts, Producer};
use crate::segment::BatchSpot;
use crate::tail_cache::Run;
use crate::ticket::{Cell, Unsynced};

/// Batches below this size are copied together: one buffer for the write and one slice for readers instead of
/// hundreds. Larger ones stay in the memory in which they were received.
const JOINED_BATCH_BYTES: usize = 16 * 1024;

/// The place of a batch in the log, and its first bytes, which say so.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) base: Offset,
    pub(crate) last: Offset,
    pub(crate) head: [u8; HEAD_BYTES],
}

/// What one write will hold, and what is undone if it fails.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) now: TimestampMs,
    pub(crate) woken: Vec<Waker>,
    start: u64,
    position: u64,
    end: Offset,
    runs: Vec<Run>,
    joined: Joined,
    spots: Vec<BatchSpot>,
    answers: Vec<(Arc<Cell>, Appended)>,
    unsynced: Vec<Unsynced>,
    undo: Vec<(ProducerId, Option<Producer>)>,
}

#[derive(Debug, Default)]
struct Joined {
    base: Offset,
    bytes: BytesMut,
    ends: Vec<(Offset, usize)>,
}

impl Group {
    /// An empty group at the writer's end.
    pub(crate) fn new(writer: &Writer, now: TimestampMs) -> Group {
        Group {
            now,
            woken: Vec::new(),
            start: writer.position,
            position: writer.position,
            end: writer.end,
            runs: Vec::new(),
            joined: Joined::default(),
            spots: Vec::new(),
            answers: Vec::new(),
            unsynced: Vec::new(),
            undo: Vec::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.spots.is_empty()
    }

    /// Where the next batch would lie.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The offset that the next batch would get.
    pub(crate) fn end(&self) -> Offset {
        self.end
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.position - self.start
    }

    pub(crate) fn spots(&self) -> &[BatchSpot] {
        &self.spots
    }

    /// Adds a batch at the end, and to what is known of its producer.
    pub(crate) fn place(&mut self, writer: &mut Writer, batch: &Batch, placed: Placed) {
        let Placed { base, last, head } = placed;
        let facts = BatchFacts::of(batch.header());
        self.remember(facts.producer, writer.producers.get(facts.producer));
        writer.producers.apply(&facts, base, self.now);
        let (size, max_timestamp) = (batch.size() as u64, batch.max_timestamp());
        let spot = BatchSpot { position: self.position, size, base, last, max_timestamp };
        let tail = batch.tail();
        self.position = spot.end_position();
        self.end = spot.last.next();
        self.spots.push(spot);
        if HEAD_BYTES + tail.len() < JOINED_BATCH_BYTES {
            if self.joined.ends.is_empty() {
                self.joined.base = spot.base;
            }
            self.joined.bytes.extend_from_slice(&head);
            self.joined.bytes.extend_from_slice(&tail);
            self.joined.ends.push((self.end, self.joined.bytes.len()));
        } else {
            self.end_joined();
            self.runs.push(Run::placed(spot.base, self.end, head, tail));
        }
    }

    /// Adds an answer, to a batch of the group or to an exact retry, which needs no write.
    pub(crate) fn answer(&mut self, cell: Arc<Cell>, appended: Appended) {
        self.unsynced.push(Unsynced { last: appended.last_offset, cell: Arc::clone(&cell) });
        self.answers.push((cell, appended));
    }

    /// Keeps what was known of a producer before the group, to be put back if the write fails.
    fn remember(&mut self, id: ProducerId, before: Option<Producer>) {
        if id != ProducerId::NONE {
            self.undo.push((id, before));
        }
    }

    fn end_joined(&mut self) {
        if !self.joined.ends.is_empty() {
            let Joined { base, bytes, ends } = std::mem::take(&mut self.joined);
            self.runs.push(Run::joined(base, bytes.freeze(), ends));
        }
    }

    pub(crate) fn take_runs(&mut self) -> Vec<Run> {
        self.end_joined();
        std::mem::take(&mut self.runs)
    }

    pub(crate) fn take_unsynced(&mut self) -> Vec<Unsynced> {
        std::mem::take(&mut self.unsynced)
    }

    pub(crate) fn take_answers(&mut self) -> Vec<(Arc<Cell>, Appended)> {
        std::mem::take(&mut self.answers)
    }

    pub(crate) fn take_undo(&mut self) -> Vec<(ProducerId, Option<Producer>)> {
        std::mem::take(&mut self.undo)
    }
}
