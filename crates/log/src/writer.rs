//! Appending: whoever holds the writer drains the queue, one vectored write for all that waits.
//!
//! ```text
//!   take a group ─► place each batch (offset, epoch, producer check) ─► one write ─► publish ─► wake
//!                        └─ refused: its ticket hears why            └─ ENOSPC: cut back, undo, refuse the group
//! ```
//! The writer is held for microseconds: a roll renames a file that was made ahead, nothing is synced here.

mod group;
mod replica;
mod roll;
mod turn;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use millrace_env::is_out_of_files;
use millrace_record::{Batch, HEADER_BYTES};
use millrace_types::{LeaderEpoch, Offset, SyncMode, TimestampMs};

use crate::epochs::EpochCache;
use crate::flusher::{Mark, Wrote};
use crate::inner::LogInner;
use crate::passing::is_storage_full;
use crate::producers::{BatchFacts, ProducerState, Verdict};
use crate::queue::Pending;
use crate::segment::Segment;
use crate::ticket::Unsynced;
use crate::{AppendError, Appended, LogConfig, TimestampType};
use group::{Group, Placed};

pub(crate) use replica::Holes;
pub(crate) use roll::{Snapshot, Spare, create_segment_file, is_too_old};
pub(crate) use turn::Turns;

/// Where the batches of a log come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// From clients: they get their offsets and the leader epoch here.
    Leading,
    /// From the log of a leader, as they lie there.
    Following,
}

/// What only the holder of the writer may touch.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) active: Arc<Segment>,
    pub(crate) end: Offset,
    pub(crate) position: u64,
    /// Up to where room on the disk is reserved for the active file.
    pub(crate) allocated: u64,
    pub(crate) role: Role,
    /// What appends carry; of a follower the latest epoch that it knows.
    pub(crate) epoch: LeaderEpoch,
    pub(crate) epochs: EpochCache,
    pub(crate) producers: ProducerState,
    pub(crate) spare: Option<Spare>,
    /// Bytes of a write that found no room lie behind the end, and there was no room to cut them off either. Their first
    /// header is overwritten, so that nobody takes them for batches; nothing is written before they are gone.
    pub(crate) ragged: bool,
    /// Wall time of the first append to the active segment.
    pub(crate) first_append: Option<TimestampMs>,
    /// Producer states as they were at rolls, still to be written by the janitor.
    pub(crate) snapshots: Vec<Snapshot>,
    /// Where the newest snapshot was taken, as a position that counts every byte ever appended since the start.
    pub(crate) bytes_since_snapshot: u64,
}

impl Writer {
    /// The end, as a place in the files.
    pub(crate) fn mark(&self) -> Mark {
        Mark { offset: self.end, segment: self.active.base, position: self.position }
    }
}

impl LogInner {
    /// Drains the queue unless somebody else is at it. No batch is left behind: whoever lets go of the writer looks
    /// once more.
    pub(crate) fn combine(self: &Arc<Self>) {
        loop {
            let Some(mut writer) = self.writer.try_take() else {
                return;
            };
            let woken = self.drain(&mut writer);
            drop(writer);
            woken.into_iter().for_each(Waker::wake);
            if self.shared.failure.is_failed() {
                return self.refuse_all();
            }
            self.plan_sync();
            if !self.has_writable() {
                return;
            }
        }
    }

    /// Whether something is queued that can be written now.
    fn has_writable(&self) -> bool {
        self.queue.is_ready(self.bounded_bytes())
    }

    /// The unsynced bytes that count against the bound on them.
    fn bounded_bytes(&self) -> u64 {
        match self.sync_mode() {
            SyncMode::Always | SyncMode::Interval(_) => self.sync.lock().unsynced_bytes(),
            SyncMode::Os => 0,
        }
    }

    fn drain(self: &Arc<Self>, writer: &mut Writer) -> Vec<Waker> {
        let mut woken = Vec::new();
        loop {
            let taken = self.queue.take(self.bounded_bytes());
            if taken.is_empty() || self.shared.failure.is_failed() {
                self.refuse_pending(taken, &mut woken);
                return woken;
            }
            let config = self.config();
            let now = self.shared.env.clock.wall();
            let mut group = Group::new(writer, now);
            for pending in taken {
                if let Some((cell, error)) = self.place(writer, &mut group, &config, pending) {
                    woken.extend(cell.refuse(error));
                }
            }
            self.write(writer, group, &config, &mut woken);
        }
    }

    fn refuse_pending(&self, taken: Vec<Pending>, woken: &mut Vec<Waker>) {
        let Some(error) = self.shared.failure.append_error() else {
            return;
        };
        woken.extend(taken.iter().filter_map(|pending| pending.cell.refuse(error.clone())));
    }

    /// Decides about one batch and adds it to the group. What is refused is handed back with the reason.
    fn place(
        self: &Arc<Self>,
        writer: &mut Writer,
        group: &mut Group,
        config: &LogConfig,
        pending: Pending,
    ) -> Option<(Arc<crate::ticket::Cell>, AppendError)> {
        let Pending { batch, epoch, cell } = pending;
        if writer.role == Role::Following || epoch.is_some_and(|epoch| epoch != writer.epoch) {
            return Some((cell, AppendError::NotLeading));
        }
        let facts = facts_of(&batch);
        match writer.producers.check(&facts) {
            Verdict::Accept => {}
            Verdict::DuplicateOf { base_offset, last_offset, timestamp } => {
                let log_append_time =
                    (config.timestamp_type == TimestampType::LogAppend).then_some(timestamp);
                let log_start = self.view.read().log_start;
                let appended =
                    Appended { base_offset, last_offset, log_append_time, log_start, duplicate: true };
                group.answer(cell, appended);
                return None;
            }
            // What is missing was refused for want of room, as this is: a client that heard of a gap would begin anew (librdkafka does,
            // in every partition) and send again what may be stored.
            Verdict::OutOfOrder { .. } if !self.shared.room.had(self.claim, batch.size() as u64) => {
                return Some((cell, AppendError::StorageFull));
            }
            verdict => return refusal(verdict, &facts).map(|error| (cell, error)),
        }
        let batch = match config.timestamp_type {
            TimestampType::Create => batch,
            TimestampType::LogAppend => batch.with_log_append_time(group.now),
        };
        // After the retries: what is stored is never refused.
        if !self.shared.room.take(self.claim, batch.size() as u64) {
            return Some((cell, AppendError::StorageFull));
        }
        if let Err(error) = self.make_room(writer, group, config, &batch) {
            return Some((cell, error));
        }
        let base = group.end();
        let Some(end) = base.checked_add(batch.offset_count()).filter(|end| *end < Offset::MAX) else {
            return Some((cell, AppendError::OffsetsExhausted));
        };
        let last_offset = end.saturating_sub(1);
        let head = batch.head_with(base, writer.epoch);
        group.place(writer, &batch, Placed { base, last: last_offset, head });
        let log_append_time = (config.timestamp_type == TimestampType::LogAppend).then_some(group.now);
        let log_start = Offset::ZERO;
        let appended =
            Appended { base_offset: base, last_offset, log_append_time, log_start, duplicate: false };
        group.answer(cell, appended);
        None
    }

    /// Rolls if the batch does not fit into the active segment any more. What was placed before is written first.
    fn make_room(
        self: &Arc<Self>,
        writer: &mut Writer,
        group: &mut Group,
        config: &LogConfig,
        batch: &Batch,
    ) -> Result<(), AppendError> {
        if !roll::is_due(writer, group, config, batch) {
            return Ok(());
        }
        let empty = Group::new(writer, group.now);
        let full = std::mem::replace(group, empty);
        let (mut woken, end) = (Vec::new(), full.end());
        self.write(writer, full, config, &mut woken);
        let outcome = if writer.end == end {
            self.roll(writer).map_err(|e| self.write_error("roll", &e))
        } else {
            // This batch was found to follow those that could not be written: it goes with them.
            Err(self.shared.failure.append_error().unwrap_or(AppendError::StorageFull))
        };
        *group = Group::new(writer, group.now);
        group.woken = woken;
        outcome
    }

    /// Writes a group with one call and publishes it.
    fn write(
        self: &Arc<Self>,
        writer: &mut Writer,
        mut group: Group,
        config: &LogConfig,
        woken: &mut Vec<Waker>,
    ) {
        woken.append(&mut group.woken);
        if group.is_empty() {
            return self.answer(&mut group, woken);
        }
        let pinned = self.trim_ragged(writer).and_then(|()| writer.active.pin());
        let file = match pinned {
            Ok(file) => file,
            Err(e) => return self.undo(writer, group, &e, woken),
        };
        self.reserve(writer, config, (&file, group.position()));
        let began = self.shared.env.clock.monotonic();
        let runs = group.take_runs();
        let buffers: Vec<io::IoSlice<'_>> =
            runs.iter().flat_map(crate::tail_cache::Run::buffers).map(io::IoSlice::new).collect();
        if let Err(e) = file.write_all_vectored_at(&buffers, writer.position) {
            drop(buffers);
            return self.undo(writer, group, &e, woken);
        }
        drop(buffers);
        writer.end = group.end();
        writer.position = group.position();
        writer.bytes_since_snapshot += group.bytes();
        writer.first_append.get_or_insert(group.now);
        {
            let mut body = writer.active.body.write();
            for spot in group.spots() {
                body.append(writer.active.base, spot, config.index_interval_bytes);
            }
            body.appended_last = group.now;
        }
        self.view.write().end = writer.end;
        self.shared.appended.fetch_add(group.bytes(), Ordering::Relaxed);
        for run in runs {
            self.shared.tail_budget.push(&self.tail, run);
        }
        let (bytes, until) = (group.bytes(), writer.mark());
        self.shared.tallies.wrote(bytes, group.spots().len());
        self.hold(Wrote { file, bytes, until, began }, woken);
        self.answer(&mut group, woken);
    }

    /// Publishes how far the log is held now that more is written.
    fn hold(&self, wrote: Wrote, woken: &mut Vec<Waker>) {
        let (mode, now) = (self.sync_mode(), self.shared.env.clock.monotonic());
        let (held, safe, _pinned_twice) = {
            let mut sync = self.sync.lock();
            let pinned = sync.wrote(wrote);
            let safe = sync.advance(mode, now);
            (sync.held(), safe, pinned)
        };
        if mode != SyncMode::Always {
            self.publish_held(held);
            woken.extend(safe.iter().filter_map(|waiting| waiting.cell.settle()));
        }
        woken.extend(self.take_passed());
    }

    /// Tells the tickets of a written group where their batches lie.
    fn answer(&self, group: &mut Group, woken: &mut Vec<Waker>) {
        let unsynced = group.take_unsynced();
        let log_start = self.view.read().log_start;
        for (cell, appended) in group.take_answers() {
            woken.extend(cell.written(Appended { log_start, ..appended }));
        }
        self.wait_for(unsynced, woken);
    }

    /// Sees to it that the tickets of written batches hear when those are held, at once if they are.
    fn wait_for(&self, mut unsynced: Vec<Unsynced>, woken: &mut Vec<Waker>) {
        if unsynced.is_empty() || !self.sync.lock().wait_for(&mut unsynced) {
            return;
        }
        // What a sync that ends right now is about to show is left to it.
        let held = self.held();
        let safe = self.sync.lock().take_held(held);
        woken.extend(safe.iter().filter_map(|waiting| waiting.cell.settle()));
    }

    /// The write failed: nothing of the group may be seen, in the file, the indexes or the producer state.
    fn undo(
        self: &Arc<Self>,
        writer: &mut Writer,
        mut group: Group,
        error: &io::Error,
        woken: &mut Vec<Waker>,
    ) {
        for (id, before) in group.take_undo().into_iter().rev() {
            writer.producers.put_back(id, before);
        }
        let answer = self.write_error("write", error);
        if answer == AppendError::StorageFull
            && let Err(e) = self.while_no_sync(|| cut_back(writer))
        {
            self.fail("cutting back after a failed write", e);
        }
        let answer = self.shared.failure.append_error().unwrap_or(answer);
        // A retry of what an earlier write has stored must not hear that it never will be.
        let (stored, lost): (Vec<_>, Vec<_>) =
            group.take_answers().into_iter().partition(|(_, appended)| appended.last_offset < writer.end);
        let mut unsynced = group.take_unsynced();
        unsynced.retain(|waiting| waiting.last < writer.end);
        woken.extend(stored.into_iter().filter_map(|(cell, appended)| cell.written(appended)));
        self.wait_for(unsynced, woken);
        woken.extend(lost.into_iter().filter_map(|(cell, _)| cell.refuse(answer.clone())));
    }

    /// Cuts off what an earlier write has left behind the end, if it could not be cut then.
    pub(crate) fn trim_ragged(&self, writer: &mut Writer) -> io::Result<()> {
        if writer.ragged {
            writer.active.file()?.set_len(writer.position)?;
            writer.allocated = writer.position;
            writer.ragged = false;
        }
        Ok(())
    }

    /// A full disk refuses, and so does a process without open files; anything else ends the directory, because what
    /// the file holds is not known.
    pub(crate) fn write_error(&self, context: &str, error: &io::Error) -> AppendError {
        if is_storage_full(error) {
            self.shared.room.look();
            return AppendError::StorageFull;
        }
        if is_out_of_files(error) {
            return AppendError::OutOfFiles;
        }
        let reason = format!("{context} of {}: {error}", self.path.display());
        self.shared.failure.fail(&reason);
        AppendError::StorageFailed(reason)
    }
}

/// Takes back what a write has left of itself when the room ran out. On the medium too, before anybody hears that it is
/// not there: a power cut must not bring it back.
fn cut_back(writer: &mut Writer) -> io::Result<()> {
    let file = writer.active.pin()?;
    let left = file.size()?.saturating_sub(writer.position);
    match file.set_len(writer.position) {
        Ok(()) => writer.allocated = writer.position,
        Err(e) if is_storage_full(&e) => {
            let head = usize::try_from(left).unwrap_or(HEADER_BYTES).min(HEADER_BYTES);
            file.write_all_at(&vec![0; head], writer.position)?;
            writer.ragged = true;
        }
        Err(e) => return Err(e),
    }
    if left > 0 { file.sync_data() } else { Ok(()) }
}

/// What the producer state needs to know of a batch.
pub(crate) fn facts_of(batch: &Batch) -> BatchFacts {
    BatchFacts::of(batch.header())
}

fn refusal(verdict: Verdict, facts: &BatchFacts) -> Option<AppendError> {
    match verdict {
        Verdict::Accept | Verdict::DuplicateOf { .. } => None,
        Verdict::Duplicate => Some(AppendError::DuplicateSequence { found: facts.first_sequence }),
        Verdict::OutOfOrder { expected, found } => Some(AppendError::OutOfOrderSequence { expected, found }),
        Verdict::Unknown => Some(AppendError::UnknownProducer { id: facts.producer }),
        Verdict::Fenced { current } => Some(AppendError::ProducerFenced { current }),
    }
}

#[cfg(test)]
mod tests;
