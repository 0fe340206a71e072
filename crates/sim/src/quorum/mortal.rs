//! The tasks of a process that can die: all at once, or the power goes while one of them is in the middle of a sync.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures::future::{AbortHandle, abortable};
use millrace_env::sim::{SimDisk, SimTasks, Survival};
use millrace_env::{BoxFuture, TaskHandle, Tasks, ThreadHandle};
use parking_lot::Mutex;

/// Tasks of one life of a process.
#[derive(Debug)]
pub(super) struct Mortal {
    inner: SimTasks,
    disk: SimDisk,
    living: Mutex<Vec<AbortHandle>>,
    is_dead: AtomicBool,
    /// Blocking sections until the power goes; 0 for never.
    fuse: AtomicU64,
    survival: Mutex<Survival>,
    /// Whether the power goes before the work of that section, or behind it.
    is_before: AtomicBool,
}

impl Mortal {
    pub(super) fn new(disk: SimDisk) -> Arc<Mortal> {
        Arc::new(Mortal {
            inner: SimTasks::new(),
            disk,
            living: Mutex::default(),
            is_dead: AtomicBool::new(false),
            fuse: AtomicU64::new(0),
            survival: Mutex::new(Survival::Nothing),
            is_before: AtomicBool::new(false),
        })
    }

    /// Lets the power go in a blocking section: the work of it is begun, or done, and nobody hears of it.
    pub(super) fn arm(&self, sections: u64, survival: Survival, when: Moment) {
        *self.survival.lock() = survival;
        self.is_before.store(when == Moment::Before, Ordering::SeqCst);
        self.fuse.store(sections, Ordering::SeqCst);
    }

    pub(super) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::SeqCst)
    }

    /// Ends every task at its next await point, and the files with the process.
    pub(super) fn kill(&self) {
        self.is_dead.store(true, Ordering::SeqCst);
        self.living.lock().drain(..).for_each(|task| task.abort());
    }

    fn lose_power(&self) {
        self.disk.power_cut(*self.survival.lock());
        self.kill();
    }
}

/// A side of a blocking section.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Moment {
    /// Nothing of it was done.
    Before,
    /// All of it was done.
    After,
}

impl Tasks for Mortal {
    fn spawn(&self, name: &'static str, future: BoxFuture<()>) -> Box<dyn TaskHandle> {
        let (future, handle) = abortable(future);
        if self.is_dead() {
            handle.abort();
        }
        self.living.lock().push(handle);
        let work = async move {
            let _ended = future.await;
        };
        self.inner.spawn(name, Box::pin(work))
    }

    fn blocking_section(&self, work: &mut dyn FnMut()) {
        let burnt = self.fuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |fuse| fuse.checked_sub(1));
        let is_now = burnt == Ok(1);
        let is_before = self.is_before.load(Ordering::SeqCst);
        if is_now && is_before {
            self.lose_power();
        }
        work();
        if is_now && !is_before {
            self.lose_power();
        }
    }

    fn on_io_pool(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
        self.inner.on_io_pool(work)
    }

    fn thread(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn ThreadHandle>> {
        self.inner.thread(name, work)
    }
}
