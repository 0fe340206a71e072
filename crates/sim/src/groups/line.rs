//! Tasks that run one after another on the thread of the world, in the order in which they were woken: the same seed, the same run.
//!
//! What a broker wants to know of its disk it asks in tasks of one name; those can be held back, which is a slow disk.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};

use millrace_env::sim::SimTasks;
use millrace_env::{BoxFuture, TaskHandle, Tasks, ThreadHandle};
use parking_lot::Mutex;

/// The tasks that are held back.
const HELD: &str = "persist of groups";

#[derive(Debug)]
pub(super) struct Line {
    state: Arc<Mutex<State>>,
    threads: SimTasks,
}

#[derive(Default)]
struct State {
    next: u64,
    tasks: BTreeMap<u64, Option<BoxFuture<()>>>,
    ready: VecDeque<u64>,
    held: VecDeque<u64>,
    holding: bool,
    joining: BTreeMap<u64, Vec<Waker>>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tasks, {} ready, {} held", self.tasks.len(), self.ready.len(), self.held.len())
    }
}

struct Woken {
    state: Weak<Mutex<State>>,
    id: u64,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        if let Some(state) = self.state.upgrade() {
            let mut state = state.lock();
            if !state.ready.contains(&self.id) && !state.held.contains(&self.id) {
                state.ready.push_back(self.id);
            }
        }
    }
}

impl Line {
    pub(super) fn new() -> Arc<Line> {
        Arc::new(Line { state: Arc::default(), threads: SimTasks::new() })
    }

    /// Whether the disk is slow.
    pub(super) fn hold(&self, holding: bool) {
        self.state.lock().holding = holding;
    }

    pub(super) fn held(&self) -> usize {
        self.state.lock().held.len()
    }

    /// Lets the oldest of what is held back go.
    pub(super) fn release(&self, count: usize) {
        let mut state = self.state.lock();
        for _ in 0..count {
            let Some(id) = state.held.pop_front() else { return };
            state.ready.push_back(id);
        }
    }

    /// Runs what can run, until nothing can.
    pub(super) fn run(&self) {
        loop {
            let (id, taken) = {
                let mut state = self.state.lock();
                let Some(id) = state.ready.pop_front() else { return };
                (id, state.tasks.get_mut(&id).and_then(Option::take))
            };
            let Some(mut future) = taken else { continue };
            let waker = Waker::from(Arc::new(Woken { state: Arc::downgrade(&self.state), id }));
            let done = future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
            let mut state = self.state.lock();
            let waiting = if done {
                state.tasks.remove(&id);
                state.joining.remove(&id).unwrap_or_default()
            } else {
                if let Some(place) = state.tasks.get_mut(&id) {
                    *place = Some(future);
                }
                Vec::new()
            };
            drop(state);
            waiting.into_iter().for_each(Waker::wake);
        }
    }

    /// Runs everything until this is done.
    ///
    /// # Errors
    /// It waits for something that nobody does.
    pub(super) fn block_on<T: Send + 'static>(
        &self,
        what: &'static str,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, String> {
        let place = Arc::new(Mutex::new(None));
        let result = Arc::clone(&place);
        let _task = self.spawn(what, Box::pin(async move { *result.lock() = Some(future.await) }));
        self.run();
        let taken = place.lock().take();
        taken.ok_or_else(|| format!("{what} does not come to its end"))
    }

    /// The process is no more.
    pub(super) fn clear(&self) {
        let gone = {
            let mut state = self.state.lock();
            (state.ready, state.held) = (VecDeque::new(), VecDeque::new());
            state.joining.clear();
            std::mem::take(&mut state.tasks)
        };
        drop(gone);
    }
}

#[derive(Debug)]
struct Handle {
    state: Arc<Mutex<State>>,
    id: u64,
}

impl TaskHandle for Handle {
    fn abort(&self) {
        let (gone, waiting) = {
            let mut state = self.state.lock();
            (state.tasks.remove(&self.id), state.joining.remove(&self.id).unwrap_or_default())
        };
        drop(gone);
        waiting.into_iter().for_each(Waker::wake);
    }

    fn join(self: Box<Self>) -> BoxFuture<()> {
        Box::pin(std::future::poll_fn(move |context| {
            let mut state = self.state.lock();
            if state.tasks.contains_key(&self.id) {
                state.joining.entry(self.id).or_default().push(context.waker().clone());
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        }))
    }
}

impl Tasks for Line {
    fn spawn(&self, name: &'static str, future: BoxFuture<()>) -> Box<dyn TaskHandle> {
        let mut state = self.state.lock();
        state.next += 1;
        let id = state.next;
        state.tasks.insert(id, Some(future));
        if state.holding && name == HELD {
            state.held.push_back(id);
        } else {
            state.ready.push_back(id);
        }
        Box::new(Handle { state: Arc::clone(&self.state), id })
    }

    fn blocking_section(&self, work: &mut dyn FnMut()) {
        work();
    }

    fn on_io_pool(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
        Box::pin(async move { work() })
    }

    fn thread(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn ThreadHandle>> {
        self.threads.thread(name, work)
    }
}
