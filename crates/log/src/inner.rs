//! The shared state of one open log: what the writer, the flusher, readers and the janitor meet in.
//!
//! Locks, in the order in which they may be taken: `upkeep`, `writer`, `view`, a segment's `body`, `sync`; the queue, the
//! waiters and the tail cache are leaves. None is held over a sync.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, Ordering};
use std::task::Waker;

use millrace_types::limits::SEGMENT_FILES_BYTES;
use millrace_types::{LeaderEpoch, Offset, SyncMode};
use parking_lot::{Condvar, Mutex, RwLock};

use crate::damage::{DamageList, DamagedRange};
use crate::dir::DirShared;
use crate::epochs::EpochCache;
use crate::flusher::SyncState;
use crate::queue::AppendQueue;
use crate::room::Claim;
use crate::segment::Segment;
use crate::tail_cache::TailCache;
use crate::waiters::{Edge, Waiters};
use crate::writer::{Turns, Writer};
use crate::{AppendError, DirError, LogConfig, LogOffsets, PartitionMeta, ReadError, Replication};

/// Indexes are no larger than one byte for so many of the log, at the default interval.
const LOG_BYTES_PER_INDEX_BYTE: u64 = 128;

/// One open log.
#[derive(Debug)]
pub(crate) struct LogInner {
    pub(crate) shared: Arc<DirShared>,
    pub(crate) meta: PartitionMeta,
    pub(crate) path: Arc<Path>,
    pub(crate) config: RwLock<Arc<LogConfig>>,
    /// Whose room its batches take.
    pub(crate) claim: Claim,
    pub(crate) queue: AppendQueue,
    /// Held by whoever makes, renames or unlinks files other than by a roll: the janitor, cuts, closing, deleting.
    pub(crate) upkeep: Mutex<()>,
    pub(crate) writer: Turns,
    pub(crate) view: RwLock<View>,
    pub(crate) sync: Mutex<SyncState>,
    /// Notified when no sync is in flight any more.
    pub(crate) sync_idle: Condvar,
    pub(crate) waiters: Waiters,
    pub(crate) tail: Arc<TailCache>,
    /// What is not served.
    pub(crate) damage: DamageList,
    /// `writer.epochs` for readers, who must not wait for the writer.
    served_epochs: RwLock<Arc<EpochCache>>,
    closed: AtomicBool,
    /// Whether somebody is writing a segment beside those that there are, see [`crate::replacement`].
    pub(crate) written_beside: AtomicBool,
    /// How often damage was mended.
    pub(crate) mended: AtomicU64,
    /// What the directory's room keeps for the files of its rolled segments.
    owed: AtomicI64,
    /// `writer.epoch` for those who must not wait for the writer.
    epoch: AtomicI32,
    /// `view.high_watermark` and `view.held` for those who must not wait for the view.
    high_watermark: AtomicI64,
    held: AtomicI64,
    /// Whether the directory says that more may be unsynced than the bound on it: without that no append is
    /// acknowledged as sync mode `os` would, see [`crate::recovery`].
    os_marked: AtomicBool,
}

/// What readers see.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) log_start: Offset,
    /// The first offset that is not synced.
    pub(crate) synced_end: Offset,
    /// The first offset that is not held as the sync mode wants it. What is below may be acknowledged.
    pub(crate) held: Offset,
    /// The first offset that consumers do not read: what is held, or less where it is given.
    pub(crate) high_watermark: Offset,
    pub(crate) end: Offset,
    /// By rising base offset; never empty; the last one is active.
    pub(crate) segments: Arc<Vec<Arc<Segment>>>,
}

/// The parts of a log as they were found or made.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) meta: PartitionMeta,
    pub(crate) path: Arc<Path>,
    pub(crate) config: LogConfig,
    pub(crate) writer: Writer,
    pub(crate) view: View,
    /// Segments below the active one that have no seal yet.
    pub(crate) rolled: Vec<Arc<Segment>>,
    pub(crate) os_marked: bool,
    /// What the start has found damaged.
    pub(crate) damaged: Vec<DamagedRange>,
}

impl LogInner {
    pub(crate) fn new(shared: Arc<DirShared>, parts: Parts) -> Arc<LogInner> {
        let Parts { meta, path, config, writer, view, rolled, os_marked, damaged } = parts;
        let high_watermark = AtomicI64::new(view.high_watermark.get());
        let held = AtomicI64::new(view.held.get());
        let epoch = AtomicI32::new(writer.epoch.0);
        let unsealed = rolled.len();
        let sync = SyncState::new(&view, writer.mark(), rolled);
        let served_epochs = RwLock::new(Arc::new(writer.epochs.clone()));
        let damage = DamageList::default();
        for range in damaged {
            let _known = damage.note(range);
        }
        let inner = Arc::new(LogInner {
            shared,
            claim: Claim::of(&meta),
            meta,
            path,
            config: RwLock::new(Arc::new(config)),
            queue: AppendQueue::default(),
            upkeep: Mutex::new(()),
            writer: Turns::new(writer),
            view: RwLock::new(view),
            sync: Mutex::new(sync),
            sync_idle: Condvar::new(),
            waiters: Waiters::default(),
            tail: Arc::default(),
            damage,
            served_epochs,
            closed: AtomicBool::new(false),
            written_beside: AtomicBool::new(false),
            mended: AtomicU64::new(0),
            owed: AtomicI64::new(0),
            epoch,
            high_watermark,
            held,
            os_marked: AtomicBool::new(os_marked),
        });
        inner.owe_for(unsealed);
        inner
    }

    /// Keeps room for the indexes and the seals of so many segments.
    pub(crate) fn owe_for(&self, rolled: usize) {
        let each = SEGMENT_FILES_BYTES + self.config().segment_bytes / LOG_BYTES_PER_INDEX_BYTE;
        let bytes = (rolled as u64).saturating_mul(each);
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.shared.room.owe(bytes.saturating_sub(self.owed.swap(bytes, Ordering::SeqCst)));
    }

    pub(crate) fn config(&self) -> Arc<LogConfig> {
        Arc::clone(&self.config.read())
    }

    /// The sync mode in force.
    pub(crate) fn sync_mode(&self) -> SyncMode {
        match self.config.read().sync_mode {
            SyncMode::Os if !self.os_marked.load(Ordering::SeqCst) => SyncMode::Always,
            mode => mode,
        }
    }

    /// Whether the mark of sync mode `os` is in the directory, synced.
    pub(crate) fn set_os_marked(&self, marked: bool) {
        self.os_marked.store(marked, Ordering::SeqCst);
    }

    pub(crate) fn is_os_marked(&self) -> bool {
        self.os_marked.load(Ordering::SeqCst)
    }

    pub(crate) fn offsets(&self) -> LogOffsets {
        let view = self.view.read();
        LogOffsets {
            log_start: view.log_start,
            local_start: view.log_start,
            high_watermark: view.high_watermark,
            held: view.held,
            last_stable: view.high_watermark,
            synced_end: view.synced_end,
            end: view.end,
        }
    }

    /// Whether other nodes hold the log, too.
    pub(crate) fn replication(&self) -> Replication {
        self.config.read().replication
    }

    /// The first offset that is not held as the sync mode wants it: on a single node the high watermark.
    pub(crate) fn held(&self) -> Offset {
        Offset::new(self.held.load(Ordering::SeqCst)).unwrap_or(Offset::ZERO)
    }

    /// The first offset that consumers do not read.
    pub(crate) fn high_watermark(&self) -> Offset {
        Offset::new(self.high_watermark.load(Ordering::SeqCst)).unwrap_or(Offset::ZERO)
    }

    /// Moves the high watermark, in the view that the caller has locked for writing.
    pub(crate) fn set_high_watermark(&self, view: &mut View, to: Offset) {
        debug_assert!(to <= view.end, "high watermark {to} behind the end {}", view.end);
        view.high_watermark = to;
        self.high_watermark.store(to.get(), Ordering::SeqCst);
    }

    /// Moves what is held, in the view that the caller has locked for writing.
    pub(crate) fn set_held(&self, view: &mut View, to: Offset) {
        view.held = to;
        self.held.store(to.get(), Ordering::SeqCst);
    }

    /// Publishes how far the log is held, which may be the high watermark. The caller holds the writer or has a sync in
    /// flight, so that nobody truncates.
    pub(crate) fn publish_held(&self, held: Offset) {
        if self.held() >= held && self.high_watermark() >= held {
            return;
        }
        let mut view = self.view.write();
        let held = held.max(view.held);
        self.set_held(&mut view, held);
        // Asked behind the lock: whoever changes it publishes once more.
        if self.replication() == Replication::Alone && view.high_watermark < held {
            self.set_high_watermark(&mut view, held);
        }
    }

    /// Raises the high watermark of a replicated log, not beyond what is held. Answers where it is then.
    pub(crate) fn raise_high_watermark(&self, to: Offset) -> Offset {
        if to <= self.high_watermark() {
            return self.high_watermark();
        }
        let raised = {
            let mut view = self.view.write();
            let to = to.min(view.held).max(view.high_watermark);
            self.set_high_watermark(&mut view, to);
            to
        };
        self.take_passed().into_iter().for_each(Waker::wake);
        raised
    }

    /// Takes the wakers of those who wait for something that has come by now.
    pub(crate) fn take_passed(&self) -> Vec<Waker> {
        // Who comes behind this look sees the edges where they are.
        if self.waiters.is_idle() {
            return Vec::new();
        }
        self.waiters.take_passed(Edge::ALL.map(|edge| (edge, self.edge(edge))))
    }

    /// Where an edge of the log is now.
    pub(crate) fn edge(&self, edge: Edge) -> Offset {
        match edge {
            Edge::HighWatermark => self.high_watermark(),
            Edge::Held => self.held(),
            Edge::End => self.view.read().end,
        }
    }

    pub(crate) fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(self.epoch.load(Ordering::SeqCst))
    }

    /// Follows `writer.epoch`, which the caller has just changed.
    pub(crate) fn set_leader_epoch(&self, epoch: LeaderEpoch) {
        self.epoch.store(epoch.0, Ordering::SeqCst);
    }

    /// Which epoch each stored batch is of.
    pub(crate) fn served_epochs(&self) -> Arc<EpochCache> {
        Arc::clone(&self.served_epochs.read())
    }

    /// Follows `writer.epochs`, which the caller has just changed.
    pub(crate) fn set_served_epochs(&self, epochs: &EpochCache) {
        *self.served_epochs.write() = Arc::new(epochs.clone());
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Refuses appends, reads and waits from now on.
    pub(crate) fn mark_closed(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.queue.close();
        self.waiters.wake_all();
    }

    /// Whether the append that ended at `last`, or one that was held before, is safe: `None` while that is not known.
    ///
    /// After a failure nothing is acknowledged, not even what was synced before: which of the two came first is not
    /// worth a race.
    pub(crate) fn acknowledgement(&self, last: Option<Offset>) -> Option<Result<(), AppendError>> {
        if let Some(error) = self.shared.failure.append_error() {
            return Some(Err(error));
        }
        #[cfg(feature = "teeth")]
        millrace_types::planted!(AckBeforeSync => return Some(Ok(())));
        last.is_none_or(|last| self.held() > last).then_some(Ok(()))
    }

    /// Waits until whoever unlinks or replaces segments has shown readers the log as it is then.
    pub(crate) fn after_change(self: &Arc<Self>) -> Result<(), ReadError> {
        drop(self.turn());
        self.check_open()
    }

    pub(crate) fn check_open(&self) -> Result<(), ReadError> {
        if self.is_closed() { Err(ReadError::Closed) } else { Ok(()) }
    }

    /// Notes a failed write or sync and turns it into the answer of an operation.
    pub(crate) fn fail(&self, context: &str, source: std::io::Error) -> DirError {
        self.shared.failure.fail(&format!("{context} of {}: {source}", self.path.display()));
        DirError::Io { context: format!("{context} of {}", self.path.display()), source }
    }
}

impl Drop for LogInner {
    fn drop(&mut self) {
        self.shared.room.owe(-self.owed.load(Ordering::SeqCst));
    }
}
