//! Every task of the project: `cargo xtask VERB`.
//!
//! The verbs check the house rules that the compiler does not know (`tidy`, `layers`, `deny`), run the suites (`test`,
//! `bench`, `soak`, `fuzz`) and put them together for the build server (`ci`).
#![expect(clippy::print_stdout, reason = "a task runner talks to the person who called it")]

mod bench;
mod ci;
mod codegen;
mod deny;
mod fuzz;
mod layers;
mod machine;
mod planted;
mod process;
mod setup;
mod soak;
mod test;
mod tidy;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The tasks of the project", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run every test of the workspace, and name what was left out and why
    Test {
        /// Handed to `cargo test` (a filter, `-- --nocapture`)
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Everything that must hold before a change lands: what `.ci/run` calls
    Ci,
    /// The house rules of the source: sizes, names, links, leftovers
    Tidy,
    /// Which crate may know which: fails on an arrow that is not in the table
    Layers,
    /// Licences, banned crates and sources of everything that is linked, by deny.toml
    Deny,
    /// Run a measurement
    Bench {
        /// One of the names of --list; all of them when left out
        name: Option<String>,
        /// Print the names
        #[arg(long)]
        list: bool,
        /// Handed to the measurement
        #[arg(last = true)]
        rest: Vec<String>,
    },
    /// Run the long suites and the long fuzzing
    Soak {
        /// One of the names of --list; all of them when left out
        name: Option<String>,
        /// Print the names
        #[arg(long)]
        list: bool,
        /// How long one of them may take (suites read it as MILLRACE_SOAK_MINUTES)
        #[arg(long, default_value_t = 10)]
        minutes: u64,
    },
    /// Write the code that is generated from somebody else's schemas
    Codegen {
        /// What is generated
        #[arg(value_enum)]
        what: Generated,
        /// The jar of Kafka's client library that holds the schemas; fetched with Maven when left out
        #[arg(long)]
        jar: Option<PathBuf>,
        /// Only tell whether the files are what they should be
        #[arg(long)]
        check: bool,
    },
    /// Feed the decoders with mutated input
    Fuzz {
        /// One of the names of --list; all of them in turn when left out
        target: Option<String>,
        /// Print the names
        #[arg(long)]
        list: bool,
        /// How long each target runs
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
    /// Name the Debian packages that the suites want; install them when root, with CI set
    Setup,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Generated {
    /// The messages of the Kafka protocol
    Kafka,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().verb {
        Verb::Test { rest } => test::run(&rest),
        Verb::Ci => ci::run(),
        Verb::Tidy => tidy::run(),
        Verb::Layers => layers::run(),
        Verb::Deny => deny::run(),
        Verb::Codegen { what: Generated::Kafka, jar, check } => {
            codegen::kafka(jar, if check { codegen::Mode::Check } else { codegen::Mode::Write })
        }
        Verb::Bench { list: true, .. } => bench::list(),
        Verb::Bench { name, rest, .. } => bench::run(name.as_deref(), &rest),
        Verb::Soak { list: true, .. } => soak::list(),
        Verb::Soak { name, minutes, .. } => soak::run(name.as_deref(), minutes),
        Verb::Fuzz { list: true, .. } => fuzz::list(),
        Verb::Fuzz { target, seconds, .. } => fuzz::run(target.as_deref(), seconds),
        Verb::Setup => setup::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
