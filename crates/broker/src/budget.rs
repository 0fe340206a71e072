//! The memory budget: bytes are granted before they are read.

use std::sync::Arc;

use millrace_types::ErrorCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::ApiError;

/// One budget of bytes for everything that requests and answers hold.
#[derive(Debug)]
pub struct MemoryBudget {
    free: Arc<Semaphore>,
    bytes: usize,
}

/// Granted bytes; they return to the budget when the permit is dropped.
#[derive(Debug)]
pub struct Permit {
    granted: OwnedSemaphorePermit,
}

impl Permit {
    /// How many bytes are granted.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.granted.num_permits()
    }
}

impl MemoryBudget {
    /// A budget of `bytes`, all of them free.
    #[must_use]
    pub fn new(bytes: u64) -> Arc<MemoryBudget> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Arc::new(MemoryBudget { free: Arc::new(Semaphore::new(bytes)), bytes })
    }

    /// Waits until `bytes` are free and takes them. First come, first served.
    ///
    /// # Errors
    /// [`ErrorCode::RequestTooLarge`] if the whole budget is smaller than `bytes`.
    pub async fn acquire(&self, bytes: usize) -> Result<Permit, ApiError> {
        let too_large = || {
            let message = format!("{bytes} bytes; the whole memory budget has {}", self.bytes);
            ApiError::new(ErrorCode::RequestTooLarge, message)
        };
        let wanted = u32::try_from(bytes).ok().filter(|_| bytes <= self.bytes).ok_or_else(too_large)?;
        match Arc::clone(&self.free).acquire_many_owned(wanted).await {
            Ok(granted) => Ok(Permit { granted }),
            // Nobody closes the semaphore.
            Err(_closed) => Err(ApiError::new(ErrorCode::ShuttingDown, "the memory budget is closed")),
        }
    }

    /// Bytes that are granted now.
    #[must_use]
    pub fn in_use(&self) -> u64 {
        self.bytes.saturating_sub(self.free.available_permits()) as u64
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn bytes_come_back_and_nobody_overtakes() {
        let budget = MemoryBudget::new(100);
        let first = budget.acquire(60).now_or_never().unwrap().unwrap();
        assert_eq!((first.bytes(), budget.in_use()), (60, 60));
        let mut large = std::pin::pin!(budget.acquire(80));
        assert!(large.as_mut().now_or_never().is_none());
        assert!(budget.acquire(1).now_or_never().is_none(), "40 are free, but somebody waits in front");
        drop(first);
        assert!(large.now_or_never().unwrap().is_ok());
        assert_eq!(budget.in_use(), 0);
    }

    #[test]
    fn what_never_fits_is_refused_at_once() {
        let budget = MemoryBudget::new(100);
        for bytes in [101, usize::MAX] {
            let error = budget.acquire(bytes).now_or_never().unwrap().unwrap_err();
            assert_eq!(error.code, ErrorCode::RequestTooLarge);
        }
    }
}
