//! How much the clients of a door may send before anybody has read it.
//!
//! HTTP/2 lets a client fill its windows unasked, and what it sends lies in memory before a permit can be taken for it. A
//! window of 16 MiB makes one connection fast; ten thousand of them would be 160 GiB. So the windows come out of one pool, a
//! part of the memory budget: a connection gets a quarter of what is left, rounded down to a size of the table, and gives
//! it back when it ends.

use std::sync::Arc;

use millrace_types::limits::{HTTP_CONNECTION_WINDOW_BYTES, HTTP_WINDOW_BYTES_MIN};
use parking_lot::Mutex;

/// The sizes of windows, the largest first.
const SIZES: [u32; 4] = [HTTP_CONNECTION_WINDOW_BYTES, 4 * 1024 * 1024, 1024 * 1024, 256 * 1024];
/// A connection takes at most this part of what is left.
const SHARE: u32 = 4;

/// What is left for windows.
#[derive(Clone, Debug)]
pub(crate) struct Windows {
    left: Arc<Mutex<u32>>,
}

/// The windows of one connection; they go back when it is dropped.
#[derive(Debug)]
pub(crate) struct Window {
    taken: u32,
    left: Arc<Mutex<u32>>,
}

impl Windows {
    /// A pool of so many bytes.
    pub(crate) fn new(bytes: u32) -> Windows {
        Windows { left: Arc::new(Mutex::new(bytes)) }
    }

    /// The windows of the next connection.
    pub(crate) fn take(&self) -> Window {
        let mut left = self.left.lock();
        let taken = SIZES.into_iter().find(|size| *size <= *left / SHARE).unwrap_or(0);
        *left -= taken;
        Window { taken, left: Arc::clone(&self.left) }
    }
}

impl Window {
    /// Of the connection.
    pub(crate) fn connection_bytes(&self) -> u32 {
        self.taken.max(HTTP_WINDOW_BYTES_MIN)
    }

    /// Of each stream: half, so that one call that waits for its memory does not hold up all others.
    pub(crate) fn stream_bytes(&self) -> u32 {
        self.connection_bytes() / 2
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        *self.left.lock() += self.taken;
    }
}

#[cfg(test)]
mod tests {
    use millrace_types::limits::{CONNECTIONS_MAX, HTTP_STREAM_WINDOW_BYTES};

    use super::*;

    /// Of a budget of 512 MiB.
    const POOL: u32 = 512 * 1024 * 1024 / 5;

    #[test]
    fn windows_shrink_with_their_number_and_come_back() {
        let windows = Windows::new(POOL);
        let taken: Vec<Window> = (0..CONNECTIONS_MAX).map(|_| windows.take()).collect();
        assert_eq!(taken[0].connection_bytes(), HTTP_CONNECTION_WINDOW_BYTES);
        assert_eq!(taken[0].stream_bytes(), HTTP_STREAM_WINDOW_BYTES);
        assert!(taken.is_sorted_by(|a, b| a.connection_bytes() >= b.connection_bytes()));
        assert_eq!(taken[CONNECTIONS_MAX - 1].connection_bytes(), HTTP_WINDOW_BYTES_MIN);
        let sum: u64 = taken.iter().map(|window| u64::from(window.taken)).sum();
        assert!(sum <= u64::from(POOL));
        drop(taken);
        assert_eq!(*windows.left.lock(), POOL);
    }
}
