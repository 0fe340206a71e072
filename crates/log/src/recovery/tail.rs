//! Reading a segment without a seal back from the medium: where it ends, and which of its bytes are bad.
//!
//! ```text
//!   0 ──── last trusted index entry ──── synced mark ─────────────────────────────── size
//!   │ not read      │ header hops             │ every batch checked                 │
//!                     bad = damage: kept        bad = torn tail: cut, unless a valid batch
//!                                               follows more than 16 MiB behind it: damage
//!                                               (not where sync mode `os` may have written)
//! ```

use std::io;
use std::ops::Range;

use bytes::Bytes;
use millrace_env::File;
use millrace_record::{Batch, BatchHeader, HEADER_BYTES, MAGIC};
use millrace_types::limits::{BATCH_BYTES_MAX, UNSYNCED_BYTES_MAX};
use millrace_types::{LeaderEpoch, Offset, OffsetRange};

use crate::epochs::EpochCache;
use crate::format::time_index::TimeIndexEntry;
use crate::segment::{BatchSpot, Body, LiveIndexes, Offsets, Stage, Walk, read_fully};

/// Bytes of the log that one read takes while batches are checked or looked for.
const CHUNK_BYTES: usize = 1024 * 1024;
/// Time entries that are held against their batches, from the last one back, until one is true: one that is not is damage, and
/// behind that nothing is believed.
const TIME_ENTRIES_TRIED: usize = 4;
/// Where the magic lies in a batch.
const MAGIC_AT: usize = 16;

/// What is known of a segment before it is read.
#[derive(Debug)]
pub(crate) struct TailRequest<'a> {
    pub(crate) file: &'a dyn File,
    pub(crate) base: Offset,
    pub(crate) size: u64,
    /// Bytes below it were synced: what is bad there is damage.
    pub(crate) synced_position: u64,
    /// The first offset at or behind that position.
    pub(crate) synced_offset: Offset,
    /// The indexes as their files have them.
    pub(crate) indexes: StoredIndexes,
    pub(crate) interval: u64,
    pub(crate) unsynced_max: UnsyncedMax,
    /// The leader epochs as their file has them, if it opens. It is synced before a batch of a new epoch is appended.
    pub(crate) epochs: Option<&'a EpochCache>,
    /// Whether the segment may have been compacted.
    pub(crate) offsets: Offsets,
}

/// How much of the file may have been unsynced, as far as it is not known to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum UnsyncedMax {
    /// [`UNSYNCED_BYTES_MAX`].
    Bounded,
    /// Any number of bytes: sync mode `os` was in force.
    Unbounded,
}

/// Whether every entry that belongs into the time index is in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum TimeEntries {
    /// Yes: it was finished by a clean stop, or comes from memory.
    Complete,
    /// Perhaps not: the file may lag behind that of the offsets.
    #[default]
    Unsure,
}

/// The content of both index files; empty where there is none.
#[derive(Debug, Default)]
pub(crate) struct StoredIndexes {
    pub(crate) offsets: Vec<u8>,
    pub(crate) times: Vec<u8>,
    pub(crate) time_entries: TimeEntries,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct TailReport {
    pub(crate) body: Body,
    /// The torn tail, if there is one.
    pub(crate) torn: Option<Range<u64>>,
    /// Bytes that are kept and not served.
    pub(crate) damaged: Vec<(Range<u64>, OffsetRange)>,
    /// Leader epochs of the batches that were read, where they change.
    pub(crate) epochs: Vec<(LeaderEpoch, Offset)>,
    pub(crate) bytes_read: u64,
}

/// Reads a segment from the last index entry that can be trusted to its end.
pub(crate) fn read_tail(request: TailRequest<'_>) -> io::Result<TailReport> {
    let unsynced_max = request.unsynced_max;
    let mut scan = Scan::start(request)?;
    while scan.position < scan.size {
        match scan.next()? {
            Some((spot, epoch)) => scan.accept(&spot, epoch),
            None if scan.position < scan.synced_position => scan.skip_damage(scan.synced_position)?,
            None => {
                let far = match unsynced_max {
                    UnsyncedMax::Bounded => scan.position.saturating_add(UNSYNCED_BYTES_MAX),
                    UnsyncedMax::Unbounded => scan.size,
                };
                if far >= scan.size || scan.find(far, scan.size)?.is_none() {
                    scan.report.torn = Some(scan.position..scan.size);
                    break;
                }
                scan.skip_damage(scan.size)?;
            }
        }
    }
    Ok(scan.finish())
}

struct Scan<'a> {
    file: &'a dyn File,
    base: Offset,
    size: u64,
    synced_position: u64,
    synced_offset: Offset,
    epochs: Option<&'a EpochCache>,
    offsets: Offsets,
    interval: u64,
    position: u64,
    expected: Offset,
    report: TailReport,
    window: Vec<u8>,
    window_start: u64,
}

impl<'a> Scan<'a> {
    fn start(request: TailRequest<'a>) -> io::Result<Scan<'a>> {
        let TailRequest {
            file,
            base,
            size,
            synced_position,
            synced_offset,
            indexes,
            interval,
            epochs,
            offsets,
            ..
        } = request;
        let trusted = trusted_prefix((file, offsets), base, synced_position.min(size), indexes)?;
        let mut body = Body::empty(base);
        body.size = trusted.position;
        body.end = trusted.expected;
        body.largest = trusted.largest;
        body.stage = Stage::Live(trusted.indexes);
        let report = TailReport {
            body,
            torn: None,
            damaged: Vec::new(),
            epochs: Vec::new(),
            bytes_read: trusted.bytes_read,
        };
        Ok(Scan {
            file,
            base,
            size,
            synced_position,
            synced_offset,
            epochs,
            offsets,
            interval,
            position: trusted.position,
            expected: trusted.expected,
            report,
            window: Vec::new(),
            window_start: 0,
        })
    }

    /// The batch at the current position, if it is the next one. Above the synced position all of it is checked.
    fn next(&mut self) -> io::Result<Option<(BatchSpot, LeaderEpoch)>> {
        let (position, expected) = (self.position, self.expected);
        let Some((spot, header)) = self.batch_at(position)? else {
            return Ok(None);
        };
        // Behind damage the first batch may begin anywhere, and so may any that was compacted.
        let is_behind_damage = self.report.damaged.last().is_some_and(|(bad, _)| bad.end == position);
        let offsets = if is_behind_damage { Offsets::WithHoles } else { self.offsets };
        let follows = offsets.allow(expected, spot.base);
        let epoch = LeaderEpoch(header.partition_leader_epoch);
        Ok((follows && self.is_of_epoch(&spot, epoch)).then_some((spot, epoch)))
    }

    /// Whether the file of the epochs agrees. It may be an older one that was put back, and then lacks the last.
    fn is_of_epoch(&self, spot: &BatchSpot, epoch: LeaderEpoch) -> bool {
        let Some(epochs) = self.epochs else { return true };
        let is_newer = epochs.latest() < Some(epoch);
        is_newer || epochs.agrees(spot.base, epoch)
    }

    fn accept(&mut self, spot: &BatchSpot, epoch: LeaderEpoch) {
        if self.report.epochs.last().is_none_or(|(last, _)| *last != epoch) {
            self.report.epochs.push((epoch, spot.base));
        }
        self.report.body.append(self.base, spot, self.interval);
        self.position = spot.end_position();
        self.expected = spot.last.next();
    }

    /// Leaves out bad bytes up to the next valid batch below `limit`, or to the synced position.
    fn skip_damage(&mut self, limit: u64) -> io::Result<()> {
        let (start, first) = (self.position, self.expected);
        let found = self.find(start + 1, limit)?;
        let end = found.map_or(limit.min(self.size), |spot| spot.position);
        if found.is_none() {
            self.expected = self.expected.max(self.synced_offset);
            self.report.body.end = self.expected;
            self.report.body.size = end;
        }
        let behind = found.map_or(self.expected, |spot| spot.base);
        self.report.damaged.push((start..end, OffsetRange { start: first, end: behind.max(first) }));
        self.position = end;
        if let Some(indexes) = self.report.body.live() {
            indexes.force_entry();
        }
        Ok(())
    }

    /// The first whole, valid batch that begins in a range, with an offset that could follow.
    fn find(&mut self, start: u64, end: u64) -> io::Result<Option<BatchSpot>> {
        let mut position = start;
        while position < end.min(self.size) {
            let expected = self.expected;
            let bytes = self.bytes_at(position, HEADER_BYTES)?;
            if bytes.len() < HEADER_BYTES {
                return Ok(None);
            }
            let candidates = bytes.len() - HEADER_BYTES + 1;
            let hit = (0..candidates).find(|at| {
                bytes.get(at + MAGIC_AT) == Some(&MAGIC.to_be_bytes()[0])
                    && plausible(bytes.get(*at..).unwrap_or_default(), expected)
            });
            match hit {
                None => position += candidates as u64,
                Some(at) => {
                    position += at as u64;
                    match self.batch_at(position)? {
                        Some((spot, _)) if position < end => return Ok(Some(spot)),
                        _ => position += 1,
                    }
                }
            }
        }
        Ok(None)
    }

    /// The batch that begins there, whole and checked. The window has its bytes already, unless it is larger than that.
    fn batch_at(&mut self, position: u64) -> io::Result<Option<(BatchSpot, BatchHeader)>> {
        let size = self.size;
        let Ok(header) = BatchHeader::parse(self.bytes_at(position, HEADER_BYTES)?) else {
            return Ok(None);
        };
        let Some(spot) = BatchSpot::of(&header, position).filter(|spot| spot.end_position() <= size) else {
            return Ok(None);
        };
        let bytes = self.bytes_at(position, header.size())?;
        let whole = Bytes::copy_from_slice(bytes.get(..header.size()).unwrap_or_default());
        if Batch::parse_stored(&whole).is_err() {
            return Ok(None);
        }
        Ok(Some((spot, header)))
    }

    /// Bytes from `position` on: at least `needed`, unless the file ends first.
    fn bytes_at(&mut self, position: u64, needed: usize) -> io::Result<&[u8]> {
        let needed = needed.min(BATCH_BYTES_MAX);
        let skip = position.checked_sub(self.window_start).and_then(|skip| usize::try_from(skip).ok());
        let held = skip.filter(|skip| skip.saturating_add(needed) <= self.window.len());
        let skip = match held {
            Some(skip) => skip,
            None => {
                let left = usize::try_from(self.size.saturating_sub(position)).unwrap_or(usize::MAX);
                self.window.resize(CHUNK_BYTES.max(needed).min(left), 0);
                let read = read_fully(self.file, &mut self.window, position)?;
                self.window.truncate(read);
                self.window_start = position;
                self.report.bytes_read += read as u64;
                0
            }
        };
        Ok(self.window.get(skip..).unwrap_or_default())
    }

    fn finish(self) -> TailReport {
        self.report
    }
}

/// Whether these bytes may begin a batch that lies behind `expected`, before its checksum is computed.
fn plausible(bytes: &[u8], expected: Offset) -> bool {
    BatchHeader::parse(bytes)
        .ok()
        .and_then(|header| BatchSpot::of(&header, 0))
        .is_some_and(|spot| spot.base >= expected && spot.base.since(expected) <= u64::from(u32::MAX))
}

/// What of stored indexes can be built upon.
struct Trusted {
    indexes: LiveIndexes,
    largest: Option<crate::segment::Largest>,
    /// Where the batch of the last trusted entry begins, and its lowest possible offset.
    position: u64,
    expected: Offset,
    bytes_read: u64,
}

/// Takes the entries of batches below `limit` as far as they rise, and goes back until one names a batch that is
/// there. Reading starts over at that batch, so its own entries are dropped again.
fn trusted_prefix(
    (file, offsets): (&dyn File, Offsets),
    base: Offset,
    limit: u64,
    stored: StoredIndexes,
) -> io::Result<Trusted> {
    use crate::format::offset_index::{ENTRY_BYTES, OffsetIndex, OffsetIndexEntry};
    use crate::format::time_index::{ENTRY_BYTES as TIME_ENTRY_BYTES, TimeIndex};

    let index = OffsetIndex::whole_entries(&stored.offsets);
    let mut kept: usize = 0;
    #[cfg(feature = "teeth")]
    let limit = millrace_types::planted!(IndexBeyondMark, u64::MAX, else limit);
    let mut previous = OffsetIndexEntry { relative: 0, position: 0 };
    for entry in index.iter() {
        let rises = entry.relative > previous.relative && entry.position > previous.position;
        if !rises || u64::from(entry.position) >= limit {
            break;
        }
        previous = entry;
        kept += 1;
    }
    if stored.time_entries == TimeEntries::Unsure {
        // Behind its last entry the time index may lack some, so everything from there on is looked at again.
        let times = TimeIndex::whole_entries(&stored.times);
        // Entries of batches above the mark may name what did not survive: they are not asked, but for the first.
        let last = kept.checked_sub(1).and_then(|last| index.get(last));
        let rising = rising_below(&times, base, last.map_or(base, |last| last.last_offset(base)));
        let known = newest_true((file, offsets), base, &stored, rising + 1)?.map(|entry| entry.offset(base));
        let covered =
            index.iter().take_while(|entry| known.is_some_and(|known| entry.last_offset(base) <= known));
        kept = kept.min(covered.count());
    }
    let mut bytes_read = 0;
    while let Some(entry) = kept.checked_sub(1).and_then(|last| index.get(last)) {
        let position = u64::from(entry.position);
        let mut walk = Walk::new(file, position, base, file.size()?).offsets(offsets).window(0);
        let step = walk.step()?;
        bytes_read += walk.bytes_read();
        kept -= 1;
        if let Ok((spot, _)) = step
            && spot.last == entry.last_offset(base)
        {
            let times = TimeIndex::whole_entries(&stored.times);
            let times_kept = rising_below(&times, base, spot.base);
            let newest = times_kept.checked_sub(1).and_then(|last| times.get(last));
            if let Some(entry) = newest
                && !is_true((file, offsets), base, &stored.offsets, &entry)?
            {
                // What is largest is answered from memory, so a wrong one would never be found out.
                break;
            }
            let largest = newest.map(|entry| crate::segment::Largest {
                timestamp: entry.timestamp,
                last: entry.offset(base),
            });
            let mut entries = stored.offsets;
            entries.truncate(kept * ENTRY_BYTES);
            let mut times = stored.times;
            times.truncate(times_kept * TIME_ENTRY_BYTES);
            let mut indexes = LiveIndexes::loaded(entries, times, 0);
            // The entry that was dropped is made again when its batch is read.
            indexes.force_entry();
            return Ok(Trusted { indexes, largest, position, expected: spot.base, bytes_read });
        }
    }
    Ok(Trusted { indexes: LiveIndexes::default(), largest: None, position: 0, expected: base, bytes_read })
}

/// The newest of the first `count` time entries that says what its batch says.
fn newest_true(
    file: (&dyn File, Offsets),
    base: Offset,
    stored: &StoredIndexes,
    count: usize,
) -> io::Result<Option<TimeIndexEntry>> {
    let times = crate::format::time_index::TimeIndex::whole_entries(&stored.times);
    for number in (0..count).rev().take(TIME_ENTRIES_TRIED) {
        if let Some(entry) = times.get(number)
            && is_true(file, base, &stored.offsets, &entry)?
        {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

/// Whether a time entry names a batch with that last offset and that timestamp.
fn is_true(
    (file, offsets): (&dyn File, Offsets),
    base: Offset,
    index: &[u8],
    entry: &TimeIndexEntry,
) -> io::Result<bool> {
    use crate::format::offset_index::OffsetIndex;

    let last = entry.offset(base);
    let near = OffsetIndex::whole_entries(index).lookup(base, last);
    let position = near.map_or(0, |entry| entry.position.into());
    let mut walk = Walk::new(file, position, base, file.size()?).offsets(offsets);
    loop {
        match walk.step()? {
            Ok((spot, _)) if spot.last < last => {}
            Ok((spot, _)) => return Ok(spot.last == last && spot.max_timestamp == entry.timestamp),
            Err(_) => return Ok(false),
        }
    }
}

/// How many time entries rise and name batches before `end`.
fn rising_below(index: &crate::format::time_index::TimeIndex<'_>, base: Offset, end: Offset) -> usize {
    let mut previous = None;
    index
        .iter()
        .take_while(|entry| {
            let rises = previous
                .is_none_or(|(timestamp, relative)| timestamp < entry.timestamp && relative < entry.relative);
            previous = Some((entry.timestamp, entry.relative));
            rises && entry.timestamp.is_some() && entry.offset(base) < end
        })
        .count()
}
