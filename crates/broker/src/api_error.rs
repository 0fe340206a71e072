//! The error that every operation answers to a door.

use millrace_types::ErrorCode;

/// Why an operation, or its part for one partition, failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// The code; it says whether the error is definite and whether a retry may help.
    pub code: ErrorCode,
    /// What was wrong, naming it.
    pub message: String,
    /// The gRPC address of the leader, with [`ErrorCode::NotLeader`], where it is known.
    pub leader: Option<String>,
}

impl ApiError {
    /// An error that names no leader.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> ApiError {
        ApiError { code, message: message.into(), leader: None }
    }
}
