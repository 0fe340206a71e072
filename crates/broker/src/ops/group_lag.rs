//! How far a group is behind: in records, in seconds, and until when.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_group::{GroupState, MemberId};
use millrace_log::Log;
use millrace_types::{GroupId, Offset, PartitionIndex, TimestampMs, TopicId, TopicPartition};

use crate::admission::{Operation, Resource};
use crate::core::{Core, both};
use crate::io_pool::each_on_pool;
use crate::lag_windows::LagSample;
use crate::{ApiError, Context, TopicRef};

/// Partitions that one piece of work looks at: each may read a header from the disk.
const PARTITIONS_PER_PIECE: usize = 256;

/// How far a group is behind in one partition.
#[derive(Clone, PartialEq, Debug)]
pub struct PartitionLag {
    /// The topic, with name and id.
    pub topic: TopicRef,
    /// The partition.
    pub partition: PartitionIndex,
    /// Who owns it, if anybody.
    pub owner: Option<PartitionOwner>,
    /// What the group has committed; `None` if nothing.
    pub committed: Option<Offset>,
    /// How far it is behind, or why that cannot be said.
    pub distance: Result<LagDistance, ApiError>,
}

/// The member that owns a partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionOwner {
    /// Its id.
    pub member: MemberId,
    /// What it calls itself.
    pub client_id: String,
}

/// The distance between a group and the end of a partition.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LagDistance {
    /// The first readable offset.
    pub log_start: Offset,
    /// The end of what can be read.
    pub high_watermark: Offset,
    /// Offsets between what was committed (or the log start, if nothing was or less than that) and the high watermark.
    pub records: u64,
    /// The age of the oldest record that was not read, by the timestamp of the first record of its batch; 0 if there is none.
    pub seconds: f64,
    /// In how many seconds the group will have caught up, as its commits and the producers went lately (see
    /// `lag_windows.rs`); `None` if it will not, or if there is not enough to say.
    pub caught_up_seconds: Option<f64>,
}

/// One partition to look at.
struct Place {
    topic: TopicRef,
    at: TopicPartition,
    owner: Option<PartitionOwner>,
    committed: Option<Offset>,
    log: Result<Arc<Log>, ApiError>,
}

/// Offsets between a committed one and the high watermark.
pub(crate) fn records_behind(committed: Option<Offset>, log_start: Offset, high_watermark: Offset) -> u64 {
    let next = committed.map_or(log_start, |committed| committed.max(log_start));
    u64::try_from(high_watermark.get().saturating_sub(next.get())).unwrap_or(0)
}

impl Core {
    pub(crate) async fn group_lag(
        self: &Arc<Self>,
        ctx: &Context,
        group: &GroupId,
    ) -> Result<Vec<PartitionLag>, ApiError> {
        let _in_flight = self.admission.admit(ctx, Operation::GroupLag, Resource::Group(group))?;
        let mut places = self.places_of(ctx, group)?;
        let mut pieces = Vec::new();
        while !places.is_empty() {
            let rest = places.split_off(places.len().min(PARTITIONS_PER_PIECE));
            pieces.push(std::mem::replace(&mut places, rest));
        }
        let (core, group) = (Arc::clone(self), group.clone());
        let looked = each_on_pool(&self.env, pieces, move |places: Vec<Place>| {
            places.into_iter().map(|place| core.look_at(&group, place)).collect::<Vec<_>>()
        });
        Ok(looked.await?.into_iter().flatten().collect())
    }

    /// What the group has committed and what its members own, sorted by name of the topic and partition.
    fn places_of(&self, ctx: &Context, group: &GroupId) -> Result<Vec<Place>, ApiError> {
        let (state, committed) = self.known_group(group)?;
        let owners = owners(&state);
        let image = self.metadata.image();
        let mut places: BTreeMap<(TopicId, PartitionIndex), Option<Offset>> =
            owners.keys().map(|at| ((at.topic, at.partition), None)).collect();
        places.extend(committed.into_iter().map(|(at, offset)| ((at.topic, at.partition), Some(offset))));
        let mut found = Vec::with_capacity(places.len());
        for ((id, partition), committed) in places {
            // What was committed for topics that are gone is behind nothing.
            let Some(topic) = image.topic_by_id(id) else { continue };
            self.admission.authorize(ctx, Operation::GroupLag, Resource::Topic(&topic.name))?;
            let at = TopicPartition { topic: id, partition };
            found.push((
                topic.name.clone(),
                Place {
                    topic: both(&topic.name, id),
                    at,
                    owner: owners.get(&at).cloned(),
                    committed,
                    log: self.log(topic, partition),
                },
            ));
        }
        found.sort_by(|(a, one), (b, other)| (a, one.at.partition).cmp(&(b, other.at.partition)));
        Ok(found.into_iter().map(|(_, place)| place).collect())
    }

    fn look_at(&self, group: &GroupId, place: Place) -> PartitionLag {
        let Place { topic, at, owner, committed, log } = place;
        let distance = log.and_then(|log| self.distance(group, at, committed, &log));
        let distance = distance.map_err(|error| self.unless_closing(error));
        PartitionLag { topic, partition: at.partition, owner, committed, distance }
    }

    fn distance(
        &self,
        group: &GroupId,
        at: TopicPartition,
        committed: Option<Offset>,
        log: &Log,
    ) -> Result<LagDistance, ApiError> {
        let marks = log.offsets();
        let (log_start, high_watermark) = (marks.log_start, marks.high_watermark);
        let records = records_behind(committed, log_start, high_watermark);
        let next = committed.map_or(log_start, |committed| committed.max(log_start));
        let oldest = if records > 0 { log.time_near(next)? } else { None };
        let clock = &self.env.clock;
        let now = LagSample { at: clock.monotonic(), committed: next, end: high_watermark };
        Ok(LagDistance {
            log_start,
            high_watermark,
            records,
            seconds: oldest.map_or(0.0, |oldest| age_seconds(oldest, clock.wall())),
            caught_up_seconds: self.lag_windows.caught_up_seconds(group, at, now),
        })
    }
}

fn age_seconds(of: TimestampMs, now: TimestampMs) -> f64 {
    // A producer whose clock is ahead has written nothing that is older than now.
    let ms = now.0.saturating_sub(of.0).max(0);
    ms as f64 / 1000.0
}

fn owners(state: &GroupState) -> BTreeMap<TopicPartition, PartitionOwner> {
    let held = state.currents.iter().flat_map(|(member, current)| {
        let client_id =
            state.members.get(member).map(|profile| profile.client_id.clone()).unwrap_or_default();
        let owner = PartitionOwner { member: member.clone(), client_id };
        current.held().map(move |partition| (partition, owner.clone()))
    });
    held.collect()
}
