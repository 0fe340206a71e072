//! The simulated machine: a clock that a test advances, a disk that forgets what was not synced, a network inside
//! the process, and numbers that come from a seed.
//!
//! ```
//! use std::path::Path;
//! use millrace_env::{FsExt, OpenMode, sim::{Sim, Survival}};
//!
//! let sim = Sim::new(7);
//! let env = sim.env();
//! let file = env.fs.open(Path::new("/log"), OpenMode::CreateNew)?;
//! file.write_all_at(b"record", 0)?;
//! file.sync_data()?;
//! let env = sim.power_cut(Survival::Nothing);
//! assert!(!env.fs.exists(Path::new("/log"))?); // nobody called sync_dir
//! # Ok::<(), std::io::Error>(())
//! ```

mod clock;
mod content;
mod directory;
mod disk;
mod faults;
mod file;
mod fs;
mod handles;
mod net;
mod planned_cut;
mod power;
mod rng;
mod space;
mod tasks;

use std::sync::Arc;

pub use clock::SimClock;
pub use disk::SimDisk;
pub use faults::{Fault, Transfers};
pub use handles::Gauge;
pub use net::SimNet;
pub use planned_cut::PlannedCut;
pub use power::{FileChange, PAGE_BYTES, Pending, SECTOR_BYTES, Survival};
pub use rng::SimRng;
pub use tasks::SimTasks;

use crate::Env;
use crate::counting::{Calls, Counting};

/// A machine made from a seed: gives out an [`Env`] and keeps the handles that steer it.
#[derive(Debug)]
pub struct Sim {
    clock: Arc<SimClock>,
    rng: Arc<SimRng>,
    disk: SimDisk,
    net: SimNet,
    calls: Arc<Calls>,
}

impl Sim {
    /// A machine with an empty disk, at 2025-01-01T00:00:00Z.
    #[must_use]
    pub fn new(seed: u64) -> Sim {
        Sim {
            clock: Arc::new(SimClock::new()),
            rng: Arc::new(SimRng::new(seed)),
            // Another sequence than that of `rng`, so that what the disk draws does not echo in ids.
            disk: SimDisk::new(!seed),
            net: SimNet::new(),
            calls: Calls::new(),
        }
    }

    /// A machine of its own with a copy of this one's disk, at the same wall time: see [`SimDisk::fork`].
    #[must_use]
    pub fn fork(&self, seed: u64) -> Sim {
        let sim = Sim { disk: self.disk.fork(!seed), ..Sim::new(seed) };
        sim.clock.set_wall(crate::Clock::wall(&*self.clock));
        sim
    }

    /// The world of the process that runs now. Calls to its file system are counted in [`Self::calls`].
    #[must_use]
    pub fn env(&self) -> Env {
        Env {
            clock: Arc::clone(&self.clock) as Arc<dyn crate::Clock>,
            rng: Arc::clone(&self.rng) as Arc<dyn crate::Rng>,
            fs: Arc::new(Counting::new(self.disk.fs(), Arc::clone(&self.calls))),
            net: Arc::new(self.net.clone()),
            tasks: Arc::new(SimTasks::new()),
        }
    }

    /// The process dies and another one starts: see [`SimDisk::kill`]. The clock goes on, and so does the network:
    /// tasks that the test keeps keep their connections.
    pub fn kill(&self) -> Env {
        self.disk.kill();
        self.env()
    }

    /// The power goes and comes back: see [`SimDisk::power_cut`].
    pub fn power_cut(&self, survival: Survival) -> Env {
        self.disk.power_cut(survival);
        self.env()
    }

    /// Plans a cut of the power right before call number `at`, from now on, of the file system. What runs then meets errors
    /// only, until [`Self::power_cut`] gives out the next world.
    #[must_use]
    pub fn plan_cut(&self, at: u64, survival: Survival) -> PlannedCut {
        PlannedCut::new(&self.calls, &self.disk, at, survival)
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<SimClock> {
        &self.clock
    }

    /// The random numbers.
    #[must_use]
    pub fn rng(&self) -> &Arc<SimRng> {
        &self.rng
    }

    /// The disk.
    #[must_use]
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// The network.
    #[must_use]
    pub fn net(&self) -> &SimNet {
        &self.net
    }

    /// The calls to the file system, over all lives.
    #[must_use]
    pub fn calls(&self) -> &Arc<Calls> {
        &self.calls
    }
}
