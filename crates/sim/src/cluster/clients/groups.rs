//! Who commits offsets of a group, and reads them back.
//!
//! One client for each group, one request at a time: what is read is what was acknowledged last, or what was begun since or
//! shortly before and never answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_broker::{
    ApiError, Broker, CommitOffsetsRequest, CommittedOffset, FetchOffsetsRequest, OffsetCommit, TopicRef,
};
use millrace_env::{BoxFuture, Clock, Monotonic};
use millrace_types::{ErrorCode, GroupId, NodeId, Offset, Outcome, PartitionIndex, TopicName};

use super::{Client, FIRST, No};
use crate::caller::ctx;

/// After which a request is nowhere any more.
const LOST_AFTER: Duration = Duration::from_secs(30);

/// What the group has committed.
#[derive(Default)]
struct Committed {
    acked: Option<u64>,
    /// Commits of which nobody knows, and since when.
    doubtful: BTreeMap<u64, Monotonic>,
    next: u64,
}

impl Client {
    /// Commits and reads until the world closes, and reads once more.
    pub(in super::super) async fn commit(self) {
        let (Ok(group), Ok(topic)) = (GroupId::new(&self.name), TopicName::new(FIRST)) else { return };
        let mut committed = Committed::default();
        let mut coordinator = self.anybody();
        while !self.is_closing() {
            self.sleep(400).await;
            if self.rng.chance(1, 3) {
                self.read_back(&group, &topic, &mut committed, &mut coordinator).await;
            } else {
                self.commit_one(&group, &topic, &mut committed, &mut coordinator).await;
            }
        }
        while !self.read_back(&group, &topic, &mut committed, &mut coordinator).await {
            self.sleep(200).await;
        }
    }

    async fn commit_one(
        &self,
        group: &GroupId,
        topic: &TopicName,
        committed: &mut Committed,
        coordinator: &mut NodeId,
    ) {
        committed.next += 1;
        let offset = committed.next;
        let commit = OffsetCommit {
            topic: TopicRef::Name(topic.clone()),
            partition: PartitionIndex(0),
            offset: Offset::from_count(offset),
            leader_epoch: None,
            metadata: format!("{offset}"),
        };
        let request = CommitOffsetsRequest { group: group.clone(), offsets: vec![commit], member: None };
        let ask = move |broker: Arc<Broker>| -> BoxFuture<Result<(), ApiError>> {
            let request = request.clone();
            Box::pin(async move {
                let answers = broker.commit_offsets(&ctx(), request).await?;
                answers.into_iter().collect()
            })
        };
        let now = self.shared.clock.monotonic();
        let answer = self.ask(*coordinator, ask).await;
        self.tell(|| format!("commit {offset} at {coordinator}: {answer:?}"));
        let Err(no) = answer else {
            self.mark(|marks| marks.committed += 1);
            committed.acked = Some(offset);
            committed.doubtful.retain(|_, since| now.since(*since) < LOST_AFTER);
            return;
        };
        self.note(&no);
        let is_definite = match &no {
            No::Error(error) => error.code.outcome() == Outcome::Definite,
            No::Unanswered(why) => *why == super::Unanswered::Unheard,
        };
        if !is_definite {
            committed.doubtful.insert(offset, now);
        }
        *coordinator = self.follow(&no);
    }

    /// `false` if nobody has answered.
    async fn read_back(
        &self,
        group: &GroupId,
        topic: &TopicName,
        committed: &mut Committed,
        coordinator: &mut NodeId,
    ) -> bool {
        let partitions = Some(vec![(TopicRef::Name(topic.clone()), PartitionIndex(0))]);
        let request = FetchOffsetsRequest { group: group.clone(), partitions, member: None };
        let ask = move |broker: Arc<Broker>| -> BoxFuture<Result<CommittedOffset, ApiError>> {
            let request = request.clone();
            Box::pin(async move {
                let answer = broker.fetch_offsets(&ctx(), request).await?.pop();
                let none = || Err(ApiError::new(ErrorCode::Internal, "an answer without partitions"));
                answer.unwrap_or_else(none)
            })
        };
        let found = match self.ask(*coordinator, ask).await {
            Ok(found) => found,
            Err(no) => {
                self.tell(|| format!("committed at {coordinator}: {no:?}"));
                self.note(&no);
                *coordinator = self.follow(&no);
                return false;
            }
        };
        self.mark(|marks| marks.offsets += 1);
        let offset = found.offset.map(|offset| offset.get().unsigned_abs());
        self.tell(|| format!("committed at {coordinator} is {offset:?}"));
        let is_known = match offset {
            None => committed.acked.is_none(),
            Some(offset) => committed.acked == Some(offset) || committed.doubtful.contains_key(&offset),
        };
        if !is_known {
            let Committed { acked, doubtful, .. } = committed;
            self.breaks(&format!(
                "{offset:?} is committed at {coordinator}; {acked:?} was acknowledged last, in doubt are {doubtful:?}"
            ));
        }
        if offset.is_some_and(|offset| found.metadata != offset.to_string()) {
            self.breaks(&format!("{offset:?} was committed with another text: {}", found.metadata));
        }
        true
    }
}
