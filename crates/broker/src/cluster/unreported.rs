//! That a start has found something lost is remembered until the cluster has been told: the start after it finds nothing amiss.

use std::io;
use std::path::{Path, PathBuf};

use millrace_env::{Env, FsExt};

/// An empty file: what may be lost is everything that was not synced.
fn file(data_dir: &Path) -> PathBuf {
    data_dir.join("losses.unreported")
}

/// Before the directory is opened: unless the last stop was a clean one, something may be lost. Answers whether an earlier start
/// has left that behind.
pub(crate) fn before_open(env: &Env, data_dir: &Path) -> io::Result<bool> {
    let is_new = !env.fs.exists(&data_dir.join("node.meta"))?;
    let left = !is_new && env.fs.exists(&file(data_dir))?;
    if !is_new && !left && !env.fs.exists(&data_dir.join("clean.mark"))? {
        // The mark by which that is seen is renewed by the open.
        env.fs.replace(&file(data_dir), &[])?;
    }
    Ok(left)
}

/// The cluster was told, or there was nothing to tell.
pub(crate) fn forget(env: &Env, data_dir: &Path) -> io::Result<()> {
    match env.fs.unlink(&file(data_dir)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => env.fs.sync_dir(data_dir),
    }
}
