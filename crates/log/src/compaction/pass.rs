//! One pass over one log, in steps: the last offset of every dirty key first, then segment by segment what is kept.
//!
//! ```text
//!   map the keys of the dirty segments ─► for each group of segments: write what is kept beside ─► swap ─┐
//!                                              ▲                                                         │
//!                                              └─────────────────────────────────────────────────────────┘
//! ```
//! Groups go in the order of their offsets, and each is in its place and synced before the next is begun. So a crash between two
//! leaves no key without its last record, and a tombstone never goes before what it deletes.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use millrace_env::FsExt;
use millrace_record::{Batch, BatchHeader, FilterError};
use millrace_types::limits::{BATCH_BYTES_MAX, COMPACTION_KEYS_MAX};
use millrace_types::{Offset, OffsetRange, ProducerEpoch, ProducerId, TimestampMs};

use super::choice::{Choice, LogFacts, SegmentFacts, group};
use super::key_map::KeyMap;
use crate::damage::DamagedRange;
use crate::dir::pace::Pace;
use crate::format::compacted_to;
use crate::inner::LogInner;
use crate::names::{COMPACTED_TO, SegmentFile};
use crate::replacement::{Beside, Output, discard, put_in_place};
use crate::room::Claim;
use crate::segment::Segment;
use crate::{CompactionConfig, Log};

/// Bytes that one read takes.
const CHUNK_BYTES: u64 = 1024 * 1024;

/// Why a pass ended before it was through.
#[derive(Debug)]
pub(super) enum Ended {
    /// The log was closed, cut or trimmed meanwhile.
    Changed,
    /// What the pass has read is damaged, or not to be understood: the log is left alone until the next start.
    Unusable(String),
    /// A call failed.
    Failed(io::Error),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Ended {
        Ended::Failed(error)
    }
}

/// Whether a pass is through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    GoesOn,
    Through,
}

/// A pass between two steps.
#[derive(Debug)]
pub(super) struct Pass {
    log: Arc<Log>,
    _beside: Beside,
    now: TimestampMs,
    config: CompactionConfig,
    choice: Choice,
    facts: Vec<SegmentFacts>,
    segments: Vec<Arc<Segment>>,
    keys: KeyMap,
    /// Below it the keys are known.
    mapped_to: Offset,
    /// The last batch of each producer: its header stays.
    producers: BTreeMap<ProducerId, (ProducerEpoch, Offset)>,
    stage: Step,
}

#[derive(Debug)]
enum Step {
    Mapping(Place),
    Writing(Writing),
    Through,
}

/// Where the next batch is read.
#[derive(Clone, Copy, Debug)]
struct Place {
    segment: usize,
    position: u64,
}

#[derive(Debug)]
struct Writing {
    groups: Vec<Range<usize>>,
    number: usize,
    from: Place,
    output: Option<Box<Output>>,
}

impl Pass {
    /// A pass over a log, by whoever has the right to write beside its segments.
    pub(super) fn new(
        (log, beside): (&Arc<Log>, Beside),
        (facts, segments): (LogFacts, Vec<Arc<Segment>>),
        config: CompactionConfig,
        choice: Choice,
    ) -> Pass {
        let env = &log.inner().shared.env;
        let mut facts = facts.segments;
        facts.truncate(choice.segments);
        let last =
            |producer: &crate::producers::Producer| producer.batches().last().map(|last| last.last_offset);
        let producers = {
            let writer = log.inner().turn();
            let known = writer.producers.producers().iter();
            known.filter_map(|(id, producer)| Some((*id, (producer.epoch, last(producer)?)))).collect()
        };
        let first = facts.partition_point(|segment| segment.end <= choice.first_dirty);
        let mapped_to = facts.last().map_or(choice.first_dirty, |segment| segment.end);
        Pass {
            log: Arc::clone(log),
            _beside: beside,
            now: env.clock.wall(),
            config,
            choice,
            facts,
            segments,
            keys: KeyMap::new(&*env.rng, COMPACTION_KEYS_MAX),
            mapped_to,
            producers,
            stage: Step::Mapping(Place { segment: first, position: 0 }),
        }
    }

    pub(super) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Works until the pace allows no more, or the pass is through.
    pub(super) fn step(&mut self, pace: &mut Pace) -> Result<Progress, Ended> {
        let inner = Arc::clone(self.log.inner());
        let _upkeep = inner.upkeep.lock();
        while pace.has() {
            self.check_unchanged(&inner)?;
            match std::mem::replace(&mut self.stage, Step::Through) {
                Step::Mapping(place) => self.map(&inner, place, pace)?,
                Step::Writing(writing) => self.write(&inner, writing, pace)?,
                Step::Through => return Ok(Progress::Through),
            }
        }
        Ok(Progress::GoesOn)
    }

    /// Unlinks what the pass was writing.
    pub(super) fn discard(&self) -> io::Result<()> {
        let inner = self.log.inner();
        let _upkeep = inner.upkeep.lock();
        match &self.stage {
            Step::Writing(Writing { output: Some(output), .. }) if !inner.is_closed() => {
                discard(&*inner.shared.env.fs, &inner.path, output.base())
            }
            _ => Ok(()),
        }
    }

    fn check_unchanged(&self, inner: &LogInner) -> Result<(), Ended> {
        let from = match &self.stage {
            Step::Mapping(_) => 0,
            Step::Writing(writing) => {
                writing.groups.get(writing.number).map_or(usize::MAX, |group| group.start)
            }
            Step::Through => return Ok(()),
        };
        let is_lost = self.segments.iter().skip(from).any(|segment| segment.is_lost());
        if inner.is_closed() || is_lost { Err(Ended::Changed) } else { Ok(()) }
    }

    /// Takes the keys of some batches.
    fn map(&mut self, inner: &LogInner, mut place: Place, pace: &mut Pace) -> Result<(), Ended> {
        let segment = self.segments.get(place.segment).filter(|_| place.segment < self.facts.len());
        let Some(segment) = segment.map(Arc::clone) else {
            return self.begin_writing(inner);
        };
        let batches = batches_at(inner, &segment, place.position)?;
        for batch in &batches {
            pace.take(batch.size());
            place.position += batch.size() as u64;
            if batch.is_control() || batch.last_offset() < self.choice.first_dirty {
                continue;
            }
            let records = batch.records().map_err(|error| unusable(&segment, batch, &error))?;
            for view in records.views() {
                let view = view.map_err(|error| unusable(&segment, batch, &error))?;
                let offset = records.offset_of(&view);
                let Some(key) = view.key.filter(|_| offset >= self.choice.first_dirty) else { continue };
                if self.keys.put(key, offset).is_err() {
                    // The next pass goes on there.
                    self.mapped_to = offset;
                    return self.begin_writing(inner);
                }
            }
        }
        if place.position >= segment.size() {
            place = Place { segment: place.segment + 1, position: 0 };
        }
        self.stage = Step::Mapping(place);
        Ok(())
    }

    fn begin_writing(&mut self, inner: &LogInner) -> Result<(), Ended> {
        let bounds = (self.mapped_to, inner.config().segment_bytes);
        let groups = group(&self.facts, &self.choice, bounds, self.now);
        let fs = &*inner.shared.env.fs;
        let path = inner.path.join(COMPACTED_TO);
        let known = match fs.read_small(&path, compacted_to::BYTES_MAX) {
            Ok(bytes) => compacted_to::decode(&bytes).unwrap_or(Offset::ZERO),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Offset::ZERO,
            Err(e) => return Err(e.into()),
        };
        if known < self.mapped_to {
            fs.replace(&path, &compacted_to::encode(self.mapped_to))?;
        }
        let from = Place { segment: groups.first().map_or(0, |group| group.start), position: 0 };
        self.stage = Step::Writing(Writing { groups, number: 0, from, output: None });
        Ok(())
    }

    /// Writes what is kept of some batches, and swaps when a group is through.
    fn write(&mut self, inner: &Arc<LogInner>, mut writing: Writing, pace: &mut Pace) -> Result<(), Ended> {
        let Some(group) = writing.groups.get(writing.number).cloned() else { return Ok(()) };
        let fs = &*inner.shared.env.fs;
        let Some(segment) = self.segments.get(writing.from.segment).map(Arc::clone) else { return Ok(()) };
        let mut output = match writing.output.take() {
            Some(output) => output,
            None => {
                // The old segments go only when the new one is there.
                let old = self.segments.get(group.clone()).unwrap_or_default();
                if !inner.shared.room.take(Claim::Ahead, old.iter().map(|segment| segment.size()).sum()) {
                    return Err(Ended::Failed(io::ErrorKind::StorageFull.into()));
                }
                let interval = inner.config().index_interval_bytes;
                Box::new(Output::create(fs, &inner.path, segment.base, interval)?)
            }
        };
        let outcome = self.write_some(inner, &segment, &mut writing.from, (&mut output, pace));
        if writing.from.position < segment.size() || outcome.is_err() {
            self.stage = Step::Writing(Writing { output: Some(output), ..writing });
            return outcome;
        }
        writing.from = Place { segment: writing.from.segment + 1, position: 0 };
        if writing.from.segment < group.end {
            self.stage = Step::Writing(Writing { output: Some(output), ..writing });
            return Ok(());
        }
        self.swap(inner, group, *output)?;
        writing.number += 1;
        if let Some(next) = writing.groups.get(writing.number) {
            writing.from.segment = next.start;
            self.stage = Step::Writing(writing);
        }
        Ok(())
    }

    fn write_some(
        &self,
        inner: &LogInner,
        segment: &Segment,
        place: &mut Place,
        (output, pace): (&mut Output, &mut Pace),
    ) -> Result<(), Ended> {
        for batch in batches_at(inner, segment, place.position)? {
            pace.take(2 * batch.size());
            place.position += batch.size() as u64;
            match self.filter(&batch, output) {
                Ok(kept)
                    if kept.record_count() == 0 && !kept.is_control() && !self.is_last_of_producer(&kept) =>
                {
                    output.skip(kept);
                }
                Ok(kept) => output.push(&kept)?,
                Err(error) => return Err(unusable(segment, &batch, &error)),
            }
        }
        Ok(())
    }

    /// What is kept of a batch. Of one that is kept whole, its bytes.
    fn filter(&self, batch: &Batch, output: &mut Output) -> Result<Batch, FilterError> {
        if batch.is_control() || batch.base_offset() >= self.mapped_to {
            return Ok(batch.clone());
        }
        if batch.record_count() == 0 {
            return Ok(batch.emptied());
        }
        let header: &BatchHeader = batch.header();
        let horizon = header.attributes.has_delete_horizon().then_some(TimestampMs(header.base_timestamp));
        let records = batch.records()?;
        let keep = |view: &millrace_record::RecordView<'_>| {
            let offset = records.offset_of(view);
            let is_due = horizon.is_some_and(|due| due <= self.now);
            #[cfg(feature = "teeth")]
            let is_due = millrace_types::planted!(TombstoneTooSoon, horizon.is_some(), else is_due);
            let is_gone_for_good = view.value.is_none() && is_due;
            offset >= self.mapped_to
                || view.key.is_some_and(|key| self.keys.is_last(key, offset) && !is_gone_for_good)
        };
        let (mut kept, mut tombstones) = (0, 0);
        for view in records.views() {
            let view = view?;
            if keep(&view) {
                kept += 1;
                tombstones += u32::from(view.value.is_none());
            }
        }
        let until = self.now.0.saturating_add(i64::try_from(self.config.tombstones_ms).unwrap_or(i64::MAX));
        let new_horizon = (tombstones > 0 && horizon.is_none()).then_some(TimestampMs(until));
        if tombstones > 0 {
            output.wait_until(horizon.or(new_horizon).unwrap_or(self.now));
        }
        if kept == batch.record_count() && new_horizon.is_none() {
            return Ok(batch.clone());
        }
        let filtered = batch.filtered(&records, new_horizon, keep)?;
        // Compressed anew by another compressor it may have grown over what a reader takes.
        Ok(if filtered.size() <= BATCH_BYTES_MAX { filtered } else { batch.clone() })
    }

    fn is_last_of_producer(&self, batch: &Batch) -> bool {
        let known = batch.producer().and_then(|stamp| Some((self.producers.get(&stamp.id)?, stamp)));
        known.is_some_and(|((epoch, last), stamp)| *epoch == stamp.epoch && *last == batch.last_offset())
    }

    /// Puts the new segment in the place of those of the group.
    fn swap(&self, inner: &Arc<LogInner>, group: Range<usize>, output: Output) -> Result<(), Ended> {
        let fs = &*inner.shared.env.fs;
        let old = self.segments.get(group).unwrap_or_default();
        let last_append = old.iter().map(|segment| segment.body.read().appended_last).max();
        let last_append = last_append.unwrap_or(TimestampMs::NONE);
        let (seal, body) = output.finish(fs, &inner.path, (Some(self.mapped_to), last_append))?;
        let base = seal.records.base;
        if old.last().is_none_or(|last| last.end() != body.end) {
            return Err(Ended::Unusable(format!("what was compacted from {base} on ends at {}", body.end)));
        }
        let (before, after): (u64, u64) = (old.iter().map(|segment| segment.size()).sum(), body.size);
        put_in_place(inner, old, (seal, body))?;
        tracing::info!(
            partition = %inner.meta.id, %base, segments = old.len(), before, after, "compacted"
        );
        Ok(())
    }
}

fn unusable(segment: &Segment, batch: &Batch, error: &dyn std::fmt::Display) -> Ended {
    let path = segment.path(SegmentFile::Log);
    Ended::Unusable(format!("{}: the batch at offset {}: {error}", path.display(), batch.base_offset()))
}

/// The next batches of a sealed segment, checked against their seal.
fn batches_at(inner: &LogInner, segment: &Segment, position: u64) -> Result<Vec<Batch>, Ended> {
    let damaged = |bytes: Range<u64>, what: String| {
        let path = segment.path(SegmentFile::Log);
        let offsets = OffsetRange { start: segment.base, end: segment.end() };
        let ended = Ended::Unusable(format!("{}: {what}", path.display()));
        inner.damage.note(DamagedRange { path, bytes, offsets, what });
        Err(ended)
    };
    let size = segment.size();
    let Some(sealed) = segment.sealed() else { return Err(Ended::Changed) };
    let mut wanted = CHUNK_BYTES;
    loop {
        let range = position..position.saturating_add(wanted).min(size);
        if let Some(bad) = sealed.check(segment, range.clone())? {
            return damaged(bad, "compaction found bytes that are not the ones that were sealed".to_owned());
        }
        let bytes: Bytes = sealed.bytes(segment, range.clone())?;
        let mut batches = Vec::new();
        let mut rest = bytes.clone();
        while !rest.is_empty() {
            match BatchHeader::parse(&rest) {
                Ok(header) if header.size() > rest.len() && range.end < size => break,
                Err(_) if rest.len() < millrace_record::HEADER_BYTES && range.end < size => break,
                _ => {}
            }
            match Batch::parse_stored(&rest) {
                Ok(batch) => {
                    rest = rest.slice(batch.size()..);
                    batches.push(batch);
                }
                Err(error) => return damaged(range, format!("compaction found no valid batch: {error}")),
            }
        }
        if !batches.is_empty() || range.end >= size {
            return Ok(batches);
        }
        wanted = BATCH_BYTES_MAX as u64;
    }
}
