//! The synced marks of this run, and those that the last one left.
//!
//! A deletion costs no write of them: the file names the partition until the next write, and meanwhile its `.gone` directory says
//! that it was deleted and not lost. So three things are in order:
//! ```text
//!   delete   rename to .gone, sync of the directory ─► (a write without the mark) ─► .gone is unlinked
//!   start    a mark whose partition has a .gone directory and no other one is dropped
//!   create   a write without the mark ─► .gone is unlinked ─► the new directory: no .gone speaks for a log made after it
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millrace_types::TopicPartition;
use parking_lot::Mutex;

use super::DirShared;
use crate::flusher::Mark;
use crate::format::synced_marks::{SyncedMark, SyncedMarksFile};
use crate::{DirError, Log};

/// What `synced.marks` says and will say.
#[derive(Debug)]
pub(crate) struct Marks {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: SyncedMarksFile,
    /// What is in the file, but for deleted partitions.
    written: BTreeMap<TopicPartition, SyncedMark>,
    /// Deleted partitions that the file still names.
    stale: BTreeSet<TopicPartition>,
    writes: u64,
}

impl Marks {
    pub(super) fn new(file: SyncedMarksFile, previous: BTreeMap<TopicPartition, SyncedMark>) -> Marks {
        Marks { state: Mutex::new(State { file, written: previous, stale: BTreeSet::new(), writes: 0 }) }
    }

    /// The mark that the file has for a partition; of one that is not open yet, the last run's.
    pub(crate) fn written(&self, id: TopicPartition) -> Option<SyncedMark> {
        self.state.lock().written.get(&id).copied()
    }

    /// The generation of the marks that are in the file.
    pub(super) fn generation(&self) -> u64 {
        self.state.lock().file.generation()
    }

    /// A deleted partition has no mark; the file forgets it at the next write.
    pub(super) fn forget(&self, id: TopicPartition) {
        let mut state = self.state.lock();
        if state.written.remove(&id).is_some() {
            state.stale.insert(id);
        }
    }

    /// Whether the file may name a partition, deleted or not.
    pub(super) fn names(&self, id: TopicPartition) -> bool {
        let state = self.state.lock();
        state.written.contains_key(&id) || state.stale.contains(&id)
    }

    /// As [`Marks::forget`], and sees to it that the file does not name the partition any more. Where it is made anew (a replica
    /// that was taken out and comes back has the same id), or no `.gone` directory tells of its end, it would look damaged by
    /// the old mark.
    pub(super) fn forget_for_good(&self, shared: &DirShared, id: TopicPartition) -> Result<(), DirError> {
        self.forget(id);
        let mut state = self.state.lock();
        if !state.stale.contains(&id) {
            return Ok(());
        }
        let marks = state.written.clone();
        state.write(shared, marks)
    }

    /// Writes where the logs are synced by now, if that has changed. What is not open keeps its mark.
    pub(super) fn write_and_sync<'a>(
        &self,
        shared: &DirShared,
        logs: impl Iterator<Item = &'a Arc<Log>>,
    ) -> Result<(), DirError> {
        let mut state = self.state.lock();
        let mut marks = state.written.clone();
        // Asked one by one under the lock: a log that is closed by its deletion after that is forgotten after this.
        for log in logs {
            let inner = log.inner();
            marks.insert(inner.meta.id, marked(inner.meta.id, inner.sync.lock().mark()));
        }
        state.write(shared, marks)
    }

    /// Lowers the mark of a log that is about to be cut to `mark`, before it is.
    pub(crate) fn lower(&self, shared: &DirShared, id: TopicPartition, mark: Mark) -> Result<(), DirError> {
        let mut state = self.state.lock();
        let lowered = marked(id, mark);
        if state.written.get(&id).is_none_or(|written| written.offset <= lowered.offset) {
            return Ok(());
        }
        let mut marks = state.written.clone();
        marks.insert(id, lowered);
        state.write(shared, marks)
    }
}

impl State {
    fn write(
        &mut self,
        shared: &DirShared,
        marks: BTreeMap<TopicPartition, SyncedMark>,
    ) -> Result<(), DirError> {
        if marks == self.written && self.stale.is_empty() && self.writes > 0 {
            return Ok(());
        }
        let list: Vec<SyncedMark> = marks.values().copied().collect();
        let written = self.file.write(&list).and_then(|()| self.file.sync());
        written.map_err(|e| shared.soft_error("writing the synced marks", e))?;
        self.written = marks;
        self.stale.clear();
        self.writes += 1;
        Ok(())
    }
}

fn marked(partition: TopicPartition, mark: Mark) -> SyncedMark {
    SyncedMark { partition, base: mark.segment, position: mark.position, offset: mark.offset }
}
