//! The one binary: `millrace serve` runs a broker, everything else is a tool that talks to one or reads its files.

mod args;
mod child;
mod commands;
mod demo;
mod dev_cluster;
mod exit;
mod input;
mod logging;
mod position;
mod record_text;
mod table;
mod watching;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::args::Cli;

/// The system's allocator keeps an arena for each thread; a broker frees on other threads than it allocates on.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Freed memory goes back to the kernel after so long. What is kept longer counts against a machine's memory, and against our budget
/// of it. It has its price: at a gigabyte per second of large requests most buffers are new ones to the kernel.
const FREED_MEMORY_KEPT: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    millrace_env::real::give_freed_memory_back_after(FREED_MEMORY_KEPT);
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            exit::tell!("millrace: the runtime does not start: {e}");
            return ExitCode::from(exit::FAILURE);
        }
    };
    let outcome = runtime.block_on(commands::run(cli));
    // Blocking reads of standard input cannot be cancelled: do not wait for them.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(e) => exit::report(&e),
    }
}
