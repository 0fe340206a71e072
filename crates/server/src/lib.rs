//! A broker as a process: reads its configuration, builds the parts, starts them, drains them.

pub mod config;
mod exit;
mod http;
mod listen;
mod metrics;
mod running;
mod signals;

/// Building lost metadata anew, for the tool that does it while no server runs.
pub use millrace_broker::repair;

pub use config::ServerConfig;
pub use exit::Exit;
pub use listen::Listen;
pub use running::{RunningServer, ServerInfo, StartError, start};
pub use signals::stop_signals;
