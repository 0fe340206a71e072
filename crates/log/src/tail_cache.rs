//! The tail cache: the last appended bytes of every log, so that live readers share them without a copy or a call.
//!
//! ```text
//!   one log:   [ run: small batches of one write, joined ][ run: one large batch, as received ][ run ... ]
//!   all logs:  oldest run ◄──────────── one queue, bounded in bytes ────────────► newest run
//! ```
//! A run is immutable. Batches lie next to each other in offsets: a log whose cache was cleared starts over at its end.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use millrace_record::HEAD_BYTES;
use millrace_types::Offset;
use parking_lot::Mutex;

/// What a cached run takes besides its bytes, roughly: many tiny ones must not grow past the bound.
const RUN_OVERHEAD_BYTES: usize = 256;

/// Batches that were written together and lie next to each other.
#[derive(Debug)]
pub(crate) struct Run {
    base: Offset,
    bytes: RunBytes,
    /// For each batch, the offset behind it and the position behind it in the run.
    ends: Vec<(Offset, usize)>,
}

#[derive(Debug)]
enum RunBytes {
    /// Whole batches, one behind the other.
    Joined(Bytes),
    /// One batch: its head as it stands in the log, and the rest in the memory in which it was received. Joined once,
    /// when the first reader comes, for all readers.
    Placed { head: [u8; HEAD_BYTES], tail: Bytes, whole: OnceLock<Bytes> },
}

impl Run {
    /// Small batches that were copied together.
    pub(crate) fn joined(base: Offset, bytes: Bytes, ends: Vec<(Offset, usize)>) -> Run {
        Run { base, bytes: RunBytes::Joined(bytes), ends }
    }

    /// One batch as it was received, with the head that it was given.
    pub(crate) fn placed(base: Offset, end: Offset, head: [u8; HEAD_BYTES], tail: Bytes) -> Run {
        let size = HEAD_BYTES + tail.len();
        Run { base, bytes: RunBytes::Placed { head, tail, whole: OnceLock::new() }, ends: vec![(end, size)] }
    }

    fn size(&self) -> usize {
        self.ends.last().map_or(0, |(_, position)| *position)
    }

    fn end(&self) -> Offset {
        self.ends.last().map_or(self.base, |(offset, _)| *offset)
    }

    /// The buffers to write, in order.
    pub(crate) fn buffers(&self) -> impl Iterator<Item = &[u8]> {
        let (first, second): (&[u8], &[u8]) = match &self.bytes {
            RunBytes::Joined(bytes) => (bytes, &[]),
            RunBytes::Placed { head, tail, .. } => (head, tail),
        };
        [first, second].into_iter().filter(|buffer| !buffer.is_empty())
    }

    fn slice(&self, start: usize, end: usize) -> Bytes {
        match &self.bytes {
            RunBytes::Joined(bytes) => bytes.slice(start..end),
            RunBytes::Placed { head, tail, whole } => whole
                .get_or_init(|| {
                    let mut joined = BytesMut::with_capacity(HEAD_BYTES + tail.len());
                    joined.extend_from_slice(head);
                    joined.extend_from_slice(tail);
                    joined.freeze()
                })
                .slice(start..end),
        }
    }
}

/// Whole batches of one run.
#[derive(Debug)]
pub(crate) struct Piece {
    run: Arc<Run>,
    start: usize,
    end: usize,
}

impl Piece {
    pub(crate) fn size(&self) -> usize {
        self.end - self.start
    }

    pub(crate) fn bytes(&self) -> Bytes {
        self.run.slice(self.start, self.end)
    }
}

/// What the cache can answer of a read.
#[derive(Debug)]
pub(crate) struct CachedRange {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) first: Offset,
    pub(crate) end: Offset,
}

/// The cached tail of one log.
#[derive(Debug, Default)]
pub(crate) struct TailCache {
    runs: Mutex<Runs>,
}

#[derive(Debug, Default)]
struct Runs {
    queue: VecDeque<Arc<Run>>,
    /// The number of the first run in `queue`, counted from the first one ever.
    first_number: u64,
}

impl TailCache {
    /// Whole batches from the one that holds `from` on, none that begins at or reaches past a bound:
    /// `None` if the batch of `from` is not here.
    pub(crate) fn read(&self, from: Offset, bounds: ReadBounds) -> Option<CachedRange> {
        let runs = self.runs.lock();
        let index = runs.queue.partition_point(|run| run.end() <= from);
        let first_run = runs.queue.get(index).filter(|run| run.base <= from)?;
        let mut budget = bounds.bytes_max;
        let mut skip = first_run.ends.partition_point(|(end, _)| *end <= from);
        let first =
            skip.checked_sub(1).and_then(|at| first_run.ends.get(at)).map_or(first_run.base, |(end, _)| *end);
        let mut range = CachedRange { pieces: Vec::new(), first, end: first };
        for run in runs.queue.iter().skip(index) {
            let start =
                skip.checked_sub(1).and_then(|at| run.ends.get(at)).map_or(0, |(_, position)| *position);
            let mut taken = start;
            for &(end, position) in run.ends.iter().skip(skip) {
                let is_first = range.pieces.is_empty() && taken == start;
                let fits = is_first || position - taken <= budget;
                if range.end >= bounds.until || end > bounds.readable_end || !fits {
                    break;
                }
                budget = budget.saturating_sub(position - taken);
                taken = position;
                range.end = end;
            }
            let complete = taken == run.size();
            if taken > start {
                range.pieces.push(Piece { run: Arc::clone(run), start, end: taken });
            }
            if !complete {
                break;
            }
            skip = 0;
        }
        (!range.pieces.is_empty()).then_some(range)
    }

    /// Forgets everything: the log was cut or closed.
    pub(crate) fn clear(&self) {
        let mut runs = self.runs.lock();
        runs.first_number += runs.queue.len() as u64;
        runs.queue.clear();
    }

    fn push(&self, run: Run) -> u64 {
        let mut runs = self.runs.lock();
        if runs.queue.back().is_some_and(|last| last.end() != run.base) {
            runs.first_number += runs.queue.len() as u64;
            runs.queue.clear();
        }
        runs.queue.push_back(Arc::new(run));
        runs.first_number + runs.queue.len() as u64 - 1
    }

    /// Drops the run with this number and what is older.
    fn evict(&self, number: u64) {
        let mut runs = self.runs.lock();
        while runs.first_number <= number && runs.queue.pop_front().is_some() {
            runs.first_number += 1;
        }
    }
}

/// What a read may answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadBounds {
    /// No batch that begins here or later.
    pub(crate) until: Offset,
    /// No batch that reaches past this.
    pub(crate) readable_end: Offset,
    /// Byte budget; the first batch is answered even if it is larger.
    pub(crate) bytes_max: usize,
}

/// The bound on the tail caches of all logs together.
#[derive(Debug)]
pub(crate) struct TailBudget {
    bytes_max: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// Every cached run, oldest first. A run that its log has forgotten already still counts until its turn comes.
    order: VecDeque<(Arc<TailCache>, u64, usize)>,
    bytes: usize,
}

impl TailBudget {
    pub(crate) fn new(bytes_max: usize) -> TailBudget {
        TailBudget { bytes_max, held: Mutex::default() }
    }

    /// Caches a run that was just written, dropping the oldest runs of whichever log to make room.
    pub(crate) fn push(&self, cache: &Arc<TailCache>, run: Run) {
        let size = run.size() + RUN_OVERHEAD_BYTES;
        if size > self.bytes_max {
            return cache.clear();
        }
        let number = cache.push(run);
        let mut held = self.held.lock();
        held.order.push_back((Arc::clone(cache), number, size));
        held.bytes += size;
        while held.bytes > self.bytes_max
            && let Some((oldest, number, size)) = held.order.pop_front()
        {
            held.bytes -= size;
            oldest.evict(number);
        }
    }
}
