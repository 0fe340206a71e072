//! Where the demo's broker keeps its files.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use millrace_env::RngExt;
use millrace_env::real;

/// A directory that is removed at the end, unless the user named it.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    is_ours: bool,
}

impl Scratch {
    /// The directory named, which must be empty or not exist, or a new one among the temporary files.
    ///
    /// # Errors
    /// It is not empty, or the operating system's.
    pub(super) fn new(named: Option<PathBuf>) -> anyhow::Result<Scratch> {
        let fs = real::env().fs;
        match named {
            Some(path) => {
                fs.create_dir_all(&path).with_context(|| path.display().to_string())?;
                if !fs.read_dir(&path)?.is_empty() {
                    bail!("{} is not empty; the demo wants a directory of its own", path.display());
                }
                Ok(Scratch { path, is_ours: false })
            }
            None => {
                let name = format!("millrace-demo-{:016x}", real::env().rng.next_u64());
                let path = std::env::temp_dir().join(name);
                fs.create_dir_all(&path).with_context(|| path.display().to_string())?;
                Ok(Scratch { path, is_ours: true })
            }
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.is_ours {
            #[expect(clippy::disallowed_methods, reason = "a scratch directory that no log outlives")]
            std::fs::remove_dir_all(&self.path).ok();
        }
    }
}
