//! A life of a broker's process: its tasks, which can be paused and which all die at once, and its clocks.
//!
//! The power may go in the middle of a piece of work that blocks: before it, and nothing of it was done, or behind it, and nobody
//! hears of it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use millrace_env::sim::{SimClock, SimDisk, SimRng, Survival};
use millrace_env::{BoxFuture, Clock, Monotonic, TaskHandle, Tasks, ThreadHandle};
use millrace_types::TimestampMs;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::line::{Line, Owner, Unspawned};

/// The clocks of a machine: time passes as everywhere, and the wall clock says something else.
#[derive(Debug)]
pub(super) struct LocalClock {
    inner: Arc<SimClock>,
    ahead_ms: AtomicI64,
}

impl LocalClock {
    pub(super) fn new(inner: &Arc<SimClock>) -> Arc<LocalClock> {
        Arc::new(LocalClock { inner: Arc::clone(inner), ahead_ms: AtomicI64::new(0) })
    }

    /// Sets the wall clock, forward or back.
    pub(super) fn jump(&self, ms: i64) {
        self.ahead_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for LocalClock {
    fn monotonic(&self) -> Monotonic {
        self.inner.monotonic()
    }

    fn wall(&self) -> TimestampMs {
        TimestampMs(self.inner.wall().0.saturating_add(self.ahead_ms.load(Ordering::SeqCst)))
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        self.inner.sleep(duration)
    }
}

/// A process.
#[derive(Debug)]
pub(super) struct Process {
    line: Arc<Line>,
    pub(super) owner: Owner,
    disk: SimDisk,
    clock: Arc<SimClock>,
    rng: Arc<SimRng>,
    is_dead: AtomicBool,
    /// The power went by its own doing.
    lost_power: AtomicBool,
    /// Pieces of work that block until the power goes; 0 for never.
    fuse: AtomicU64,
    cut: Mutex<(Survival, Moment)>,
    /// How long work of the I/O pool takes at most.
    disk_us: AtomicU64,
}

/// A side of a piece of work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Moment {
    /// Nothing of it was done.
    Before,
    /// All of it was done.
    After,
}

impl Process {
    pub(super) fn new(
        line: &Arc<Line>,
        owner: Owner,
        disk: SimDisk,
        clock: &Arc<SimClock>,
        rng: Arc<SimRng>,
    ) -> Arc<Process> {
        Arc::new(Process {
            line: Arc::clone(line),
            owner,
            disk,
            clock: Arc::clone(clock),
            rng,
            is_dead: AtomicBool::new(false),
            lost_power: AtomicBool::new(false),
            fuse: AtomicU64::new(0),
            cut: Mutex::new((Survival::Nothing, Moment::After)),
            disk_us: AtomicU64::new(0),
        })
    }

    pub(super) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::SeqCst)
    }

    /// Whether its end was the planned loss of power.
    pub(super) fn lost_power(&self) -> bool {
        self.lost_power.load(Ordering::SeqCst)
    }

    /// How long work of the I/O pool takes from now on, at most.
    pub(super) fn slow_down(&self, disk: Duration) {
        self.disk_us.store(u64::try_from(disk.as_micros()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Lets the power go so many pieces of work from now; 0 takes that back.
    pub(super) fn arm(&self, sections: u64, survival: Survival, when: Moment) {
        *self.cut.lock() = (survival, when);
        self.fuse.store(sections, Ordering::SeqCst);
    }

    pub(super) fn kill(&self) {
        if !self.is_dead.swap(true, Ordering::SeqCst) {
            self.disk.kill();
        }
        self.line.doom(self.owner);
    }

    pub(super) fn cut_power(&self, survival: Survival) {
        if !self.is_dead.swap(true, Ordering::SeqCst) {
            self.disk.power_cut(survival);
        }
        self.line.doom(self.owner);
    }

    pub(super) fn pause(&self) {
        self.line.freeze(self.owner);
    }

    pub(super) fn go_on(&self) {
        self.line.thaw(self.owner);
    }

    fn work(&self, work: &mut dyn FnMut()) {
        let burnt = self.fuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |fuse| fuse.checked_sub(1));
        let (survival, when) = *self.cut.lock();
        let is_now = burnt == Ok(1) && !self.is_dead();
        if is_now && when == Moment::Before {
            self.lost_power.store(true, Ordering::SeqCst);
            self.cut_power(survival);
        }
        work();
        if is_now && when == Moment::After {
            self.lost_power.store(true, Ordering::SeqCst);
            self.cut_power(survival);
        }
    }
}

/// The tasks of a process.
#[derive(Debug)]
pub(super) struct ProcessTasks(pub(super) Arc<Process>);

impl Tasks for ProcessTasks {
    fn spawn(&self, _name: &'static str, future: BoxFuture<()>) -> Box<dyn TaskHandle> {
        if self.0.is_dead() {
            return Box::new(Unspawned);
        }
        self.0.line.spawn(self.0.owner, future)
    }

    fn blocking_section(&self, work: &mut dyn FnMut()) {
        self.0.work(work);
    }

    fn on_io_pool(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
        let process = Arc::clone(&self.0);
        Box::pin(async move {
            let (sender, receiver) = oneshot::channel();
            let inner = Arc::clone(&process);
            let mut work = Some(work);
            // A task of its own: a caller that gives up does not stop it.
            let run = async move {
                let late = inner.rng.below(inner.disk_us.load(Ordering::SeqCst) + 1);
                inner.clock.sleep(Duration::from_micros(late)).await;
                inner.work(&mut || {
                    if let Some(work) = work.take() {
                        work();
                    }
                });
                let _unheard = sender.send(());
            };
            let _runs_on = ProcessTasks(process).spawn("i/o", Box::pin(run));
            let _dead = receiver.await;
        })
    }

    /// There are no threads here: what wants one does its work itself.
    fn thread(&self, _name: &str, _work: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn ThreadHandle>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
