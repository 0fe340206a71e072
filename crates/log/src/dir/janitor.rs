//! The janitor: one for the directory, whatever the number of logs.

use std::io;
use std::path::Path;
use std::sync::Arc;

use millrace_env::{EntryKind, Fs};

use super::DirShared;
use crate::recovery::unlink_if_there;
use crate::{Log, names};

/// One round. A failure of one log does not keep the others from their turn.
pub(super) fn step(shared: &DirShared, logs: &[Arc<Log>]) {
    for log in logs {
        if shared.failure.is_failed() {
            return;
        }
        if let Err(error) = log.inner().upkeep() {
            tracing::warn!(partition = %log.inner().meta.id, %error, "the janitor could not finish");
        }
    }
    if let Err(error) = shared.marks.write_and_sync(shared, logs) {
        tracing::warn!(%error, "the synced marks were not written");
    }
    let mut gone = shared.gone.lock();
    if *gone {
        match unlink_gone(&*shared.env.fs, &shared.path) {
            Ok(()) => *gone = false,
            Err(error) => tracing::warn!(%error, "what was deleted could not be unlinked"),
        }
    }
}

/// Unlinks the directories of deleted partitions.
fn unlink_gone(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    for entry in fs.read_dir(path)? {
        if entry.kind != EntryKind::Dir || names::parse_gone_partition_dir(&entry.name).is_none() {
            continue;
        }
        unlink_dir(fs, &path.join(&entry.name))?;
    }
    Ok(())
}

/// Unlinks a directory and the files in it.
pub(super) fn unlink_dir(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    for file in fs.read_dir(dir)? {
        if file.kind == EntryKind::File {
            unlink_if_there(fs, &dir.join(&file.name))?;
        }
    }
    fs.remove_dir(dir)
}
