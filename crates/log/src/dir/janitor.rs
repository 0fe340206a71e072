//! The janitor: one for the directory, whatever the number of logs.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millrace_env::{Clock, EntryKind, Fs, Monotonic};
use millrace_types::TimestampMs;
use millrace_types::limits::{CLOCK_JUMP_MS, PRODUCER_ID_EXPIRATION_MS};

use super::DirShared;
use crate::cleaning::Round;
use crate::recovery::unlink_if_there;
use crate::{Log, names};

/// How often idle producers are looked for.
const EXPIRY_EVERY: Duration = Duration::from_secs(600);

/// When idle producers were last looked for.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    last: Option<(Monotonic, TimestampMs)>,
}

impl Expiry {
    /// The wall time to expire by, if it is time and the clock can be believed.
    fn due(&mut self, clock: &dyn Clock) -> Option<TimestampMs> {
        let (now, wall) = (clock.monotonic(), clock.wall());
        let Some((last, last_wall)) = self.last else {
            self.last = Some((now, wall));
            return None;
        };
        let passed = now.since(last);
        if passed < EXPIRY_EVERY {
            return None;
        }
        self.last = Some((now, wall));
        let passed_ms = i64::try_from(passed.as_millis()).unwrap_or(i64::MAX);
        let jumped = wall.0.saturating_sub(last_wall.0).saturating_sub(passed_ms);
        (jumped.saturating_abs() < CLOCK_JUMP_MS).then_some(wall)
    }
}

/// One round. A failure of one log does not keep the others from their turn.
pub(super) fn step(shared: &DirShared, logs: &[Arc<Log>], (expiry, retention): (&mut Expiry, &mut Round)) {
    if let Some(now) = expiry.due(&*shared.env.clock) {
        for log in logs {
            log.inner().turn().producers.expire(now, PRODUCER_ID_EXPIRATION_MS);
        }
    }
    shared.sync_due();
    for log in logs {
        if shared.failure.is_failed() {
            return;
        }
        if let Err(error) = log.inner().upkeep() {
            tracing::warn!(partition = %log.inner().meta.id, %error, "the janitor could not finish");
        }
    }
    retention.step(logs);
    // The mark of a log that was deleted under the janitor's hands must not come back: made anew, it would look damaged.
    let open = logs.iter().filter(|log| !log.inner().is_closed());
    if let Err(error) = shared.marks.write_and_sync(shared, open) {
        tracing::warn!(%error, "the synced marks were not written");
    }
    let mut gone = shared.gone.lock();
    if *gone {
        match unlink_gone(shared) {
            Ok(left) => *gone = left > 0,
            Err(error) => tracing::warn!(%error, "what was deleted could not be unlinked"),
        }
    }
    drop(gone);
    shared.room.look();
}

/// Unlinks the directories of deleted partitions that the synced marks do not name any more, and answers how many are left.
fn unlink_gone(shared: &DirShared) -> io::Result<usize> {
    let (fs, path, mut left) = (&*shared.env.fs, &shared.path, 0);
    for entry in fs.read_dir(path)?.iter().filter(|entry| entry.kind == EntryKind::Dir) {
        let Some(id) = names::parse_gone_partition_dir(&entry.name) else { continue };
        // Without it a start would take the partition for lost.
        if shared.marks.names(id) {
            left += 1;
        } else {
            unlink_dir(fs, &path.join(&entry.name))?;
        }
    }
    Ok(left)
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
