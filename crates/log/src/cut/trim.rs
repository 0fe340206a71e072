//! Raising the log start: the prefix of a log goes, whole segments of it from the disk.

use std::io;
use std::sync::Arc;

use millrace_types::{Offset, OffsetRange};

use crate::DirError;
use crate::inner::LogInner;
use crate::passing::is_storage_full;
use crate::recovery::unlink_segment;
use crate::segment::Segment;
use crate::writer::Snapshot;

impl LogInner {
    /// Raises the log start and drops the segments below it.
    pub(crate) fn trim_to(self: &Arc<Self>, start: Offset) -> Result<(), DirError> {
        self.shared.failure.check()?;
        let _upkeep = self.upkeep.lock();
        self.check_not_closed()?;
        let (old, high_watermark) = {
            let view = self.view.read();
            (view.log_start, view.high_watermark)
        };
        if start > high_watermark {
            let text = format!("cannot trim to {start}, the high watermark is {high_watermark}");
            return Err(DirError::Conflict(text));
        }
        if start > old { self.trim(start) } else { Ok(()) }
    }

    /// Raises the log start, with whole segments below it gone. The caller holds `upkeep` and nothing else: an append waits
    /// for none of the files that are written and unlinked here.
    pub(crate) fn trim(self: &Arc<Self>, start: Offset) -> Result<(), DirError> {
        let segments = Arc::clone(&self.view.read().segments);
        let kept_from = segments.partition_point(|segment| segment.base <= start).saturating_sub(1);
        let (below, kept) = segments.split_at(kept_from.min(segments.len()));
        let first_kept = kept.first().map_or(start, |segment| segment.base);
        // What the dropped segments say of producers must survive them, and a power cut: a snapshot of an end that is synced.
        let snapshot = (!below.is_empty()).then(|| {
            let writer = self.turn();
            Snapshot { offset: writer.end, state: writer.producers.clone() }
        });
        if snapshot.is_some() || start > self.view.read().synced_end {
            // A log does not start behind what a power cut leaves of it.
            self.sync_now();
            self.shared.failure.check()?;
        }
        #[cfg(feature = "teeth")]
        millrace_types::planted!(UnlinkBeforeLogStart => for gone in below { drop(unlink_segment(&*self.shared.env.fs, &self.path, gone.base)); });
        self.write_trim(start, snapshot.as_ref()).map_err(|e| self.soft_error("trimming", e))?;
        let end = {
            let mut view = self.view.write();
            view.log_start = start;
            // Others may have been rolled meanwhile.
            view.segments = Arc::new(
                view.segments.iter().filter(|segment| segment.base >= first_kept).cloned().collect(),
            );
            view.end
        };
        self.damage.keep_within(OffsetRange { start: first_kept, end });
        {
            let mut sync = self.sync.lock();
            sync.rolled.retain(|rolled| rolled.base >= first_kept);
            self.owe_for(sync.rolled.len());
        }
        below.iter().for_each(|segment| segment.lose());
        self.finish_trim(start, below).map_err(|e| self.soft_error("trimming", e))
    }

    fn write_trim(&self, start: Offset, snapshot: Option<&Snapshot>) -> io::Result<()> {
        if let Some(snapshot) = snapshot {
            self.write_snapshot(snapshot)?;
            self.drop_old_snapshots()?;
        }
        self.write_log_start(start)
    }

    /// Unlinks what was dropped, and writes the epochs that are left. A crash in between is no matter: the next start does it.
    fn finish_trim(self: &Arc<Self>, start: Offset, below: &[Arc<Segment>]) -> io::Result<()> {
        for gone in below {
            unlink_segment(&*self.shared.env.fs, &self.path, gone.base)?;
        }
        let epochs = {
            let mut writer = self.turn();
            let _changed = writer.epochs.trim_from_start(start);
            writer.epochs.clone()
        };
        match self.write_epochs(&epochs) {
            // The log is trimmed. Epochs of what is gone do no harm, and go with the next epoch that is written.
            Err(e) if is_storage_full(&e) => {
                tracing::debug!(path = %self.path.display(), error = %e, "the file of leader epochs was not trimmed");
                Ok(())
            }
            written => written,
        }
    }
}
