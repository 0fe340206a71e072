//! Builds a batch of plain records, for clients that build none.

use millrace_env::Env;
use millrace_record::{
    AppendError, Batch, BatchBuilder, BatchOptions, BuildError, Compression, ProducerStamp,
};
use millrace_types::ErrorCode;

use crate::{ApiError, NewRecord, SequenceStart};

/// From this size on, compressing a batch is announced to the runtime as blocking: it takes a millisecond and more.
const BLOCKING_BYTES: usize = 128 * 1024;

/// One batch of all the records. Records without a timestamp get the wall clock's.
///
/// # Errors
/// If there is no record, the batch is larger than the topic takes, or a field is not allowed.
pub(crate) fn build_batch(
    env: &Env,
    records: &[NewRecord],
    sequence: Option<SequenceStart>,
    (compression, bytes_max): (Compression, usize),
) -> Result<Batch, ApiError> {
    let options = BatchOptions { compression, bytes_target: bytes_max, bytes_max, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    if let Some(sequence) = sequence {
        builder.set_producer(stamp(sequence)?);
    }
    let now = env.clock.wall();
    for (index, record) in records.iter().enumerate() {
        let headers = record.headers.iter().map(|header| (header.key.as_ref(), header.value.as_deref()));
        let timestamp = record.timestamp.unwrap_or(now);
        builder
            .append(timestamp, record.key.as_deref(), record.value.as_deref(), headers)
            .map_err(|error| ApiError::new(append_code(&error), format!("record {index}: {error}")))?;
    }
    build(env, builder, compression).map_err(|error| ApiError::new(build_code(&error), error.to_string()))
}

fn build(env: &Env, builder: BatchBuilder, compression: Compression) -> Result<Batch, BuildError> {
    if compression == Compression::None || builder.estimated_size() < BLOCKING_BYTES {
        return builder.build();
    }
    let mut builder = Some(builder);
    let mut built = Err(BuildError::Empty);
    env.tasks.blocking_section(&mut || {
        if let Some(builder) = builder.take() {
            built = builder.build();
        }
    });
    built
}

fn stamp(sequence: SequenceStart) -> Result<ProducerStamp, ApiError> {
    let SequenceStart { id, epoch, base_sequence } = sequence;
    if id.0 < 0 || epoch.0 < 0 || base_sequence < 0 {
        let message =
            format!("producer id {id}, epoch {epoch} and sequence {base_sequence} must not be negative");
        return Err(ApiError::new(ErrorCode::InvalidRequest, message));
    }
    Ok(ProducerStamp { id, epoch, base_sequence })
}

fn append_code(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::TooLarge { .. } => ErrorCode::BatchTooLarge,
        AppendError::Timestamp(_) | AppendError::Headers { .. } => ErrorCode::InvalidRequest,
    }
}

fn build_code(error: &BuildError) -> ErrorCode {
    match error {
        BuildError::Empty => ErrorCode::InvalidRequest,
        BuildError::TooLarge { .. } => ErrorCode::BatchTooLarge,
        BuildError::Compress { .. } => ErrorCode::Internal,
        BuildError::Append(error) => append_code(error),
    }
}
