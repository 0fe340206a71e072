//! The moments at which a process can crash: before each of its calls, and after the last one.
//!
//! One run of the workload is enough: at each call the disk is copied. A call that changes nothing leaves the state of
//! the call before it, so no copy is taken then unless the ledger has changed.

use std::path::PathBuf;
use std::sync::Arc;

use millrace_env::counting::{Call, CallKind};
use millrace_env::sim::{Sim, SimRng};
use parking_lot::Mutex;

fn changes(kind: CallKind) -> bool {
    !matches!(
        kind,
        CallKind::Open
            | CallKind::ReadDir
            | CallKind::MountIdentity
            | CallKind::SpaceLeft
            | CallKind::Read
            | CallKind::Size
            | CallKind::Map
            | CallKind::Populate
            | CallKind::Allocate
    )
}

/// A moment: the disk and what the oracle knew.
#[derive(Debug)]
pub(super) struct Point<L> {
    /// The number of the call that is not made any more.
    pub(super) call: u64,
    /// That call; `None` at the end.
    pub(super) kind: Option<CallKind>,
    pub(super) path: PathBuf,
    pub(super) sim: Sim,
    pub(super) ledger: L,
}

/// An oracle's notes, which are copied at each point.
pub(super) trait Notes: Clone + Default + Send + 'static {
    /// Rises with every change.
    fn revision(&self) -> u64;

    /// What the process is doing.
    fn operation(&self) -> &'static str;

    /// Recovers what a crash has left and tells which promise it breaks.
    fn check(&self, sim: &Sim, cache: Cache) -> Result<(), String>;

    /// Recovers, and no more.
    fn recover(&self, sim: &Sim) -> Result<(), String>;

    /// Harms what is on the disk in ways that must be noticed or make no difference, and tells which promise breaks.
    fn check_harmed(&self, sim: &Sim, draw: &SimRng) -> Result<(), String>;
}

/// Whether the cache of a state can be believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cache {
    /// It shows what is on the medium, or on its way there.
    Honest,
    /// A sync has failed: it shows bytes that the medium will never have.
    Lies,
}

#[derive(Debug)]
struct State<L> {
    calls: u64,
    changed: bool,
    revision: Option<u64>,
    points: Vec<Point<L>>,
}

/// Takes the points while a workload runs.
#[derive(Debug)]
pub(super) struct Recorder<L> {
    sim: Arc<Sim>,
    ledger: Arc<Mutex<L>>,
    state: Arc<Mutex<State<L>>>,
}

impl<L: Notes> Recorder<L> {
    pub(super) fn start(sim: &Arc<Sim>, ledger: &Arc<Mutex<L>>) -> Recorder<L> {
        let state = State { calls: 0, changed: true, revision: None, points: Vec::new() };
        let recorder =
            Recorder { sim: Arc::clone(sim), ledger: Arc::clone(ledger), state: Arc::new(Mutex::new(state)) };
        for kind in CallKind::ALL {
            let (sim, ledger) = (Arc::clone(sim), Arc::clone(ledger));
            let state = Arc::clone(&recorder.state);
            let hook = move |call: &Call| {
                let mut state = state.lock();
                take(&mut state, &sim, &ledger, Some(call));
                state.calls += 1;
                state.changed |= changes(kind);
            };
            recorder.sim.calls().on_call(kind, Box::new(hook));
        }
        recorder
    }

    /// Ends the recording. Answers the points, the end of the workload as the last one, and the number of calls.
    pub(super) fn finish(self) -> (Vec<Point<L>>, u64) {
        CallKind::ALL.into_iter().for_each(|kind| self.sim.calls().remove_hook(kind));
        let mut state = self.state.lock();
        take(&mut state, &self.sim, &self.ledger, None);
        (std::mem::take(&mut state.points), state.calls)
    }
}

fn take<L: Notes>(state: &mut State<L>, sim: &Sim, ledger: &Mutex<L>, call: Option<&Call>) {
    let revision = ledger.lock().revision();
    if !state.changed && state.revision == Some(revision) {
        return;
    }
    state.changed = false;
    state.revision = Some(revision);
    let point = Point {
        call: state.calls,
        kind: call.map(|call| call.kind),
        path: call.map(|call| call.path.clone()).unwrap_or_default(),
        sim: sim.fork(state.calls),
        ledger: ledger.lock().clone(),
    };
    state.points.push(point);
}
