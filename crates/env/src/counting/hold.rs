//! Holding calls open: what a test needs to show that something overlaps, or waits, without sleeping.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::{CallKind, Calls};

#[derive(Default, Debug)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default, Debug)]
struct GateState {
    waiting: usize,
    released: bool,
}

/// Calls of one kind, held before they reach the file system. Dropping it releases them.
#[derive(Debug)]
pub struct Hold {
    gate: Arc<Gate>,
    calls: Arc<Calls>,
    kind: CallKind,
}

impl Hold {
    pub(super) fn new(calls: &Arc<Calls>, kind: CallKind) -> Hold {
        let gate = Arc::new(Gate::default());
        let inner = Arc::clone(&gate);
        calls.on_call(
            kind,
            Box::new(move |_| {
                let mut state = inner.state.lock();
                state.waiting += 1;
                inner.changed.notify_all();
                inner.changed.wait_while(&mut state, |state| !state.released);
                state.waiting -= 1;
            }),
        );
        Hold { gate, calls: Arc::clone(calls), kind }
    }

    /// Blocks the thread until `calls` calls are held at once. Not to be called where it keeps those calls from
    /// being made: on the only thread of a runtime, for example.
    pub fn wait_for(&self, calls: usize) {
        let mut state = self.gate.state.lock();
        self.gate.changed.wait_while(&mut state, |state| state.waiting < calls);
    }

    /// How many calls are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.gate.state.lock().waiting
    }

    /// Lets the held calls and all later ones go.
    pub fn release(self) {
        drop(self);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.calls.remove_hook(self.kind);
        self.gate.state.lock().released = true;
        self.gate.changed.notify_all();
    }
}
