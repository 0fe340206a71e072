//! The network between brokers, and between clients and brokers: late, lossy, repeating, resetting, and cut in any direction.
//!
//! What is said travels as values; what members of the quorum say to each other as its bytes. A request is carried out by a task of
//! the process that hears it, and dies with it. Whoever asks a process that is gone on a machine that runs is refused; a machine without
//! power is silent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use millrace_broker::{
    Broker, CallError, Peer, PeerAnswer, PeerCall, PeerError, PeerRequest, PeerService, Peers, QuorumAnswer,
    QuorumNetwork, QuorumRequest,
};
use millrace_env::sim::{SimClock, SimRng};
use millrace_env::{BoxFuture, Clock, Tasks};
use millrace_types::NodeId;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::line::{Line, WORLD};
use super::marks::Marks;
use super::process::{Process, ProcessTasks};
use crate::quorum::answer_by_bytes;

/// The clients' side of every link to a broker.
pub(super) const CLIENTS: NodeId = NodeId(0);

/// How messages fare.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    /// Of a thousand messages so many are lost.
    pub(super) lost: u64,
    /// Of a thousand requests so many come twice, the second time late.
    pub(super) repeated: u64,
    /// Of a thousand requests so many end with a broken connection.
    pub(super) reset: u64,
    /// Milliseconds that a message takes at most.
    pub(super) late_ms: u64,
}

/// What a calm network is like.
pub(super) const CALM: Weather = Weather { lost: 0, repeated: 0, reset: 0, late_ms: 2 };

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unanswered {
    /// Nobody has heard the request.
    Unheard,
    /// Somebody may have.
    Unknown,
}

type Serve<T> = Arc<dyn Fn(Arc<Broker>) -> BoxFuture<T> + Send + Sync>;

/// All links together.
#[derive(Debug)]
pub(super) struct Switch {
    clock: Arc<SimClock>,
    rng: Arc<SimRng>,
    line: Arc<Line>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    homes: BTreeMap<NodeId, Home>,
    cut: BTreeSet<(NodeId, NodeId)>,
    weather: Weather,
    marks: Marks,
}

/// To whom a broker listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Doors {
    /// Other brokers.
    Internal,
    /// Clients too.
    All,
}

/// Who listens on a machine.
#[derive(Clone, Debug)]
enum Home {
    /// The internal door is open; those for clients are, once the broker has joined its cluster.
    Broker(Arc<Process>, Arc<Broker>, Doors),
    /// The machine runs, and no broker on it.
    Nobody,
    Dark,
}

impl Switch {
    pub(super) fn new(clock: &Arc<SimClock>, rng: Arc<SimRng>, line: &Arc<Line>) -> Arc<Switch> {
        let state =
            State { homes: BTreeMap::new(), cut: BTreeSet::new(), weather: CALM, marks: Marks::default() };
        Arc::new(Switch { clock: Arc::clone(clock), rng, line: Arc::clone(line), state: Mutex::new(state) })
    }

    pub(super) fn plug(&self, node: NodeId, process: &Arc<Process>, broker: &Arc<Broker>, doors: Doors) {
        let home = Home::Broker(Arc::clone(process), Arc::clone(broker), doors);
        self.state.lock().homes.insert(node, home);
    }

    /// Nobody listens there any more; without power nobody even says so.
    pub(super) fn unplug(&self, node: NodeId, has_power: bool) {
        let home = if has_power { Home::Nobody } else { Home::Dark };
        let gone = self.state.lock().homes.insert(node, home);
        drop(gone);
    }

    /// Nothing goes that way any more.
    pub(super) fn cut(&self, from: NodeId, to: NodeId) {
        self.state.lock().cut.insert((from, to));
    }

    pub(super) fn heal(&self) {
        self.state.lock().cut.clear();
    }

    pub(super) fn set_weather(&self, weather: Weather) {
        self.state.lock().weather = weather;
    }

    pub(super) fn marks(&self) -> Marks {
        self.state.lock().marks
    }

    pub(super) fn mark(&self, note: impl FnOnce(&mut Marks)) {
        note(&mut self.state.lock().marks);
    }

    /// How long a message takes; `None` if it never comes.
    fn fate(&self, from: NodeId, to: NodeId) -> Option<Duration> {
        let mut state = self.state.lock();
        let Weather { lost, late_ms, .. } = state.weather;
        if state.cut.contains(&(from, to)) {
            state.marks.stopped_at_cuts += 1;
            return None;
        }
        if self.rng.chance(lost, 1000) {
            state.marks.lost += 1;
            return None;
        }
        Some(Duration::from_micros(20 + self.rng.below(late_ms * 1000 + 1)))
    }

    fn chance(&self, of: impl FnOnce(&Weather) -> u64) -> bool {
        let part = of(&self.state.lock().weather);
        part > 0 && self.rng.chance(part, 1000)
    }

    fn home(&self, from: NodeId, node: NodeId) -> Home {
        match self.state.lock().homes.get(&node) {
            Some(Home::Broker(_, _, Doors::Internal)) if from == CLIENTS => Home::Nobody,
            Some(Home::Broker(process, ..)) if process.is_dead() => {
                if process.lost_power() {
                    Home::Dark
                } else {
                    Home::Nobody
                }
            }
            Some(home) => home.clone(),
            None => Home::Nobody,
        }
    }

    /// Has a broker do something for somebody, within a time.
    pub(super) async fn ask<T: Send + 'static>(
        self: Arc<Switch>,
        (from, to): (NodeId, NodeId),
        within: Duration,
        serve: Serve<T>,
        may_repeat: bool,
    ) -> Result<T, Unanswered> {
        let deadline = self.clock.monotonic().after(within);
        let late = self.fate(from, to);
        let Some(late) = late else {
            self.clock.sleep(within).await;
            return Err(Unanswered::Unknown);
        };
        if may_repeat && self.chance(|weather| weather.repeated) {
            self.mark(|marks| marks.repeated += 1);
            let later = late + Duration::from_millis(self.rng.below(2_000));
            let _nobody_waits = self.deliver((from, to), Arc::clone(&serve), later);
        }
        let breaks = self.chance(|weather| weather.reset);
        let answer = self.deliver((from, to), serve, late);
        if breaks {
            // Before the request, between request and answer, or with the answer on its way.
            self.mark(|marks| marks.resets += 1);
            self.clock.sleep(Duration::from_micros(self.rng.below(10_000))).await;
            return Err(Unanswered::Unknown);
        }
        let left = deadline.since(self.clock.monotonic());
        tokio::select! {
            biased;
            answer = answer => match answer {
                Ok(answer) => answer,
                Err(_silence) => {
                    self.clock.sleep(deadline.since(self.clock.monotonic())).await;
                    Err(Unanswered::Unknown)
                }
            },
            () = self.clock.sleep(left) => Err(Unanswered::Unknown),
        }
    }

    /// Lets a request arrive, and its answer.
    fn deliver<T: Send + 'static>(
        self: &Arc<Switch>,
        (from, to): (NodeId, NodeId),
        serve: Serve<T>,
        late: Duration,
    ) -> oneshot::Receiver<Result<T, Unanswered>> {
        let (sender, receiver) = oneshot::channel();
        let switch = Arc::clone(self);
        let arriving = async move {
            switch.clock.sleep(late).await;
            let answer = match switch.home(from, to) {
                Home::Broker(process, broker, _) => {
                    let (done, answer) = oneshot::channel();
                    let work = async move {
                        // Whoever asked may have given up.
                        let _unheard = done.send(serve(broker).await);
                    };
                    let tasks = ProcessTasks(Arc::clone(&process));
                    let _dies_with_it = tasks.spawn("door", Box::pin(work));
                    let answer = answer.await.map_err(|_died| Unanswered::Unknown);
                    match (process.lost_power(), process.is_dead()) {
                        (true, _) => return,
                        (false, true) => Err(Unanswered::Unknown),
                        (false, false) => answer,
                    }
                }
                Home::Nobody => Err(Unanswered::Unheard),
                Home::Dark => return,
            };
            if let Some(late) = switch.fate(to, from) {
                switch.clock.sleep(late).await;
                let _unheard = sender.send(answer);
            }
        };
        let _runs_on = self.line.spawn(WORLD, Box::pin(arriving));
        receiver
    }
}

/// Where the internal listener of a node is.
pub(super) fn address(node: NodeId) -> String {
    format!("node-{node}")
}

fn node_at(address: &str) -> Option<NodeId> {
    address.strip_prefix("node-")?.parse().ok().map(NodeId)
}

/// One broker's end of it.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) switch: Arc<Switch>,
    pub(super) from: NodeId,
}

impl QuorumNetwork for Wire {
    fn call(
        &self,
        to: &Peer,
        request: QuorumRequest,
        within: Duration,
    ) -> BoxFuture<Result<QuorumAnswer, CallError>> {
        let Some(node) = node_at(&to.address) else {
            let nowhere = CallError::Unreachable(format!("{} is nowhere", to.address));
            return Box::pin(std::future::ready(Err(nowhere)));
        };
        let serve: Serve<Result<QuorumAnswer, CallError>> = Arc::new(move |broker| {
            let request = request.clone();
            Box::pin(async move { answer_by_bytes(&request, |request| broker.answer_quorum(request)).await })
        });
        let (switch, from) = (Arc::clone(&self.switch), self.from);
        Box::pin(async move {
            match switch.ask((from, node), within, serve, true).await {
                Ok(answer) => answer,
                Err(Unanswered::Unheard) => Err(CallError::Unreachable("refused".to_owned())),
                Err(Unanswered::Unknown) => Err(CallError::Unreachable("silence".to_owned())),
            }
        })
    }
}

impl Peers for Wire {
    fn ask(
        &self,
        address: &str,
        call: PeerCall,
        within: Duration,
    ) -> BoxFuture<Result<PeerAnswer, PeerError>> {
        let address = address.to_owned();
        let Some(node) = node_at(&address) else {
            let why = "it is nowhere".to_owned();
            return Box::pin(std::future::ready(Err(PeerError::Unreachable { address, why })));
        };
        // Over a connection a request comes once: what is proposed is not carried out twice.
        let may_repeat = !matches!(call.request, PeerRequest::Propose(_));
        let serve: Serve<_> = Arc::new(move |broker: Arc<Broker>| broker.answer(call.clone()));
        let (switch, from) = (Arc::clone(&self.switch), self.from);
        Box::pin(async move {
            match switch.ask((from, node), within, serve, may_repeat).await {
                Ok(answer) => answer.map_err(PeerError::Refused),
                Err(Unanswered::Unheard) => {
                    Err(PeerError::Unreachable { address, why: "refused".to_owned() })
                }
                Err(Unanswered::Unknown) => Err(PeerError::NoAnswer { address, why: "silence".to_owned() }),
            }
        })
    }
}
