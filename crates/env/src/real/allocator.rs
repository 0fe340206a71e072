//! What the allocator (mimalloc) does with memory that was freed.
#![expect(unsafe_code, reason = "mimalloc's options are functions of C, and its crate has none of them")]

use std::cell::Cell;
use std::ffi::{c_int, c_long};
use std::time::{Duration, Instant};

// Only so that it is linked: the functions below are its own.
use libmimalloc_sys as _;

/// The place of `mi_option_purge_delay` in mimalloc's list of options.
const PURGE_DELAY: c_int = 15;

/// A thread does not collect more often than this: it takes the allocator up to a millisecond.
const BETWEEN_COLLECTIONS: Duration = Duration::from_millis(5);

thread_local! {
    static COLLECTED_AT: Cell<Option<Instant>> = const { Cell::new(None) };
}

unsafe extern "C" {
    fn mi_collect(force: bool);
    fn mi_option_set(option: c_int, value: c_long);
    #[cfg(test)]
    fn mi_option_get(option: c_int) -> c_long;
}

/// Tells the allocator to give freed memory back to the kernel after so long. For the start of a process, before it has
/// other threads.
///
/// Its own second is long: a broker that takes and frees large buffers at a gigabyte per second holds several times what it
/// uses, and no budget is a bound. What is kept is taken again without the kernel's part, though: where each buffer is new, a
/// gigabyte per second of large requests is a quarter of a core of page faults.
pub fn give_freed_memory_back_after(delay: Duration) {
    let delay = c_long::try_from(delay.as_millis()).unwrap_or(c_long::MAX);
    // SAFETY: the option exists, any number is a delay, and mimalloc has initialized itself before `main`.
    unsafe { mi_option_set(PURGE_DELAY, delay) };
}

/// Tells the allocator to give back now what this thread has freed, and what nobody's heap holds. Every thread's call counts a few
/// milliseconds; one that comes sooner does nothing.
pub fn give_freed_memory_back() {
    let is_due = COLLECTED_AT.with(|collected_at| {
        let is_due = collected_at.get().is_none_or(|at| at.elapsed() >= BETWEEN_COLLECTIONS);
        if is_due {
            collected_at.set(Some(Instant::now()));
        }
        is_due
    });
    if is_due {
        // SAFETY: it may be called from any thread at any time.
        unsafe { mi_collect(true) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_that_is_set_is_the_delay() {
        // SAFETY: the option exists.
        let get = || unsafe { mi_option_get(PURGE_DELAY) };
        assert_eq!(get(), 1000, "what this version of mimalloc begins with");
        give_freed_memory_back_after(Duration::from_millis(10));
        assert_eq!(get(), 10);
    }
}
