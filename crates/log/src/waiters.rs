//! Those who wait for an edge of the log to pass an offset: registered wakers, woken by whoever moves it past them.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use millrace_types::Offset;
use parking_lot::Mutex;

use crate::inner::LogInner;

/// What moves along a log as it grows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Edge {
    /// For those who read what is committed.
    HighWatermark,
    /// For those who tell a leader how much this node holds.
    Held,
    /// For those who copy the log.
    End,
}

impl Edge {
    pub(crate) const ALL: [Edge; 3] = [Edge::HighWatermark, Edge::Held, Edge::End];
}

/// The wakers of one log, by the offset that they wait to pass.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    registered: Mutex<Registered>,
}

#[derive(Debug, Default)]
struct Registered {
    by_offset: BTreeMap<(Edge, Offset, u64), Waker>,
    next_id: u64,
}

impl Waiters {
    /// Whether nobody waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.registered.lock().by_offset.is_empty()
    }

    /// Takes the wakers of those who wait for one of these edges to be above an offset that it has passed.
    pub(crate) fn take_passed(&self, now: [(Edge, Offset); 3]) -> Vec<Waker> {
        let mut registered = self.registered.lock();
        let mut taken = Vec::new();
        for (edge, now) in now {
            let passed = (edge, Offset::ZERO, 0)..(edge, now, 0);
            while let Some((at, _)) = registered.by_offset.range(passed.clone()).next() {
                let at = *at;
                taken.extend(registered.by_offset.remove(&at));
            }
        }
        taken
    }

    /// Wakes everyone: the log is closed.
    pub(crate) fn wake_all(&self) {
        let woken = std::mem::take(&mut self.registered.lock().by_offset);
        woken.into_values().for_each(Waker::wake);
    }
}

/// A registered waiter for the high watermark, for what is held, or for the end of a log.
#[derive(Debug)]
pub struct OffsetWait {
    log: Arc<LogInner>,
    edge: Edge,
    above: Offset,
    id: Option<u64>,
}

impl OffsetWait {
    pub(crate) fn new(log: Arc<LogInner>, edge: Edge, above: Offset) -> OffsetWait {
        OffsetWait { log, edge, above, id: None }
    }

    fn is_over(&self) -> bool {
        self.log.edge(self.edge) > self.above || self.log.is_closed()
    }
}

impl Future for OffsetWait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_over() {
            return Poll::Ready(());
        }
        let this = &mut *self;
        {
            let mut registered = this.log.waiters.registered.lock();
            let id = *this.id.get_or_insert_with(|| {
                registered.next_id += 1;
                registered.next_id
            });
            registered.by_offset.insert((this.edge, this.above, id), cx.waker().clone());
        }
        // The edge is moved before the wakers are taken, so a move that missed this waker is seen here.
        if this.is_over() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for OffsetWait {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.log.waiters.registered.lock().by_offset.remove(&(self.edge, self.above, id));
        }
    }
}
