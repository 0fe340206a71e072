//! What the allocator (mimalloc) does with memory that was freed.
#![expect(unsafe_code, reason = "mimalloc's options are functions of C, and its crate has none of them")]

use std::ffi::{c_int, c_long};
use std::time::Duration;

// Only so that it is linked: the functions below are its own.
use libmimalloc_sys as _;

/// The place of `mi_option_purge_delay` in mimalloc's list of options.
const PURGE_DELAY: c_int = 15;

unsafe extern "C" {
    fn mi_option_set(option: c_int, value: c_long);
    #[cfg(test)]
    fn mi_option_get(option: c_int) -> c_long;
}

/// Tells the allocator to give freed memory back to the kernel after so long. For the start of a process, before it has
/// other threads.
///
/// Its own second is long: a broker that takes and frees large buffers at a gigabyte per second holds several times what it
/// uses, and no budget is a bound.
pub fn give_freed_memory_back_after(delay: Duration) {
    let delay = c_long::try_from(delay.as_millis()).unwrap_or(c_long::MAX);
    // SAFETY: the option exists, any number is a delay, and mimalloc has initialized itself before `main`.
    unsafe { mi_option_set(PURGE_DELAY, delay) };
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
