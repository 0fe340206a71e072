//! Appending what a leader has stored: the batches as they are, with their offsets and leader epochs.
//!
//! ```text
//!   bytes ─► whole, intact, one behind the other, no epoch falls ─► pieces of what may be unsynced
//!        each piece ─► a new epoch? its file first, synced ─► behind the end of the log? ─► one write ─► publish
//! ```
//! Where compaction has left holes in the leader's log, a batch without a record takes the place of each: this log has none
//! before it is compacted itself. Such a batch has the epoch of the one behind it: who asks where an older epoch has ended hears
//! of an offset that is too low, and copies again, never of one that is too high.
//!
//! Nothing is decided here that the leader has decided: producers are believed, sizes and times are not asked for. The file
//! of the leader epochs is on the medium before the first batch of an epoch is written, as where an epoch is begun, because
//! recovery holds the batches against it.

use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use millrace_record::{Batch, split_batches};
use millrace_types::limits::UNSYNCED_BYTES_MAX;
use millrace_types::{LeaderEpoch, Offset};

use super::group::{Group, Placed};
use super::{Role, Writer};
use crate::inner::LogInner;
use crate::queue::GROUP_MAX;
use crate::ticket::Cell;
use crate::waiters::Edge;
use crate::{AppendError, Appended, ReplicaAppendError, Ticket};

impl LogInner {
    /// Appends whole batches as a leader stores them.
    pub(crate) fn append_replica(
        self: &Arc<Self>,
        bytes: &Bytes,
        holes: Holes,
    ) -> Result<Ticket, ReplicaAppendError> {
        if let Some(error) = self.shared.failure.append_error() {
            return Err(error.into());
        }
        if self.turn().role == Role::Leading {
            return Err(ReplicaAppendError::NotFollowing);
        }
        let batches = checked(bytes, self.edge(Edge::End), holes)?;
        let mut rest = batches.as_slice();
        let mut ticket = Err(ReplicaAppendError::Empty);
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(piece_length(rest));
            let size: u64 = piece.iter().map(|batch| batch.size() as u64).sum();
            self.make_unsynced_room(size);
            let cell = self.append_piece(piece)?;
            ticket = Ok(Ticket::new(Arc::clone(self), cell));
            rest = behind;
        }
        ticket
    }

    /// Waits until so many bytes may be written: what is unsynced is bounded, and recovery counts on it.
    fn make_unsynced_room(self: &Arc<Self>, bytes: u64) {
        let unsynced = self.bounded_bytes();
        if unsynced > 0 && unsynced + bytes > UNSYNCED_BYTES_MAX {
            self.shared.env.tasks.blocking_section(&mut || self.sync_now());
        }
    }

    fn append_piece(self: &Arc<Self>, piece: &[Batch]) -> Result<Arc<Cell>, ReplicaAppendError> {
        let mut writer = self.turn();
        let is_known = |writer: &Writer| {
            piece.iter().all(|batch| writer.epochs.is_known(batch.leader_epoch(), batch.base_offset()))
        };
        let _upkeep;
        if !is_known(&writer) {
            // Whoever writes the file of the epochs holds `upkeep`, which comes before the writer.
            drop(writer);
            _upkeep = self.upkeep.lock();
            writer = self.turn();
        }
        self.check_follows(&writer, piece)?;
        if !is_known(&writer) {
            self.enter_epochs(&mut writer, piece)?;
        }
        let cell = Arc::new(Cell::default());
        let mut woken = Vec::new();
        let outcome = self.write_piece(&mut writer, piece, &cell, &mut woken);
        drop(writer);
        woken.into_iter().for_each(Waker::wake);
        if self.shared.failure.is_failed() {
            self.refuse_all();
        }
        outcome?;
        self.plan_sync();
        Ok(cell)
    }

    /// Whether the log is a follower's, and these batches are the next.
    fn check_follows(&self, writer: &Writer, piece: &[Batch]) -> Result<(), ReplicaAppendError> {
        // Nothing is written any more, also if it was a sync of the piece before that has failed.
        let refused = self.is_closed().then_some(AppendError::Closed);
        if let Some(error) = self.shared.failure.append_error().or(refused) {
            return Err(error.into());
        }
        if writer.role == Role::Leading {
            return Err(ReplicaAppendError::NotFollowing);
        }
        let Some(first) = piece.first() else { return Err(ReplicaAppendError::Empty) };
        let (at, found) = (first.base_offset(), first.leader_epoch());
        if at != writer.end {
            return Err(ReplicaAppendError::NotNext { expected: writer.end, found: at });
        }
        match writer.last_epoch() {
            Some(latest) if found < latest => Err(ReplicaAppendError::EpochFell { at, found, latest }),
            _ => Ok(()),
        }
    }

    /// Writes down the epochs that begin with these batches. What the file says is kept in memory even if the batches cannot
    /// be written then: it must not say anything else.
    fn enter_epochs(&self, writer: &mut Writer, piece: &[Batch]) -> Result<(), ReplicaAppendError> {
        let mut epochs = writer.epochs.clone();
        for batch in piece {
            let _changed = epochs.assign(batch.leader_epoch(), batch.base_offset());
        }
        self.write_epochs(&epochs)
            .map_err(|e| ReplicaAppendError::Epochs(self.soft_error("beginning an epoch", e).to_string()))?;
        writer.epochs = epochs;
        let latest = writer.epochs.latest().unwrap_or(LeaderEpoch::NONE);
        if latest > writer.epoch {
            writer.epoch = latest;
            self.set_leader_epoch(latest);
        }
        Ok(())
    }

    fn write_piece(
        self: &Arc<Self>,
        writer: &mut Writer,
        piece: &[Batch],
        cell: &Arc<Cell>,
        woken: &mut Vec<Waker>,
    ) -> Result<(), AppendError> {
        let config = self.config();
        let mut group = Group::new(writer, self.shared.env.clock.wall());
        let mut outcome = Ok(());
        for batch in piece {
            outcome = if self.shared.room.take(self.claim, batch.size() as u64) {
                self.make_room(writer, &mut group, &config, batch)
            } else {
                Err(AppendError::StorageFull)
            };
            if outcome.is_err() {
                break;
            }
            let (base, last) = (batch.base_offset(), batch.last_offset());
            let head = batch.head_with(base, batch.leader_epoch());
            group.place(writer, batch, Placed { base, last, head });
        }
        let last_offset = group.end().saturating_sub(1);
        let base_offset = piece.first().map_or(last_offset, Batch::base_offset);
        let log_start = Offset::ZERO;
        let appended =
            Appended { base_offset, last_offset, log_append_time: None, log_start, duplicate: false };
        group.answer(Arc::clone(cell), appended);
        self.write(writer, group, &config, woken);
        outcome.and_then(|()| cell.refusal().map_or(Ok(()), Err))
    }
}

impl Writer {
    /// The leader epoch of the last record, if there is one and the log knows.
    pub(crate) fn last_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.epoch_of(self.end.get().checked_sub(1).and_then(Offset::new)?)
    }
}

/// What a gap in the offsets of an answer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Holes {
    /// Something went wrong.
    Refused,
    /// What compaction has left.
    Filled,
}

/// The batches of an answer, each intact, one behind the other from `end` on, of epochs that do not fall.
fn checked(bytes: &Bytes, end: Offset, holes: Holes) -> Result<Vec<Batch>, ReplicaAppendError> {
    let mut batches: Vec<Batch> = Vec::new();
    let mut split = split_batches(bytes.clone());
    loop {
        let position = split.position();
        let batch = match split.next() {
            None => return Ok(batches),
            Some(Ok(batch)) => batch,
            Some(Err(error)) => return Err(ReplicaAppendError::Batch { position, error }),
        };
        let (at, found) = (batch.base_offset(), batch.leader_epoch());
        let (mut expected, latest) =
            batches.last().map_or((end, LeaderEpoch(0)), |last| (last.next_offset(), last.leader_epoch()));
        if found < latest {
            return Err(ReplicaAppendError::EpochFell { at, found, latest });
        }
        if holes == Holes::Filled && expected < at {
            // One is enough: the last batch of a segment stays, so no hole is larger than a segment. What looks like one that
            // is has a base offset that was damaged on its way.
            let hole = Batch::hole(expected, at.since(expected), found);
            if hole.next_offset() == at {
                expected = at;
                batches.push(hole);
            }
        }
        if at != expected {
            return Err(ReplicaAppendError::NotNext { expected, found: at });
        }
        batches.push(batch);
    }
}

/// How many of these batches one write takes.
fn piece_length(batches: &[Batch]) -> usize {
    let mut bytes = 0;
    let fits = |batch: &&Batch| {
        bytes += batch.size() as u64;
        bytes <= UNSYNCED_BYTES_MAX
    };
    batches.iter().take(GROUP_MAX).take_while(fits).count().max(1)
}
