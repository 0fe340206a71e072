//! Mending: damaged records are put back as another replica has them.
//!
//! ```text
//!   a wound:  a segment that holds damage, or a gap where no file holds what was synced
//!
//!   batches that are whole here ──────────┐
//!   (wanted: those that are not)          ├─► a new segment beside ─► the very bytes that were sealed? ─► in its place
//!   batches as another replica has them ──┘
//! ```
//! Nothing is cut away and nothing is guessed. What lies below the high watermark is the same on every replica (KIP-101), batch by
//! batch; where a seal says what the bytes were, the new ones must have its sums. Without one, offsets must follow each other
//! and each batch be of the leader epoch that the log has for it. A segment that compaction has been at, and that another replica
//! has compacted otherwise, cannot be mended: it stays as it is.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use millrace_record::Batch;
use millrace_types::{LeaderEpoch, Offset, OffsetRange};

use crate::format::seal::Seal;
use crate::inner::LogInner;
use crate::replacement::{Beside, Output, discard, put_in_place};
use crate::room::Claim;
use crate::segment::{Offsets, Segment};
use crate::{Log, ReadError, ReadPlan};

/// Bytes that one read takes.
const READ_BYTES: usize = 1024 * 1024;
/// Bytes that one step copies.
const STEP_BYTES: u64 = 16 * READ_BYTES as u64;

const NO_ROOM: MendError = MendError::Later("the disk has no room for another copy of the segment");

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MendStep {
    /// Another step.
    GoesOn,
    /// These records, of another replica, for [`Mending::take`]: from their first batch on, as many as there are.
    Wants(OffsetRange),
    /// Nothing: what was damaged is whole.
    Mended,
}

/// Why a wound is not mended.
#[derive(Debug, thiserror::Error)]
pub enum MendError {
    /// Not now: the same attempt may succeed later.
    #[error("not now: {0}")]
    Later(&'static str),
    /// The log has changed meanwhile, or was closed.
    #[error("the log has changed meanwhile")]
    Changed,
    /// What another replica has is not what is missing here.
    #[error("{0}")]
    Unfit(String),
    /// A call failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Where records are missing.
#[derive(Clone, Debug)]
struct Wound {
    offsets: OffsetRange,
    /// The segment that holds what there still is; `None` where no file does.
    segment: Option<Arc<Segment>>,
}

/// A wound that is being mended. May block in each of its calls.
#[derive(Debug)]
pub struct Mending {
    log: Arc<LogInner>,
    _beside: Beside,
    wound: Wound,
    seal: Option<Seal>,
    /// `None` once it is finished.
    output: Option<Output>,
    /// What is below it is in the output.
    next: Offset,
    /// What was asked for last.
    wanted: OffsetRange,
    /// Of the wanted: how much of it came from elsewhere.
    taken: u64,
}

impl Log {
    /// Where records are damaged that other replicas may have: by the offsets of whole segments and gaps, and only what is
    /// committed.
    #[must_use]
    pub fn wounds(&self) -> Vec<OffsetRange> {
        let damaged = self.inner().damage.list();
        let touched = damaged.iter().filter(|known| known.offsets.start < known.offsets.end);
        let wounds = touched.filter_map(|known| self.inner().wound_at(known.offsets.start));
        let mut offsets: Vec<_> = wounds.map(|wound| wound.offsets).collect();
        offsets.sort_by_key(|offsets| offsets.start);
        offsets.dedup();
        offsets
    }

    /// Begins to mend one of [`Log::wounds`].
    ///
    /// # Errors
    /// [`MendError`].
    pub fn mend(&self, offsets: OffsetRange) -> Result<Mending, MendError> {
        let log = self.inner();
        let wound = log.wound_at(offsets.start).filter(|wound| wound.offsets == offsets);
        let wound = wound.ok_or(MendError::Changed)?;
        let beside = Beside::take(log).ok_or(MendError::Later("its log is being compacted"))?;
        if let Some(segment) = &wound.segment {
            log.close_to_appends(segment)?;
        }
        let mark = log.shared.marks.written(log.meta.id);
        if mark.is_some_and(|mark| mark.base < offsets.end) {
            // A start would look for its synced end in another file than it was.
            return Err(MendError::Later("the synced mark of its log still lies in it"));
        }
        let there = wound.segment.as_ref().filter(|segment| segment.size() > 0);
        let seal = there.and_then(|segment| Some(segment.sealed()?.seal().clone()));
        let bytes = there.map_or(0, |segment| segment.size());
        if !log.shared.room.take(Claim::Ahead, bytes) {
            return Err(NO_ROOM);
        }
        let interval = log.config().index_interval_bytes;
        let mut output = Output::create(&*log.shared.env.fs, &log.path, offsets.start, interval)?;
        if let Some(compacted) = seal.as_ref().and_then(|seal| seal.compacted)
            && compacted.tombstones_due.is_some()
        {
            output.wait_until(compacted.tombstones_due);
        }
        let nothing = OffsetRange { start: offsets.start, end: offsets.start };
        Ok(Mending {
            log: Arc::clone(log),
            _beside: beside,
            next: offsets.start,
            wound,
            seal,
            output: Some(output),
            wanted: nothing,
            taken: 0,
        })
    }
}

impl LogInner {
    /// The segment or the gap in which an offset lies, if what is missing of it can be known.
    fn wound_at(&self, offset: Offset) -> Option<Wound> {
        let (segments, log_start, committed) = {
            let view = self.view.read();
            (Arc::clone(&view.segments), view.log_start, view.high_watermark.min(view.synced_end))
        };
        let offset = offset.max(log_start);
        let behind = segments.partition_point(|segment| segment.base <= offset);
        let before = behind.checked_sub(1).and_then(|index| segments.get(index));
        let wound = match before.filter(|segment| offset < segment.end()) {
            Some(segment) => {
                let offsets = OffsetRange { start: segment.base, end: segment.end() };
                // Of what was compacted only a seal says what it was.
                let is_known = segment.offsets == Offsets::Dense || segment.sealed().is_some();
                is_known.then(|| Wound { offsets, segment: Some(Arc::clone(segment)) })?
            }
            None => {
                let start = before.map_or(log_start, |segment| segment.end().max(log_start));
                let offsets = OffsetRange { start, end: segments.get(behind)?.base };
                // A file of which nothing is left has the name of the one that fills the gap.
                let segment = before.filter(|segment| segment.base == start).map(Arc::clone);
                let is_known = self.config().compacts().is_none() && start < offsets.end;
                is_known.then_some(Wound { offsets, segment })?
            }
        };
        (wound.offsets.end <= committed).then_some(wound)
    }

    /// Sees to it that a segment is never written again and that nobody is about to seal it.
    fn close_to_appends(self: &Arc<Self>, segment: &Arc<Segment>) -> Result<(), MendError> {
        const LATER: MendError = MendError::Later("the segment has just been closed to appends");
        let _upkeep = self.upkeep.lock();
        if self.is_closed() {
            return Err(MendError::Changed);
        }
        let mut writer = self.turn();
        if Arc::ptr_eq(&writer.active, segment) {
            self.roll(&mut writer)?;
            return Err(LATER);
        }
        drop(writer);
        let waits = self.sync.lock().rolled.iter().any(|rolled| Arc::ptr_eq(rolled, segment));
        if waits { Err(LATER) } else { Ok(()) }
    }
}

impl Mending {
    /// Copies what is whole here, up to what is not.
    ///
    /// # Errors
    /// [`MendError`]; the mending is then to be abandoned.
    pub fn go_on(&mut self) -> Result<MendStep, MendError> {
        let until = self.size() + STEP_BYTES;
        while self.next < self.wound.offsets.end {
            self.check_unchanged()?;
            let rest = OffsetRange { start: self.next, end: self.wound.offsets.end };
            let Some(segment) = self.wound.segment.as_ref().filter(|segment| segment.size() > 0) else {
                if self.size() >= self.log.config().segment_bytes {
                    // What is missing is more than one segment holds: the next attempt finds the rest.
                    self.wound.offsets.end = self.next;
                    break;
                }
                return Ok(self.wants(rest));
            };
            let plan = ReadPlan::of_segment(&self.log, segment, rest, READ_BYTES);
            match plan.load() {
                Ok(read) if !read.extents.is_empty() => {
                    for extent in &read.extents {
                        self.push(extent, rest)?;
                    }
                }
                Ok(_) | Err(ReadError::Closed) => return Err(MendError::Changed),
                Err(ReadError::OutOfFiles) => return Err(MendError::Later("the process is out of files")),
                Err(ReadError::Corrupt(bad)) => {
                    let end = bad.end.min(rest.end).max(rest.start.next());
                    return Ok(self.wants(OffsetRange { end, ..rest }));
                }
                Err(ReadError::Io(_) | ReadError::OutOfRange { .. }) => return Ok(self.wants(rest)),
            }
            if self.size() >= until {
                return Ok(MendStep::GoesOn);
            }
        }
        self.finish()
    }

    /// Takes batches of another replica, the first of which holds the first of the records that are wanted.
    ///
    /// # Errors
    /// [`MendError::Unfit`] if they are not what is missing: another replica may have it. Else the mending is to be abandoned.
    pub fn take(&mut self, batches: &Bytes) -> Result<(), MendError> {
        let (before, wanted) = (self.size(), OffsetRange { start: self.next, ..self.wanted });
        if !self.log.shared.room.take(Claim::Ahead, batches.len() as u64) {
            return Err(NO_ROOM);
        }
        self.push(batches, wanted)?;
        if self.next == wanted.start {
            return Err(MendError::Unfit(format!("nothing came for offset {}", wanted.start)));
        }
        self.taken += self.size() - before;
        Ok(())
    }

    /// Lets go of what was written so far.
    pub fn abandon(self) {
        let _upkeep = self.log.upkeep.lock();
        if self.log.is_closed() {
            return;
        }
        if let Err(error) = discard(&*self.log.shared.env.fs, &self.log.path, self.wound.offsets.start) {
            // The next start sweeps them.
            tracing::warn!(partition = %self.log.meta.id, %error, "files of a mending that was given up stay");
        }
    }

    fn wants(&mut self, wanted: OffsetRange) -> MendStep {
        self.wanted = wanted;
        MendStep::Wants(wanted)
    }

    fn size(&self) -> u64 {
        self.output.as_ref().map_or(0, Output::size)
    }

    fn offsets(&self) -> Offsets {
        self.wound.segment.as_ref().map_or(Offsets::Dense, |segment| segment.offsets)
    }

    /// Writes the whole batches that lie in a range, of which the first must begin where the output ends.
    fn push(&mut self, bytes: &Bytes, range: OffsetRange) -> Result<(), MendError> {
        let unfit = |at: Offset, what: &dyn std::fmt::Display| {
            Err(MendError::Unfit(format!("the batch that came for offset {at}: {what}")))
        };
        let mut rest = bytes.clone();
        while !rest.is_empty() && self.next < range.end {
            let batch = match Batch::parse_stored(&rest) {
                Ok(batch) => batch,
                Err(error) => return unfit(self.next, &error),
            };
            rest = rest.slice(batch.size()..);
            let (base, last) = (batch.base_offset(), batch.last_offset());
            if self.offsets() == Offsets::WithHoles && base >= range.end {
                // Nothing is left there of what was compacted.
                self.next = range.end;
                break;
            }
            if !self.offsets().allow(self.next, base) || last >= range.end {
                return unfit(self.next, &format!("it is of offsets {base} to {last}"));
            }
            let epoch = LeaderEpoch(batch.header().partition_leader_epoch);
            if !self.log.served_epochs().agrees(base, epoch) {
                return unfit(
                    self.next,
                    &format!("it is of leader epoch {epoch}, which is another one here"),
                );
            }
            self.output.as_mut().ok_or(MendError::Changed)?.push(&batch)?;
            self.next = last.next();
        }
        Ok(())
    }

    /// Whether the log is the one that it was.
    fn check_unchanged(&self) -> Result<(), MendError> {
        let is_lost = self.wound.segment.as_ref().is_some_and(|segment| segment.is_lost());
        if self.log.is_closed() || is_lost { Err(MendError::Changed) } else { Ok(()) }
    }

    /// Puts the new segment where the wound was.
    fn finish(&mut self) -> Result<MendStep, MendError> {
        let (log, wound) = (Arc::clone(&self.log), self.wound.clone());
        let fs = &*log.shared.env.fs;
        let appended = wound.segment.as_ref().map(|segment| segment.body.read().appended_last);
        let appended = appended.filter(|at| at.is_some()).unwrap_or_else(|| log.shared.env.clock.wall());
        let compacted = self.seal.as_ref().and_then(|seal| seal.compacted);
        let output = self.output.take().ok_or(MendError::Changed)?;
        if output.end() != wound.offsets.end {
            return Err(MendError::Unfit(format!("what was put together ends at {}", output.end())));
        }
        let (mut seal, body) =
            output.finish(fs, &log.path, (compacted.map(|compacted| compacted.cleaned_to), appended))?;
        if let Some(sealed) = &self.seal {
            if !seal.is_of_the_same_log(sealed) {
                let why = compacted.map_or("", |_| ": it was compacted otherwise there");
                let what = format!("what was put together is not what was sealed here{why}");
                return Err(MendError::Unfit(what));
            }
            seal.records = sealed.records;
        }
        let _upkeep = log.upkeep.lock();
        self.check_unchanged()?;
        if log.wound_at(wound.offsets.start).is_none_or(|found| !found.is_in_place_of(&wound)) {
            return Err(MendError::Changed);
        }
        put_in_place(&log, wound.segment.as_slice(), (seal, body))?;
        log.damage.forget(wound.offsets);
        log.mended.fetch_add(1, Ordering::SeqCst);
        let OffsetRange { start, end } = wound.offsets;
        tracing::info!(
            partition = %log.meta.id, %start, %end, from_others = self.taken,
            "damage was mended: the records are whole again"
        );
        Ok(MendStep::Mended)
    }
}

impl Wound {
    /// Whether this is where that one was seen, of which only the beginning may have been mended.
    fn is_in_place_of(&self, seen: &Wound) -> bool {
        match (&self.segment, &seen.segment) {
            (Some(found), Some(segment)) => Arc::ptr_eq(found, segment),
            (None, None) => self.offsets.start == seen.offsets.start && self.offsets.end >= seen.offsets.end,
            _ => false,
        }
    }
}
