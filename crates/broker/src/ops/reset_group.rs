//! Sets a group back, or forward: all partitions in one batch, so that a crash leaves all of them or none.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_log::Log;
use millrace_types::{ErrorCode, GroupId, Offset, PartitionIndex, TimestampMs, TopicPartition};

use crate::admission::{InFlight, Operation, Resource};
use crate::core::{Core, both, check_partition_count};
use crate::groups::By;
use crate::io_pool::on_pool;
use crate::ops::groups::check_empty;
use crate::partitions::numbers;
use crate::{ApiError, Context, OffsetCommit, TopicRef};

/// Where a group is set to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResetTo {
    /// The log start.
    Earliest,
    /// The high watermark.
    Latest,
    /// This offset, moved into what the partition holds.
    Offset(Offset),
    /// The first record, in the order of offsets, whose time is this or later; the high watermark if there is none.
    Time(TimestampMs),
    /// So many records from where it is, moved into what the partition holds.
    Shift(i64),
}

/// What to do with the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResetMode {
    /// Tell what would be.
    DryRun,
    /// Commit it.
    Apply,
}

/// Whose group it may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResetWhile {
    /// Nobody is in it; else it is refused with [`ErrorCode::GroupNotEmpty`].
    Empty,
    /// Whoever is in it. Members may commit over it at once.
    Forced,
}

/// Sets what a group has committed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResetGroupRequest {
    /// The group, which need not exist.
    pub group: GroupId,
    /// Topics, each with its partitions; none of them means all of the topic. No topic at all means everything that the
    /// group has committed.
    pub topics: Vec<(TopicRef, Vec<PartitionIndex>)>,
    /// Where to.
    pub to: ResetTo,
    /// Whether it is done.
    pub mode: ResetMode,
    /// Whether it is done while the group has members.
    pub members: ResetWhile,
}

/// What became of one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OffsetReset {
    /// The topic.
    pub topic: TopicRef,
    /// The partition.
    pub partition: PartitionIndex,
    /// What was committed before; `None` if nothing.
    pub before: Option<Offset>,
    /// What is committed now, or would be. The others are set also if one cannot be.
    pub after: Result<Offset, ApiError>,
}

/// A partition that is to be set.
struct Target {
    topic: TopicRef,
    partition: PartitionIndex,
    before: Option<Offset>,
    found: Result<(TopicPartition, Arc<Log>), ApiError>,
}

impl Core {
    pub(crate) async fn reset_group(
        self: &Arc<Self>,
        ctx: &Context,
        request: ResetGroupRequest,
    ) -> Result<Vec<OffsetReset>, ApiError> {
        let group = Resource::Group(&request.group);
        let in_flight = self.admission.admit(ctx, Operation::ResetGroup, group)?;
        let ResetGroupRequest { group, topics, to, mode, members } = request;
        let (state, committed) = self.group_with_offsets(&group)?;
        if members == ResetWhile::Empty {
            // So that a dry run says it, too. Whoever joins from here on is found by the commit.
            check_empty(&group, &state)?;
        }
        let targets = self.reset_targets(ctx, topics, &committed)?;
        check_partition_count(targets.len())?;
        let resolve = move || targets.into_iter().map(|target| target.resolve(to)).collect();
        let mut resets: Vec<OffsetReset> = on_pool(&self.env, resolve).await?;
        for reset in &mut resets {
            if let Err(error) = &reset.after {
                reset.after = Err(self.unless_closing(error.clone()));
            }
        }
        if mode == ResetMode::Apply {
            let by = match members {
                ResetWhile::Empty => By::Operator,
                ResetWhile::Forced => By::Force,
            };
            self.commit_resets(ctx, in_flight, by, (&group, &mut resets)).await?;
        }
        Ok(resets)
    }

    /// The partitions that are meant, each once, sorted by name of the topic.
    fn reset_targets(
        &self,
        ctx: &Context,
        topics: Vec<(TopicRef, Vec<PartitionIndex>)>,
        committed: &BTreeMap<TopicPartition, Offset>,
    ) -> Result<Vec<Target>, ApiError> {
        let everything = topics.is_empty();
        let mut asked: Vec<(TopicRef, Vec<PartitionIndex>)> = topics;
        if everything {
            let mut by_topic: BTreeMap<_, Vec<_>> = BTreeMap::new();
            for at in committed.keys() {
                by_topic.entry(at.topic).or_default().push(at.partition);
            }
            asked.extend(by_topic.into_iter().map(|(topic, partitions)| (TopicRef::Id(topic), partitions)));
        }
        let mut targets = BTreeMap::new();
        let mut unknown = Vec::new();
        for (reference, partitions) in asked {
            let topic = match self.topic(&reference) {
                Ok(topic) => topic,
                // Committed for a topic that is gone.
                Err(_gone) if everything => continue,
                Err(error) => {
                    let partitions = if partitions.is_empty() { vec![PartitionIndex(0)] } else { partitions };
                    unknown.extend(partitions.into_iter().map(|partition| {
                        let found = Err(error.clone());
                        Target { topic: reference.clone(), partition, before: None, found }
                    }));
                    continue;
                }
            };
            self.admission.authorize(ctx, Operation::ResetGroup, Resource::Topic(&topic.name))?;
            let all = partitions.is_empty();
            let partitions = if all { numbers(&topic).collect() } else { partitions };
            for partition in partitions {
                let at = TopicPartition { topic: topic.id, partition };
                targets.entry((topic.name.clone(), partition)).or_insert_with(|| Target {
                    topic: both(&topic.name, topic.id),
                    partition,
                    before: committed.get(&at).copied(),
                    found: self.log(&topic, partition).map(|log| (at, log)),
                });
            }
        }
        Ok(targets.into_values().chain(unknown).collect())
    }

    /// Commits what could be found, as one batch.
    async fn commit_resets(
        &self,
        ctx: &Context,
        in_flight: InFlight,
        by: By,
        (group, resets): (&GroupId, &mut [OffsetReset]),
    ) -> Result<(), ApiError> {
        let placed: Vec<(usize, Offset)> = resets
            .iter()
            .enumerate()
            .filter_map(|(place, reset)| reset.after.as_ref().ok().map(|offset| (place, *offset)))
            .collect();
        let offsets = placed.iter().filter_map(|(place, offset)| {
            let OffsetReset { topic, partition, .. } = resets.get(*place)?;
            let (topic, partition, metadata) = (topic.clone(), *partition, String::new());
            Some(OffsetCommit { topic, partition, offset: *offset, leader_epoch: None, metadata })
        });
        let offsets: Vec<OffsetCommit> = offsets.collect();
        if offsets.is_empty() {
            return Ok(());
        }
        let stored = self.commit_by(ctx, in_flight, by, (group, &offsets)).await?;
        for ((place, _), stored) in placed.into_iter().zip(stored) {
            let Some(reset) = resets.get_mut(place) else { continue };
            if let Err(error) = stored {
                reset.after = Err(error);
            } else if let TopicRef::Both(_, topic) = &reset.topic {
                let at = TopicPartition { topic: *topic, partition: reset.partition };
                self.lag_windows.forget(group, at);
            }
        }
        Ok(())
    }
}

impl Target {
    fn resolve(self, to: ResetTo) -> OffsetReset {
        let Target { topic, partition, before, found } = self;
        let after = found.and_then(|(_, log)| place_in(&log, before, to));
        OffsetReset { topic, partition, before, after }
    }
}

fn place_in(log: &Log, before: Option<Offset>, to: ResetTo) -> Result<Offset, ApiError> {
    let marks = log.offsets();
    let (first, last) = (marks.log_start, marks.high_watermark);
    let wanted = match to {
        ResetTo::Earliest => first,
        ResetTo::Latest => last,
        ResetTo::Offset(offset) => offset,
        ResetTo::Time(time) => log.offset_for_time(time)?.map_or(last, |hit| hit.offset),
        ResetTo::Shift(by) => {
            let before = before.ok_or_else(|| {
                ApiError::new(ErrorCode::InvalidRequest, "nothing was committed that could be shifted")
            })?;
            Offset::new(before.get().saturating_add(by).max(0)).unwrap_or(Offset::MAX)
        }
    };
    Ok(wanted.clamp(first, last))
}
