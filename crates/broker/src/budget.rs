//! The memory budget: bytes are granted before they are read.

use millrace_types::ErrorCode;

use crate::ApiError;

/// One budget of bytes for everything that requests and answers hold.
#[derive(Debug)]
pub struct MemoryBudget {}

/// Granted bytes; they return to the budget when the permit is dropped.
#[derive(Debug)]
pub struct Permit {}

impl MemoryBudget {
    /// Waits until `bytes` are free and takes them. First come, first served.
    ///
    /// # Errors
    /// [`ErrorCode::RequestTooLarge`] if the whole budget is smaller than `bytes`.
    pub async fn acquire(&self, _bytes: usize) -> Result<Permit, ApiError> {
        Err(ApiError::new(ErrorCode::Unsupported, ""))
    }

    /// Bytes that are granted now.
    #[must_use]
    pub fn in_use(&self) -> u64 {
        0
    }
}
