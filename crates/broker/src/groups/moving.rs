//! Groups that come to this node and go: in a cluster, whoever leads a partition of `__consumer_offsets` coordinates its groups.

use std::collections::BTreeSet;
use std::sync::Arc;

use millrace_env::Env;
use millrace_group::{Event, partition_of};
use millrace_metadata::Image;
use millrace_types::limits::CONSUMER_OFFSETS_PARTITIONS;
use millrace_types::{ErrorCode, GroupId, LeaderEpoch, PartitionIndex, TopicId};
use tokio::sync::oneshot;

use super::coordinated::Rules;
use super::draft::loading;
use super::membership::answer_of;
use super::partition::GroupsPartition;
use super::settings::GroupSettings;
use super::topics::GroupTopics;
use super::{Groups, Look};
use crate::ApiError;
use crate::led_log::LedLog;
use crate::metrics::GroupCounters;

impl Groups {
    /// All partitions, each led elsewhere as long as [`Groups::lead`] does not say otherwise.
    pub(crate) fn elsewhere(env: &Env, settings: &GroupSettings, counters: GroupCounters) -> Groups {
        let topics = Arc::new(GroupTopics::new(&Image::default(), BTreeSet::new()));
        let rules = Rules::new(settings, counters);
        let totals = Arc::clone(&rules.totals);
        let partition =
            |_| Arc::new(GroupsPartition::elsewhere(env.clone(), rules.clone(), Arc::clone(&topics)));
        let partitions = (0..CONSUMER_OFFSETS_PARTITIONS).map(partition).collect();
        Groups { topics, totals, partitions }
    }

    /// This node leads the partition in that epoch, and its log holds all that was ever committed: it is read from now on, and then
    /// its groups are coordinated here. The future is only of use to whoever wants to know when that is so, or over already.
    /// `image` is the one that says so, or a later one: what members are assigned comes from it.
    ///
    /// Without effect in an epoch that is older than one before, or in the one in which it is led already.
    pub(crate) fn lead(
        &self,
        partition: PartitionIndex,
        (log, epoch): (LedLog, LeaderEpoch),
        image: &Image,
    ) -> impl Future<Output = ()> + Send + use<> {
        self.topics.follow(image);
        let begun = self.partition(partition).ok().and_then(|partition| {
            let generation = partition.lead(log, epoch)?;
            Some((Arc::clone(partition), generation))
        });
        async move {
            if let Some((partition, generation)) = begun {
                partition.has_been_read(generation).await;
            }
        }
    }

    /// This node leads the partition in that epoch, and does not know yet all that was committed: nothing is served until
    /// [`Groups::lead`].
    pub(crate) fn lead_soon(&self, partition: PartitionIndex, epoch: LeaderEpoch) {
        if let Ok(partition) = self.partition(partition) {
            partition.lead_soon(epoch);
        }
    }

    /// This node does not lead the partition, or not any more; whoever asks for its groups is sent to the gRPC address of who does.
    /// May be said again, with another address.
    pub(crate) fn follow(&self, partition: PartitionIndex, leader: Option<String>) {
        if let Ok(partition) = self.partition(partition) {
            partition.leave(leader);
        }
    }

    /// Looks at what all groups have committed that are coordinated here, or will be as soon as they are read.
    ///
    /// # Errors
    /// As [`Groups::look`], but of no partition that another broker leads; and those of `look`.
    pub(crate) fn look_at_each(
        &self,
        mut look: impl FnMut(Look<'_>) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        for partition in (0..CONSUMER_OFFSETS_PARTITIONS).map(PartitionIndex) {
            match self.look(partition, &mut look) {
                Ok(looked) => looked?,
                Err(error) if error.code == ErrorCode::NotCoordinator => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The topics that something is committed for here, and that are gone: who led the partitions when they were deleted may not
    /// have come to it. `image` is asked behind the look at what is committed.
    pub(crate) fn missing_topics(&self, image: impl FnOnce() -> Arc<Image>) -> BTreeSet<TopicId> {
        let mut ids = self.topic_ids();
        // A topic that is not in an image which is newer than a commit for it is none any more.
        let image = image();
        ids.retain(|id| image.topic_by_id(*id).is_none());
        ids
    }

    /// What is said to whom an answer was dropped.
    pub(super) fn gone(&self, group: &GroupId) -> ApiError {
        self.partition(partition_of(group)).map_or_else(|_| loading(), |partition| partition.lock().gone())
    }
}

impl GroupsPartition {
    /// Forgets what was committed for deleted topics; answers when that is committed. What another broker leads by then is its to do.
    pub(super) async fn forget(self: &Arc<Self>, ids: &BTreeSet<TopicId>) -> Result<(), ApiError> {
        let (sender, receiver) = oneshot::channel();
        let event = Event::TopicsDeleted { ids: ids.clone() };
        let step = self.step(None, |value, now, draft| {
            value.step_offsets(event, now, draft, Some(sender));
            Ok(())
        });
        let forgotten = match step.await {
            Ok(()) => answer_of(receiver).await.map(|_done| ()),
            Err(error) => Err(error),
        };
        match forgotten {
            Err(_) if !self.lock().is_here() => Ok(()),
            forgotten => forgotten,
        }
    }
}
