//! Topics: create, delete, list, describe.

use std::collections::BTreeMap;

use millrace_proto::v1;
use millrace_types::{LeaderEpoch, NodeId, Offset, PartitionIndex, TopicId, TopicName, TopicPartition};

use super::{Admin, check_topic, node};
use crate::client::Retry;
use crate::connection::Rpc;
use crate::whereabouts::{Leadership, Place};
use crate::{Client, ClientError};

/// A topic to be created.
///
/// ```
/// # use millrace_client::NewTopic;
/// let topic = NewTopic::new("flights").partitions(4).config("max.message.bytes", "2000000");
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct NewTopic {
    request: v1::CreateTopicRequest,
}

impl NewTopic {
    /// A topic of that name, otherwise as the broker thinks best: one partition, a replica on each of up to three
    /// brokers.
    #[must_use]
    pub fn new(name: impl Into<String>) -> NewTopic {
        NewTopic { request: v1::CreateTopicRequest { name: name.into(), ..Default::default() } }
    }

    /// With so many partitions.
    #[must_use]
    pub fn partitions(mut self, count: u32) -> NewTopic {
        self.request.partitions = count;
        self
    }

    /// With so many replicas of each partition.
    #[must_use]
    pub fn replication_factor(mut self, count: u32) -> NewTopic {
        self.request.replication_factor = count;
        self
    }

    /// With a config: Kafka's keys, and `sync.mode`.
    #[must_use]
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> NewTopic {
        self.request.configs.insert(key.into(), value.into());
        self
    }

    /// With several configs.
    #[must_use]
    pub fn configs(mut self, configs: BTreeMap<String, String>) -> NewTopic {
        self.request.configs.extend(configs);
        self
    }

    /// Only to be checked, not created.
    #[must_use]
    pub fn validate_only(mut self) -> NewTopic {
        self.request.validate_only = true;
        self
    }
}

/// A topic in a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicSummary {
    /// Its name.
    pub name: TopicName,
    /// Its id, which a topic of the same name created later does not share.
    pub id: TopicId,
    /// How many partitions it has.
    pub partitions: u32,
    /// How many replicas each partition has.
    pub replication_factor: u32,
    /// Whether it belongs to the product.
    pub is_internal: bool,
}

/// A topic, whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicDescription {
    /// Its name.
    pub name: TopicName,
    /// Its id, which a topic of the same name created later does not share.
    pub id: TopicId,
    /// Whether it belongs to the product.
    pub is_internal: bool,
    /// How many replicas each partition has.
    pub replication_factor: u32,
    /// Its partitions, in order.
    pub partitions: Vec<PartitionDescription>,
    /// Every config that is enforced, sorted by key.
    pub configs: Vec<ConfigEntry>,
}

/// A config in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigEntry {
    /// The key.
    pub key: String,
    /// The value in force.
    pub value: String,
    /// Whether the topic sets it; otherwise it is the default.
    pub is_set: bool,
}

/// A partition of a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionDescription {
    /// Its number.
    pub partition: PartitionIndex,
    /// Who leads it, if anyone does.
    pub leader: Option<NodeId>,
    /// Which leadership this is.
    pub leader_epoch: LeaderEpoch,
    /// Who holds it.
    pub replicas: Vec<NodeId>,
    /// Who of them is in sync.
    pub isr: Vec<NodeId>,
    /// Who is not in sync and holds everything that is committed nevertheless (KIP-966).
    pub eligible: Vec<NodeId>,
    /// Who was last known to hold everything that is committed, where nobody is known to any more.
    pub last_known: Vec<NodeId>,
    /// Replicas that a reassignment under way adds.
    pub adding: Vec<NodeId>,
    /// Replicas that it takes away.
    pub removing: Vec<NodeId>,
    /// The first readable offset.
    pub log_start: Offset,
    /// The first offset that is not committed: where readers end.
    pub high_watermark: Offset,
    /// The first offset that is not written.
    pub end_offset: Offset,
    /// Bytes on the leader's disk.
    pub size_bytes: u64,
    /// How many ranges of them are known to be damaged: they are kept, reads of them are refused, the rest is served.
    pub damaged_ranges: u32,
    /// The bytes of these ranges together, as far as it is known which they are.
    pub damaged_bytes: u64,
}

impl Admin {
    /// Creates a topic; returns once it can be used.
    ///
    /// # Errors
    /// [`ClientError`]. It is not repeated after an indefinite error: the topic may exist then.
    pub async fn create_topic(&self, topic: NewTopic) -> Result<TopicDescription, ClientError> {
        check_topic(&topic.request.name)?;
        let send = |mut rpc: Rpc, request| async move { rpc.create_topic(request).await };
        let answer = self.client.call(Retry::Definite, topic.request, send).await?;
        describe(answer.topic)
    }

    /// Deletes a topic with all its records and the offsets that groups committed for it.
    ///
    /// # Errors
    /// [`ClientError`]. It is not repeated after an indefinite error: the topic may be gone then.
    pub async fn delete_topic(&self, name: &str) -> Result<(), ClientError> {
        let request = v1::DeleteTopicRequest { topic: Some(v1::TopicRef::by_name(&check_topic(name)?)) };
        self.client.topics().forget(name);
        let send = |mut rpc: Rpc, request| async move { rpc.delete_topic(request).await };
        self.client.call(Retry::Definite, request, send).await?;
        Ok(())
    }

    /// Lists the topics that users made, sorted by name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list_topics(&self) -> Result<Vec<TopicSummary>, ClientError> {
        list(&self.client, v1::ListTopicsRequest { include_internal: false }).await
    }

    /// Lists all topics, the product's own included, sorted by name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list_topics_with_internal(&self) -> Result<Vec<TopicSummary>, ClientError> {
        list(&self.client, v1::ListTopicsRequest { include_internal: true }).await
    }

    /// Describes a topic, its partitions and its configs. Offsets and sizes are those of each partition's leader; zeros, if the
    /// leader cannot be asked.
    ///
    /// # Errors
    /// [`ClientError`]; an unknown topic is [`millrace_types::ErrorCode::UnknownTopicOrPartition`].
    pub async fn describe_topic(&self, name: &str) -> Result<TopicDescription, ClientError> {
        let mut topic = self.describe_topic_once(name).await?;
        let mut asked: BTreeMap<String, Vec<PartitionIndex>> = BTreeMap::new();
        for partition in &topic.partitions {
            let at = TopicPartition { topic: topic.id, partition: partition.partition };
            if let Place::At(server) = self.client.whereabouts().leader(at) {
                asked.entry(server).or_default().push(partition.partition);
            }
        }
        let (id, limit) = (topic.id, self.client.options().connect_timeout);
        let of_leader = |server: String, led: Vec<PartitionIndex>| async move {
            let request = v1::DescribeTopicRequest { topic: Some(v1::TopicRef::by_id(id)) };
            let send = |mut rpc: Rpc, request| async move { rpc.describe_topic(request).await };
            let answer = self.client.attempt(&server, limit, request, &send).await;
            (led, answer.and_then(|answer| describe(answer.topic)))
        };
        let answers = asked.into_iter().map(|(server, led)| of_leader(server, led));
        for (led, answer) in futures::future::join_all(answers).await {
            match answer {
                Ok(mut said) => take_figures(&mut topic, &mut said, &led),
                Err(error) => tracing::debug!(%error, "a leader does not describe what it leads"),
            }
        }
        Ok(topic)
    }

    /// Describes a topic as one broker sees it.
    pub(crate) async fn describe_topic_once(&self, name: &str) -> Result<TopicDescription, ClientError> {
        let request = v1::DescribeTopicRequest { topic: Some(v1::TopicRef::by_name(&check_topic(name)?)) };
        let send = |mut rpc: Rpc, request| async move { rpc.describe_topic(request).await };
        let topic = describe(self.client.call(Retry::Always, request, send).await?.topic)?;
        let led = topic.partitions.iter().map(|partition| {
            let at = TopicPartition { topic: topic.id, partition: partition.partition };
            (at, partition.leader, partition.leader_epoch)
        });
        self.client.whereabouts().learn_leaders(led);
        Ok(topic)
    }
}

/// What a leader says of the partitions that it leads.
fn take_figures(topic: &mut TopicDescription, said: &mut TopicDescription, led: &[PartitionIndex]) {
    for (ours, theirs) in topic.partitions.iter_mut().zip(&mut said.partitions) {
        if led.contains(&ours.partition) && ours.partition == theirs.partition {
            std::mem::swap(ours, theirs);
        }
    }
}

/// Who leads the partitions of a topic, as a broker says it.
pub(crate) fn leaderships(id: TopicId, answer: &v1::DescribeTopicResponse) -> Vec<Leadership> {
    let partitions = answer.topic.iter().flat_map(|topic| &topic.partitions);
    let leadership = |partition: &v1::Partition| {
        let at = TopicPartition { topic: id, partition: PartitionIndex::new(partition.partition)? };
        Some((at, node(partition.leader), LeaderEpoch(partition.leader_epoch)))
    };
    partitions.filter_map(leadership).collect()
}

async fn list(client: &Client, request: v1::ListTopicsRequest) -> Result<Vec<TopicSummary>, ClientError> {
    let send = |mut rpc: Rpc, request| async move { rpc.list_topics(request).await };
    let answer = client.call(Retry::Always, request, send).await?;
    let summary = |topic: v1::TopicSummary| {
        Ok(TopicSummary {
            name: topic_name(&topic.name)?,
            id: topic_id(&topic.id)?,
            partitions: topic.partitions,
            replication_factor: topic.replication_factor,
            is_internal: topic.internal,
        })
    };
    answer.topics.into_iter().map(summary).collect()
}

pub(super) fn describe(topic: Option<v1::Topic>) -> Result<TopicDescription, ClientError> {
    let topic = topic.ok_or_else(|| ClientError::Answer("no topic".to_owned()))?;
    let configs = topic.configs.into_iter();
    Ok(TopicDescription {
        name: topic_name(&topic.name)?,
        id: topic_id(&topic.id)?,
        is_internal: topic.internal,
        replication_factor: topic.replication_factor,
        partitions: topic.partitions.into_iter().map(describe_partition).collect::<Result<_, _>>()?,
        configs: configs.map(|c| ConfigEntry { key: c.key, value: c.value, is_set: c.is_set }).collect(),
    })
}

fn describe_partition(partition: v1::Partition) -> Result<PartitionDescription, ClientError> {
    let nodes = |ids: Vec<i32>| ids.into_iter().map(NodeId).collect();
    Ok(PartitionDescription {
        partition: PartitionIndex::new(partition.partition)
            .ok_or_else(|| ClientError::Answer(format!("partition {}", partition.partition)))?,
        leader: node(partition.leader),
        leader_epoch: LeaderEpoch(partition.leader_epoch),
        replicas: nodes(partition.replicas),
        isr: nodes(partition.isr),
        eligible: nodes(partition.eligible),
        last_known: nodes(partition.last_known),
        adding: nodes(partition.adding),
        removing: nodes(partition.removing),
        log_start: offset(partition.log_start_offset)?,
        high_watermark: offset(partition.high_watermark)?,
        end_offset: offset(partition.end_offset)?,
        size_bytes: partition.size_bytes,
        damaged_ranges: partition.damaged_ranges,
        damaged_bytes: partition.damaged_bytes,
    })
}

/// An offset of an answer, which is never negative.
pub(crate) fn offset(value: i64) -> Result<Offset, ClientError> {
    Offset::new(value).ok_or_else(|| ClientError::Answer(format!("offset {value}")))
}

fn topic_name(name: &str) -> Result<TopicName, ClientError> {
    TopicName::new(name).map_err(|e| ClientError::Answer(format!("topic name {name:?}: {e}")))
}

fn topic_id(bytes: &[u8]) -> Result<TopicId, ClientError> {
    let id: Result<[u8; 16], _> = bytes.try_into();
    id.map(TopicId).map_err(|_| ClientError::Answer(format!("a topic id of {} bytes", bytes.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic() -> v1::Topic {
        v1::Topic {
            name: "flights".to_owned(),
            id: vec![7; 16].into(),
            partitions: vec![v1::Partition { leader: -1, high_watermark: 5, ..Default::default() }],
            ..Default::default()
        }
    }

    #[test]
    fn a_topic_is_described() {
        let mut topic = topic();
        (topic.partitions[0].damaged_ranges, topic.partitions[0].damaged_bytes) = (2, 77);
        let described = describe(Some(topic)).unwrap();
        assert_eq!(described.id, TopicId([7; 16]));
        assert_eq!(described.partitions[0].leader, None);
        assert_eq!(described.partitions[0].high_watermark.get(), 5);
        assert_eq!((described.partitions[0].damaged_ranges, described.partitions[0].damaged_bytes), (2, 77));
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_an_error() {
        assert!(describe(None).is_err());
        assert!(describe(Some(v1::Topic { id: vec![7; 15].into(), ..topic() })).is_err());
        assert!(describe(Some(v1::Topic { name: "a/b".to_owned(), ..topic() })).is_err());
        let negative = v1::Partition { log_start_offset: -1, ..Default::default() };
        assert!(describe(Some(v1::Topic { partitions: vec![negative], ..topic() })).is_err());
    }
}
