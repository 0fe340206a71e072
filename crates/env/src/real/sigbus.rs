//! The last resort for maps: a page that cannot be read becomes a page of zeros and a mark, not the end of the process.
//!
//! The kernel sends SIGBUS to whoever touches a mapped page that the file no longer has, or that the medium does not give.
//! [`Map::populate`](crate::Map::populate) finds nearly all of them beforehand; what is left is a file that is shortened, or a
//! medium that fails, between that and the touch.
//!
//! A handler may do next to nothing: it interrupts its own thread anywhere, with any lock held. This one looks through a
//! table without locks, makes one system call and stores one flag.
#![expect(unsafe_code, reason = "a signal handler has no safe form: C calls it, with a pointer")]

use std::io;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

/// As many maps as a process may have (`vm.max_map_count` is 65,530 by default).
const SLOTS: usize = 65_536;

/// A live map. Empty while `start` is zero.
struct Slot {
    start: AtomicUsize,
    bytes: AtomicUsize,
    poisoned: AtomicBool,
}

impl Slot {
    /// Whether the map holds `address`. Asked from the handler, while other threads come and go with their slots: the slot
    /// of a map that is being touched does not change.
    fn holds(&self, address: usize) -> bool {
        let start = self.start.load(Ordering::SeqCst);
        let bytes = self.bytes.load(Ordering::SeqCst);
        let is_stable = self.start.load(Ordering::SeqCst) == start;
        is_stable && start != 0 && address.checked_sub(start).is_some_and(|at| at < bytes)
    }
}

static TABLE: [Slot; SLOTS] = [const {
    Slot { start: AtomicUsize::new(0), bytes: AtomicUsize::new(0), poisoned: AtomicBool::new(false) }
}; SLOTS];
/// Slots from here on were never used.
static USED: AtomicUsize = AtomicUsize::new(0);
/// Slots below it that are free again.
static FREE: Mutex<Vec<usize>> = Mutex::new(Vec::new());
static PAGE_BYTES: AtomicUsize = AtomicUsize::new(4096);
static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();

/// A range of addresses that is guarded. Dropped before the range is unmapped.
#[derive(Debug)]
pub(super) struct Guard {
    slot: usize,
}

impl Guard {
    /// Guards a map. The handler is installed with the first.
    ///
    /// # Errors
    /// There are too many maps, or the kernel refuses the handler: then nothing is to be mapped.
    pub(super) fn new(start: *const u8, bytes: usize) -> io::Result<Guard> {
        if let Err(errno) = INSTALLED.get_or_init(install) {
            return Err(io::Error::from_raw_os_error(*errno));
        }
        let guard = Guard { slot: take_slot()? };
        if let Some(slot) = TABLE.get(guard.slot) {
            slot.poisoned.store(false, Ordering::SeqCst);
            // The length first: a slot counts from the moment that it has a start.
            slot.bytes.store(bytes, Ordering::SeqCst);
            slot.start.store(start.addr(), Ordering::SeqCst);
        }
        Ok(guard)
    }

    /// Whether a page of it could not be read and was replaced by zeros.
    pub(super) fn is_poisoned(&self) -> bool {
        TABLE.get(self.slot).is_some_and(|slot| slot.poisoned.load(Ordering::SeqCst))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(slot) = TABLE.get(self.slot) {
            slot.start.store(0, Ordering::SeqCst);
        }
        FREE.lock().push(self.slot);
    }
}

fn take_slot() -> io::Result<usize> {
    let mut free = FREE.lock();
    if let Some(slot) = free.pop() {
        return Ok(slot);
    }
    let next = USED.load(Ordering::SeqCst);
    if next >= SLOTS {
        return Err(io::Error::new(io::ErrorKind::OutOfMemory, format!("{SLOTS} maps are the most")));
    }
    USED.store(next + 1, Ordering::SeqCst);
    Ok(next)
}

fn install() -> Result<(), i32> {
    PAGE_BYTES.store(rustix::param::page_size(), Ordering::SeqCst);
    // SAFETY: all zeros is a valid `sigaction` (no handler, an empty mask), filled in below. The handler has the signature
    // that SA_SIGINFO asks for, and does only what a handler may do. SA_ONSTACK costs nothing where a thread has no stack
    // of its own for signals.
    let failed = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_sigbus as extern "C" fn(_, _, _) as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut())
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)) }
}

extern "C" fn on_sigbus(signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid `siginfo_t` to a handler with SA_SIGINFO, and `errno` is the thread's own. The
    // calls are those that may be made from a handler (sigaction, raise), and mmap, which is a plain system call here.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        // A positive code is the kernel's own: a fault at an address. Others are signals that somebody sent.
        let is_fault = (*info).si_code > 0;
        let replaced = is_fault && replace_page((*info).si_addr().addr());
        if !replaced {
            // Not ours: the process ends as it would have without this handler.
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = libc::SIG_DFL;
            libc::sigaction(signal, &raw const action, ptr::null_mut());
            libc::raise(signal);
        }
        *errno = before;
    }
}

/// Puts a page of zeros in the place of the one that was touched, if it belongs to a guarded map, and marks the map.
fn replace_page(address: usize) -> bool {
    let used = USED.load(Ordering::SeqCst).min(SLOTS);
    let Some(slot) = TABLE.iter().take(used).find(|slot| slot.holds(address)) else {
        return false;
    };
    // Before the page: whoever reads the zeros and then asks must find the mark.
    slot.poisoned.store(true, Ordering::SeqCst);
    let page_bytes = PAGE_BYTES.load(Ordering::SeqCst);
    let page = address - address % page_bytes;
    let end = slot.start.load(Ordering::SeqCst) + slot.bytes.load(Ordering::SeqCst);
    // One page; or, where the process may not have more ranges than it has, all that follow, which takes none.
    map_zeros(page, page_bytes) || map_zeros(page, end - page)
}

fn map_zeros(page: usize, bytes: usize) -> bool {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // SAFETY: the range lies in a map that is alive, because it is being touched; its owner reads it through a `&[u8]` and
    // unmaps the whole of it later, whatever it consists of then.
    let mapped =
        unsafe { libc::mmap(ptr::without_provenance_mut(page), bytes, libc::PROT_READ, flags, -1, 0) };
    mapped != libc::MAP_FAILED
}

#[cfg(test)]
mod tests;
