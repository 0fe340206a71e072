//! What the consumers of a world do, and what happens to them.

use millrace_group::Committer;
use millrace_types::TopicPartition;

use super::consumer::Manner;
use super::coordinator::Links;
use super::lease::SentAt;
use super::wire::{Address, Ask, Letter, No, Position, RequestNo, StreamNo, Told};
use super::world::{BEAT_MS, Happening, World};

/// How often a member works.
pub(super) const WORK_MS: u64 = 1_200;

/// How late a commit comes, at most, that a member makes when it lets go.
const LATE_MS: u64 = 4_000;

impl World {
    /// A consumer takes what it is told.
    pub(super) fn hear(&mut self, number: usize, letter: Letter) {
        let now = self.now;
        let Some(consumer) = self.consumers.get_mut(number) else { return };
        if !consumer.running {
            return;
        }
        if consumer.paused_until > now {
            let wait = consumer.paused_until - now;
            return self.later(wait, Happening::Hear(number, letter));
        }
        let (request, sent) = match letter.to {
            Address::Stream(stream) if stream != consumer.stream => return,
            Address::Stream(_) => (None, None),
            Address::Request(request) => (Some(request), self.requests.get(&request)),
        };
        if let Some(sent) = sent {
            let unary = sent.stream == StreamNo(0);
            if unary || sent.life != consumer.life || sent.stream != consumer.stream {
                return;
            }
        }
        match letter.told {
            Told::Assignment(assignment) => {
                let before = consumer.belief.clone();
                if !consumer.hear(&assignment) {
                    return;
                }
                if let Some(sent) = sent {
                    let said = match &sent.ask {
                        Ask::Resume { progress, .. } | Ask::Heartbeat { progress, .. } => Some(progress),
                        _ => None,
                    };
                    let settled = said.is_none_or(|said| {
                        said.heard == assignment.revision && said.owned.is_subset(&assignment.assigned)
                    });
                    consumer.lease.answered(sent.at, settled);
                    let told = match &sent.ask {
                        Ask::Heartbeat { wants, .. } => wants.as_ref() == Some(&consumer.wants),
                        Ask::Resume { profile, .. } => profile.subscription == consumer.wants,
                        _ => false,
                    };
                    if told {
                        consumer.wanted = None;
                    }
                }
                let news = before.is_none_or(|before| before.heard != assignment.revision);
                if consumer.is_behind() || news {
                    let stubborn = consumer.manner == Manner::Stubborn;
                    let wait =
                        if stubborn { 2 * consumer.rebalance_timeout_ms } else { 1 + self.rng.below(400) };
                    self.later(wait, Happening::Reconcile(number));
                }
            }
            Told::No(No::StreamOver | No::InDoubt | No::Unavailable) => {
                let newest = consumer.newest == request || request.is_none();
                if newest {
                    self.reconnect(number);
                }
            }
            Told::No(No::Fenced) if consumer.newest == request => {
                consumer.running = false;
                consumer.fenced = true;
                consumer.forget();
                self.marks.fenced += 1;
            }
            Told::No(No::Unknown | No::FencedEpoch) if consumer.newest == request => {
                consumer.forget();
                self.connect(number);
            }
            Told::No(_) | Told::Done | Told::Committed(_) => {}
        }
    }

    /// Opens a stream, as a new member.
    pub(super) fn connect(&mut self, number: usize) {
        self.open_stream(number);
        if let Some(ask) = self.consumers.get_mut(number).and_then(|consumer| consumer.begin()) {
            self.send(number, ask);
        }
    }

    /// Opens another stream, as the member that it is, if it is one.
    pub(super) fn reconnect(&mut self, number: usize) {
        self.break_stream(number);
        let resume = self.consumers.get(number).and_then(|consumer| consumer.resume());
        match (resume, self.weather.links) {
            (None, _) => self.connect(number),
            (Some(ask), Links::Streams) => {
                self.open_stream(number);
                self.send(number, ask);
            }
            (Some(_), Links::Loose) => {
                if let Some(ask) = self.consumers.get(number).and_then(|consumer| consumer.heartbeat()) {
                    self.send(number, ask);
                }
            }
        }
    }

    /// The stream breaks; the coordinator notices at once, late, or never.
    pub(super) fn break_stream(&mut self, number: usize) {
        if self.weather.links == Links::Loose {
            return;
        }
        let at = SentAt { ms: self.now, tick: self.tick };
        let Some(consumer) = self.consumers.get_mut(number) else { return };
        consumer.lease.broke(at);
        let stream = consumer.stream;
        match self.rng.below(4) {
            0 => {}
            1 => {
                let wait = self.rng.below(8_000);
                self.later(wait, Happening::Notice(stream));
            }
            _ => self.later(1, Happening::Notice(stream)),
        }
    }

    /// A member gives a sign of life, again and again.
    pub(super) fn beat(&mut self, number: usize) {
        self.later(BEAT_MS / 2 + self.rng.below(BEAT_MS), Happening::Beat(number));
        let now = self.now;
        let Some(consumer) = self.consumers.get(number) else { return };
        if consumer.paused_until > now {
            return;
        }
        if !consumer.running {
            // Somebody starts it, at some time; less often if another has its place.
            let fair = self.weather.fault_every_ms.is_none();
            let again = if fair {
                !consumer.fenced
            } else {
                self.rng.chance(1, if consumer.fenced { 12 } else { 3 })
            };
            if again && !self.healing {
                self.start(number);
            }
        } else if consumer.belief.is_some()
            && let Some(ask) = consumer.heartbeat()
        {
            self.send(number, ask);
        }
    }

    pub(super) fn start(&mut self, number: usize) {
        if let Some(consumer) = self.consumers.get_mut(number) {
            consumer.running = true;
            consumer.fenced = false;
            consumer.manner = Manner::Prompt;
            self.connect(number);
        }
    }

    /// It lets go and takes up, and says so.
    pub(super) fn reconcile(&mut self, number: usize) {
        let now = self.now;
        let Some(consumer) = self.consumers.get_mut(number) else { return };
        if !consumer.running || consumer.paused_until > now || consumer.belief.is_none() {
            return;
        }
        let lost =
            consumer.belief.iter().flat_map(|belief| belief.owned.difference(&belief.told)).next().copied();
        let who = consumer.committer();
        consumer.reconcile();
        if let (Some(partition), Some(who)) = (lost, who)
            && !self.healing
            && self.rng.chance(1, 3)
        {
            // It commits what it has read so far, and that takes a while.
            let wait = self.rng.below(LATE_MS);
            if let Some(request) = self.write_commit(number, who, partition) {
                self.marks.zombies += 1;
                self.later(wait, Happening::Arrive(request));
            }
        }
        let Some(consumer) = self.consumers.get_mut(number) else { return };
        if let Some(ask) = consumer.heartbeat() {
            self.send(number, ask);
        }
    }

    /// An answer is overdue: the stream is given up.
    pub(super) fn overdue(&mut self, request: RequestNo) {
        let now = self.now;
        let Some(sent) = self.requests.get(&request) else { return };
        let number = sent.consumer;
        let (life, at, is_join) = (sent.life, sent.at, matches!(sent.ask, Ask::Join { .. }));
        let Some(consumer) = self.consumers.get(number) else { return };
        if !consumer.running || consumer.life != life || consumer.newest != Some(request) {
            return;
        }
        if consumer.paused_until > now {
            let wait = consumer.paused_until - now;
            return self.later(wait, Happening::Overdue(request));
        }
        let unheard = if is_join { consumer.belief.is_none() } else { !consumer.lease.heard_since(at) };
        if unheard {
            self.reconnect(number);
        }
    }

    /// It reads records and commits; somebody looks at what was committed.
    pub(super) fn work(&mut self, number: usize) {
        self.later(WORK_MS / 2 + self.rng.below(WORK_MS), Happening::Work(number));
        let now = self.now;
        let Some(consumer) = self.consumers.get(number) else { return };
        if consumer.running && consumer.paused_until <= now {
            let owned: Vec<TopicPartition> =
                consumer.belief.iter().flat_map(|belief| belief.owned.iter().copied()).collect();
            let who = consumer.committer();
            if let (Some(partition), Some(who)) = (self.pick(&owned), who) {
                self.commit(number, who, partition);
            }
        }
        self.look_up(number);
        if self.rng.chance(1, 40) {
            let all: Vec<TopicPartition> =
                self.topics.iter().flat_map(super::invariants::partitions).collect();
            if let Some(partition) = self.pick(&all) {
                self.commit(number, Committer::default(), partition);
            }
        }
    }

    fn look_up(&mut self, number: usize) {
        let all: Vec<TopicPartition> = self.topics.iter().flat_map(super::invariants::partitions).collect();
        if let Some(partition) = self.pick(&all) {
            self.send(number, Ask::Fetch { partition });
        }
    }

    pub(super) fn pick<T: Clone>(&self, among: &[T]) -> Option<T> {
        self.rng.pick(among).cloned()
    }

    pub(super) fn commit(
        &mut self,
        number: usize,
        who: Committer,
        partition: TopicPartition,
    ) -> Option<RequestNo> {
        let position = self.position(number, partition);
        self.send(number, Ask::Commit { who, position })
    }

    /// The same, and it is held back.
    pub(super) fn write_commit(
        &mut self,
        number: usize,
        who: Committer,
        partition: TopicPartition,
    ) -> Option<RequestNo> {
        let position = self.position(number, partition);
        self.write(number, Ask::Commit { who, position })
    }

    fn position(&mut self, number: usize, partition: TopicPartition) -> Position {
        self.positions += 1;
        let offset = self.positions;
        Position { partition, offset, text: format!("{number}@{offset}") }
    }
}
