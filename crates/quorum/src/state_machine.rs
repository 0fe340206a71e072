//! The image between openraft and everybody who looks at it.
//!
//! ```text
//!   committed entries ── apply ──► image ──► readers
//!                                    └─ snapshot ──► quorum.snapshot (synced)
//! ```
//! What is applied is in memory: a start begins with the newest snapshot, and openraft applies what is behind it once it
//! knows that it is committed.
#![expect(clippy::result_large_err, reason = "openraft's own error is what openraft must be told")]

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use millrace_env::Env;
use millrace_metadata::Image;
use millrace_schema::{QuorumMembers, QuorumPosition, QuorumSnapshot};
use millrace_types::limits::QUORUM_SNAPSHOT_BYTES_MAX;
use openraft::storage::RaftStateMachine;
use openraft::{
    Entry, EntryPayload, ErrorSubject, ErrorVerb, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta,
    StoredMembership,
};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::files::{FileError, QuorumFiles};
use crate::raft::{
    Address, Consensus, Outcome, Proposal, RaftId, RaftLogId, RaftStorageError, log_id_of, members_of,
    membership_of, position_of, storage_error,
};
use crate::runtime::blocking;

/// What everybody sees of the state machine.
#[derive(Debug)]
pub(crate) struct Published {
    image: ArcSwap<Image>,
    changed: watch::Sender<u64>,
}

impl Published {
    fn new(image: Arc<Image>) -> Published {
        let changed = watch::Sender::new(image.version());
        Published { image: ArcSwap::new(image), changed }
    }

    pub(crate) fn image(&self) -> Arc<Image> {
        self.image.load_full()
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn publish(&self, image: &Arc<Image>) {
        if self.image.load().version() != image.version() {
            self.image.store(Arc::clone(image));
            self.changed.send_replace(image.version());
        }
    }
}

/// Everything up to an entry.
#[derive(Clone, Debug, Default)]
struct Applied {
    last: Option<QuorumPosition>,
    members: QuorumMembers,
    members_at: Option<QuorumPosition>,
    image: Arc<Image>,
}

impl Applied {
    fn membership(&self) -> StoredMembership<RaftId, Address> {
        StoredMembership::new(self.members_at.as_ref().map(log_id_of), membership_of(&self.members))
    }

    fn snapshot(&self) -> QuorumSnapshot {
        QuorumSnapshot {
            last: self.last,
            members: self.members.clone(),
            members_at: self.members_at,
            version: self.image.version(),
            records: self.image.to_records(),
        }
    }

    fn restore(snapshot: QuorumSnapshot) -> Result<Applied, String> {
        let QuorumSnapshot { last, members, members_at, version, records } = snapshot;
        let image = records.iter().try_fold(Image::default(), Image::apply);
        let image = image.map_err(|error| error.to_string())?;
        if image.version() != version {
            let folded = image.version();
            return Err(format!("it folds into version {folded}, and says that it is version {version}"));
        }
        Ok(Applied { last, members, members_at, image: Arc::new(image) })
    }
}

/// The newest snapshot on the disk. A builder and an installation may come at the same time.
#[derive(Debug)]
struct Snapshots {
    files: QuorumFiles,
    /// What the newest one covers, while nobody is writing another.
    newest: Mutex<Option<QuorumPosition>>,
    covered: watch::Sender<Covered>,
}

/// How far the newest snapshot on the disk goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Covered {
    /// The index of the last entry that is in it.
    pub(crate) index: Option<u64>,
    /// There will be no other one.
    pub(crate) has_failed: bool,
}

/// The state machine of one node.
#[derive(Debug)]
pub(crate) struct StateMachine {
    env: Arc<Env>,
    applied: Applied,
    snapshots: Arc<Snapshots>,
    published: Arc<Published>,
}

/// Builds a snapshot of what was applied when it was made.
#[derive(Debug)]
pub(crate) struct Builder {
    env: Arc<Env>,
    applied: Applied,
    snapshots: Arc<Snapshots>,
}

impl StateMachine {
    /// Begins with the newest snapshot. Blocks.
    pub(crate) fn open(env: &Arc<Env>, files: QuorumFiles) -> Result<StateMachine, FileError> {
        let applied = match files.snapshot()? {
            None => Applied::default(),
            Some(snapshot) => Applied::restore(snapshot)
                .map_err(|what| FileError::Damaged { path: "quorum.snapshot".to_owned(), what })?,
        };
        let published = Arc::new(Published::new(Arc::clone(&applied.image)));
        let newest = Mutex::new(applied.last);
        let index = applied.last.map(|last| last.index);
        let covered = watch::Sender::new(Covered { index, has_failed: false });
        let snapshots = Arc::new(Snapshots { files, newest, covered });
        Ok(StateMachine { env: Arc::clone(env), applied, snapshots, published })
    }

    pub(crate) fn covered(&self) -> watch::Receiver<Covered> {
        self.snapshots.covered.subscribe()
    }

    pub(crate) fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published)
    }

    fn apply_one(&mut self, entry: Entry<Consensus>) -> Result<Outcome, RaftStorageError> {
        let at = position_of(&entry.log_id);
        let wrong = |what: &dyn fmt::Display| {
            storage_error(ErrorSubject::Apply(entry.log_id), ErrorVerb::Write, what)
        };
        if self.applied.last.is_some_and(|last| last.index >= at.index) {
            return Err(wrong(&format_args!("{:?} was applied before", self.applied.last)));
        }
        let outcome = match entry.payload {
            EntryPayload::Blank => Outcome::Nothing,
            EntryPayload::Membership(membership) => {
                self.applied.members = members_of(&membership);
                self.applied.members_at = Some(at);
                Outcome::Nothing
            }
            EntryPayload::Normal(Proposal { base, records }) => {
                if self.applied.image.version() == base {
                    // All of the facts or none.
                    let image = Image::clone(&self.applied.image);
                    let folded = records.iter().try_fold(image, Image::apply);
                    self.applied.image = Arc::new(folded.map_err(|error| wrong(&error))?);
                    Outcome::Folded
                } else {
                    Outcome::Stale
                }
            }
        };
        self.applied.last = Some(at);
        Ok(outcome)
    }
}

impl Snapshots {
    /// Puts a snapshot in place of the one there is, unless that covers more: the log may be purged up to it.
    fn keep(&self, last: Option<QuorumPosition>, frame: &[u8]) -> Result<(), FileError> {
        let mut newest = self.newest.lock();
        let index = |at: Option<QuorumPosition>| at.map(|at| at.index);
        if index(*newest) > index(last) {
            return Ok(());
        }
        self.files.write_snapshot(frame)?;
        *newest = last;
        self.covered.send_modify(|covered| covered.index = index(last));
        Ok(())
    }

    fn fail(&self) {
        self.covered.send_modify(|covered| covered.has_failed = true);
    }
}

fn meta_of(applied: &Applied) -> SnapshotMeta<RaftId, Address> {
    let last_log_id: Option<RaftLogId> = applied.last.as_ref().map(log_id_of);
    let snapshot_id = last_log_id.map_or_else(|| "none".to_owned(), |last| last.to_string());
    SnapshotMeta { last_log_id, last_membership: applied.membership(), snapshot_id }
}

fn snapshot_error(verb: ErrorVerb, error: impl fmt::Display) -> RaftStorageError {
    storage_error(ErrorSubject::Snapshot(None), verb, error)
}

impl RaftSnapshotBuilder<Consensus> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Consensus>, RaftStorageError> {
        let build = || -> Result<Bytes, RaftStorageError> {
            let frame = self.applied.snapshot().encode();
            if frame.len() > QUORUM_SNAPSHOT_BYTES_MAX {
                let what = format!("{} bytes, {QUORUM_SNAPSHOT_BYTES_MAX} at most", frame.len());
                return Err(snapshot_error(ErrorVerb::Write, what));
            }
            let kept = self.snapshots.keep(self.applied.last, &frame);
            kept.map_err(|error| snapshot_error(ErrorVerb::Write, error))?;
            Ok(frame.into())
        };
        let frame = blocking(&self.env, build).inspect_err(|_| self.snapshots.fail())?;
        Ok(Snapshot { meta: meta_of(&self.applied), snapshot: Box::new(frame) })
    }
}

impl RaftStateMachine<Consensus> for StateMachine {
    type SnapshotBuilder = Builder;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<RaftLogId>, StoredMembership<RaftId, Address>), RaftStorageError> {
        Ok((self.applied.last.as_ref().map(log_id_of), self.applied.membership()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Outcome>, RaftStorageError>
    where
        I: IntoIterator<Item = Entry<Consensus>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut outcomes = Vec::new();
        for entry in entries {
            outcomes.push(self.apply_one(entry)?);
        }
        self.published.publish(&self.applied.image);
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let snapshots = Arc::clone(&self.snapshots);
        Builder { env: Arc::clone(&self.env), applied: self.applied.clone(), snapshots }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Bytes>, RaftStorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<RaftId, Address>,
        snapshot: Box<Bytes>,
    ) -> Result<(), RaftStorageError> {
        let install = || -> Result<Applied, RaftStorageError> {
            let decoded = QuorumSnapshot::decode(&snapshot).map_err(|error| error.to_string());
            let applied = decoded.and_then(Applied::restore);
            let applied = applied.map_err(|error| snapshot_error(ErrorVerb::Read, error))?;
            if applied.last != meta.last_log_id.as_ref().map(position_of) {
                let what = format!("it ends at {:?}, {meta} was announced", applied.last);
                return Err(snapshot_error(ErrorVerb::Read, what));
            }
            let kept = self.snapshots.keep(applied.last, &snapshot);
            kept.map_err(|error| snapshot_error(ErrorVerb::Write, error))?;
            Ok(applied)
        };
        self.applied = blocking(&self.env, install).inspect_err(|_| self.snapshots.fail())?;
        self.published.publish(&self.applied.image);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Consensus>>, RaftStorageError> {
        let read = || -> Result<_, String> {
            let snapshot = self.snapshots.files.snapshot().map_err(|error| error.to_string())?;
            let Some(snapshot) = snapshot else { return Ok(None) };
            let frame: Bytes = snapshot.encode().into();
            let applied = Applied::restore(snapshot)?;
            Ok(Some(Snapshot { meta: meta_of(&applied), snapshot: Box::new(frame) }))
        };
        blocking(&self.env, read).map_err(|error| snapshot_error(ErrorVerb::Read, error))
    }
}
