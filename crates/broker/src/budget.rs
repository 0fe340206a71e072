//! The memory budget: bytes are granted before they are read.
//!
//! Every request body and every fetch answer holds a [`Permit`] for as long as it is in memory. Whoever asks for more
//! than is free waits in line; a door that waits does not read, and so the client is slowed down by TCP itself.
//!
//! What a request becomes in memory is known only once it is there. If all who hold something waited for more in the same
//! line, nobody might ever get on: so a reserve is kept that only they are granted ([`MemoryBudget::more`]).
//!
//! An allocator keeps what was freed for a while, because taking it again is cheap; that memory is in no permit. So after a
//! request that was many small pieces the process is told to let go of them ([`MemoryBudget::on_scattered`]).

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use millrace_types::ErrorCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::ApiError;

/// A request that became so much larger in memory than it came is many small pieces, which an allocator keeps long.
const SCATTERED_BYTES_MIN: usize = 64 * 1024;

/// What is in use, and what to do when scattered memory comes back.
#[derive(Default)]
struct Usage {
    in_use: AtomicU64,
    relief: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl fmt::Debug for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Usage").field("in_use", &self.in_use).finish_non_exhaustive()
    }
}

/// One budget of bytes for everything that requests and answers hold.
#[derive(Debug)]
pub struct MemoryBudget {
    free: Arc<Semaphore>,
    bytes_max: usize,
    reserve: Arc<Semaphore>,
    reserve_bytes: usize,
    usage: Arc<Usage>,
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
    from_reserve: Option<OwnedSemaphorePermit>,
    /// How much it was granted later on.
    grown_by: usize,
    usage: Arc<Usage>,
}

impl MemoryBudget {
    /// A budget of `bytes`, all of them free.
    #[must_use]
    pub fn new(bytes: u64) -> Arc<MemoryBudget> {
        MemoryBudget::with_reserve(bytes, 0)
    }

    /// A budget of `bytes`, and `reserve` bytes more for those who already hold some.
    #[must_use]
    pub fn with_reserve(bytes: u64, reserve: usize) -> Arc<MemoryBudget> {
        let bytes_max = usize::try_from(bytes).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Arc::new(MemoryBudget {
            free: Arc::new(Semaphore::new(bytes_max)),
            bytes_max,
            reserve: Arc::new(Semaphore::new(reserve)),
            reserve_bytes: reserve,
            usage: Arc::default(),
            waiting: AtomicU64::new(0),
        })
    }

    /// What to do whenever a request comes back that has become much larger in memory than it came; the first call counts. It
    /// may be called often, from any thread, and must not wait.
    pub fn on_scattered(&self, relief: impl Fn() + Send + Sync + 'static) {
        // The first one stays.
        let _second = self.usage.relief.set(Box::new(relief));
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
            Err(_not_now) => self.wait_for(&self.free, wanted).await.ok_or_else(too_large)?,
        };
        self.usage.in_use.fetch_add(u64::from(wanted), Ordering::Relaxed);
        Ok(Permit { granted, from_reserve: None, grown_by: 0, usage: Arc::clone(&self.usage) })
    }

    /// Takes `bytes` more for who holds `permit`: of what is free, or else waits for as much of the reserve. Who waits here
    /// waits only for others that were granted all they asked for.
    ///
    /// # Errors
    /// [`ErrorCode::Throttled`] if that much is not free and the reserve is smaller, or if `permit` is partly of the reserve
    /// and that has no more now.
    pub async fn more(&self, permit: &mut Permit, bytes: usize) -> Result<(), ApiError> {
        let refused = || {
            let message = format!("{bytes} bytes more are wanted, the reserve is {}", self.reserve_bytes);
            ApiError::new(ErrorCode::Throttled, message)
        };
        let wanted = u32::try_from(bytes).map_err(|_| refused())?;
        match Arc::clone(&self.free).try_acquire_many_owned(wanted) {
            Ok(granted) => permit.granted.merge(granted),
            Err(_not_now) if bytes > self.reserve_bytes => return Err(refused()),
            Err(_not_now) => match &mut permit.from_reserve {
                // Who holds some of the reserve and waited for more could wait for another who does the same.
                Some(held) => {
                    let reserve = Arc::clone(&self.reserve);
                    held.merge(reserve.try_acquire_many_owned(wanted).map_err(|_not_now| refused())?);
                }
                none => *none = Some(self.wait_for(&self.reserve, wanted).await.ok_or_else(refused)?),
            },
        }
        permit.grown_by += bytes;
        self.usage.in_use.fetch_add(u64::from(wanted), Ordering::Relaxed);
        Ok(())
    }

    /// Waits in the line; `None` if the semaphore were closed, which it never is.
    async fn wait_for(&self, semaphore: &Arc<Semaphore>, wanted: u32) -> Option<OwnedSemaphorePermit> {
        self.waiting.fetch_add(u64::from(wanted), Ordering::Relaxed);
        let _wish = Wish { waiting: &self.waiting, bytes: u64::from(wanted) };
        Arc::clone(semaphore).acquire_many_owned(wanted).await.ok()
    }

    /// Bytes that are granted now.
    #[must_use]
    pub fn in_use(&self) -> u64 {
        self.usage.in_use.load(Ordering::Relaxed)
    }

    /// Bytes that are waited for now.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Bytes that can be granted together, but for the reserve.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Bytes that are kept for those who need more than they hold.
    #[must_use]
    pub fn reserve_bytes(&self) -> usize {
        self.reserve_bytes
    }
}

impl Permit {
    /// How many bytes it stands for.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.granted.num_permits() + self.reserved()
    }

    fn reserved(&self) -> usize {
        self.from_reserve.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// Gives some of it back, the reserve first: what it was granted for turned out to take no memory.
    pub fn give_back(&mut self, bytes: usize) {
        let to_reserve = bytes.min(self.reserved());
        let surplus = (bytes - to_reserve).min(self.granted.num_permits());
        let returned = self.from_reserve.as_mut().and_then(|held| held.split(to_reserve));
        let given_back = self.granted.split(surplus);
        self.usage.in_use.fetch_sub((to_reserve + surplus) as u64, Ordering::Relaxed);
        drop((returned, given_back));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // Counted down before the semaphore takes the bytes back: the count is never above the truth for long.
        self.usage.in_use.fetch_sub(self.bytes() as u64, Ordering::Relaxed);
        if self.grown_by >= SCATTERED_BYTES_MIN
            && let Some(relief) = self.usage.relief.get()
        {
            relief();
        }
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
    async fn who_holds_all_there_is_gets_more_from_the_reserve() {
        let budget = MemoryBudget::with_reserve(100, 20);
        let mut permit = budget.acquire(60).await.unwrap();
        budget.more(&mut permit, 30).await.unwrap();
        let mut rest = budget.acquire(10).await.unwrap();
        let mut others = Box::pin(budget.acquire(50));
        assert!((&mut others).now_or_never().is_none(), "nothing is left");
        budget.more(&mut permit, 15).await.unwrap();
        assert_eq!((budget.in_use(), permit.bytes()), (115, 105));
        assert!(budget.more(&mut rest, 6).now_or_never().is_none(), "it waits for the reserve");
        assert_eq!(budget.more(&mut rest, 21).await.unwrap_err().code, ErrorCode::Throttled);
        let refused = budget.more(&mut permit, 6).now_or_never();
        assert_eq!(refused.unwrap().unwrap_err().code, ErrorCode::Throttled, "it has some and may not wait");
        permit.give_back(16);
        assert_eq!((budget.in_use(), permit.bytes()), (99, 89));
        assert!(budget.more(&mut rest, 20).now_or_never().is_some(), "the reserve came back first");
        drop((permit, rest));
        assert!(others.now_or_never().is_some());
        assert_eq!(budget.in_use(), 0);
    }

    #[tokio::test]
    async fn a_request_that_has_grown_is_told_when_it_comes_back() {
        let budget = MemoryBudget::with_reserve(2 * SCATTERED_BYTES_MIN as u64, 0);
        let told = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&told);
        budget.on_scattered(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        drop(budget.acquire(SCATTERED_BYTES_MIN).await.unwrap());
        assert_eq!(told.load(Ordering::Relaxed), 0, "one piece");
        let mut permit = budget.acquire(1).await.unwrap();
        budget.more(&mut permit, SCATTERED_BYTES_MIN).await.unwrap();
        drop(permit);
        assert_eq!(told.load(Ordering::Relaxed), 1);
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
