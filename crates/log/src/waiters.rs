//! Readers that wait for the high watermark: registered wakers, woken by the write or sync that moves it past them.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use millrace_types::Offset;
use parking_lot::Mutex;

use crate::inner::LogInner;

/// The wakers of one log, by the offset that they wait to pass.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    registered: Mutex<Registered>,
}

#[derive(Debug, Default)]
struct Registered {
    by_offset: BTreeMap<(Offset, u64), Waker>,
    next_id: u64,
}

impl Waiters {
    /// Takes the wakers of those who wait for a high watermark above an offset below `high_watermark`.
    pub(crate) fn take_below(&self, high_watermark: Offset) -> impl Iterator<Item = Waker> + use<> {
        let mut registered = self.registered.lock();
        let rest = registered.by_offset.split_off(&(high_watermark, 0));
        std::mem::replace(&mut registered.by_offset, rest).into_values()
    }

    /// Wakes everyone: the log is closed.
    pub(crate) fn wake_all(&self) {
        let woken = std::mem::take(&mut self.registered.lock().by_offset);
        woken.into_values().for_each(Waker::wake);
    }
}

/// A registered waiter for the high watermark.
#[derive(Debug)]
pub struct HighWatermarkWait {
    log: Arc<LogInner>,
    above: Offset,
    id: Option<u64>,
}

impl HighWatermarkWait {
    pub(crate) fn new(log: Arc<LogInner>, above: Offset) -> HighWatermarkWait {
        HighWatermarkWait { log, above, id: None }
    }

    fn is_over(&self) -> bool {
        self.log.high_watermark() > self.above || self.log.is_closed()
    }
}

impl Future for HighWatermarkWait {
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
            registered.by_offset.insert((this.above, id), cx.waker().clone());
        }
        // The watermark is moved before the wakers are taken, so a move that missed this waker is seen here.
        if this.is_over() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for HighWatermarkWait {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.log.waiters.registered.lock().by_offset.remove(&(self.above, id));
        }
    }
}
