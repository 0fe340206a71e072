//! The command line of a measurement.
#![expect(clippy::print_stdout, reason = "a measurement talks to the person who called it")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use tempfile::TempDir;

use crate::machine;

const QUICK_ROUNDS: usize = 3;

/// What every measurement is told.
#[derive(Clone, Debug, Parser)]
pub struct Options {
    /// Measure only what has one of these in its title.
    pub only: Vec<String>,
    /// Rounds of each side, after one that does not count.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Fewer cases, and as few rounds as are worth a median, where a measurement knows of them: minutes, not an hour.
    #[arg(long)]
    pub quick: bool,
    /// Seconds to wait in all for other processes to be quiet.
    #[arg(long, default_value_t = 60)]
    pub patience: u64,
    /// Where to write; a scratch directory in it is removed at the end. Beside the binary by default.
    #[arg(long)]
    pub dir: Option<PathBuf>,
}

impl Options {
    /// Reads the command line and prints the head of the report.
    #[must_use]
    pub fn read(name: &str) -> Options {
        let mut options = Options::parse();
        if options.quick {
            options.rounds = options.rounds.min(QUICK_ROUNDS);
        }
        println!("# {name}: cargo xtask bench {name}");
        println!("{}", machine::line(&options.folder()));
        options
    }

    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(self.patience)
    }

    /// Beside the binary lies on a real disk; the folder for temporary files often lies in memory.
    fn folder(&self) -> PathBuf {
        let beside = || std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
        self.dir.clone().or_else(beside).unwrap_or_else(|| PathBuf::from("."))
    }

    /// A scratch directory, removed when dropped.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn scratch(&self) -> Result<TempDir> {
        let folder = self.folder();
        tempfile::tempdir_in(&folder).with_context(|| format!("a scratch directory in {}", folder.display()))
    }
}
