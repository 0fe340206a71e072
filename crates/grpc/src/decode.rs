//! Decodes fetched batches into records, for clients that ask for them.

use std::sync::Arc;

use millrace_broker::{ApiError, Fetched};
use millrace_proto::v1;
use millrace_record::{Batch, Compression, Record, split_batches};
use millrace_types::limits::BATCH_DECOMPRESSED_BYTES_MAX;
use millrace_types::{ErrorCode, Offset};
use parking_lot::Mutex;

use crate::service::Api;

/// What a record costs of a byte budget besides its key, value and headers.
const RECORD_OVERHEAD_BYTES: usize = 32;

/// What a partition answers in records.
#[derive(Debug)]
pub(crate) struct DecodedRecords {
    pub(crate) fetched: Fetched,
    pub(crate) records: Vec<v1::Record>,
    /// About as many bytes as the records take in the answer.
    pub(crate) bytes: usize,
    /// Where to go on.
    pub(crate) next_offset: Offset,
}

/// Which records of a partition are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) from: Offset,
    pub(crate) end: Option<Offset>,
    pub(crate) bytes_max: usize,
}

/// Decodes all partitions of an answer; compressed batches on the I/O pool, with memory granted for what comes out.
pub(crate) async fn decode(
    api: &Api,
    asked: &[v1::PartitionFetch],
    answers: Vec<Result<Fetched, ApiError>>,
    bytes_max: usize,
) -> Result<Vec<Result<DecodedRecords, ApiError>>, ApiError> {
    let wanted = asked.iter().map(|asked| Wanted {
        from: Offset::new(asked.offset).unwrap_or(Offset::ZERO),
        end: asked.end_offset.and_then(Offset::new),
        bytes_max: if asked.max_bytes == 0 { bytes_max } else { bytes_max.min(asked.max_bytes as usize) },
    });
    let wanted: Vec<Wanted> = wanted.collect();
    if !answers.iter().flatten().any(is_compressed) {
        return Ok(decode_all(answers, &wanted, bytes_max));
    }
    let granted = api.memory_for(BATCH_DECOMPRESSED_BYTES_MAX).await?;
    let done = Arc::new(Mutex::new(None));
    let place = Arc::clone(&done);
    let work = move || {
        *place.lock() = Some(decode_all(answers, &wanted, bytes_max));
        drop(granted);
    };
    api.env.tasks.on_io_pool(Box::new(work)).await;
    let decoded = done.lock().take();
    decoded.ok_or_else(|| ApiError::new(ErrorCode::Internal, "records were not decoded"))
}

fn is_compressed(fetched: &Fetched) -> bool {
    // A header that cannot be read is reported where the batch is decoded.
    fetched
        .extents
        .iter()
        .flat_map(|extent| split_batches(extent.clone()))
        .flatten()
        .any(|batch| batch.compression() != Some(Compression::None))
}

fn decode_all(
    answers: Vec<Result<Fetched, ApiError>>,
    wanted: &[Wanted],
    bytes_max: usize,
) -> Vec<Result<DecodedRecords, ApiError>> {
    let mut left = bytes_max;
    let answers = answers.into_iter().zip(wanted).map(|(answer, wanted)| {
        let wanted = Wanted { bytes_max: wanted.bytes_max.min(left), ..*wanted };
        let decoded = answer.and_then(|fetched| decode_partition(fetched, wanted))?;
        left = left.saturating_sub(decoded.bytes);
        Ok(decoded)
    });
    answers.collect()
}

/// The wanted records of a partition: the first whatever its size, then as many as the budget takes.
///
/// # Errors
/// [`ErrorCode::Corrupt`] if the first batch cannot be decoded; a later one that cannot ends the answer in front of it.
pub(crate) fn decode_partition(fetched: Fetched, wanted: Wanted) -> Result<DecodedRecords, ApiError> {
    let (records, bytes) = (Vec::new(), 0);
    let mut decoded = DecodedRecords { next_offset: wanted.from, fetched, records, bytes };
    let extents = decoded.fetched.extents.clone();
    for batch in extents.into_iter().flat_map(split_batches) {
        let taken = match batch {
            Ok(batch) => decoded.take_batch(&batch, wanted).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match taken {
            Ok(Taken::Whole) => {}
            Ok(Taken::Part) => return Ok(decoded),
            Err(_later) if !decoded.records.is_empty() => return Ok(decoded),
            Err(error) => {
                let message =
                    format!("the batch at offset {} cannot be decoded: {error}", decoded.next_offset);
                return Err(ApiError::new(ErrorCode::Corrupt, message));
            }
        }
    }
    decoded.next_offset = decoded.next_offset.max(decoded.fetched.next_offset);
    if let Some(end) = wanted.end {
        decoded.next_offset = decoded.next_offset.min(end.max(wanted.from));
    }
    Ok(decoded)
}

/// How much of a batch was taken.
enum Taken {
    Whole,
    /// The budget or the end of the range was reached.
    Part,
}

impl DecodedRecords {
    fn take_batch(&mut self, batch: &Batch, wanted: Wanted) -> Result<Taken, millrace_record::RecordError> {
        let after = batch.next_offset();
        if after <= wanted.from || batch.is_control() {
            self.next_offset = self.next_offset.max(after);
            return Ok(Taken::Whole);
        }
        for record in batch.records()? {
            let record = record?;
            if record.offset < wanted.from {
                continue;
            }
            if wanted.end.is_some_and(|end| record.offset >= end) {
                self.next_offset = wanted.end.unwrap_or(record.offset);
                return Ok(Taken::Part);
            }
            let size = size_of(&record);
            if !self.records.is_empty() && self.bytes + size > wanted.bytes_max {
                self.next_offset = record.offset;
                return Ok(Taken::Part);
            }
            self.bytes += size;
            self.next_offset = record.offset.next();
            self.records.push(to_wire(record));
        }
        self.next_offset = after;
        Ok(Taken::Whole)
    }
}

fn size_of(record: &Record) -> usize {
    let length = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, bytes::Bytes::len);
    let headers =
        record.headers.iter().map(|header| header.key.len() + length(&header.value) + 8).sum::<usize>();
    RECORD_OVERHEAD_BYTES + length(&record.key) + length(&record.value) + headers
}

fn to_wire(record: Record) -> v1::Record {
    let headers = record
        .headers
        .into_iter()
        .map(|header| v1::Header { key: header.key_text().into_owned(), value: header.value });
    v1::Record {
        headers: headers.collect(),
        key: record.key,
        value: record.value,
        timestamp_ms: record.timestamp.is_some().then_some(record.timestamp.0),
        offset: record.offset.get(),
    }
}
