//! The one binary: `millrace serve` runs a broker, everything else is a tool that talks to one or reads its files.

mod args;
mod commands;
mod demo;
mod exit;
mod input;
mod logging;
mod position;
mod record_text;
mod table;
mod watching;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;

/// The system's allocator keeps an arena for each thread; a broker frees on other threads than it allocates on.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
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
