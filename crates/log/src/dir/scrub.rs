//! The scrub: reads every sealed byte back from the medium and checks it against its seal, a little in every step of
//! the janitor.
//!
//! ```text
//!   began ───── one pass, paced to take three days ───── ended ── rest ── began + 3 days ── the next pass
//!   partitions in the order of their ids, segments in the order of their offsets, item by item
//! ```
//! Reads go past the page cache ([`millrace_env::File::read_medium_at`]), because a page that is cached or mapped says
//! nothing of the medium. Nothing is changed but what is known: damage is listed, and its blocks are served no more.
//! The pace follows the monotonic clock, so a wall clock that jumps begins the next pass early or late and no more.

use std::sync::Arc;
use std::time::Duration;

use millrace_env::{FsExt, Monotonic};
use millrace_types::limits::{SCRUB_BYTES_PER_SECOND_MIN, SCRUB_PASS_MS, SCRUB_STEP_BYTES_MAX};
use millrace_types::{Offset, OffsetRange, PartitionIndex, TimestampMs, TopicId, TopicPartition};
use parking_lot::Mutex;

use super::DirShared;
use super::pace::Pace;
use crate::damage::{DamagedRange, Known};
use crate::format::scrub_progress::{self, ScrubPlace, ScrubProgress};
use crate::names::SCRUB_PROGRESS;
use crate::segment::{SealedPart, Segment};
use crate::{DirError, Log};

/// How often a pass under way notes how far it is, and looks how much there is.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// What the scrub has done, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScrubReport {
    /// Bytes that this process has read back from the medium.
    pub bytes_read: u64,
    /// Damaged ranges that it found and that were not known before.
    pub damage_found: u64,
    /// When the last whole pass ended; [`TimestampMs::NONE`] if there was none.
    pub pass_ended: TimestampMs,
    /// Whether a pass is under way.
    pub is_under_way: bool,
}

/// The scrub of a directory, between two steps.
#[derive(Debug, Default)]
pub(super) struct Scrub {
    /// `None` until the first step has read the file.
    progress: Option<ScrubProgress>,
    /// Bytes of the pace that are not read yet. An item is read whole, so it may have been overdrawn.
    credit: i64,
    last_step: Option<Monotonic>,
    /// When the progress was written last, and how many sealed bytes there were.
    saved: Option<(Monotonic, u64)>,
}

/// What is checked next.
struct Target {
    log: Arc<Log>,
    segment: Arc<Segment>,
    sealed: Arc<SealedPart>,
    place: ScrubPlace,
}

impl Scrub {
    /// Reads what the pace allows.
    pub(super) fn step(
        &mut self,
        (shared, pace): (&DirShared, &mut Pace),
        logs: &[Arc<Log>],
        report: &Mutex<ScrubReport>,
    ) -> Result<(), DirError> {
        let clock = &shared.env.clock;
        let (now, wall) = (clock.monotonic(), clock.wall());
        let elapsed = self.last_step.replace(now).map_or(Duration::ZERO, |last| now.since(last));
        let mut progress = *self.progress.get_or_insert_with(|| load(shared));
        let Some(mut place) = progress.next.or_else(|| is_due(&progress, wall).then_some(FIRST)) else {
            return Ok(());
        };
        let total = match self.saved {
            Some((at, total)) if now.since(at) < SAVE_EVERY => total,
            _ => {
                let total = sealed_bytes(logs);
                if total == 0 {
                    return Ok(());
                }
                progress.began = if progress.next.is_none() { wall } else { progress.began };
                progress.next = Some(place);
                self.save(shared, progress, (now, total))?;
                total
            }
        };
        self.earn(elapsed, total);
        let mut read = 0;
        while self.credit > 0 && pace.has() {
            let Some(target) = next(logs, place) else {
                self.credit = 0;
                let ended = ScrubProgress { ended: wall, next: None, ..progress };
                tracing::info!(bytes = total, "every sealed byte was read back from the medium and checked");
                report.lock().note_pass(&ended);
                self.save(shared, ended, (now, total))?;
                self.saved = None;
                return Ok(());
            };
            let bytes = target.sealed.item_bytes(target.place.item);
            if read > 0 && read + bytes > SCRUB_STEP_BYTES_MAX {
                break;
            }
            let found = target.check(shared);
            pace.take(usize::try_from(bytes).unwrap_or(usize::MAX));
            report.lock().note_item(bytes, found);
            read += bytes;
            self.credit -= i64::try_from(bytes.max(1)).unwrap_or(i64::MAX);
            place = ScrubPlace { item: target.place.item + 1, ..target.place };
        }
        self.progress = Some(ScrubProgress { next: Some(place), ..progress });
        report.lock().note_pass(&ScrubProgress { next: Some(place), ..progress });
        Ok(())
    }

    fn earn(&mut self, elapsed: Duration, total: u64) {
        let pace = (total.saturating_mul(1000) / SCRUB_PASS_MS).max(SCRUB_BYTES_PER_SECOND_MIN);
        let earned = u128::from(pace) * elapsed.as_millis() / 1000;
        let earned = i64::try_from(earned).unwrap_or(i64::MAX);
        let most = i64::try_from(SCRUB_STEP_BYTES_MAX).unwrap_or(i64::MAX);
        self.credit = self.credit.saturating_add(earned).min(most);
    }

    fn save(
        &mut self,
        shared: &DirShared,
        progress: ScrubProgress,
        saved: (Monotonic, u64),
    ) -> Result<(), DirError> {
        self.progress = Some(progress);
        self.saved = Some(saved);
        let path = shared.path.join(SCRUB_PROGRESS);
        let written = shared.env.fs.replace(&path, &scrub_progress::encode(&progress));
        written.map_err(|e| shared.soft_error("writing the progress of the scrub", e))
    }
}

impl ScrubReport {
    /// Of a process that has not begun.
    pub(super) const fn nothing() -> ScrubReport {
        ScrubReport { bytes_read: 0, damage_found: 0, pass_ended: TimestampMs::NONE, is_under_way: false }
    }

    fn note_pass(&mut self, progress: &ScrubProgress) {
        self.pass_ended = progress.ended;
        self.is_under_way = progress.next.is_some();
    }

    fn note_item(&mut self, bytes: u64, found: Known) {
        self.bytes_read += bytes;
        self.damage_found += u64::from(found == Known::New);
    }
}

/// Before everything.
const FIRST: ScrubPlace = ScrubPlace {
    partition: TopicPartition { topic: TopicId([0; 16]), partition: PartitionIndex(0) },
    base: Offset::ZERO,
    item: 0,
};

/// Where the process before has left off. A file that does not open costs a pass that begins anew.
fn load(shared: &DirShared) -> ScrubProgress {
    let path = shared.path.join(SCRUB_PROGRESS);
    let read = shared.env.fs.read_small(&path, scrub_progress::BYTES_MAX).ok();
    let never = ScrubProgress { began: TimestampMs::NONE, ended: TimestampMs::NONE, next: None };
    read.and_then(|bytes| scrub_progress::decode(&bytes).ok()).unwrap_or(never)
}

fn is_due(progress: &ScrubProgress, wall: TimestampMs) -> bool {
    let since = wall.0.saturating_sub(progress.began.0);
    // A time in the future was written by a clock that was wrong.
    progress.began == TimestampMs::NONE || since < 0 || since.unsigned_abs() >= SCRUB_PASS_MS
}

fn sealed_bytes(logs: &[Arc<Log>]) -> u64 {
    let segments = |log: &Arc<Log>| Arc::clone(&log.inner().view.read().segments);
    let sealed = |segment: &Arc<Segment>| segment.sealed().map_or(0, |sealed| sealed.bytes_sealed());
    logs.iter().map(|log| segments(log).iter().map(sealed).sum::<u64>()).sum()
}

/// The first item at or behind a place.
fn next(logs: &[Arc<Log>], from: ScrubPlace) -> Option<Target> {
    let first = logs.partition_point(|log| log.meta().id < from.partition);
    logs.iter().skip(first).find_map(|log| {
        let partition = log.meta().id;
        let is_same = partition == from.partition;
        let base_min = if is_same { from.base } else { Offset::ZERO };
        let segments = Arc::clone(&log.inner().view.read().segments);
        segments.iter().filter(|segment| segment.base >= base_min).find_map(|segment| {
            let sealed = segment.sealed()?;
            let item = if is_same && segment.base == from.base { from.item } else { 0 };
            let place = ScrubPlace { partition, base: segment.base, item };
            let target = Target { log: Arc::clone(log), segment: Arc::clone(segment), sealed, place };
            (item < target.sealed.items()).then_some(target)
        })
    })
}

impl Target {
    fn check(&self, shared: &DirShared) -> Known {
        let fs = &*shared.env.fs;
        let Err(rot) = self.sealed.check_medium(&self.segment, fs, self.place.item) else {
            return Known::Already;
        };
        if !self.is_still_there() {
            return Known::Already;
        }
        let offsets = if rot.file == crate::names::SegmentFile::Log {
            self.segment.offsets_around(fs, &rot.bytes)
        } else {
            OffsetRange { start: self.segment.base, end: self.segment.base }
        };
        let path = self.segment.path(rot.file);
        self.log.inner().damage.note(DamagedRange { path, bytes: rot.bytes, offsets, what: rot.what })
    }

    /// Whether the segment was neither trimmed nor replaced, and its log not deleted, while it was read.
    fn is_still_there(&self) -> bool {
        let inner = self.log.inner();
        let segments = Arc::clone(&inner.view.read().segments);
        !inner.is_closed() && segments.iter().any(|segment| Arc::ptr_eq(segment, &self.segment))
    }
}
