//! The five seams between Millrace and the machine: clock, randomness, files, network, tasks.
//!
//! Nothing else in the workspace reads a clock, draws a random number, touches a file or a socket, or spawns: so
//! the same broker runs on the real machine ([`real`]) and inside the simulator ([`sim`]), where a test decides what
//! the clock says and which bytes survive a power cut. The traits are object safe and passed on as [`Env`]. On top of
//! them stands what every door needs to let connections in and out ([`Entrance`]).
//!
//! `unsafe` code lives in this crate only, in [`real`], each use with its reason.
#![warn(missing_docs)]

mod clock;
pub mod counting;
mod entrance;
mod fs;
mod net;
pub mod real;
mod rng;
pub mod sim;
mod tasks;

use std::sync::Arc;

pub use clock::{Clock, Monotonic};
pub use entrance::{Entrance, linger};
pub use fs::{
    DirEntry, DirLock, EntryKind, File, Fs, FsExt, HandlesMax, Map, MountIdentity, OpenMode, SpaceLeft,
    is_out_of_files,
};
pub use net::{Listener, Net, NetStream};
pub use rng::{Rng, RngExt};
pub use tasks::{BoxFuture, TaskHandle, Tasks, ThreadHandle};

/// The world that a part of the product runs in. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Env {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// Files.
    pub fs: Arc<dyn Fs>,
    /// Sockets.
    pub net: Arc<dyn Net>,
    /// Tasks and threads.
    pub tasks: Arc<dyn Tasks>,
}
