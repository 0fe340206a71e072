//! Consumer groups: list, describe, delete, where they are, where they are to be.

use std::time::Duration;

use millrace_proto::v1;
use millrace_types::{Offset, PartitionIndex, TimestampMs};

use super::{Admin, check_topic};
use crate::admin::topics::offset;
use crate::client::Retry;
use crate::connection::Rpc;
use crate::{ClientError, Refusal};

/// How the members of a group come to what they own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum GroupKind {
    /// There are only committed offsets: nobody was ever a member.
    Offsets,
    /// The coordinator assigns.
    Consumer,
    /// One of the members assigns, for all of them at once (Kafka's join and sync).
    Classic,
    /// A kind that a newer broker knows.
    Unknown,
}

/// How far a group is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum GroupStage {
    /// Nobody is in it.
    Empty,
    /// Somebody is on the way to what it is to own.
    Reconciling,
    /// Everybody owns what it is to own.
    Stable,
    /// A stage that a newer broker knows.
    Unknown,
}

/// A group in a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupListing {
    /// Its name.
    pub group: String,
    /// How its members come to what they own.
    pub kind: GroupKind,
    /// How far it is.
    pub stage: GroupStage,
    /// How many members it has.
    pub members: u32,
}

/// A group, whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupDescription {
    /// What a listing says of it.
    pub listing: GroupListing,
    /// Counts the changes of the group: of its members, and of what they are to own.
    pub epoch: i32,
    /// Who assigns: `uniform`, `range`, `sticky`, `rack`, or what a classic group has agreed on.
    pub assignor: String,
    /// Its members, by id.
    pub members: Vec<GroupMemberDescription>,
}

/// A member of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupMemberDescription {
    /// The id of this life of it.
    pub member: String,
    /// The name that a static member keeps over its lives.
    pub instance: Option<String>,
    /// Where it stands, if it says so.
    pub rack: Option<String>,
    /// What its client calls itself.
    pub client_id: String,
    /// The address that it joined from.
    pub client_host: String,
    /// The epoch that it was told last, with which it commits.
    pub epoch: i32,
    /// What it has subscribed to by name.
    pub topics: Vec<String>,
    /// What it has subscribed to by pattern.
    pub pattern: Option<String>,
    /// What it owns.
    pub owned: Vec<PartitionsOfTopic>,
    /// What of that it was told to let go and still holds.
    pub revoking: Vec<PartitionsOfTopic>,
    /// What it is to own in the end.
    pub target: Vec<PartitionsOfTopic>,
}

/// Partitions of one topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionsOfTopic {
    /// The topic's name; its id in hex digits if it is gone.
    pub topic: String,
    /// The partitions, as the broker lists them.
    pub partitions: Vec<PartitionIndex>,
}

/// Where a reset sets a partition of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResetTo {
    /// To the log start.
    Earliest,
    /// To the high watermark: everything that is there counts as read.
    Latest,
    /// To this offset, or the nearest that the partition holds.
    Offset(Offset),
    /// To the first record, in the order of offsets, that is of this time or later; to the high watermark if none is.
    Time(TimestampMs),
    /// By so many records from where it is (negative: back), or to the nearest that the partition holds.
    Shift(i64),
}

/// A reset of what a group has committed.
///
/// ```
/// # use millrace_client::{GroupReset, ResetTo, TimestampMs};
/// let yesterday = ResetTo::Time(TimestampMs(1_359_633_600_000));
/// let look = GroupReset::new("billing", yesterday).topic("orders").dry_run();
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct GroupReset {
    request: v1::ResetGroupOffsetsRequest,
}

impl GroupReset {
    /// Sets all that the group has committed.
    #[must_use]
    pub fn new(group: impl Into<String>, to: ResetTo) -> GroupReset {
        use v1::offset_query::{Earliest, Latest};
        use v1::reset_group_offsets_request::To;
        let to = match to {
            ResetTo::Earliest => To::Earliest(Earliest {}),
            ResetTo::Latest => To::Latest(Latest {}),
            ResetTo::Offset(offset) => To::Offset(offset.get()),
            ResetTo::Time(time) => To::TimeMs(time.0),
            ResetTo::Shift(records) => To::Shift(records),
        };
        let request =
            v1::ResetGroupOffsetsRequest { group: group.into(), to: Some(to), ..Default::default() };
        GroupReset { request }
    }

    /// Only this topic, all of its partitions, whether the group has committed them or not; may be repeated.
    #[must_use]
    pub fn topic(self, name: impl Into<String>) -> GroupReset {
        self.partitions(name, [])
    }

    /// Only these partitions of this topic; may be repeated for other topics.
    #[must_use]
    pub fn partitions(
        mut self,
        topic: impl Into<String>,
        partitions: impl IntoIterator<Item = PartitionIndex>,
    ) -> GroupReset {
        self.request.topics.push(v1::TopicPartitions {
            topic: Some(v1::TopicRef { name: topic.into(), ..Default::default() }),
            partitions: partitions.into_iter().map(PartitionIndex::get).collect(),
        });
        self
    }

    /// Only tells what would be, and changes nothing.
    #[must_use]
    pub fn dry_run(mut self) -> GroupReset {
        self.request.dry_run = true;
        self
    }

    /// Also while the group has members, who go on where they are and may commit over it at once.
    #[must_use]
    pub fn force(mut self) -> GroupReset {
        self.request.force = true;
        self
    }
}

/// What became of a partition in a reset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OffsetReset {
    /// The topic's name.
    pub topic: String,
    /// The partition.
    pub partition: PartitionIndex,
    /// What was committed before; `None` if nothing was.
    pub before: Option<Offset>,
    /// What is committed now, or would be.
    pub after: Option<Offset>,
    /// Why it was not reset.
    pub refusal: Option<Refusal>,
}

/// How far a group is behind in a partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionLag {
    /// The topic's name.
    pub topic: String,
    /// The partition.
    pub partition: PartitionIndex,
    /// Who owns it, if anybody does.
    pub member: Option<String>,
    /// What the client of that member calls itself.
    pub client_id: Option<String>,
    /// The next offset that the group will read; `None` if it has committed nothing: then the lag is that of a reader
    /// that begins at the log start.
    pub committed: Option<Offset>,
    /// The first readable offset.
    pub log_start: Offset,
    /// Where readers end.
    pub high_watermark: Offset,
    /// How many records that is.
    pub lag: u64,
    /// The age of the oldest record that was not read, by its timestamp; zero if all were.
    pub lag_time: Duration,
    /// When the group will have caught up, as its commits and the producers go at present; `None` if it will not, or if
    /// there is not enough to say.
    pub caught_up_in: Option<Duration>,
    /// Why nothing can be said of the partition.
    pub refusal: Option<Refusal>,
}

impl Admin {
    /// Lists the groups, by name. Each broker lists those that it coordinates: one that does not answer is left out, if others do.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>, ClientError> {
        let send = |mut rpc: Rpc, request| async move { rpc.list_groups(request).await };
        let mut groups = self.client.call(Retry::Always, v1::ListGroupsRequest {}, send).await?.groups;
        let (limit, brokers) = (self.client.options().connect_timeout, self.client.whereabouts().addresses());
        let of_broker = |server: String| async move {
            let answer = self.client.attempt(&server, limit, v1::ListGroupsRequest {}, &send).await;
            answer.inspect_err(|error| tracing::warn!(%server, %error, "a broker does not list its groups"))
        };
        for answer in futures::future::join_all(brokers.into_iter().map(of_broker)).await {
            groups.extend(answer.map(|answer| answer.groups).unwrap_or_default());
        }
        groups.sort_by(|a, b| a.group.cmp(&b.group));
        groups.dedup_by(|a, b| a.group == b.group);
        Ok(groups.into_iter().map(listing).collect())
    }

    /// Describes a group and its members.
    ///
    /// # Errors
    /// [`ClientError`]; an unknown group is [`millrace_types::ErrorCode::GroupNotFound`].
    pub async fn describe_group(&self, group: &str) -> Result<GroupDescription, ClientError> {
        let request = v1::DescribeGroupRequest { group: group.to_owned() };
        let send = |mut rpc: Rpc, request| async move { rpc.describe_group(request).await };
        describe(self.client.call_coordinator(group, Retry::Always, request, send).await?)
    }

    /// Forgets a group that nobody is in, with all that it has committed.
    ///
    /// # Errors
    /// [`ClientError`]: [`millrace_types::ErrorCode::GroupNotEmpty`] while it has members,
    /// [`millrace_types::ErrorCode::GroupNotFound`] if there is none. It is not repeated after an indefinite error: the
    /// group may be gone then.
    pub async fn delete_group(&self, group: &str) -> Result<(), ClientError> {
        let request = v1::DeleteGroupRequest { group: group.to_owned() };
        let send = |mut rpc: Rpc, request| async move { rpc.delete_group(request).await };
        self.client.call_coordinator(group, Retry::Definite, request, send).await?;
        Ok(())
    }

    /// Moves what a group has committed, all in one step; one answer for each partition.
    ///
    /// # Errors
    /// [`ClientError`] of the whole call; what concerns one partition is in its answer. While the group has members it is
    /// [`millrace_types::ErrorCode::GroupNotEmpty`], unless [forced](GroupReset::force). It is not repeated after an
    /// indefinite error: the offsets may have been moved then.
    pub async fn reset_group(&self, reset: GroupReset) -> Result<Vec<OffsetReset>, ClientError> {
        for topic in &reset.request.topics {
            check_topic(topic.topic.as_ref().map_or("", |topic| &topic.name))?;
        }
        // A shift that is repeated shifts twice.
        let retry = if reset.request.dry_run { Retry::Always } else { Retry::Definite };
        let send = |mut rpc: Rpc, request| async move { rpc.reset_group_offsets(request).await };
        let group = reset.request.group.clone();
        let answer = self.client.call_coordinator(&group, retry, reset.request, send).await?;
        answer.offsets.into_iter().map(reset_of).collect()
    }

    /// Tells how far a group is behind, for each partition that it has committed or a member of it owns.
    ///
    /// # Errors
    /// [`ClientError`] of the whole call; what concerns one partition is in its answer.
    pub async fn group_lag(&self, group: &str) -> Result<Vec<PartitionLag>, ClientError> {
        let request = v1::GroupLagRequest { group: group.to_owned() };
        let send = |mut rpc: Rpc, request| async move { rpc.group_lag(request).await };
        let answer = self.client.call_coordinator(group, Retry::Always, request, send).await?;
        answer.partitions.into_iter().map(lag_of).collect()
    }
}

fn listing(group: v1::GroupListing) -> GroupListing {
    let kind = match group.kind() {
        v1::GroupKind::Unspecified => GroupKind::Unknown,
        v1::GroupKind::Offsets => GroupKind::Offsets,
        v1::GroupKind::Consumer => GroupKind::Consumer,
        v1::GroupKind::Classic => GroupKind::Classic,
    };
    let stage = match group.stage() {
        v1::GroupStage::Unspecified => GroupStage::Unknown,
        v1::GroupStage::Empty => GroupStage::Empty,
        v1::GroupStage::Reconciling => GroupStage::Reconciling,
        v1::GroupStage::Stable => GroupStage::Stable,
    };
    GroupListing { kind, stage, members: group.members, group: group.group }
}

fn describe(group: v1::DescribeGroupResponse) -> Result<GroupDescription, ClientError> {
    let of_nobody = || ClientError::Answer("a group without a name".to_owned());
    Ok(GroupDescription {
        listing: listing(group.listing.ok_or_else(of_nobody)?),
        epoch: group.epoch,
        assignor: group.assignor,
        members: group.members.into_iter().map(member).collect::<Result<_, _>>()?,
    })
}

fn member(member: v1::GroupMember) -> Result<GroupMemberDescription, ClientError> {
    let subscription = member.subscription.unwrap_or_default();
    Ok(GroupMemberDescription {
        member: member.member,
        instance: member.instance,
        rack: member.rack,
        client_id: member.client_id,
        client_host: member.client_host,
        epoch: member.epoch,
        topics: subscription.topics,
        pattern: subscription.pattern,
        owned: partitions_of(member.owned)?,
        revoking: partitions_of(member.revoking)?,
        target: partitions_of(member.target)?,
    })
}

fn partitions_of(topics: Vec<v1::TopicPartitions>) -> Result<Vec<PartitionsOfTopic>, ClientError> {
    let of_topic = |topic: v1::TopicPartitions| {
        let partitions = topic.partitions.into_iter().map(partition);
        Ok(PartitionsOfTopic {
            topic: topic_name(topic.topic),
            partitions: partitions.collect::<Result<_, _>>()?,
        })
    };
    topics.into_iter().map(of_topic).collect()
}

fn partition(index: i32) -> Result<PartitionIndex, ClientError> {
    PartitionIndex::new(index).ok_or_else(|| ClientError::Answer(format!("partition {index}")))
}

/// Of a topic that was deleted the coordinator may know no more than the id.
fn topic_name(topic: Option<v1::TopicRef>) -> String {
    let v1::TopicRef { name, id } = topic.unwrap_or_default();
    if name.is_empty() { id.iter().map(|byte| format!("{byte:02x}")).collect() } else { name }
}

fn reset_of(answer: v1::OffsetReset) -> Result<OffsetReset, ClientError> {
    Ok(OffsetReset {
        topic: topic_name(answer.topic),
        partition: partition(answer.partition)?,
        before: answer.before.map(offset).transpose()?,
        after: answer.after.map(offset).transpose()?,
        refusal: answer.error.map(Refusal::of),
    })
}

fn lag_of(answer: v1::PartitionLag) -> Result<PartitionLag, ClientError> {
    let seconds = |seconds: f64| {
        Duration::try_from_secs_f64(seconds)
            .map_err(|e| ClientError::Answer(format!("{seconds} seconds: {e}")))
    };
    let said = |text: String| Some(text).filter(|text| !text.is_empty());
    Ok(PartitionLag {
        topic: topic_name(answer.topic),
        partition: partition(answer.partition)?,
        member: said(answer.member),
        client_id: said(answer.client_id),
        committed: answer.committed.map(offset).transpose()?,
        log_start: offset(answer.log_start)?,
        high_watermark: offset(answer.high_watermark)?,
        lag: u64::try_from(answer.lag)
            .map_err(|_| ClientError::Answer(format!("a lag of {} records", answer.lag)))?,
        lag_time: seconds(answer.lag_seconds)?,
        caught_up_in: answer.caught_up_seconds.map(seconds).transpose()?,
        refusal: answer.error.map(Refusal::of),
    })
}

#[cfg(test)]
mod tests {
    use millrace_types::ErrorCode;

    use super::*;

    #[test]
    fn a_group_is_described_and_a_topic_that_is_gone_shows_its_id() {
        let gone = v1::TopicRef { name: String::new(), id: vec![0xab; 16].into() };
        let owned = v1::TopicPartitions { topic: Some(gone), partitions: vec![0, 3] };
        let one =
            v1::GroupMember { member: "m".to_owned(), epoch: 4, owned: vec![owned], ..Default::default() };
        let listing = v1::GroupListing {
            group: "g".to_owned(),
            kind: v1::GroupKind::Consumer.into(),
            stage: 99,
            members: 1,
        };
        let answer =
            v1::DescribeGroupResponse { listing: Some(listing), members: vec![one], ..Default::default() };
        let group = describe(answer).unwrap();
        assert_eq!((group.listing.kind, group.listing.stage), (GroupKind::Consumer, GroupStage::Unknown));
        assert_eq!(group.members[0].owned[0].topic, "ab".repeat(16));
        assert_eq!(group.members[0].owned[0].partitions, [PartitionIndex(0), PartitionIndex(3)]);
        assert!(describe(v1::DescribeGroupResponse::default()).is_err(), "of no group");
    }

    #[test]
    fn a_lag_that_makes_no_sense_is_an_error() {
        let lag = v1::PartitionLag { lag: 3, lag_seconds: 1.5, ..Default::default() };
        let read = lag_of(lag.clone()).unwrap();
        assert_eq!((read.lag, read.lag_time, read.member), (3, Duration::from_millis(1500), None));
        for wrong in [
            v1::PartitionLag { lag: -1, ..lag.clone() },
            v1::PartitionLag { lag_seconds: f64::NAN, ..lag.clone() },
            v1::PartitionLag { caught_up_seconds: Some(-1.0), ..lag.clone() },
            v1::PartitionLag { partition: -1, ..lag },
        ] {
            assert!(lag_of(wrong).is_err());
        }
    }

    #[test]
    fn a_reset_says_what_it_was_told() {
        let reset = GroupReset::new("g", ResetTo::Shift(-5))
            .topic("all")
            .partitions("some", [PartitionIndex(2), PartitionIndex(0)])
            .dry_run();
        let request = reset.request;
        assert_eq!(request.to, Some(v1::reset_group_offsets_request::To::Shift(-5)));
        assert!(request.dry_run && !request.force);
        let partitions: Vec<_> = request.topics.iter().map(|topic| topic.partitions.clone()).collect();
        assert_eq!(partitions, [vec![], vec![2, 0]]);
        let error = v1::Error::new(ErrorCode::UnknownTopicOrPartition, "no");
        let refused = reset_of(v1::OffsetReset { error: Some(error), ..Default::default() }).unwrap();
        assert_eq!((refused.after, refused.refusal.is_some()), (None, true));
    }
}
