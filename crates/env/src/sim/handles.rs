//! How many handles a process has open: counted, and bounded as the kernel bounds them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::io::Errno;

use crate::HandlesMax;

/// What is open, of the life that runs now.
#[derive(Debug)]
pub(super) struct Handles {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    life: u64,
    max: HandlesMax,
    files: Gauge,
    maps: Gauge,
    closed_unsynced: Vec<PathBuf>,
}

/// How many there are, and how many there were at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Gauge {
    /// Now.
    pub now: u64,
    /// At most, since the process began or the peak was last forgotten.
    pub peak: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum HandleKind {
    File,
    Map,
}

/// One handle. Dropping it closes it.
#[derive(Debug)]
pub(super) struct Handle {
    handles: Arc<Handles>,
    life: u64,
    kind: HandleKind,
}

impl State {
    fn gauge(&mut self, kind: HandleKind) -> &mut Gauge {
        match kind {
            HandleKind::File => &mut self.files,
            HandleKind::Map => &mut self.maps,
        }
    }
}

impl Handles {
    pub(super) fn new() -> Arc<Handles> {
        let state = State {
            life: 0,
            max: HandlesMax { files: u64::MAX, maps: u64::MAX },
            files: Gauge::default(),
            maps: Gauge::default(),
            closed_unsynced: Vec::new(),
        };
        Arc::new(Handles { state: Mutex::new(state) })
    }

    /// The process of `life` begins with nothing open.
    pub(super) fn begin(&self, life: u64) {
        let mut state = self.state.lock();
        let max = state.max;
        *state =
            State { life, max, files: Gauge::default(), maps: Gauge::default(), closed_unsynced: Vec::new() };
    }

    /// Opens one more: EMFILE or ENOMEM if that is one too many.
    pub(super) fn open(self: &Arc<Self>, life: u64, kind: HandleKind) -> io::Result<Handle> {
        let mut state = self.state.lock();
        let (max, error) = match kind {
            HandleKind::File => (state.max.files, Errno::MFILE),
            HandleKind::Map => (state.max.maps, Errno::NOMEM),
        };
        if state.life == life {
            let gauge = state.gauge(kind);
            if gauge.now >= max {
                return Err(error.into());
            }
            gauge.now += 1;
            gauge.peak = gauge.peak.max(gauge.now);
        }
        Ok(Handle { handles: Arc::clone(self), life, kind })
    }

    pub(super) fn max(&self) -> HandlesMax {
        self.state.lock().max
    }

    pub(super) fn set_max(&self, max: HandlesMax) {
        self.state.lock().max = max;
    }

    pub(super) fn gauge_of(&self, kind: HandleKind) -> Gauge {
        *self.state.lock().gauge(kind)
    }

    pub(super) fn forget_peaks(&self) {
        let mut state = self.state.lock();
        state.files.peak = state.files.now;
        state.maps.peak = state.maps.now;
    }

    pub(super) fn note_closed_unsynced(&self, life: u64, path: &Path) {
        let mut state = self.state.lock();
        if state.life == life {
            state.closed_unsynced.push(path.to_owned());
        }
    }

    pub(super) fn take_closed_unsynced(&self) -> Vec<PathBuf> {
        std::mem::take(&mut self.state.lock().closed_unsynced)
    }
}

impl Handle {
    /// Of which process it is.
    pub(super) fn life(&self) -> u64 {
        self.life
    }

    /// A handle of another kind, for the same process.
    pub(super) fn another(&self, kind: HandleKind) -> io::Result<Handle> {
        self.handles.open(self.life, kind)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.handles.state.lock();
        if state.life == self.life {
            let gauge = state.gauge(self.kind);
            gauge.now = gauge.now.saturating_sub(1);
        }
    }
}
