//! The real broker as the coordinator, on the simulated machine.
//!
//! The fault model is that of the machine: the power goes at any moment and takes any of what was not synced, a sync fails and its
//! pages are lost, a process dies; a slow disk is one whose answers are held back. A member has a stream, as the doors give it
//! one: what comes by it is served in order, and when it is dropped the broker hears that the member is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use millrace_broker::{
    ApiError, Broker, BrokerConfig, CommitOffsetsRequest, CreatePartitionsRequest, CreateTopicRequest,
    FetchOffsetsRequest, GroupAssignment, GroupMembership, GroupSettings, JoinGroupRequest, MemberProgress,
    NewPartitions, OffsetCommit, TopicRef,
};
use millrace_env::Env;
use millrace_env::counting::CallKind;
use millrace_env::sim::{Fault, Sim, SimRng, Survival};
use millrace_group::consumer::{Assignment, Leaving};
use millrace_group::{Committer, GroupState, Subscription};
use millrace_types::{ErrorCode, GroupId, NodeId, Offset, Outcome, TopicPartition};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::coordinator::{Coordinator, Disk};
use super::line::Line;
use super::wire::{Address, Ask, Letter, No, Progress, RequestNo, StreamNo, Told, Topic, TopicChange};
use crate::caller::ctx;

type Letters = Arc<Mutex<Vec<Letter>>>;

enum Command {
    Heartbeat(RequestNo, MemberProgress, Option<Subscription>),
    Leave(RequestNo, Leaving),
}

pub(super) struct Real {
    sim: Sim,
    rng: Arc<SimRng>,
    line: Arc<Line>,
    broker: Option<Arc<Broker>>,
    name: GroupId,
    now: u64,
    streams: BTreeMap<StreamNo, mpsc::UnboundedSender<Command>>,
    letters: Letters,
    topics: Vec<Topic>,
    failing: bool,
}

fn config() -> BrokerConfig {
    BrokerConfig {
        data_dir: "/data".into(),
        node: NodeId(1),
        memory_budget_bytes: 64 * 1024 * 1024,
        grpc_advertised: "127.0.0.1:7070".to_owned(),
        groups: GroupSettings::default(),
        cluster: None,
    }
}

impl Real {
    pub(super) fn new(seed: u64, name: GroupId, rng: Arc<SimRng>) -> Result<Real, String> {
        let mut real = Real {
            sim: Sim::new(seed),
            rng,
            line: Line::new(),
            broker: None,
            name,
            now: 0,
            streams: BTreeMap::new(),
            letters: Arc::default(),
            topics: Vec::new(),
            failing: false,
        };
        real.start()?;
        Ok(real)
    }

    fn join(&mut self, request: RequestNo, stream: StreamNo, join: JoinGroupRequest) {
        let Some(broker) = self.broker.clone() else { return };
        let (sender, receiver) = mpsc::unbounded_channel();
        self.streams.insert(stream, sender);
        let letters = Arc::clone(&self.letters);
        let serve = Box::pin(async move {
            match Box::pin(broker.join_group(&ctx(), join)).await {
                Ok((membership, assignment)) => {
                    say(&letters, Address::Request(request), of_assignment(assignment));
                    serve(membership, stream, receiver, &letters).await;
                }
                Err(error) => say(&letters, Address::Request(request), refused(&error)),
            }
        });
        self.spawn(serve);
    }

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let _task = millrace_env::Tasks::spawn(&*self.line, "door", Box::pin(future));
        self.line.run();
    }

    fn by_stream(&mut self, request: RequestNo, stream: StreamNo, command: Command) {
        let sent = self.streams.get(&stream).is_some_and(|sender| sender.send(command).is_ok());
        if sent {
            self.line.run();
        } else {
            say(&self.letters, Address::Request(request), Told::No(No::StreamOver));
        }
    }

    fn commit(&self, request: RequestNo, who: &Committer, position: &super::wire::Position) {
        let Some(broker) = self.broker.clone() else { return };
        let commit = OffsetCommit {
            topic: TopicRef::Id(position.partition.topic),
            partition: position.partition.partition,
            offset: Offset::from_count(position.offset),
            leader_epoch: None,
            metadata: position.text.clone(),
        };
        let member = (*who != Committer::default()).then(|| who.clone());
        let commit = CommitOffsetsRequest { group: self.name.clone(), offsets: vec![commit], member };
        let letters = Arc::clone(&self.letters);
        self.spawn(async move {
            let answer = Box::pin(broker.commit_offsets(&ctx(), commit)).await;
            let told = match answer.and_then(|answers| answers.into_iter().next().unwrap_or(Ok(()))) {
                Ok(()) => Told::Done,
                Err(error) => refused(&error),
            };
            say(&letters, Address::Request(request), told);
        });
    }

    fn fetch(&self, request: RequestNo, of: TopicPartition) {
        let Some(broker) = self.broker.clone() else { return };
        let partitions = Some(vec![(TopicRef::Id(of.topic), of.partition)]);
        let fetch = FetchOffsetsRequest { group: self.name.clone(), partitions, member: None };
        let letters = Arc::clone(&self.letters);
        self.spawn(async move {
            let answer = Box::pin(broker.fetch_offsets(&ctx(), fetch)).await;
            let first = answer.and_then(|answers| answers.into_iter().next().transpose());
            let told = match first {
                Ok(found) => Told::Committed(found.and_then(|found| {
                    found.offset.map(|offset| (offset.get().unsigned_abs(), found.metadata))
                })),
                Err(error) => refused(&error),
            };
            say(&letters, Address::Request(request), told);
        });
    }

    fn env(&self) -> Env {
        let line: Arc<dyn millrace_env::Tasks> = Arc::<Line>::clone(&self.line);
        Env { tasks: line, ..self.sim.env() }
    }
}

/// Serves the stream of a member, as a door does.
async fn serve(
    mut membership: GroupMembership,
    stream: StreamNo,
    mut commands: mpsc::UnboundedReceiver<Command>,
    letters: &Letters,
) {
    enum Next {
        Asked(Option<Command>),
        News(Result<GroupAssignment, ApiError>),
    }
    loop {
        let next = tokio::select! {
            biased;
            command = commands.recv() => Next::Asked(command),
            news = membership.news() => Next::News(news),
        };
        match next {
            Next::Asked(None) => return,
            Next::Asked(Some(Command::Heartbeat(request, progress, wants))) => {
                let answer = Box::pin(membership.heartbeat(progress, wants)).await;
                let over = answer.as_ref().is_err_and(|error| !error.code.is_retriable());
                let told = answer.map_or_else(|error| refused(&error), of_assignment);
                say(letters, Address::Request(request), told);
                if over {
                    return;
                }
            }
            Next::Asked(Some(Command::Leave(request, leaving))) => {
                let left = Box::pin(membership.leave(leaving)).await;
                let told = left.map_or_else(|error| refused(&error), |()| Told::Done);
                return say(letters, Address::Request(request), told);
            }
            Next::News(Ok(assignment)) => say(letters, Address::Stream(stream), of_assignment(assignment)),
            Next::News(Err(_)) => return say(letters, Address::Stream(stream), Told::No(No::StreamOver)),
        }
    }
}

fn say(letters: &Letters, to: Address, told: Told) {
    letters.lock().push(Letter { to, told, member: None });
}

fn refused(error: &ApiError) -> Told {
    Told::No(match error.code {
        ErrorCode::UnknownMember => No::Unknown,
        ErrorCode::FencedInstance => No::Fenced,
        ErrorCode::FencedMemberEpoch => No::FencedEpoch,
        ErrorCode::StaleMemberEpoch => No::Stale,
        ErrorCode::UnknownTopicOrPartition => No::Nowhere,
        code if code.outcome() == Outcome::Definite => No::Unavailable,
        _ => No::InDoubt,
    })
}

fn of_assignment(told: GroupAssignment) -> Told {
    let GroupAssignment { member, epoch, revision, assigned, waiting, .. } = told;
    let mut partitions = BTreeSet::new();
    for (topic, indexes) in assigned {
        let (TopicRef::Id(id) | TopicRef::Both(_, id)) = topic else { continue };
        partitions.extend(indexes.into_iter().map(|partition| TopicPartition { topic: id, partition }));
    }
    Told::Assignment(Assignment { member, epoch, revision, assigned: partitions, waiting })
}

fn of_progress(progress: &Progress) -> MemberProgress {
    MemberProgress { epoch: progress.epoch, heard: progress.heard, owned: Some(progress.owned.clone()) }
}

impl Coordinator for Real {
    fn advance(&mut self, to_ms: u64) {
        let clock = Arc::clone(self.sim.clock());
        let end = Duration::from_millis(to_ms);
        let now = || millrace_env::Clock::monotonic(&*clock).0;
        while let Some(next) = clock.next_deadline().filter(|next| next.0 <= end) {
            clock.advance(next.0.saturating_sub(now()));
            self.line.run();
        }
        clock.advance(end.saturating_sub(now()));
        self.line.run();
        self.now = to_ms;
    }

    fn ask(&mut self, request: RequestNo, stream: StreamNo, ask: &Ask) {
        let join =
            |member: &millrace_group::MemberId, profile: &millrace_group::Profile, resume| JoinGroupRequest {
                group: self.name.clone(),
                member: Some(member.clone()),
                profile: profile.clone(),
                resume,
            };
        match ask {
            Ask::Join { member, profile } => {
                let join = join(member, profile, None);
                self.join(request, stream, join);
            }
            Ask::Resume { member, profile, progress } => {
                let join = join(member, profile, Some(of_progress(progress)));
                self.join(request, stream, join);
            }
            Ask::Heartbeat { progress, wants, .. } => {
                let command = Command::Heartbeat(request, of_progress(progress), wants.clone());
                self.by_stream(request, stream, command);
            }
            Ask::Leave { leaving, .. } => self.by_stream(request, stream, Command::Leave(request, *leaving)),
            Ask::Commit { who, position } => self.commit(request, who, position),
            Ask::Fetch { partition } => self.fetch(request, *partition),
        }
    }

    fn disconnected(&mut self, stream: StreamNo) {
        self.streams.remove(&stream);
        self.line.run();
    }

    fn is_writing(&self) -> bool {
        self.line.held() > 0
    }

    fn disk(&mut self, disk: Disk) {
        let held = self.line.held();
        let count = match disk {
            Disk::Commits => {
                let some = self.rng.below(u64::try_from(held).unwrap_or(1).max(1));
                usize::try_from(some).unwrap_or(0) + 1
            }
            Disk::Fails => {
                self.failing = true;
                self.sim.disk().inject(Fault::io(CallKind::SyncData));
                held
            }
        };
        self.line.release(count);
        self.line.run();
    }

    fn must_stop(&self) -> bool {
        self.failing
    }

    fn crash(&mut self) {
        if self.rng.chance(1, 3) {
            self.sim.disk().kill();
        } else {
            let survival = if self.rng.chance(1, 2) { Survival::Nothing } else { Survival::Random };
            self.sim.disk().power_cut(survival);
        }
        self.sim.disk().heal();
        self.broker = None;
        self.streams.clear();
        self.line.clear();
        self.letters.lock().clear();
        self.failing = false;
    }

    fn start(&mut self) -> Result<(), String> {
        if self.broker.is_some() {
            return Ok(());
        }
        self.line.hold(false);
        let start = Box::pin(Broker::start(self.env(), config()));
        let broker = self.line.block_on("the start of the broker", start)?;
        self.broker = Some(broker.map_err(|error| format!("the broker does not start: {error}"))?);
        self.line.hold(true);
        Ok(())
    }

    fn is_up(&self) -> bool {
        self.broker.is_some()
    }

    fn change_topic(&mut self, change: &TopicChange) -> Result<(), String> {
        let Some(broker) = self.broker.clone() else { return Ok(()) };
        // Whoever changes topics waits until what they were is forgotten.
        self.line.hold(false);
        self.line.release(usize::MAX);
        self.line.run();
        let made = |error: ApiError| error.to_string();
        match change.clone() {
            TopicChange::Create(name, partitions) => {
                let request = CreateTopicRequest {
                    name: name.as_str().to_owned(),
                    partitions: Some(partitions),
                    replication_factor: None,
                    configs: BTreeMap::new(),
                    validate_only: false,
                };
                let create = Box::pin(async move { broker.create_topic(&ctx(), request).await });
                let id = self.line.block_on("a topic's making", create)?.map_err(made)?.id;
                self.topics.push(Topic { name, id, partitions });
            }
            TopicChange::Grow(name, count) => {
                let grown = self.topics.iter_mut().find(|t| t.name == name && t.partitions < count);
                if let Some(topic) = grown {
                    topic.partitions = count;
                    let topics = vec![NewPartitions { topic: TopicRef::Name(name), count }];
                    let request = CreatePartitionsRequest { topics, validate_only: false };
                    let grow = Box::pin(async move { broker.create_partitions(&ctx(), request).await });
                    let answers = self.line.block_on("a topic's growth", grow)?.map_err(made)?;
                    answers.into_iter().collect::<Result<Vec<_>, _>>().map_err(made)?;
                }
            }
            TopicChange::Delete(name) => {
                self.topics.retain(|topic| topic.name != name);
                let delete = Box::pin(async move { broker.delete_topic(&ctx(), TopicRef::Name(name)).await });
                self.line.block_on("a topic's deletion", delete)?.map_err(made)?;
            }
        }
        self.line.hold(true);
        Ok(())
    }

    fn topics(&self) -> Vec<Topic> {
        self.topics.clone()
    }

    fn letters(&mut self) -> Vec<Letter> {
        std::mem::take(&mut *self.letters.lock())
    }

    fn state(&self) -> Option<&GroupState> {
        None
    }

    fn retention_ms(&self) -> u64 {
        millrace_types::limits::OFFSETS_RETENTION_MS_DEFAULT
    }
}
