//! Records that share a batch share their outcome: one wait for all of them, and their latencies counted at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use millrace_client::{Delivery, ProduceError};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};

use super::counts::Shared;

/// The records of one batch.
#[derive(Debug)]
pub(super) struct Group {
    state: Mutex<State>,
    value_bytes: u64,
}

#[derive(Debug)]
enum State {
    /// When each of them was due.
    Open(Vec<u64>),
    /// When its outcome came.
    Settled(u64, Result<(), ProduceError>),
}

/// A group and the wait for it.
pub(super) type Awaited = (Arc<Group>, Delivery);

impl Group {
    /// A batch whose first record was due at `due`.
    pub(super) fn new(due: u64, value_bytes: u64) -> Arc<Group> {
        Arc::new(Group { state: Mutex::new(State::Open(vec![due])), value_bytes })
    }

    /// One more record of the batch; answers whether its outcome is known already, and counted.
    pub(super) fn add(&self, due: u64, shared: &Shared, producer: u64) -> bool {
        match &mut *self.state.lock() {
            State::Open(dues) => {
                dues.push(due);
                false
            }
            State::Settled(at, outcome) => {
                count(shared, producer, &[due], (*at, outcome), self.value_bytes);
                true
            }
        }
    }

    /// The outcome is there: counts the records, and tells how many they are.
    fn settle(&self, at: u64, outcome: Result<(), ProduceError>, shared: &Shared, producer: u64) -> usize {
        let before = std::mem::replace(&mut *self.state.lock(), State::Settled(at, outcome.clone()));
        let State::Open(dues) = before else { return 0 };
        count(shared, producer, &dues, (at, &outcome), self.value_bytes);
        dues.len()
    }
}

type Came<'a> = (u64, &'a Result<(), ProduceError>);

fn count(shared: &Shared, producer: u64, dues: &[u64], (at, outcome): Came<'_>, value_bytes: u64) {
    let Some(tally) = shared.tally(producer) else { return };
    let records = u64::try_from(dues.len()).unwrap_or(0);
    let mut tally = tally.lock();
    match outcome {
        Ok(()) => {
            dues.iter().for_each(|due| tally.record(*due, at, value_bytes));
            shared.acknowledged.fetch_add(records, Ordering::Relaxed);
            shared.progress.inc(records);
        }
        Err(error) => {
            tally.fail(records, error.clone());
            // One is enough: figures of a broker that refuses say nothing.
            shared.is_stopped.store(true, Ordering::SeqCst);
        }
    }
}

/// Waits for the groups of a producer, in whatever order they come, until the producer has ended and all are settled.
pub(super) async fn collect(
    shared: Arc<Shared>,
    producer: u64,
    mut incoming: mpsc::Receiver<Awaited>,
    permits: Option<Arc<Semaphore>>,
) {
    let mut waiting = FuturesUnordered::new();
    let mut is_open = true;
    while is_open || !waiting.is_empty() {
        tokio::select! {
            biased;
            Some((group, outcome)) = waiting.next() => {
                let group: Arc<Group> = group;
                let settled = group.settle(shared.clock.now(), outcome, &shared, producer);
                if let Some(permits) = &permits {
                    permits.add_permits(settled);
                }
            }
            next = incoming.recv(), if is_open => match next {
                Some((group, delivery)) => waiting.push(async move { (group, delivery.await.map(drop)) }),
                None => is_open = false,
            },
        }
    }
}
