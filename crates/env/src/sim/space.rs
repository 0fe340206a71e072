//! The room on a simulated medium.

use std::io;

use parking_lot::Mutex;
use rustix::io::Errno;

use super::power::PAGE_BYTES;
use crate::SpaceLeft;

/// How large a simulated medium is unless a test says otherwise.
pub(super) const TOTAL_BYTES: u64 = 1 << 40;

/// Bytes in use and in total. Files pay for whole pages, directories for nothing.
#[derive(Debug)]
pub(super) struct Space {
    state: Mutex<SpaceLeft>,
}

pub(super) fn whole_pages(bytes: u64) -> u64 {
    bytes.next_multiple_of(PAGE_BYTES as u64)
}

impl Space {
    pub(super) fn new() -> Space {
        Space { state: Mutex::new(SpaceLeft { total: TOTAL_BYTES, available: TOTAL_BYTES }) }
    }

    /// As much room on a medium of its own.
    pub(super) fn fork(&self) -> Space {
        Space { state: Mutex::new(self.left()) }
    }

    pub(super) fn left(&self) -> SpaceLeft {
        *self.state.lock()
    }

    /// Leaves `available` bytes free, whatever is in use.
    pub(super) fn set_available(&self, available: u64) {
        let mut state = self.state.lock();
        let used = state.total.saturating_sub(state.available);
        *state = SpaceLeft { total: used.saturating_add(available), available };
    }

    /// Takes all of `bytes` or nothing.
    pub(super) fn take(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        state.available = state.available.checked_sub(bytes).ok_or(Errno::NOSPC)?;
        Ok(())
    }

    /// Takes as many whole pages of `bytes` as there are.
    pub(super) fn take_some(&self, bytes: u64) -> u64 {
        let mut state = self.state.lock();
        let whole = state.available - state.available % PAGE_BYTES as u64;
        let taken = bytes.min(whole);
        state.available -= taken;
        taken
    }

    pub(super) fn give(&self, bytes: u64) {
        let mut state = self.state.lock();
        state.available = state.available.saturating_add(bytes).min(state.total);
    }
}
