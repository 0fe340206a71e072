//! The memory budget: bytes are granted before they are read.
//!
//! Every request body and every fetch answer holds a [`Permit`] for as long as it is in memory. Whoever asks for more
//! than is free waits in line; a door that waits does not read, and so the client is slowed down by TCP itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millrace_types::ErrorCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::ApiError;

/// One budget of bytes for everything that requests and answers hold.
#[derive(Debug)]
pub struct MemoryBudget {
    free: Arc<Semaphore>,
    bytes_max: usize,
    in_use: Arc<AtomicU64>,
    waiting: AtomicU64,
}

/// Bytes that somebody waits for, until it has them or gives up.
struct Wish<'a> {
    waiting: &'a AtomicU64,
    bytes: u64,
}

impl Drop for Wish<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Granted bytes; they return to the budget when the permit is dropped.
#[derive(Debug)]
pub struct Permit {
    granted: OwnedSemaphorePermit,
    in_use: Arc<AtomicU64>,
}

impl MemoryBudget {
    /// A budget of `bytes`, all of them free.
    #[must_use]
    pub fn new(bytes: u64) -> Arc<MemoryBudget> {
        let bytes_max = usize::try_from(bytes).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let free = Arc::new(Semaphore::new(bytes_max));
        Arc::new(MemoryBudget { free, bytes_max, in_use: Arc::default(), waiting: AtomicU64::new(0) })
    }

    /// Waits until `bytes` are free and takes them. First come, first served: a large wish is not overtaken by small
    /// ones for ever. Dropping the future gives up the place in the line.
    ///
    /// # Errors
    /// [`ErrorCode::RequestTooLarge`] if the whole budget is smaller than `bytes`.
    pub async fn acquire(&self, bytes: usize) -> Result<Permit, ApiError> {
        let too_large = || {
            let message = format!("{bytes} bytes are wanted, the whole memory budget is {}", self.bytes_max);
            ApiError::new(ErrorCode::RequestTooLarge, message)
        };
        let wanted = u32::try_from(bytes).map_err(|_| too_large())?;
        if bytes > self.bytes_max {
            return Err(too_large());
        }
        let granted = match Arc::clone(&self.free).try_acquire_many_owned(wanted) {
            Ok(granted) => granted,
            Err(_not_now) => {
                self.waiting.fetch_add(u64::from(wanted), Ordering::Relaxed);
                let _wish = Wish { waiting: &self.waiting, bytes: u64::from(wanted) };
                // The semaphore is never closed, so the only error there is cannot happen.
                Arc::clone(&self.free).acquire_many_owned(wanted).await.map_err(|_| too_large())?
            }
        };
        self.in_use.fetch_add(u64::from(wanted), Ordering::Relaxed);
        Ok(Permit { granted, in_use: Arc::clone(&self.in_use) })
    }

    /// Bytes that are granted now.
    #[must_use]
    pub fn in_use(&self) -> u64 {
        self.in_use.load(Ordering::Relaxed)
    }

    /// Bytes that are waited for now.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Bytes that can be granted together.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }
}

impl Permit {
    /// How many bytes it stands for.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.granted.num_permits()
    }

    /// Gives some of it back: what it was granted for turned out to take no memory.
    pub(crate) fn give_back(&mut self, bytes: usize) {
        let surplus = bytes.min(self.granted.num_permits());
        if let Some(given_back) = self.granted.split(surplus) {
            self.in_use.fetch_sub(surplus as u64, Ordering::Relaxed);
            drop(given_back);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // Counted down before the semaphore takes the bytes back: the count is never above the truth for long.
        self.in_use.fetch_sub(self.granted.num_permits() as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn bytes_come_back_when_the_permit_is_dropped() {
        let budget = MemoryBudget::new(100);
        let permit = budget.acquire(60).await.unwrap();
        assert_eq!((budget.in_use(), permit.bytes()), (60, 60));
        let mut waiting = Box::pin(budget.acquire(41));
        assert!((&mut waiting).now_or_never().is_none());
        assert_eq!((budget.in_use(), budget.waiting()), (60, 41));
        drop(waiting);
        assert_eq!((budget.in_use(), budget.waiting()), (60, 0));
        drop(permit);
        assert_eq!(budget.in_use(), 0);
        assert!(budget.acquire(100).now_or_never().is_some());
    }

    #[tokio::test]
    async fn some_of_a_permit_can_be_given_back() {
        let budget = MemoryBudget::new(100);
        let mut permit = budget.acquire(60).await.unwrap();
        permit.give_back(50);
        assert_eq!((budget.in_use(), permit.bytes()), (10, 10));
        permit.give_back(50);
        assert_eq!((budget.in_use(), permit.bytes()), (0, 0));
        assert!(budget.acquire(100).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_large_wish_is_not_overtaken() {
        let budget = MemoryBudget::new(100);
        let first = budget.acquire(50).await.unwrap();
        let mut large = Box::pin(budget.acquire(100));
        assert!((&mut large).now_or_never().is_none());
        assert!(budget.acquire(10).now_or_never().is_none(), "the line is kept");
        drop(first);
        assert!(large.now_or_never().is_some());
    }

    #[tokio::test]
    async fn more_than_the_budget_is_refused_at_once() {
        let error = MemoryBudget::new(100).acquire(101).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::RequestTooLarge);
    }
}
