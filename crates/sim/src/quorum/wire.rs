//! The network between the nodes: late, lossy, repeating, and cut in any direction.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use millrace_env::sim::{SimClock, SimRng, SimTasks};
use millrace_env::{BoxFuture, Clock, Tasks};
use millrace_quorum::{CallError, MetadataQuorum, Peer, QuorumAnswer, QuorumNetwork, QuorumRequest};
use millrace_schema::FrameError;
use millrace_types::NodeId;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::invariants::{Majority, Promises};
use super::marks::Marks;

/// How messages fare.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    /// Of a thousand messages so many are lost.
    pub(super) lost: u64,
    /// Of a thousand so many come twice, the second time late.
    pub(super) repeated: u64,
    /// Milliseconds that one takes at most.
    pub(super) late_ms: u64,
}

/// What a calm network is like.
pub(super) const CALM: Weather = Weather { lost: 0, repeated: 0, late_ms: 2 };

/// All links together.
#[derive(Debug)]
pub(super) struct Switch {
    clock: Arc<SimClock>,
    rng: Arc<SimRng>,
    tasks: SimTasks,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    homes: BTreeMap<NodeId, Weak<MetadataQuorum>>,
    cut: BTreeSet<(NodeId, NodeId)>,
    weather: Weather,
    promises: Promises,
    majority: Majority,
    marks: Marks,
}

/// One node's end of it.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) switch: Arc<Switch>,
    pub(super) from: NodeId,
}

impl Switch {
    pub(super) fn new(clock: &Arc<SimClock>, rng: &Arc<SimRng>) -> Arc<Switch> {
        let state = State {
            homes: BTreeMap::new(),
            cut: BTreeSet::new(),
            weather: CALM,
            promises: Promises::default(),
            majority: Majority::default(),
            marks: Marks::default(),
        };
        Arc::new(Switch {
            clock: Arc::clone(clock),
            rng: Arc::clone(rng),
            tasks: SimTasks::new(),
            state: Mutex::new(state),
        })
    }

    pub(super) fn plug(&self, node: NodeId, quorum: &Arc<MetadataQuorum>) {
        self.state.lock().homes.insert(node, Arc::downgrade(quorum));
    }

    pub(super) fn unplug(&self, node: NodeId) {
        self.state.lock().homes.remove(&node);
    }

    /// Nothing goes that way any more.
    pub(super) fn cut(&self, from: NodeId, to: NodeId) {
        let mut state = self.state.lock();
        state.marks.cuts += u64::from(state.cut.insert((from, to)));
    }

    pub(super) fn heal(&self) {
        self.state.lock().cut.clear();
    }

    pub(super) fn set_weather(&self, weather: Weather) {
        self.state.lock().weather = weather;
    }

    /// What the messages have shown, and which promise was broken.
    pub(super) fn seen(&self) -> (Marks, Option<String>) {
        let state = self.state.lock();
        let broken = [&state.promises.broken, &state.majority.broken].into_iter().find_map(Clone::clone);
        (state.marks, broken)
    }

    /// How long a message takes; `None` if it never comes.
    fn fate(&self, from: NodeId, to: NodeId) -> Option<Duration> {
        let mut state = self.state.lock();
        let Weather { lost, late_ms, .. } = state.weather;
        if state.cut.contains(&(from, to)) || self.rng.chance(lost, 1000) {
            state.marks.lost += 1;
            return None;
        }
        Some(Duration::from_micros(self.rng.below(late_ms * 1000 + 1)))
    }

    fn home(&self, node: NodeId) -> Option<Arc<MetadataQuorum>> {
        self.state.lock().homes.get(&node).and_then(Weak::upgrade)
    }

    fn hear(&self, request: &QuorumRequest, answer: &QuorumAnswer) {
        let mut state = self.state.lock();
        match answer {
            QuorumAnswer::Voted { granted, .. } => state.marks.votes += u64::from(*granted),
            QuorumAnswer::Appended | QuorumAnswer::AppendedUpTo(_) => state.marks.appends += 1,
            QuorumAnswer::Conflict => state.marks.conflicts += 1,
            QuorumAnswer::Installed(_) => state.marks.snapshots += 1,
            QuorumAnswer::Newer(_) => {}
        }
        state.promises.hear(request, answer);
        state.majority.hear(request, answer);
    }

    /// Lets a request arrive, and its answer.
    fn deliver(
        self: &Arc<Switch>,
        (from, to): (NodeId, NodeId),
        request: QuorumRequest,
        late: Duration,
    ) -> oneshot::Receiver<Result<QuorumAnswer, CallError>> {
        let (sender, receiver) = oneshot::channel();
        let switch = Arc::clone(self);
        let arriving = async move {
            switch.clock.sleep(late).await;
            let answer = match switch.home(to) {
                Some(home) => answer_by_bytes(&request, |request| home.answer(request)).await,
                None => Err(CallError::Unreachable("nobody listens".to_owned())),
            };
            if let Ok(answer) = &answer {
                switch.hear(&request, answer);
            }
            if let Some(late) = switch.fate(to, from) {
                switch.clock.sleep(late).await;
                // Whoever asked may have given up.
                let _unheard = sender.send(answer);
            }
        };
        let _runs_on = self.tasks.spawn("wire", Box::pin(arriving));
        receiver
    }
}

/// What is said travels as its bytes, as it does between machines.
pub(crate) async fn answer_by_bytes<Answered>(
    request: &QuorumRequest,
    answer: impl FnOnce(QuorumRequest) -> Answered,
) -> Result<QuorumAnswer, CallError>
where
    Answered: Future<Output = Result<QuorumAnswer, CallError>>,
{
    let garbled = |error: FrameError| CallError::Protocol(error.to_string());
    let request = QuorumRequest::decode(&request.encode()).map_err(garbled)?;
    let answer = answer(request).await?;
    QuorumAnswer::decode(&answer.encode()).map_err(garbled)
}

impl QuorumNetwork for Wire {
    fn call(
        &self,
        to: &Peer,
        request: QuorumRequest,
        within: Duration,
    ) -> BoxFuture<Result<QuorumAnswer, CallError>> {
        let (switch, from, to) = (Arc::clone(&self.switch), self.from, to.voter.node);
        Box::pin(async move {
            switch.state.lock().majority.say(&request);
            let silence = CallError::Unreachable("silence".to_owned());
            let Some(late) = switch.fate(from, to) else {
                switch.clock.sleep(within).await;
                return Err(silence);
            };
            let repeated = switch.state.lock().weather.repeated;
            if switch.rng.chance(repeated, 1000) {
                switch.state.lock().marks.repeated += 1;
                let later = late + Duration::from_millis(switch.rng.below(2_000));
                let _nobody_waits = switch.deliver((from, to), request.clone(), later);
            }
            let answer = switch.deliver((from, to), request, late);
            match answer.await {
                Ok(answer) => answer,
                Err(_lost) => {
                    switch.clock.sleep(within).await;
                    Err(silence)
                }
            }
        })
    }
}
