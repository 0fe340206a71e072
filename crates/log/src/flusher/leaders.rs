//! How many callers may run syncs themselves.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Callers that sync at the same time, of all logs of a directory. Each blocks a thread, and the runtime starts another in
/// its place: without a bound, hundreds of partitions that are produced to at once cost hundreds of threads, which wait for one
/// disk. Whoever comes on top waits for the pool.
const LEADERS_MAX: usize = 8;

/// The callers that sync now.
#[derive(Debug, Default)]
pub(crate) struct Leaders {
    leading: AtomicUsize,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Leading<'a> {
    leaders: &'a Leaders,
}

impl Leaders {
    /// A place among them, if there is one.
    pub(super) fn enter(&self) -> Option<Leading<'_>> {
        let before = self.leading.fetch_add(1, Ordering::Relaxed);
        // Dropped at once where there was no place.
        let leading = Leading { leaders: self };
        (before < LEADERS_MAX).then_some(leading)
    }
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        self.leaders.leading.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_was_left_is_taken_again() {
        let leaders = Leaders::default();
        let mut all: Vec<_> = (0..LEADERS_MAX).map(|_| leaders.enter().unwrap()).collect();
        assert!(leaders.enter().is_none());
        assert!(leaders.enter().is_none(), "asking takes no place");
        drop(all.pop());
        assert!(leaders.enter().is_some());
    }
}
