//! What the leader of the quorum does beside deciding: it hears who lives, fences who does not, and keeps the cluster in shape.
//!
//! A broker whose connection breaks is asked at once, and fenced if it has not answered for [`PROBED_FOR`]; one that is only silent is
//! fenced after [`SESSION`]. No safety rests on these times.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use millrace_env::Monotonic;
use millrace_metadata::{Broker, Command, FEATURE_LEVEL_NEWEST, Image, ReplicaEnd, Standing};
use millrace_quorum::{Peer, QuorumVoter};
use millrace_types::{BrokerEpoch, ErrorCode, NodeId, TopicPartition, limits};
use parking_lot::Mutex;

use super::Cluster;
use super::peers::{Greeting, HeartbeatAnswer, PeerAnswer, PeerError, PeerHeartbeat, PeerRequest};
use crate::ApiError;
use crate::partitions::CONSUMER_OFFSETS;
use crate::start::{create_offsets, product_name};

/// A broker that was silent for so long is fenced.
pub(crate) const SESSION: Duration = Duration::from_secs(3);
/// A broker whose connection broke, and that was not reached for so long, is fenced.
const PROBED_FOR: Duration = Duration::from_millis(500);
const PROBE_EVERY: Duration = Duration::from_millis(50);
/// How often sessions are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often everything else is.
const CHORES_EVERY: Duration = Duration::from_millis(500);
/// So long after a broker may lead again, what it leads by preference goes back to it.
const REBALANCE_EVERY: Duration = Duration::from_secs(5);
/// Entries that a learner may be behind to be made a voter.
const CAUGHT_UP_WITHIN: u64 = 100;

/// Who was heard, while this node leads the quorum.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The term in which it leads.
    term: Option<u64>,
    /// The term in which it has applied all that was decided before.
    confirmed: Option<u64>,
    heard: BTreeMap<NodeId, (BrokerEpoch, Monotonic)>,
    /// The newest voice of each node.
    voices: BTreeMap<NodeId, (QuorumVoter, String)>,
    probed: BTreeSet<NodeId>,
}

impl Sessions {
    fn note(&self, node: NodeId, epoch: BrokerEpoch, now: Monotonic) {
        self.state.lock().heard.insert(node, (epoch, now));
    }

    /// A node has said which voice in the quorum is its own.
    pub(crate) fn voice(&self, node: NodeId, voter: QuorumVoter, address: &str) {
        self.state.lock().voices.insert(node, (voter, address.to_owned()));
    }
}

/// Looks after the cluster whenever this node leads the quorum, for ever.
pub(crate) async fn run(cluster: Arc<Cluster>) {
    let (mut chores_at, mut rebalance_at) = (Monotonic::default(), Monotonic::default());
    loop {
        tokio::select! {
            biased;
            () = cluster.suspects.more() => {}
            () = cluster.env.clock.sleep(LOOK_EVERY) => {}
        }
        let suspects = cluster.suspects.take();
        if !cluster.begin_term() {
            continue;
        }
        for (node, why) in suspects {
            cluster.suspect(node, &why);
        }
        cluster.fence_silent().await;
        let now = cluster.env.clock.monotonic();
        if now >= chores_at {
            chores_at = now.after(CHORES_EVERY);
            let rebalance = now >= rebalance_at;
            if rebalance {
                rebalance_at = now.after(REBALANCE_EVERY);
            }
            if let Err(error) = cluster.chores(rebalance).await {
                tracing::debug!(%error, "the controller could not finish its round");
            }
        }
    }
}

impl Cluster {
    /// Whether this node leads the quorum. A new leader begins to count anew how long brokers are silent.
    fn begin_term(&self) -> bool {
        let mut state = self.sessions.state.lock();
        if !self.metadata().leads() {
            state.term = None;
            return false;
        }
        let term = self.quorum().status().term;
        if state.term != Some(term) {
            state.term = Some(term);
            state.heard.clear();
            tracing::info!(term, node = %self.me, "this node leads the metadata quorum");
        }
        true
    }

    /// A broker lives.
    ///
    /// # Errors
    /// QUORUM_UNAVAILABLE if this node does not lead the quorum.
    pub(crate) async fn heartbeat(&self, says: PeerHeartbeat) -> Result<HeartbeatAnswer, ApiError> {
        if !self.metadata().leads() {
            return Err(ApiError::new(ErrorCode::QuorumUnavailable, "this node does not lead the quorum"));
        }
        let PeerHeartbeat { node, epoch, applied, draining } = says;
        let image = self.confirmed().await?;
        let Some(broker) = image.broker(node).filter(|broker| broker.epoch == epoch) else {
            return Ok(HeartbeatAnswer { registered: false, active: false, may_stop: false });
        };
        self.sessions.note(node, epoch, self.env.clock.monotonic());
        let wanted = match broker.standing {
            Standing::Fenced if !draining && applied >= broker.standing_since => {
                Some(Command::UnfenceBroker { node, epoch, applied })
            }
            Standing::Active if draining => Some(Command::DrainBroker { node, epoch }),
            _ => None,
        };
        if let Some(command) = wanted {
            for outcome in self.metadata().decide_here(&[command]).await?.outcomes {
                outcome?;
            }
        }
        let image = self.quorum().image();
        let standing = image.broker(node).map(|broker| broker.standing);
        let leads = || image.partitions().any(|(_, partition)| partition.leader == Some(node));
        Ok(HeartbeatAnswer {
            registered: true,
            active: standing == Some(Standing::Active),
            may_stop: standing != Some(Standing::Active) && !leads(),
        })
    }

    /// The image, once this leader has applied all that was decided before it: by its own image of before nobody might be a broker.
    async fn confirmed(&self) -> Result<Arc<Image>, ApiError> {
        let term = self.quorum().status().term;
        if self.sessions.state.lock().confirmed == Some(term) {
            return Ok(self.quorum().image());
        }
        let read = self.quorum().read().await;
        let image = read.map_err(|error| ApiError::new(ErrorCode::QuorumUnavailable, error.to_string()))?;
        self.sessions.state.lock().confirmed = Some(term);
        Ok(image)
    }

    async fn fence_silent(&self) {
        let now = self.env.clock.monotonic();
        let Ok(image) = self.confirmed().await else { return };
        let silent = {
            let mut state = self.sessions.state.lock();
            let mut is_silent = |broker: &&Broker| {
                // A new leader learns of brokers as it applies what was decided before it.
                let heard = state.heard.entry(broker.node).or_insert((broker.epoch, now));
                if heard.0 != broker.epoch {
                    *heard = (broker.epoch, now);
                }
                now.since(heard.1) >= SESSION
            };
            let unfenced = image.brokers().filter(|broker| broker.standing != Standing::Fenced);
            let others = unfenced.filter(|broker| broker.node != self.me);
            others
                .filter(|broker| is_silent(broker))
                .map(|broker| (broker.node, broker.epoch))
                .collect::<Vec<_>>()
        };
        for (node, epoch) in silent {
            tracing::warn!(%node, after = ?SESSION, "a broker was silent for too long and is fenced");
            self.fence(node, epoch).await;
        }
    }

    async fn fence(&self, node: NodeId, epoch: BrokerEpoch) {
        if let Err(error) = self.metadata().decide_here(&[Command::FenceBroker { node, epoch }]).await {
            tracing::warn!(%node, %error, "a broker could not be fenced yet");
        }
    }

    /// A connection to a broker was refused or has broken: it is asked at once.
    fn suspect(self: &Arc<Self>, node: NodeId, why: &str) {
        let image = self.quorum().image();
        let Some(broker) = image.broker(node).filter(|broker| broker.standing != Standing::Fenced) else {
            return;
        };
        if node == self.me || !self.sessions.state.lock().probed.insert(node) {
            return;
        }
        tracing::info!(%node, why, "a broker is asked whether it lives");
        let (cluster, address, epoch) = (Arc::clone(self), broker.internal.clone(), broker.epoch);
        let probe = async move {
            if !cluster.is_reached(&address).await && cluster.metadata().leads() {
                tracing::warn!(%node, "a broker cannot be reached and is fenced");
                cluster.fence(node, epoch).await;
            }
            cluster.sessions.state.lock().probed.remove(&node);
        };
        let _task = self.env.tasks.spawn("probe", Box::pin(probe));
    }

    async fn is_reached(&self, address: &str) -> bool {
        let until = self.env.clock.monotonic().after(PROBED_FOR);
        loop {
            let greeting = Greeting { voter: None, internal: self.options.internal.clone() };
            let left = until.since(self.env.clock.monotonic());
            match self.ask(address, PeerRequest::Greet(greeting), left).await {
                Ok(_) | Err(PeerError::Refused(_)) => return true,
                Err(PeerError::Unreachable { .. } | PeerError::NoAnswer { .. }) => {}
            }
            if self.env.clock.monotonic() >= until {
                return false;
            }
            self.env.clock.sleep(PROBE_EVERY).await;
        }
    }

    async fn chores(&self, rebalance: bool) -> Result<(), ApiError> {
        let image = self.confirmed().await?;
        let mut commands = Vec::new();
        if image.feature_level() < FEATURE_LEVEL_NEWEST {
            commands.push(Command::RaiseFeatureLevel { level: FEATURE_LEVEL_NEWEST });
        }
        let offsets = product_name(CONSUMER_OFFSETS)?;
        let any_active = image.brokers().any(Broker::is_active);
        match image.topic_by_name(&offsets) {
            None if any_active => commands.push(create_offsets(&self.env)?),
            _ => {}
        }
        let internal = image.topics().filter(|topic| topic.name.is_internal());
        commands.extend(internal.map(|topic| Command::RaiseReplication { id: topic.id }));
        if rebalance {
            commands.extend(strayed(&image).into_iter().map(|at| Command::ElectPreferred { at }));
        }
        commands.extend(self.recoveries(&image).await);
        if !commands.is_empty() {
            // What is refused changes nothing, and is asked for again with the next round.
            let _outcomes = self.metadata().decide_here(&commands).await?;
        }
        self.shape_quorum(&image).await;
        Ok(())
    }

    /// Partitions whose last replicas may have lost records: the best of them lead once all have told what they hold.
    async fn recoveries(&self, image: &Image) -> Vec<Command> {
        let mut lost: BTreeMap<TopicPartition, Vec<NodeId>> = BTreeMap::new();
        for (at, partition) in image.partitions() {
            let known = &partition.last_known_elr;
            let all_here = || known.iter().all(|node| image.broker(*node).is_some_and(Broker::is_active));
            if partition.leader.is_none() && partition.elr.is_empty() && !known.is_empty() && all_here() {
                lost.insert(at, known.clone());
            }
        }
        let mut ends: BTreeMap<TopicPartition, Vec<ReplicaEnd>> = BTreeMap::new();
        let nodes: BTreeSet<NodeId> = lost.values().flatten().copied().collect();
        for node in nodes {
            let Some(broker) = image.broker(node) else { continue };
            let asked = lost.iter().filter(|(_, nodes)| nodes.contains(&node)).map(|(at, _)| *at).collect();
            let tails = if node == self.me {
                self.tails(asked)
            } else {
                match self.ask(&broker.internal, PeerRequest::Tails(asked), SESSION).await {
                    Ok(PeerAnswer::Tails(tails)) => tails,
                    _ => continue,
                }
            };
            for tail in tails {
                let end =
                    ReplicaEnd { node, epoch: broker.epoch, leader_epoch: tail.last_epoch, end: tail.end };
                ends.entry(tail.at).or_default().push(end);
            }
        }
        let recover = |(at, ends): (TopicPartition, Vec<ReplicaEnd>)| {
            tracing::warn!(%at, "no replica certainly has all of it: the best of those that may is to lead");
            Command::RecoverLeader { at, ends }
        };
        ends.into_iter().map(recover).collect()
    }

    /// Brings those into the quorum who are brokers, and lets those go who are none any more.
    async fn shape_quorum(&self, image: &Image) {
        let status = self.quorum().status();
        let own = self.quorum().own();
        let voices = self.sessions.state.lock().voices.clone();
        // A node with a new disk has a new voice: the old one is nobody's.
        let is_newest =
            |voter: &QuorumVoter| voices.get(&voter.node).is_none_or(|(newest, _)| newest == voter);
        for (node, (voter, address)) in &voices {
            if *node != self.me && !status.members.nodes.contains_key(voter) {
                let learner = Peer { voter: *voter, address: address.clone() };
                if let Err(error) = self.quorum().add_learner(learner).await {
                    tracing::debug!(%node, %error, "a node could not be brought into the quorum yet");
                }
                return;
            }
        }
        let voters: BTreeSet<QuorumVoter> = status.members.configs.iter().flatten().copied().collect();
        let last = status.last_index.unwrap_or(0);
        let is_broker = |voter: &&QuorumVoter| **voter == own || image.broker(voter.node).is_some();
        let has_caught_up = |voter: &&QuorumVoter| {
            let reached = status.reached.get(voter).copied().flatten().map_or(0, |at| at.index);
            voters.contains(voter) || reached + CAUGHT_UP_WITHIN >= last
        };
        let fit = status.members.nodes.keys().filter(is_broker).filter(|voter| is_newest(voter));
        let mut fit: Vec<QuorumVoter> = fit.filter(has_caught_up).copied().collect();
        // This node stays, then those that are voters.
        fit.sort_by_key(|voter| (*voter != own, !voters.contains(voter), voter.node));
        let count = limits::quorum_voters(fit.len());
        let wanted: BTreeSet<QuorumVoter> = fit.into_iter().take(count).collect();
        if wanted != voters && !wanted.is_empty() {
            tracing::info!(?wanted, "the voters of the metadata quorum change");
            let learners: Vec<Peer> = voters
                .difference(&wanted)
                .filter(|voter| image.broker(voter.node).is_some() && is_newest(voter))
                .filter_map(|voter| {
                    Some(Peer { voter: *voter, address: status.members.nodes.get(voter)?.clone() })
                })
                .collect();
            if let Err(error) = self.quorum().change_voters(wanted).await {
                tracing::debug!(%error, "the voters could not be changed yet");
                return;
            }
            for learner in learners {
                let _later = self.quorum().add_learner(learner).await;
            }
            return;
        }
        let gone = status.members.nodes.keys().filter(|voter| !voters.contains(voter));
        let gone = gone.filter(|voter| {
            !is_newest(voter) || (image.broker(voter.node).is_none() && !voices.contains_key(&voter.node))
        });
        for voter in gone {
            let _later = self.quorum().remove_learner(*voter).await;
        }
    }
}

/// Partitions that are led by another replica than the preferred one, which could.
fn strayed(image: &Image) -> Vec<TopicPartition> {
    let strayed = |(at, partition): (TopicPartition, &millrace_metadata::Partition)| {
        let preferred = *partition.replicas.first()?;
        let could =
            partition.isr.contains(&preferred) && image.broker(preferred).is_some_and(Broker::is_active);
        (partition.leader != Some(preferred) && could).then_some(at)
    };
    image.partitions().filter_map(strayed).take(limits::ALTERS_PER_PROPOSAL_MAX).collect()
}
