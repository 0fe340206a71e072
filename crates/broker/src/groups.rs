//! The groups and what they have committed, kept in `__consumer_offsets`: one coordinator for each of its partitions.
//!
//! | part | what it does |
//! |---|---|
//! | [`replay`] | reads a partition back: offsets and groups in one pass |
//! | [`coordinated`] | the value of a partition |
//! | [`partition`] | its lock, and the order of what is written and told |
//! | [`seat`], [`moving`] | whether this node coordinates it, and how that moves |
//! | [`membership`] | what the door of a member holds |
//! | [`heartbeats`] | members that hold no stream |
//! | [`classic`], [`live_classic`] | members that assign each other: what their door asks, and who waits for whom |
//! | [`streams`], [`draft`] | who can be reached; what one step wants written and told |
//! | [`topics`] | the topics as groups see them, patterns resolved |
//! | [`clock`], [`timer`] | deadlines that a pause does not reach |
//! | [`upkeep`] | what is forgotten in time |
//! | [`view`] | what operators do with groups |
//! | [`refusals`] | what a group refuses, in the words of doors |

mod classic;
mod clock;
mod coordinated;
mod draft;
mod heartbeats;
mod live_classic;
mod membership;
mod moving;
mod partition;
mod refusals;
mod replay;
mod seat;
mod settings;
mod streams;
pub(crate) mod timer;
mod topics;
mod upkeep;
mod view;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use millrace_env::Env;
use millrace_group::{
    CommitRefusal, Committer, Event, GroupOffsets, GroupState, OffsetCommitKey, OffsetCommitValue, Pattern,
    partition_of,
};
use millrace_metadata::Image;
use millrace_types::{ErrorCode, GroupId, PartitionIndex, TopicId, limits};
use tokio::sync::{Notify, oneshot};

pub use self::classic::{
    ClassicIdentity, ClassicJoined, ClassicSynced, JoinClassicRequest, LeaveClassicRequest, PendingJoin,
    PendingSync, SyncClassicRequest,
};
use self::coordinated::{Coordinated, Group, Rules, Totals};
use self::draft::Answered;
pub use self::heartbeats::{GroupHeartbeatAnswer, GroupHeartbeatRequest, MemberSays, ProfileChanges, Tell};
use self::membership::answer_of;
pub use self::membership::{GroupAssignment, GroupMembership, JoinGroupRequest, MemberProgress};
use self::partition::GroupsPartition;
pub(crate) use self::replay::{FoundOffsets, replay_groups};
pub use self::settings::GroupSettings;
use self::topics::{GroupTopics, TopicsOf};
pub(crate) use self::upkeep::Upkeep;
pub use self::view::{ClassicDescription, ClassicListing, ClassicMemberDescription};
use crate::ApiError;
use crate::admission::InFlight;
use crate::metrics::GroupCounters;

/// All partitions of `__consumer_offsets`.
#[derive(Debug)]
pub(crate) struct Groups {
    topics: Arc<GroupTopics>,
    totals: Arc<Totals>,
    partitions: Vec<Arc<GroupsPartition>>,
}

/// A partition as it may be looked at, under its lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look<'a> {
    /// What its groups have committed.
    pub(crate) offsets: &'a GroupOffsets,
    value: &'a Coordinated,
    doubt: Option<&'a ApiError>,
}

impl<'a> Look<'a> {
    /// What is known of a group beside its offsets.
    pub(crate) fn group(&self, id: &GroupId) -> Option<&'a GroupState> {
        self.value.group(id).map(Group::state)
    }

    /// The groups that have members, or had some.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (&'a GroupId, &'a GroupState)> + use<'a> {
        self.value.groups().map(|(id, group)| (id, group.state()))
    }

    /// What was committed under a key.
    ///
    /// # Errors
    /// CORRUPT if that is not certain, because the log is damaged behind whatever was committed.
    pub(crate) fn fetch(
        &self,
        key: &OffsetCommitKey,
        topic: TopicId,
    ) -> Result<Option<&OffsetCommitValue>, ApiError> {
        match (self.offsets.fetch(key, topic), self.doubt) {
            (None, Some(doubt)) => Err(doubt.clone()),
            (found, _) => Ok(found),
        }
    }

    /// Whether the value holds all that was ever committed.
    ///
    /// # Errors
    /// CORRUPT if not.
    pub(crate) fn whole(&self) -> Result<(), ApiError> {
        self.doubt.map_or(Ok(()), |doubt| Err(doubt.clone()))
    }
}

/// Who may change what a group has committed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum By {
    /// A member, or somebody from outside while there is none.
    Committer(Committer),
    /// An operator, while there are no members.
    Operator,
    /// An operator, whoever is there.
    Force,
}

impl Groups {
    /// The coordinators of replayed partitions, in their order.
    pub(crate) fn new(
        env: &Env,
        settings: &GroupSettings,
        counters: GroupCounters,
        image: &Image,
        found: Vec<FoundOffsets>,
    ) -> Groups {
        let replayed = found.iter().filter_map(|found| found.as_ref().ok()?.1.as_ref().ok());
        let members = replayed.flat_map(|replayed| replayed.groups.values()).flat_map(|g| g.members.values());
        let patterns = members.filter_map(|profile| profile.subscription.pattern.clone()).collect();
        let topics = Arc::new(GroupTopics::new(image, patterns));
        let rules = Rules::new(settings, counters);
        let totals = Arc::clone(&rules.totals);
        let partition =
            |found| Arc::new(GroupsPartition::new(env.clone(), rules.clone(), Arc::clone(&topics), found));
        let partitions = found.into_iter().map(partition).collect();
        Groups { topics, totals, partitions }
    }

    /// Commits what `make` gives under the lock, if that one may; answers when it is committed.
    ///
    /// # Errors
    /// Why that one may not; or as an append, where an indefinite error says that the records may be there.
    pub(crate) async fn commit(
        &self,
        guard: InFlight,
        group: &GroupId,
        by: &By,
        make: impl FnOnce() -> Event + Send,
    ) -> Result<Vec<Result<(), CommitRefusal>>, ApiError> {
        let partition = self.partition(partition_of(group))?;
        let (sender, receiver) = oneshot::channel();
        let stepped = partition.step(Some(guard), |value, now, draft| {
            value.catch_up(group, draft, now);
            let allowed = match by {
                By::Committer(who) => value.check_committer(group, who),
                By::Operator => value.check_nobody(group),
                By::Force => Ok(()),
            };
            match allowed {
                Ok(()) => value.step_offsets(make(), now, draft, Some(sender)),
                // What refuses it may not be committed yet.
                Err(refused) => draft.reply(sender, Err(refused)),
            }
            Ok(())
        });
        stepped.await?;
        match answer_of(receiver).await? {
            Answered::Commits(answers) => Ok(answers),
            Answered::Assignment(_) | Answered::Classic(_) | Answered::ComeBackAs(_) | Answered::Done => {
                Ok(Vec::new())
            }
        }
    }

    /// Looks at what the groups of a partition have committed.
    ///
    /// # Errors
    /// Retriable while it is being read again; NOT_COORDINATOR while another broker leads it.
    pub(crate) fn look<T>(
        &self,
        partition: PartitionIndex,
        look: impl FnOnce(Look<'_>) -> T,
    ) -> Result<T, ApiError> {
        Ok(look(self.partition(partition)?.lock().look()?))
    }

    /// Whether that one may ask what the group has committed: a member of another epoch may not (KIP-848). Where the members
    /// assign themselves, anybody may.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check_reader(&self, group: &GroupId, who: &Committer) -> Result<(), ApiError> {
        self.look(partition_of(group), |look| look.value.check_reader(group, who))?
    }

    /// Forgets, in every partition that is led here, what was committed for deleted topics.
    ///
    /// # Errors
    /// Of the first partition that could not.
    pub(crate) async fn forget(&self, ids: &BTreeSet<TopicId>) -> Result<(), ApiError> {
        // Where nothing can be read there is nothing to forget: a commit names the topic by its id, too.
        let readable = self.partitions.iter().filter(|partition| partition.is_served());
        let steps = readable.map(|partition| partition.forget(ids));
        for result in futures::future::join_all(steps).await {
            result?;
        }
        Ok(())
    }

    /// The topics that something is committed for, in any partition that is led here.
    pub(crate) fn topic_ids(&self) -> BTreeSet<TopicId> {
        let all = (0..limits::CONSUMER_OFFSETS_PARTITIONS).map(PartitionIndex);
        all.filter_map(|partition| self.look(partition, |look| look.offsets.topic_ids()).ok())
            .flatten()
            .collect()
    }

    /// Tells the groups of the topics of an image.
    pub(crate) async fn follow_topics(&self, image: &Image) {
        self.topics.follow(image);
        self.catch_up().await;
    }

    /// Brings every group to life and to the newest topics.
    pub(crate) async fn catch_up(&self) {
        for partition in &self.partitions {
            let topics = self.topics.newest();
            partition.take_topics(&topics);
            partition.catch_up(partition.behind()).await;
        }
    }

    /// Takes out the members whose time is up.
    pub(crate) async fn expire_members(&self) {
        for partition in &self.partitions {
            partition.expire_members().await;
        }
    }

    /// In how long the next member's time is up.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.partitions.iter().filter_map(|partition| partition.next_deadline()).min()
    }

    /// What the members of all groups take, as they are written down.
    pub(crate) fn members_bytes(&self) -> usize {
        self.totals.bytes.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Notified when a partition without deadlines has one.
    pub(crate) fn woken(&self) -> Arc<Notify> {
        Arc::clone(&self.totals.woken)
    }

    fn topics_with(&self, pattern: Option<&Pattern>) -> Result<TopicsOf, ApiError> {
        pattern.map_or_else(|| Ok(self.topics.newest()), |pattern| self.topics.with(pattern))
    }

    fn partition(&self, partition: PartitionIndex) -> Result<&Arc<GroupsPartition>, ApiError> {
        let found = usize::try_from(partition.0).ok().and_then(|number| self.partitions.get(number));
        found
            .ok_or_else(|| ApiError::new(ErrorCode::Internal, "a partition of __consumer_offsets is missing"))
    }
}

#[cfg(test)]
mod tests;
