//! The records of a batch, decompressed: as views that borrow, or as records that own their bytes without a copy.

use std::borrow::Cow;

use bytes::Bytes;
use millrace_types::{Offset, TimestampMs};

use crate::codec::decompress;
use crate::view::{RECORD_BYTES_MIN, RecordView};
use crate::{BatchHeader, Compression, DecompressError, RecordError};

/// A header of a record: a name, and bytes that may be absent.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Header {
    /// The name. Meant to be UTF-8; kept as it came.
    pub key: Bytes,
    /// The value, or `None`.
    pub value: Option<Bytes>,
}

impl Header {
    /// The name as text; bytes that are not UTF-8 become the replacement character.
    #[must_use]
    pub fn key_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.key)
    }
}

/// A record with its place and time. Its bytes share the memory of the batch (or of its decompressed payload), so a
/// record that is kept keeps all of that memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The place in the partition.
    pub offset: Offset,
    /// The producer's time, or the log's where the topic says so; -1 for none.
    pub timestamp: TimestampMs,
    /// The key, or `None` if the record has none.
    pub key: Option<Bytes>,
    /// The value, or `None` for a tombstone.
    pub value: Option<Bytes>,
    /// The headers, in order, keys that repeat included.
    pub headers: Vec<Header>,
}

/// The decompressed payload of a batch, ready to be read.
#[derive(Clone, Debug)]
pub struct Records {
    payload: Bytes,
    record_count: u32,
    last_offset_delta: i32,
    base_offset: i64,
    base_timestamp: i64,
    /// The timestamp of every record, where the log's time counts.
    append_time: Option<i64>,
}

impl Records {
    pub(crate) fn open(
        header: &BatchHeader,
        payload: Bytes,
        bytes_max: usize,
    ) -> Result<Records, RecordError> {
        let attributes = header.attributes;
        let codec =
            attributes.compression().ok_or(DecompressError::Unknown { id: attributes.compression_id() })?;
        // An empty batch, left by compaction, has no payload to decompress.
        let payload = match codec {
            _ if header.record_count == 0 && payload.is_empty() => payload,
            Compression::None if payload.len() > bytes_max => {
                return Err(DecompressError::TooLarge { codec, max: bytes_max }.into());
            }
            _ => decompress(codec, payload, bytes_max)?,
        };
        let count = RecordError::Count { count: header.record_count, bytes: payload.len() };
        let room = payload.len() / RECORD_BYTES_MIN;
        let record_count = u32::try_from(header.record_count)
            .ok()
            .filter(|records| *records as usize <= room)
            .ok_or(count)?;
        Ok(Records {
            payload,
            record_count,
            last_offset_delta: header.last_offset_delta,
            base_offset: header.base_offset.max(0),
            base_timestamp: header.base_timestamp,
            append_time: attributes.is_log_append_time().then_some(header.max_timestamp),
        })
    }

    /// How many records there are, as the header counts them.
    #[must_use]
    pub fn record_count(&self) -> u32 {
        self.record_count
    }

    /// The bytes of all records, decompressed.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The records, borrowed. Ends behind the first error; bytes behind the last record are an error too.
    #[must_use]
    pub fn views(&self) -> RecordViews<'_> {
        RecordViews { records: self, progress: Progress::start() }
    }

    /// The place of a view of this batch.
    #[must_use]
    pub fn offset_of(&self, view: &RecordView<'_>) -> Offset {
        Offset::new(self.base_offset.saturating_add(i64::from(view.offset_delta))).unwrap_or(Offset::ZERO)
    }

    /// The time of a view of this batch.
    #[must_use]
    pub fn timestamp_of(&self, view: &RecordView<'_>) -> TimestampMs {
        // `Progress::step` has checked that the sum is in range.
        let time = self.append_time.unwrap_or(self.base_timestamp.saturating_add(view.timestamp_delta));
        TimestampMs(time)
    }

    /// A view of this batch as a record that shares the payload's memory.
    fn owned(&self, view: &RecordView<'_>) -> Record {
        let share = |bytes: &[u8]| self.payload.slice_ref(bytes);
        Record {
            offset: self.offset_of(view),
            timestamp: self.timestamp_of(view),
            key: view.key.map(share),
            value: view.value.map(share),
            headers: view
                .headers()
                .map(|(key, value)| Header { key: share(key), value: value.map(share) })
                .collect(),
        }
    }
}

impl IntoIterator for Records {
    type Item = Result<Record, RecordError>;
    type IntoIter = RecordIter;

    fn into_iter(self) -> RecordIter {
        let progress = Progress::start();
        RecordIter { records: self, progress }
    }
}

/// How far the records of a payload were read.
#[derive(Clone, Copy, Debug)]
struct Progress {
    position: usize,
    index: u32,
    offset_delta_min: i64,
    finished: bool,
}

impl Progress {
    fn start() -> Progress {
        Progress { position: 0, index: 0, offset_delta_min: 0, finished: false }
    }

    /// Decodes the next record.
    fn step<'a>(&mut self, records: &'a Records) -> Option<Result<RecordView<'a>, RecordError>> {
        if self.finished {
            return None;
        }
        let rest = records.payload.get(self.position..).unwrap_or_default();
        if self.index == records.record_count {
            self.finished = true;
            return (!rest.is_empty()).then_some(Err(RecordError::Leftover { extra: rest.len() }));
        }
        let decoded = RecordView::decode(rest, self.index).and_then(|(view, taken)| {
            self.check(records, &view)?;
            self.position += taken;
            self.index += 1;
            self.offset_delta_min = i64::from(view.offset_delta) + 1;
            Ok(view)
        });
        self.finished = decoded.is_err();
        Some(decoded)
    }

    fn check(&self, records: &Records, view: &RecordView<'_>) -> Result<(), RecordError> {
        let (index, found, most) = (self.index, view.offset_delta, records.last_offset_delta);
        if i64::from(found) < self.offset_delta_min || found > most {
            return Err(RecordError::OffsetDelta { index, found, least: self.offset_delta_min, most });
        }
        if records.base_timestamp.checked_add(view.timestamp_delta).is_none() {
            return Err(RecordError::Timestamp { index, delta: view.timestamp_delta });
        }
        Ok(())
    }
}

/// The records of a batch, borrowed from its payload.
#[derive(Clone, Debug)]
pub struct RecordViews<'a> {
    records: &'a Records,
    progress: Progress,
}

impl<'a> Iterator for RecordViews<'a> {
    type Item = Result<RecordView<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.progress.step(self.records)
    }
}

/// The records of a batch, each sharing the memory of its payload.
#[derive(Clone, Debug)]
pub struct RecordIter {
    records: Records,
    progress: Progress,
}

impl Iterator for RecordIter {
    type Item = Result<Record, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let view = self.progress.step(&self.records)?;
        Some(view.map(|view| self.records.owned(&view)))
    }
}
