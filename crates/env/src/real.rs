//! The real machine: Linux by way of `std`, `rustix`, `memmap2` and tokio.
//!
//! One file per seam. The only `unsafe` of the workspace is in `map.rs`, `sigbus.rs`, `allocator.rs` and `spare.rs`, and in
//! `power.rs` for the suites that cut power.
#![expect(
    clippy::disallowed_methods,
    reason = "this module is the one place that may touch the machine; everyone else is passed an Env"
)]

mod allocator;
mod clock;
mod direct;
mod file;
mod fs;
mod journal;
mod limits;
mod map;
mod net;
mod own_thread;
pub mod power;
mod rng;
mod sigbus;
mod spare;
mod tasks;

use std::sync::Arc;

pub use allocator::{give_freed_memory_back, give_freed_memory_back_after};
pub use clock::RealClock;
pub use fs::RealFs;
pub use limits::raise_files_max;
pub use net::RealNet;
pub use own_thread::OwnThread;
pub use rng::RealRng;
pub use tasks::RealTasks;
use tokio::runtime::Handle;

use crate::Env;

/// The real machine. Tasks are spawned on whatever tokio runtime the caller of `spawn` runs on.
#[must_use]
pub fn env() -> Env {
    env_with(RealTasks::ambient())
}

/// The real machine, with tasks spawned on `runtime` even from threads that run outside it.
#[must_use]
pub fn env_on(runtime: Handle) -> Env {
    env_with(RealTasks::on(runtime))
}

fn env_with(tasks: RealTasks) -> Env {
    Env {
        clock: Arc::new(RealClock::new()),
        rng: Arc::new(RealRng),
        fs: Arc::new(RealFs),
        net: Arc::new(RealNet),
        tasks: Arc::new(tasks),
    }
}
