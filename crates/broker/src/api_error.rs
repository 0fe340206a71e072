//! The error that every operation answers to a door, and what the parts below mean in its words.

use millrace_log::{AppendError, DirError, ReadError};
use millrace_metadata::Refusal;
use millrace_types::{ErrorCode, LeaderEpoch, Offset, OffsetRange};

/// Why an operation, or its part for one partition, failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// The code; it says whether the error is definite and whether a retry may help.
    pub code: ErrorCode,
    /// What was wrong, naming it.
    pub message: String,
    /// The gRPC address of the leader, with [`ErrorCode::NotLeader`], or of the coordinator, with [`ErrorCode::NotCoordinator`],
    /// where it is known.
    pub leader: Option<String>,
    /// The damaged offsets, with [`ErrorCode::Corrupt`] where they are known: whoever wants what lies behind them reads on at
    /// the end of the range.
    pub corrupt: Option<OffsetRange>,
    /// Where the reader's log and this one part, with [`ErrorCode::LogTruncated`] where it is known (KIP-320).
    pub diverging: Option<Divergence>,
    /// Which records of the batch are to blame, counted from 0, with [`ErrorCode::InvalidRecord`] where that is known (KIP-467): the
    /// first [`REFUSED_RECORDS_MAX`](millrace_types::limits::REFUSED_RECORDS_MAX) of them.
    pub records: Box<[usize]>,
}

/// The last epoch that a reader and this log have in common, and where it ended here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// The first offset behind it.
    pub end: Offset,
}

impl ApiError {
    /// An error that names no leader.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> ApiError {
        let (leader, corrupt, diverging) = (None, None, None);
        ApiError { code, message: message.into(), leader, corrupt, diverging, records: Box::default() }
    }
}

impl From<AppendError> for ApiError {
    fn from(error: AppendError) -> ApiError {
        let code = match error {
            AppendError::TooLarge { .. } => ErrorCode::BatchTooLarge,
            AppendError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequence,
            AppendError::DuplicateSequence { .. } => ErrorCode::DuplicateSequence,
            AppendError::ProducerFenced { .. } => ErrorCode::ProducerFenced,
            AppendError::UnknownProducer { .. } => ErrorCode::UnknownProducerId,
            AppendError::QueueFull | AppendError::OutOfFiles => ErrorCode::Throttled,
            AppendError::StorageFull => ErrorCode::StorageFull,
            // The topic was deleted under the request's hands; while draining, the caller says so instead.
            AppendError::Closed => ErrorCode::UnknownTopicOrPartition,
            AppendError::NotLeading => ErrorCode::NotLeader,
            AppendError::OffsetsExhausted => ErrorCode::OffsetOutOfRange,
            AppendError::Truncated => ErrorCode::OutcomeUnknown,
            AppendError::StorageFailed(_) => ErrorCode::StorageFailed,
        };
        ApiError::new(code, error.to_string())
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> ApiError {
        let code = match &error {
            ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            ReadError::Corrupt(_) => ErrorCode::Corrupt,
            // The medium would not give the bytes; it may the next time, and nothing was changed.
            ReadError::Io(_) => ErrorCode::Corrupt,
            ReadError::OutOfFiles => ErrorCode::Throttled,
            ReadError::Closed => ErrorCode::UnknownTopicOrPartition,
        };
        let corrupt = if let ReadError::Corrupt(range) = &error { Some(*range) } else { None };
        ApiError { corrupt, ..ApiError::new(code, error.to_string()) }
    }
}

impl From<DirError> for ApiError {
    fn from(error: DirError) -> ApiError {
        let code = match &error {
            DirError::Locked(_) | DirError::NewerFormat { .. } => ErrorCode::Unsupported,
            DirError::Damaged { .. } => ErrorCode::Corrupt,
            DirError::Conflict(_) => ErrorCode::Internal,
            DirError::Failed(_) => ErrorCode::StorageFailed,
            DirError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                ErrorCode::StorageFull
            }
            DirError::Io { .. } => ErrorCode::StorageFailed,
        };
        ApiError::new(code, error.to_string())
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> ApiError {
        ApiError::new(refusal.code(), refusal.to_string())
    }
}
