//! All tasks of the world in one line, on the thread of the world: they run one after another, in the order in which they were woken.
//!
//! Each belongs to somebody: a process, which may be paused and may die, or the world.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};

use millrace_env::{BoxFuture, TaskHandle};
use parking_lot::Mutex;

/// Polls in one moment of the world: more are tasks that wake each other for ever.
const POLLS_MAX: usize = 1_000_000;

/// Whose a task is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Owner(pub(super) u64);

/// What nobody can kill.
pub(super) const WORLD: Owner = Owner(0);

#[derive(Debug, Default)]
pub(super) struct Line {
    state: Arc<Mutex<State>>,
}

struct Place {
    owner: Owner,
    /// `None` while it is polled.
    future: Option<BoxFuture<()>>,
    queued: bool,
    joining: Vec<Waker>,
}

#[derive(Default)]
struct State {
    next: u64,
    places: BTreeMap<u64, Place>,
    ready: VecDeque<u64>,
    /// Woken since the last poll. A channel of tokio may wake those who wait for it in any order: they get in line by number.
    woken: Vec<u64>,
    frozen: BTreeMap<Owner, VecDeque<u64>>,
    doomed: BTreeSet<Owner>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tasks, {} ready", self.places.len(), self.ready.len())
    }
}

struct Woken {
    state: Weak<Mutex<State>>,
    id: u64,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        let Some(state) = self.state.upgrade() else { return };
        let mut state = state.lock();
        let State { places, woken, .. } = &mut *state;
        if let Some(place) = places.get_mut(&self.id).filter(|place| !place.queued) {
            place.queued = true;
            woken.push(self.id);
        }
    }
}

impl Line {
    pub(super) fn spawn(&self, owner: Owner, future: BoxFuture<()>) -> Box<dyn TaskHandle> {
        let mut state = self.state.lock();
        state.next += 1;
        let id = state.next;
        state.places.insert(id, Place { owner, future: Some(future), queued: true, joining: Vec::new() });
        state.woken.push(id);
        Box::new(Handle { state: Arc::clone(&self.state), id })
    }

    /// Runs what can run, until nothing can.
    ///
    /// # Errors
    /// It does not come to rest.
    pub(super) fn run(&self) -> Result<(), String> {
        for _ in 0..POLLS_MAX {
            self.bury();
            let Some((id, mut future)) = self.next() else {
                let state = self.state.lock();
                if state.ready.is_empty() && state.woken.is_empty() {
                    return Ok(());
                }
                continue;
            };
            let waker = Waker::from(Arc::new(Woken { state: Arc::downgrade(&self.state), id }));
            let done = future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
            let mut state = self.state.lock();
            let (waiting, gone) = match state.places.get_mut(&id) {
                Some(place) if !done => {
                    place.future = Some(future);
                    (Vec::new(), None)
                }
                _ => {
                    let place = state.places.remove(&id);
                    (place.map(|place| place.joining).unwrap_or_default(), Some(future))
                }
            };
            drop(state);
            drop(gone);
            waiting.into_iter().for_each(Waker::wake);
        }
        Err("tasks wake each other for ever".to_owned())
    }

    fn next(&self) -> Option<(u64, BoxFuture<()>)> {
        let mut state = self.state.lock();
        let mut woken = std::mem::take(&mut state.woken);
        woken.sort_unstable();
        state.ready.extend(woken);
        let id = state.ready.pop_front()?;
        let owner = state.places.get(&id)?.owner;
        if let Some(frozen) = state.frozen.get_mut(&owner) {
            frozen.push_back(id);
            return None;
        }
        let place = state.places.get_mut(&id)?;
        place.queued = false;
        place.future.take().map(|future| (id, future))
    }

    /// What is somebody's does not run.
    pub(super) fn freeze(&self, owner: Owner) {
        self.state.lock().frozen.entry(owner).or_default();
    }

    /// It runs again.
    pub(super) fn thaw(&self, owner: Owner) {
        let mut state = self.state.lock();
        let frozen = state.frozen.remove(&owner).unwrap_or_default();
        state.ready.extend(frozen);
    }

    /// Everything of somebody ends before the next task runs: not now, because one of them may be who says so.
    pub(super) fn doom(&self, owner: Owner) {
        self.state.lock().doomed.insert(owner);
    }

    fn bury(&self) {
        let gone: Vec<Place> = {
            let mut state = self.state.lock();
            if state.doomed.is_empty() {
                return;
            }
            let doomed = std::mem::take(&mut state.doomed);
            let is_doomed = |place: &Place| doomed.contains(&place.owner);
            let ids: Vec<u64> =
                state.places.iter().filter(|(_, place)| is_doomed(place)).map(|(id, _)| *id).collect();
            state.frozen.retain(|owner, _| !doomed.contains(owner));
            ids.iter().filter_map(|id| state.places.remove(id)).collect()
        };
        for place in gone {
            drop(place.future);
            place.joining.into_iter().for_each(Waker::wake);
        }
    }
}

#[derive(Debug)]
struct Handle {
    state: Arc<Mutex<State>>,
    id: u64,
}

impl TaskHandle for Handle {
    fn abort(&self) {
        let gone = self.state.lock().places.remove(&self.id);
        if let Some(place) = gone {
            drop(place.future);
            place.joining.into_iter().for_each(Waker::wake);
        }
    }

    fn join(self: Box<Self>) -> BoxFuture<()> {
        Box::pin(std::future::poll_fn(move |context| {
            let mut state = self.state.lock();
            match state.places.get_mut(&self.id) {
                Some(place) => {
                    place.joining.push(context.waker().clone());
                    Poll::Pending
                }
                None => Poll::Ready(()),
            }
        }))
    }
}

/// Tasks of nobody who is left end where the line does.
#[derive(Debug)]
pub(super) struct Unspawned;

impl TaskHandle for Unspawned {
    fn abort(&self) {}

    fn join(self: Box<Self>) -> BoxFuture<()> {
        Box::pin(std::future::ready(()))
    }
}
