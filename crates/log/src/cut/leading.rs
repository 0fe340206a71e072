//! Leader epochs: beginning one, leading it, following another's.

use std::io;
use std::sync::Arc;

use millrace_env::FsExt;
use millrace_types::{LeaderEpoch, Offset};

use super::Waited;
use crate::epochs::EpochCache;
use crate::format::epoch_file;
use crate::inner::LogInner;
use crate::names::LEADER_EPOCHS;
use crate::writer::{Role, Writer};
use crate::{DirError, Replication};

impl LogInner {
    /// Begins a leader epoch at the end of the log, and leads it. Answers where that is.
    pub(crate) fn begin_epoch(self: &Arc<Self>, epoch: LeaderEpoch) -> Result<Offset, DirError> {
        let mut start = Offset::ZERO;
        self.change(|writer| {
            if epoch <= writer.epoch {
                let text = format!("leader epoch {epoch} is not above {}", writer.epoch);
                return Err(DirError::Conflict(text));
            }
            start = writer.end;
            let before = writer.epochs.clone();
            let _changed = writer.epochs.assign(epoch, writer.end);
            if let Err(e) = self.write_epochs(&writer.epochs) {
                writer.epochs = before;
                return Err(self.soft_error("beginning an epoch", e));
            }
            writer.epoch = epoch;
            writer.role = Role::Leading;
            self.set_leader_epoch(epoch);
            Ok(Waited::default())
        })?;
        Ok(start)
    }

    /// Leads no longer: what is queued is refused, and so is what comes.
    pub(crate) fn follow(self: &Arc<Self>) {
        if self.replication() == Replication::Replicated {
            self.turn().role = Role::Following;
        }
    }

    /// Writes what `writer.epochs` says. The caller holds `upkeep`, so nobody else does.
    pub(crate) fn write_epochs(&self, epochs: &EpochCache) -> io::Result<()> {
        self.shared.env.fs.replace(&self.path.join(LEADER_EPOCHS), &epoch_file::encode(epochs))?;
        self.set_served_epochs(epochs);
        Ok(())
    }

    /// What is appended next is of the epoch of this log, unless it comes from a leader with an epoch of its own.
    pub(super) fn assign_own_epoch(&self, writer: &mut Writer) {
        if self.replication() == Replication::Alone {
            let _changed = writer.epochs.assign(writer.epoch, writer.end);
        }
    }
}
