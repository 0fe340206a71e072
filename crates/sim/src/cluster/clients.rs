//! Clients as tasks. They call what the doors call: doors and sockets are for the suites of real processes.

mod admin;
mod groups;
mod producers;
mod readers;

use std::sync::Arc;
use std::time::Duration;

use millrace_broker::{ApiError, Broker};
use millrace_env::sim::{SimClock, SimRng};
use millrace_env::{BoxFuture, Clock};
use millrace_types::{ErrorCode, NodeId};
use parking_lot::Mutex;

pub(super) use admin::{FIRST, Wanted, create};
pub(super) use readers::records_of;

use super::marks::Marks;
use super::truth::Truth;
use super::wire::{CLIENTS, Switch, Unanswered};

/// How long a client waits for an answer.
const WITHIN: Duration = Duration::from_secs(4);

/// What clients and the world share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) clock: Arc<SimClock>,
    pub(super) switch: Arc<Switch>,
    pub(super) nodes: Vec<NodeId>,
    pub(super) state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) truth: Truth,
    /// Nothing new is begun.
    pub(super) closing: bool,
    pub(super) busy: usize,
}

/// A client.
pub(super) struct Client {
    pub(super) name: String,
    pub(super) shared: Arc<Shared>,
    pub(super) rng: Arc<SimRng>,
}

/// What a client makes of an answer that is none of success.
#[derive(Clone, PartialEq, Debug)]
enum No {
    Error(ApiError),
    Unanswered(Unanswered),
}

impl Client {
    pub(super) fn new(shared: &Arc<Shared>, seed: u64, name: String) -> Client {
        shared.state.lock().busy += 1;
        Client { name, shared: Arc::clone(shared), rng: Arc::new(SimRng::new(seed)) }
    }

    async fn ask<T: Send + 'static>(
        &self,
        node: NodeId,
        serve: impl Fn(Arc<Broker>) -> BoxFuture<Result<T, ApiError>> + Send + Sync + 'static,
    ) -> Result<T, No> {
        let switch = Arc::clone(&self.shared.switch);
        let answer = switch.ask((CLIENTS, node), WITHIN, Arc::new(serve), false).await;
        match answer {
            Ok(answer) => answer.map_err(No::Error),
            Err(why) => {
                self.mark(|marks| marks.unknown += 1);
                Err(No::Unanswered(why))
            }
        }
    }

    fn anybody(&self) -> NodeId {
        self.rng.pick(&self.shared.nodes).copied().unwrap_or(CLIENTS)
    }

    /// Whom to ask next.
    fn follow(&self, no: &No) -> NodeId {
        let named = match no {
            No::Error(error) => error.leader.as_deref().and_then(|leader| leader.strip_prefix("grpc-")),
            No::Unanswered(_) => None,
        };
        let named = named.and_then(|node| node.parse().ok()).map(NodeId);
        named.filter(|_| self.rng.chance(7, 8)).unwrap_or_else(|| self.anybody())
    }

    fn is_closing(&self) -> bool {
        self.shared.state.lock().closing
    }

    async fn sleep(&self, ms: u64) {
        self.shared.clock.sleep(Duration::from_millis(1 + self.rng.below(ms))).await;
    }

    fn mark(&self, note: impl FnOnce(&mut Marks)) {
        self.shared.switch.mark(note);
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        let now = self.shared.clock.monotonic().0;
        self.shared.state.lock().truth.tell(now, || format!("{}: {}", self.name, what()));
    }

    fn breaks(&self, what: &str) {
        self.shared.state.lock().truth.breaks(format!("{}: {what}", self.name));
    }

    fn note(&self, no: &No) {
        let No::Error(error) = no else { return };
        self.mark(|marks| match error.code {
            ErrorCode::NotLeader => marks.not_leader += 1,
            ErrorCode::NotEnoughReplicas | ErrorCode::NotEnoughReplicasAfterAppend => marks.too_few += 1,
            ErrorCode::FencedLeaderEpoch | ErrorCode::UnknownLeaderEpoch => marks.fenced_epochs += 1,
            ErrorCode::NotCoordinator | ErrorCode::CoordinatorLoading => marks.not_coordinator += 1,
            _ => {}
        });
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.state.lock().busy -= 1;
    }
}
