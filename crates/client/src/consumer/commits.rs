//! The task that commits: one call after the other, so that a later commit is never overtaken by an earlier one.
//!
//! Orders that wait are sent together, the newest offset of each partition. A commit is repeated with the member's newest epoch
//! for as long as the partition is held as it was when the commit was ordered, and not beyond.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_env::Monotonic;
use millrace_proto::v1;
use millrace_types::limits::PARTITIONS_PER_REQUEST_MAX;
use millrace_types::{ErrorCode, TopicPartition};
use tokio::sync::{mpsc, oneshot};

use super::held::{AssignedPartition, Mark};
use super::state::{Identity, Membership, Shared};
use super::{CommitError, CommitFailure};
use crate::backoff::Backoff;
use crate::connection::Rpc;
use crate::{Client, ClientError, Refusal};

/// Orders that may wait.
pub(super) const ORDERS_MAX: usize = 1024;

/// What is to be committed of a partition as it is held now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wish {
    pub(super) key: TopicPartition,
    pub(super) hold: u64,
    pub(super) name: AssignedPartition,
    pub(super) mark: Mark,
}

/// A commit that somebody wants. Without wishes it completes when those before it have.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) wishes: Vec<Wish>,
    pub(super) reply: oneshot::Sender<Result<(), CommitError>>,
}

type Wanted = BTreeMap<(TopicPartition, u64), Wish>;
type Failures = BTreeMap<(TopicPartition, u64), (AssignedPartition, CommitFailure)>;

/// The task's state.
pub(super) struct Committer {
    pub(super) client: Client,
    pub(super) group: String,
    pub(super) instance: Option<String>,
    pub(super) shared: Arc<Shared>,
    pub(super) orders: mpsc::Receiver<Order>,
}

impl Committer {
    /// Runs until nobody can order any more.
    pub(super) async fn run(mut self) {
        while let Some(first) = self.orders.recv().await {
            let mut orders = vec![first];
            while orders.len() < ORDERS_MAX
                && let Ok(order) = self.orders.try_recv()
            {
                orders.push(order);
            }
            let mut wanted = Wanted::new();
            for wish in orders.iter().flat_map(|order| &order.wishes) {
                wanted.insert((wish.key, wish.hold), wish.clone());
            }
            let failures = self.commit(wanted).await;
            for order in orders {
                let failed = order.wishes.iter().filter_map(|wish| failures.get(&(wish.key, wish.hold)));
                let failed: Vec<_> = failed.cloned().collect();
                let result = if failed.is_empty() { Ok(()) } else { Err(CommitError::Failed { failed }) };
                // Whoever does not wait for it has dropped the other end.
                let _ = order.reply.send(result);
            }
        }
    }

    async fn commit(&self, mut wanted: Wanted) -> Failures {
        let mut failures = Failures::new();
        let clock = &self.client.env().clock;
        let deadline = clock.monotonic().after(self.client.options().request_timeout);
        let mut backoff = Backoff::new(self.client.options());
        let mut membership = self.shared.membership.subscribe();
        loop {
            self.drop_strangers(&mut wanted, &mut failures);
            if wanted.is_empty() {
                return failures;
            }
            let identity = match &*membership.borrow_and_update() {
                Membership::In(identity) => Some(identity.clone()),
                Membership::Joining => None,
                Membership::Over(_) => break,
            };
            let mut last = None;
            if let Some(identity) = identity {
                let before = wanted.len();
                last = self.attempt(&identity, deadline, &mut wanted, &mut failures).await;
                if wanted.len() < before && last.is_none() {
                    continue;
                }
            }
            let pause = backoff.next(&*self.client.env().rng);
            if clock.monotonic().after(pause) >= deadline {
                let last = last.unwrap_or_else(|| CommitFailure::Call(self.timed_out()));
                give_up(wanted, &last, &mut failures);
                return failures;
            }
            // A newer epoch is worth an attempt at once.
            tokio::select! {
                biased;
                _ = membership.changed() => {}
                () = clock.sleep(pause) => {}
            }
        }
        give_up(wanted, &CommitFailure::NotAssigned, &mut failures);
        failures
    }

    /// What is not held any more as it was is another's business.
    fn drop_strangers(&self, wanted: &mut Wanted, failures: &mut Failures) {
        let state = self.shared.lock();
        wanted.retain(|at, wish| {
            let is_held = state.held.get(&wish.key).is_some_and(|held| held.hold == wish.hold);
            if !is_held {
                failures.insert(*at, (wish.name.clone(), CommitFailure::NotAssigned));
            }
            is_held
        });
    }

    /// One call. What is settled leaves `wanted`; answers why the rest is still in it.
    async fn attempt(
        &self,
        identity: &Identity,
        deadline: Monotonic,
        wanted: &mut Wanted,
        failures: &mut Failures,
    ) -> Option<CommitFailure> {
        let asked: Vec<Wish> = wanted.values().take(PARTITIONS_PER_REQUEST_MAX).cloned().collect();
        let request = self.request(identity, &asked);
        let left = deadline.since(self.client.env().clock.monotonic());
        let server = self.client.coordinator(&self.group);
        let send = |mut rpc: Rpc, request| async move { rpc.commit_offsets(request).await };
        let answer = match self.client.attempt(&server, left, request, &send).await {
            Ok(answer) if answer.offsets.len() == asked.len() => answer,
            Ok(answer) => {
                let (answers, questions) = (answer.offsets.len(), asked.len());
                let error = ClientError::Answer(format!("{answers} answers to {questions} commits"));
                give_up(std::mem::take(wanted), &CommitFailure::Call(error), failures);
                return None;
            }
            Err(error) => {
                self.client.heed_coordinator(&self.group, &server, &error);
                tracing::debug!(%server, %error, "a commit failed");
                let failure = match error {
                    ClientError::Refused(refusal) => CommitFailure::Refused(refusal),
                    error => CommitFailure::Call(error),
                };
                if !is_worth_repeating(&failure) {
                    give_up(std::mem::take(wanted), &failure, failures);
                    return None;
                }
                return Some(failure);
            }
        };
        let mut last = None;
        for (wish, answer) in asked.into_iter().zip(answer.offsets) {
            let at = (wish.key, wish.hold);
            match answer.error.map(|error| CommitFailure::Refused(Refusal::of(error))) {
                None => {
                    self.note_committed(&wish);
                    wanted.remove(&at);
                }
                Some(failure) if is_worth_repeating(&failure) => last = Some(failure),
                Some(failure) => {
                    wanted.remove(&at);
                    failures.insert(at, (wish.name, failure));
                }
            }
        }
        last
    }

    fn request(&self, identity: &Identity, asked: &[Wish]) -> v1::CommitOffsetsRequest {
        let commit = |wish: &Wish| v1::OffsetCommit {
            topic: Some(v1::TopicRef::by_both(&wish.name.topic, wish.key.topic)),
            partition: wish.key.partition.get(),
            offset: wish.mark.offset.get(),
            leader_epoch: wish.mark.leader_epoch.map(|epoch| epoch.0),
            metadata: wish.mark.metadata.clone(),
        };
        v1::CommitOffsetsRequest {
            group: self.group.clone(),
            offsets: asked.iter().map(commit).collect(),
            member: Some(identity.on_the_wire(self.instance.as_deref())),
        }
    }

    fn note_committed(&self, wish: &Wish) {
        if let Some(held) = self.shared.lock().held.get_mut(&wish.key)
            && held.hold == wish.hold
        {
            held.committed = Some(wish.mark.offset);
        }
    }

    fn timed_out(&self) -> ClientError {
        ClientError::TimedOut { server: self.client.home(), after: self.client.options().request_timeout }
    }
}

fn give_up(wanted: Wanted, failure: &CommitFailure, failures: &mut Failures) {
    failures.extend(wanted.into_iter().map(|(at, wish)| (at, (wish.name, failure.clone()))));
}

/// A stale epoch is repeated with the newest one, which is on its way. So is a commit of a member that the broker does not know:
/// the membership hears of it too, and lets go of what it held, or comes back to a broker that has just been started.
fn is_worth_repeating(failure: &CommitFailure) -> bool {
    match failure {
        CommitFailure::NotAssigned => false,
        // A topic that is gone holds up no other's commits.
        CommitFailure::Refused(Refusal { code: Some(ErrorCode::UnknownTopicOrPartition), .. }) => false,
        CommitFailure::Refused(refusal) => {
            refusal.is_retriable
                || matches!(refusal.code, Some(ErrorCode::UnknownMember | ErrorCode::FencedMemberEpoch))
        }
        CommitFailure::Call(error) => error.is_retriable(),
    }
}
