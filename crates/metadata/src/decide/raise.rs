//! More replicas for the product's own topics, as brokers join.
//!
//! A cluster begins with one broker, and its own topics with one replica: with it everything would go that they hold.
//! So they grow up to the default replication factor, one reassignment that only adds for each partition; and once
//! two replicas of each are in sync, two must hold a record before it is committed. Asked again and again until
//! nothing is left to do. Topics of users stay as they were made.

use millrace_schema::{MetadataRecord, TopicConfigured};
use millrace_types::{TopicId, TopicPartition};

use super::place::Places;
use super::topics::{MIN_INSYNC, REPLICATION_FACTOR_DEFAULT};
use super::{CLUSTERS_SINCE, check_level, record_of};
use crate::partition::Change;
use crate::{Image, Refusal, Topic};

/// How many replicas must hold what the product writes for itself, where there are that many.
const MIN_INSYNC_OF_MANY: usize = 2;

/// The next step for a topic of the product.
pub(super) fn raise(image: &Image, id: TopicId) -> Result<Vec<MetadataRecord>, Refusal> {
    check_level(image, CLUSTERS_SINCE)?;
    let topic = image.topic_by_id(id).ok_or(Refusal::UnknownTopic(id))?;
    if !topic.name.is_internal() {
        return Err(Refusal::NotInternal(topic.name.clone()));
    }
    let places = Places::of(image);
    let wanted = usize::try_from(REPLICATION_FACTOR_DEFAULT).unwrap_or(usize::MAX);
    let mut records = Vec::new();
    for (at, partition) in topic.numbered() {
        if partition.is_reassigned() {
            continue;
        }
        let adding = places.more(&partition.replicas, wanted, turn(at));
        if adding.is_empty() {
            continue;
        }
        let replicas = [&partition.replicas, adding.as_slice()].concat();
        let change = Change::new(image.rules(topic), partition).replicas(replicas, adding, Vec::new());
        records.extend(record_of(at, change.finish()));
    }
    if records.is_empty() && commits_by_one(topic) {
        let mut configs = topic.configs.clone();
        configs.insert(MIN_INSYNC.to_owned(), MIN_INSYNC_OF_MANY.to_string());
        records.push(MetadataRecord::TopicConfigured(TopicConfigured { id, configs }));
    }
    Ok(records)
}

/// Whether one replica commits, although every partition could do with two.
fn commits_by_one(topic: &Topic) -> bool {
    let could = |(_, partition): (TopicPartition, &crate::Partition)| {
        !partition.is_reassigned() && partition.isr.len() >= MIN_INSYNC_OF_MANY
    };
    topic.min_insync() < MIN_INSYNC_OF_MANY && topic.numbered().all(could)
}

fn turn(at: TopicPartition) -> usize {
    usize::try_from(at.partition.0).unwrap_or(0)
}
