//! Looking up by time: time index, offset index, header hops, and at last the records of one batch.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use millrace_record::{Batch, BatchHeader, HEADER_BYTES};
use millrace_types::{Offset, OffsetRange, TimestampMs};

use super::{REPLANS_MAX, io_error, walk_from};
use crate::format::time_index::{TimeIndex, TimeIndexEntry};
use crate::inner::LogInner;
use crate::segment::{BatchSpot, Pages, Segment, read_fully};
use crate::{ReadError, TimeHit};

impl LogInner {
    /// The first record at or after `timestamp` in the committed part of the log.
    ///
    /// Batches are looked at in the order of their offsets, so among records out of order in time the one with the
    /// lowest offset is found, as in Kafka.
    pub(crate) fn offset_for_time(
        self: &Arc<Self>,
        timestamp: TimestampMs,
    ) -> Result<Option<TimeHit>, ReadError> {
        self.on_committed(|committed| self.first_reaching(committed, timestamp))
    }

    /// Looks into the committed part of the log; again if a segment was unlinked or replaced meanwhile.
    fn on_committed<T>(
        self: &Arc<Self>,
        look: impl Fn(&Committed) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let mut replans = 0;
        loop {
            self.check_open()?;
            let committed = self.committed();
            match look(&committed) {
                Err(_) if replans < REPLANS_MAX && committed.has_lost() => self.after_change()?,
                answer => return answer,
            }
            replans += 1;
        }
    }

    fn first_reaching(
        &self,
        committed: &Committed,
        timestamp: TimestampMs,
    ) -> Result<Option<TimeHit>, ReadError> {
        let Committed { segments, log_start, high_watermark } = committed;
        let (log_start, high_watermark) = (*log_start, *high_watermark);
        for segment in segments.iter() {
            let largest = segment.body.read().largest;
            let may_hold = largest.is_some_and(|largest| largest.timestamp >= timestamp);
            if !may_hold || segment.end() <= log_start || segment.base >= high_watermark {
                continue;
            }
            let wanted = Wanted { timestamp, log_start, high_watermark };
            if let Some(hit) = self.first_in_segment(segment, &wanted)? {
                return Ok(Some(hit));
            }
        }
        Ok(None)
    }

    /// The time of the first record of the batch that holds `offset`, or of the first behind it. Reads one header.
    pub(crate) fn time_near(self: &Arc<Self>, offset: Offset) -> Result<Option<TimestampMs>, ReadError> {
        self.on_committed(|committed| self.time_in(committed, offset))
    }

    fn time_in(&self, committed: &Committed, offset: Offset) -> Result<Option<TimestampMs>, ReadError> {
        let Committed { segments, log_start, high_watermark } = committed;
        let offset = offset.max(*log_start);
        let number = segments.partition_point(|segment| segment.end() <= offset);
        let Some(segment) = segments.get(number).filter(|_| offset < *high_watermark) else {
            return Ok(None);
        };
        let found = super::find(self, segment, offset.max(segment.base), Pages::Any);
        let super::Found::Batch(spot) = found.map_err(|e| io_error(&e))? else {
            return Err(ReadError::Corrupt(OffsetRange { start: offset, end: segment.end() }));
        };
        let mut header = [0; HEADER_BYTES];
        let read = segment.file().and_then(|file| read_fully(&*file, &mut header, spot.position));
        read.map_err(|e| io_error(&e))?;
        let header = BatchHeader::parse(&header)
            .map_err(|_| ReadError::Corrupt(OffsetRange { start: spot.base, end: spot.last.next() }))?;
        let appended = header.attributes.is_log_append_time();
        let time = TimestampMs(if appended { header.max_timestamp } else { header.base_timestamp });
        Ok(Some(time).filter(|time| time.is_some()))
    }

    /// The largest timestamp in the committed part of the log, and the first record that carries it.
    pub(crate) fn largest_timestamp(self: &Arc<Self>) -> Result<Option<TimeHit>, ReadError> {
        let best = self.on_committed(|committed| self.largest_committed(committed))?;
        match best {
            Some(timestamp) => self.offset_for_time(timestamp),
            None => Ok(None),
        }
    }

    fn largest_committed(&self, committed: &Committed) -> Result<Option<TimestampMs>, ReadError> {
        let Committed { segments, log_start, high_watermark } = committed;
        let (log_start, high_watermark) = (*log_start, *high_watermark);
        let mut best: Option<TimestampMs> = None;
        for segment in segments.iter().filter(|segment| segment.end() > log_start) {
            let largest = segment.body.read().largest;
            let timestamp = match largest {
                Some(largest) if largest.last < high_watermark && segment.base >= log_start => {
                    Some(largest.timestamp)
                }
                // The largest is not committed yet, or perhaps trimmed: look at what is left.
                Some(_) => {
                    self.largest_between(segment, log_start, high_watermark).map_err(|e| io_error(&e))?
                }
                None => None,
            };
            best = best.max(timestamp);
        }
        Ok(best)
    }

    fn committed(&self) -> Committed {
        let view = self.view.read();
        Committed {
            segments: Arc::clone(&view.segments),
            log_start: view.log_start,
            high_watermark: view.high_watermark,
        }
    }

    fn first_in_segment(&self, segment: &Segment, wanted: &Wanted) -> Result<Option<TimeHit>, ReadError> {
        let start = self.start_for_time(segment, wanted.timestamp).map_err(|e| io_error(&e))?;
        // Asked behind the indexes: what they name lies below it, whoever appends meanwhile.
        let size = segment.size();
        let sealed = segment.sealed();
        let file = segment.file().map_err(|e| io_error(&e))?;
        let mut walk = walk_from(self, &*file, segment, start..size);
        loop {
            let position = walk.position();
            let Ok((spot, _)) = walk.step().map_err(|e| io_error(&e))? else {
                if position == size {
                    return Ok(None);
                }
                let end = segment.end().max(walk.expected().next());
                return Err(ReadError::Corrupt(OffsetRange { start: walk.expected(), end }));
            };
            // The header says when its records are of, and how many: it is believed once all of the batch is.
            if !super::is_whole(segment, sealed.as_deref(), &spot).map_err(|e| io_error(&e))? {
                let end = spot.last.next().min(segment.end()).max(spot.base.next());
                return Err(ReadError::Corrupt(OffsetRange { start: spot.base, end }));
            }
            if spot.last >= wanted.high_watermark {
                return Ok(None);
            }
            if spot.max_timestamp >= wanted.timestamp
                && spot.last >= wanted.log_start
                && let Some(hit) = first_in_batch(segment, &spot, wanted)?
            {
                return Ok(Some(hit));
            }
        }
    }

    /// A position at or before the first batch that reaches `timestamp`, at most an index interval before it.
    ///
    /// The time index gets an entry with an offset entry, whenever the largest timestamp has grown in that interval.
    /// So the first entry at or after the target names the interval in which the target was first reached: it ends at
    /// the first offset entry at or behind that entry's batch, and begins at the offset entry before.
    fn start_for_time(&self, segment: &Segment, timestamp: TimestampMs) -> io::Result<u64> {
        let fs = &*self.shared.env.fs;
        // The last interval, should no entry reach the target: taken before the time index is asked. One that is begun
        // later may lie behind the first batch that reaches it.
        let last = segment.with_offset_index(fs, |index| index.last())?;
        let reached = segment.with_time_index(fs, |index| {
            let number = number_reaching(&index, timestamp);
            let before = number.checked_sub(1).and_then(|before| index.get(before));
            (before, index.get(number))
        })?;
        let (before, reached) = reached;
        for entry in before.iter().chain(&reached) {
            if !self.is_true(segment, entry)? {
                return Ok(0);
            }
        }
        let reached = reached.map(|entry| entry.offset(segment.base));
        let entry = match reached {
            None => last,
            Some(offset) if offset > segment.base => {
                segment.with_offset_index(fs, |index| index.lookup(segment.base, offset.saturating_sub(1)))?
            }
            Some(_) => None,
        };
        let Some(entry) = entry.filter(|entry| u64::from(entry.position) < segment.size()) else {
            return Ok(0);
        };
        let file = segment.file()?;
        let mut walk = walk_from(self, &*file, segment, entry.position.into()..segment.size());
        let agrees = walk.step()?.is_ok_and(|(spot, _)| spot.last == entry.last_offset(segment.base));
        Ok(if agrees { entry.position.into() } else { 0 })
    }

    /// Whether a time entry names a batch with that last offset and that timestamp. Under a seal it does.
    fn is_true(&self, segment: &Segment, entry: &TimeIndexEntry) -> io::Result<bool> {
        if segment.sealed().is_some() {
            return Ok(true);
        }
        let last = entry.offset(segment.base);
        Ok(match super::find(self, segment, last, Pages::Any)? {
            super::Found::Batch(spot) => spot.last == last && spot.max_timestamp == entry.timestamp,
            super::Found::Damage(_) => false,
        })
    }

    /// The largest timestamp of the batches of a segment that lie wholly between two offsets.
    fn largest_between(
        &self,
        segment: &Segment,
        start: Offset,
        end: Offset,
    ) -> io::Result<Option<TimestampMs>> {
        let fs = &*self.shared.env.fs;
        let mut best = None;
        let mut position = 0;
        if start <= segment.base {
            // What an offset entry names or has before it is in the time index already.
            best = segment.with_time_index(fs, |index| {
                let kept = index.entries_below(segment.base, end);
                index.get(kept.checked_sub(1)?).map(|entry| entry.timestamp)
            })?;
            let last = end.saturating_sub(1);
            let entry = segment.with_offset_index(fs, |index| index.lookup(segment.base, last))?;
            position = entry.map_or(0, |entry| entry.position.into());
        }
        let file = segment.file()?;
        let mut walk = walk_from(self, &*file, segment, position..segment.size());
        while let Ok((spot, _)) = walk.step()? {
            if spot.last >= end {
                break;
            }
            if spot.last >= start && spot.max_timestamp.is_some() {
                best = best.max(Some(spot.max_timestamp));
            }
        }
        Ok(best)
    }
}

/// The number of the first entry at or after `timestamp`.
fn number_reaching(index: &TimeIndex<'_>, timestamp: TimestampMs) -> usize {
    let (mut low, mut high) = (0, index.len());
    while low < high {
        let middle = low + (high - low) / 2;
        if index.get(middle).is_some_and(|entry| entry.timestamp < timestamp) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

struct Committed {
    segments: Arc<Vec<Arc<Segment>>>,
    log_start: Offset,
    high_watermark: Offset,
}

impl Committed {
    /// Whether a segment was unlinked or replaced since.
    fn has_lost(&self) -> bool {
        self.segments.iter().any(|segment| segment.is_lost())
    }
}

struct Wanted {
    timestamp: TimestampMs,
    log_start: Offset,
    high_watermark: Offset,
}

/// The first record of a batch at or after a time. Opens the batch, which checks it.
fn first_in_batch(
    segment: &Segment,
    spot: &BatchSpot,
    wanted: &Wanted,
) -> Result<Option<TimeHit>, ReadError> {
    let damaged = || ReadError::Corrupt(OffsetRange { start: spot.base, end: spot.last.next() });
    let mut buffer = vec![0; usize::try_from(spot.size).unwrap_or(0)];
    let read = segment.file().and_then(|file| read_fully(&*file, &mut buffer, spot.position));
    let read = read.map_err(|e| io_error(&e))?;
    buffer.truncate(read);
    let batch = Batch::parse_stored(&Bytes::from(buffer)).map_err(|_| damaged())?;
    if batch.is_control() {
        return Ok(None);
    }
    if batch.header().attributes.is_log_append_time() {
        let offset = batch.base_offset().max(wanted.log_start);
        return Ok(Some(TimeHit { offset, timestamp: batch.max_timestamp() }));
    }
    let records = batch.records().map_err(|_| damaged())?;
    for view in records.views() {
        let view = view.map_err(|_| damaged())?;
        let (offset, timestamp) = (records.offset_of(&view), records.timestamp_of(&view));
        if timestamp >= wanted.timestamp && offset >= wanted.log_start {
            return Ok(Some(TimeHit { offset, timestamp }));
        }
    }
    Ok(None)
}
