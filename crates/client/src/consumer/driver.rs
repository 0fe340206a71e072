//! The membership: keeps the member stream, beats, and walks from one assignment to the next.
//!
//! ```text
//!   stream ── assignment ──► adopt: what is new is announced, what is gone is doomed (handed out no more, at once)
//!                               │ one step at a time
//!                               ├─ parted: the application is done with it ─► forget it ─► heartbeat: it is let go
//!                               └─ opened: the application knows of it     ─► it is read
//! ```
//! Nothing here waits: steps are futures beside the heartbeats, and the heartbeats say what is held at that moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use millrace_env::{Monotonic, RngExt};
use millrace_proto::v1;
use millrace_proto::v1::group_member_request::Request;
use millrace_types::{ErrorCode, Outcome, PartitionIndex, TopicName, TopicPartition};

use super::fetcher::pending_or;
use super::held::{AssignedPartition, Stage};
use super::state::{Identity, Membership, Shared};
use super::steps::{Done, Steps};
use super::stream::{Event, MemberStream};
use super::{ConsumeError, GroupOptions, Leaving};
use crate::backoff::Backoff;
use crate::client::REDIRECTS_MAX;
use crate::{Client, ClientError};

/// How long an answer to a heartbeat may take before the stream is taken for broken, if the broker has not said yet how long a
/// member may be silent.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
/// How often a consumer is heard of, if the broker has not said.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(3);

/// What the coordinator said last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Joined {
    epoch: i32,
    revision: u64,
}

/// The task's state.
pub(super) struct Driver {
    client: Client,
    shared: Arc<Shared>,
    options: GroupOptions,
    steps: Steps,
    /// The id of this life. A new one is drawn when the group does not know it any more.
    member: String,
    joined: Option<Joined>,
    stream: Option<MemberStream>,
    /// Whether this stream has brought an assignment yet.
    is_greeted: bool,
    backoff: Backoff,
    /// How often it was sent to another broker since the last assignment.
    redirects: u32,
    connect_at: Monotonic,
    heartbeat_interval: Duration,
    session_timeout: Option<Duration>,
    beat_at: Monotonic,
    /// Since when something said is not answered.
    unanswered: Option<Monotonic>,
    heard_at: Monotonic,
    commit_at: Monotonic,
    step: Option<BoxFuture<'static, Done>>,
    /// When what is doomed goes even if the application has not come back.
    part_by: Monotonic,
    lost: Vec<AssignedPartition>,
    /// Until when the leave is tried.
    leave_by: Option<Monotonic>,
    has_left: bool,
    /// Whether this stream was told that the member leaves.
    has_said_leave: bool,
}

impl Driver {
    pub(super) fn new(steps: Steps, options: GroupOptions) -> Driver {
        let client = steps.group.client().clone();
        let shared = Arc::clone(steps.group.shared());
        let now = client.env().clock.monotonic();
        let member = draw_member(&client);
        Driver {
            backoff: Backoff::following(client.options()),
            redirects: 0,
            client,
            shared,
            options,
            steps,
            member,
            joined: None,
            stream: None,
            is_greeted: false,
            connect_at: now,
            heartbeat_interval: HEARTBEAT_INTERVAL,
            session_timeout: None,
            beat_at: now,
            unanswered: None,
            heard_at: now,
            commit_at: now,
            step: None,
            part_by: now,
            lost: Vec::new(),
            leave_by: None,
            has_left: false,
            has_said_leave: false,
        }
    }

    /// Runs until the consumer has left, or is refused for good.
    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let end = loop {
            let now = self.now();
            self.begin_to_leave(now);
            if self.is_gone(now) {
                break None;
            }
            if let Err(error) = self.connect(now) {
                break Some(error);
            }
            self.beat(now);
            self.commit(now);
            self.watch(now);
            self.begin_step(now);
            let nap = self.nap(now);
            let clock = Arc::clone(&self.client.env().clock);
            let event = tokio::select! {
                biased;
                event = next_event(&mut self.stream) => Some(event),
                done = pending_or(&mut self.step) => {
                    self.on_step(done);
                    None
                }
                () = shared.news.notified() => None,
                () = clock.sleep(nap) => None,
            };
            if let Some(event) = event
                && let Err(error) = self.on_event(event)
            {
                break Some(error);
            }
        };
        self.end(end).await;
    }

    fn now(&self) -> Monotonic {
        self.client.env().clock.monotonic()
    }

    /// How long nothing is to be done, if nothing happens.
    fn nap(&self, now: Monotonic) -> Duration {
        let silence = self.session_timeout.map(|timeout| self.heard_at.after(timeout));
        let times = [
            self.stream.is_none().then_some(self.connect_at),
            self.is_greeted.then_some(self.beat_at),
            self.unanswered.map(|since| since.after(self.answer_patience())),
            silence.filter(|_| !self.shared.lock().is_suspended),
            self.options.auto_commit.map(|_| self.commit_at),
            self.leave_by,
        ];
        let next = times.into_iter().flatten().min();
        next.map_or(self.heartbeat_interval, |next| next.since(now))
    }

    /// The first time that somebody wants to leave: nothing more is handed out, and all goes.
    fn begin_to_leave(&mut self, now: Monotonic) {
        if self.leave_by.is_some() || self.shared.lock().closing.is_none() {
            return;
        }
        let leave_by = now.after(self.client.options().request_timeout);
        self.leave_by = Some(leave_by);
        self.part_by = self.part_deadline(now).min(leave_by);
        // Whoever closes is done with all that it was handed.
        self.shared.check_in();
        self.shared.change(super::state::State::doom_all);
    }

    /// Whether there is nothing left to do for a consumer that leaves.
    fn is_gone(&self, now: Monotonic) -> bool {
        let Some(leave_by) = self.leave_by else { return false };
        let has_nothing = self.shared.lock().held.is_empty() && self.lost.is_empty() && self.step.is_none();
        (self.has_left || self.joined.is_none()) && has_nothing || leave_by <= now
    }

    async fn end(mut self, error: Option<ClientError>) {
        self.stream = None;
        let lost = self.shared.lock().lose_all();
        self.lost.extend(lost);
        if let Some(step) = self.step.take() {
            step.await;
        }
        if !self.lost.is_empty() {
            let deadline = self.part_deadline(self.now());
            self.steps.clone().lost(std::mem::take(&mut self.lost), deadline).await;
        }
        let group = self.options.group.clone();
        let told = error.clone().map(|error| ConsumeError::Membership { group, error });
        self.shared.lock().end(told);
        self.shared.membership.send_replace(Membership::Over(error));
    }

    /// Opens a stream, if there is none and it is time.
    fn connect(&mut self, now: Monotonic) -> Result<(), ClientError> {
        if self.stream.is_some() || now < self.connect_at {
            return Ok(());
        }
        let server = self.client.coordinator(&self.options.group);
        let rpc = self.client.rpc(&server)?;
        let join = self.options.join(&self.member, self.progress());
        self.stream = Some(MemberStream::open(self.client.env(), server, rpc, join));
        (self.is_greeted, self.has_said_leave) = (false, false);
        self.unanswered = Some(now);
        Ok(())
    }

    /// What the member says of itself.
    fn progress(&self) -> Option<v1::MemberProgress> {
        let Joined { epoch, revision } = self.joined?;
        let mut topics: BTreeMap<_, Vec<i32>> = BTreeMap::new();
        for key in self.shared.lock().held.keys() {
            topics.entry(key.topic).or_default().push(key.partition.get());
        }
        let topics = topics.into_iter().map(|(topic, partitions)| v1::TopicPartitions {
            topic: Some(v1::TopicRef::by_id(topic)),
            partitions,
        });
        let owned = Some(v1::OwnedPartitions { topics: topics.collect() });
        Some(v1::MemberProgress { epoch, heard: revision, owned })
    }

    fn beat(&mut self, now: Monotonic) {
        let is_empty = self.shared.lock().held.is_empty();
        let Some(stream) = self.stream.as_ref().filter(|_| self.is_greeted) else { return };
        if self.leave_by.is_some() && is_empty && self.step.is_none() {
            if !self.has_said_leave {
                let for_now = self.shared.lock().closing == Some(Leaving::ForNow);
                self.has_said_leave = stream.say(Request::Leave(v1::LeaveGroup { for_now }));
                self.unanswered.get_or_insert(now);
            }
            self.beat_at = now.after(self.heartbeat_interval);
        } else if self.beat_at <= now {
            stream.say(Request::Heartbeat(v1::GroupHeartbeat {
                progress: self.progress(),
                subscription: None,
            }));
            self.unanswered.get_or_insert(now);
            self.beat_at = now.after(self.heartbeat_interval);
        }
    }

    fn commit(&mut self, now: Monotonic) {
        let Some(interval) = self.options.auto_commit.filter(|_| self.commit_at <= now) else { return };
        self.commit_at = now.after(interval);
        let wishes = self.shared.lock().due(None);
        if !wishes.is_empty() {
            // The next one says the same and more.
            drop(self.steps.group.order_later(wishes));
        }
    }

    /// Gives up a stream that does not answer, and stops reading when the broker may have taken the member for dead.
    fn watch(&mut self, now: Monotonic) {
        if let Some(since) = self.unanswered
            && since.after(self.answer_patience()) <= now
            && let Some(stream) = &self.stream
        {
            let (server, after) = (stream.server.clone(), self.answer_patience());
            self.on_broken(ClientError::TimedOut { server, after });
        }
        if let Some(timeout) = self.session_timeout
            && self.heard_at.after(timeout) <= now
        {
            self.shared.lock().is_suspended = true;
        }
    }

    fn answer_patience(&self) -> Duration {
        self.session_timeout.map_or(ANSWER_PATIENCE, |timeout| timeout / 2)
    }

    /// By when the application must have let go: before the broker loses its patience.
    fn part_deadline(&self, now: Monotonic) -> Monotonic {
        now.after(self.options.rebalance_timeout / 4 * 3)
    }

    fn begin_step(&mut self, now: Monotonic) {
        if self.step.is_some() {
            return;
        }
        let steps = self.steps.clone();
        if !self.lost.is_empty() {
            let deadline = self.part_deadline(now);
            self.step = Some(steps.launch(|steps| steps.lost(std::mem::take(&mut self.lost), deadline)));
            return;
        }
        let doomed = self.shared.lock().advance(Stage::Doomed, Stage::Parting);
        if !doomed.is_empty() {
            self.step = Some(steps.launch(|steps| steps.parted(doomed, self.part_by)));
            return;
        }
        let announced = self.shared.lock().advance(Stage::Announced, Stage::Opening);
        if !announced.is_empty() {
            let deadline = self.part_deadline(now);
            self.step = Some(steps.launch(|steps| steps.opened(announced, deadline)));
        }
    }

    fn on_step(&mut self, done: Done) {
        match done {
            Done::Opened => self.shared.change(|state| drop(state.advance(Stage::Opening, Stage::Open))),
            Done::Parted { keys, late } => {
                self.shared.lock().let_go(&keys);
                self.lost.extend(late);
                // Others wait for these.
                self.beat_at = self.now();
            }
            Done::Told => {}
            // A callback panicked. What it was told has happened all the same.
            Done::Died => {
                tracing::error!(group = %self.options.group, "a rebalance callback has panicked");
                self.shared.change(|state| drop(state.advance(Stage::Opening, Stage::Open)));
                let parting = self.shared.lock().advance(Stage::Parting, Stage::Parting);
                self.shared.lock().let_go(&parting.into_keys().collect());
                self.beat_at = self.now();
            }
        }
    }

    fn on_event(&mut self, event: Event) -> Result<(), ClientError> {
        match event {
            Event::Assignment(assignment) => match self.on_assignment(assignment) {
                Ok(()) => Ok(()),
                Err(error) => self.on_ended(error),
            },
            Event::Left => {
                self.has_left = true;
                self.stream = None;
                self.unanswered = None;
                Ok(())
            }
            Event::Ended(error) => self.on_ended(error),
        }
    }

    fn on_assignment(&mut self, assignment: v1::GroupAssignment) -> Result<(), ClientError> {
        let now = self.now();
        let assigned = self.read_assigned(assignment.assigned)?;
        self.joined = Some(Joined { epoch: assignment.epoch, revision: assignment.revision });
        if !assignment.member.is_empty() {
            self.member = assignment.member;
        }
        let millis = |ms: u32| Some(Duration::from_millis(ms.into())).filter(|d| !d.is_zero());
        self.heartbeat_interval = millis(assignment.heartbeat_interval_ms).unwrap_or(HEARTBEAT_INTERVAL);
        self.session_timeout = millis(assignment.session_timeout_ms);
        if !std::mem::replace(&mut self.is_greeted, true) {
            self.beat_at = now.after(self.heartbeat_interval);
        }
        self.beat_at = self.beat_at.min(now.after(self.heartbeat_interval));
        (self.heard_at, self.unanswered) = (now, None);
        self.backoff.reset();
        self.redirects = 0;
        let identity = Identity { member: self.member.clone(), epoch: assignment.epoch };
        let is_leaving = self.leave_by.is_some();
        let waiting = usize::try_from(assignment.waiting).unwrap_or(usize::MAX);
        let has_doomed = self.shared.change(|state| {
            state.unsuspend();
            state.waiting = waiting;
            !is_leaving && state.adopt(assigned)
        });
        if has_doomed {
            self.part_by = self.part_deadline(now);
        }
        self.shared.membership.send_if_modified(|membership| {
            let is_new = *membership != Membership::In(identity.clone());
            *membership = Membership::In(identity);
            is_new
        });
        Ok(())
    }

    /// What is assigned. A topic that has just been deleted comes without its name: what of it is held stays so until the
    /// coordinator takes it away, the rest is not taken up.
    fn read_assigned(
        &self,
        topics: Vec<v1::TopicPartitions>,
    ) -> Result<BTreeMap<TopicPartition, AssignedPartition>, ClientError> {
        let mut assigned = BTreeMap::new();
        let state = self.shared.lock();
        for v1::TopicPartitions { topic, partitions } in topics {
            let topic = topic.unwrap_or_default();
            let nonsense = |what: String| ClientError::Answer(format!("an assignment of {what}"));
            let id = millrace_proto::topic_id(&topic.id).map_err(|e| nonsense(e.to_string()))?;
            let id = id.ok_or_else(|| nonsense(format!("topic {:?} without its id", topic.name)))?;
            let name = match topic.name.as_str() {
                "" => None,
                name => Some(TopicName::new(name).map_err(|e| nonsense(format!("topic {name:?}: {e}")))?),
            };
            for index in partitions {
                let partition =
                    PartitionIndex::new(index).ok_or_else(|| nonsense(format!("partition {index}")))?;
                let key = TopicPartition { topic: id, partition };
                let held = || state.held.get(&key).map(|held| held.name.clone());
                let named = name.clone().map(|topic| AssignedPartition { topic, partition });
                assigned.extend(named.or_else(held).map(|name| (key, name)));
            }
        }
        Ok(assigned)
    }

    /// The stream has ended: with what that says of the membership.
    fn on_ended(&mut self, error: ClientError) -> Result<(), ClientError> {
        match error.code() {
            Some(ErrorCode::UnknownMember | ErrorCode::FencedMemberEpoch) => {
                if self.joined.is_some() {
                    tracing::info!(group = %self.options.group, member = %self.member, %error, "the membership is lost");
                    self.lose();
                }
                self.on_broken(error);
                Ok(())
            }
            _ if error.outcome() == Outcome::Definite && !error.is_retriable() => Err(error),
            _ => {
                self.on_broken(error);
                Ok(())
            }
        }
    }

    /// Everything that was held may be another's. The next join is that of somebody new.
    fn lose(&mut self) {
        self.joined = None;
        self.member = draw_member(&self.client);
        let lost = self.shared.change(|state| {
            state.unsuspend();
            state.lose_all()
        });
        self.lost.extend(lost);
        self.session_timeout = None;
        self.shared.membership.send_replace(Membership::Joining);
    }

    /// The stream is of no use any more; there will be another.
    fn on_broken(&mut self, error: ClientError) {
        let server = self.stream.take().map(|stream| stream.server.clone()).unwrap_or_default();
        let is_redirect = self.client.heed_coordinator(&self.options.group, &server, &error);
        self.redirects += u32::from(is_redirect);
        let is_at_once = is_redirect && self.redirects <= REDIRECTS_MAX;
        let pause = if is_at_once { Duration::ZERO } else { self.backoff.next(&*self.client.env().rng) };
        tracing::debug!(group = %self.options.group, %error, ?pause, "the member stream broke");
        self.shared.note_trouble(error);
        self.is_greeted = false;
        self.unanswered = None;
        self.connect_at = self.now().after(pause);
        self.beat_at = self.connect_at;
    }
}

async fn next_event(stream: &mut Option<MemberStream>) -> Event {
    let Some(stream) = stream else { return std::future::pending().await };
    match stream.events.recv().await {
        Some(event) => event,
        None => {
            let reason = "the stream has stopped".to_owned();
            Event::Ended(ClientError::Lost { server: stream.server.clone(), reason })
        }
    }
}

/// The id of one life of a consumer: never drawn twice.
fn draw_member(client: &Client) -> String {
    let id = u128::from_be_bytes(client.env().rng.uuid_v4());
    format!("{}-{id:032x}", client.options().client_id)
}
