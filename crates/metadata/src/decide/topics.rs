//! Topics are made, altered, and given more partitions.

use std::collections::{BTreeMap, BTreeSet};

use millrace_schema::{MetadataRecord, PartitionsAdded, TopicConfigured, TopicCreated};
use millrace_types::limits::{PARTITIONS_PER_BROKER_MAX, PARTITIONS_PER_TOPIC_MAX};
use millrace_types::{SyncMode, TopicId};

use super::check_level;
use super::place::Places;
use crate::{
    ConfigChange, ConfigError, CreateTopic, Image, Key, Owner, Partition, Refusal, Topic, TopicConfig,
    ValueKind,
};

/// Replicas of a topic that leaves it to the cluster, where there are that many brokers.
pub(super) const REPLICATION_FACTOR_DEFAULT: u32 = 3;
/// The level from which topics may be altered.
const ALTERING_SINCE: u32 = 2;
/// The config that a topic gets written into it when it is made.
pub(super) const MIN_INSYNC: &str = "min.insync.replicas";

pub(super) fn create_topic(image: &Image, wanted: &CreateTopic) -> Result<Vec<MetadataRecord>, Refusal> {
    check_name(image, wanted)?;
    let reserved = [TopicId::ZERO, TopicId::CLUSTER_METADATA].contains(&wanted.id);
    if reserved || image.topic_by_id(wanted.id).is_some() {
        return Err(Refusal::IdTaken(wanted.id));
    }
    let places = Places::of(image);
    let partitions = check_partitions(image, wanted.partitions.unwrap_or(1))?;
    let replication_factor = check_replication_factor(wanted.replication_factor, &places)?;
    let configs = check_configs(wanted.configs.clone(), replication_factor)?;
    let mode = TopicConfig::read(&configs)?.sync_mode;
    if wanted.name.is_internal() && mode != SyncMode::Always {
        return Err(Refusal::InternalSyncMode { name: wanted.name.clone(), mode });
    }
    Ok(vec![MetadataRecord::TopicCreated(TopicCreated {
        id: wanted.id,
        name: wanted.name.clone(),
        replication_factor,
        partitions: places.place(partitions, replication_factor, image.partition_count()),
        configs,
    })])
}

pub(super) fn topic_of_a_user(image: &Image, id: TopicId) -> Result<&Topic, Refusal> {
    let topic = image.topic_by_id(id).ok_or(Refusal::UnknownTopic(id))?;
    if topic.name.is_internal() {
        return Err(Refusal::Internal(topic.name.clone()));
    }
    Ok(topic)
}

pub(super) fn alter_topic(
    image: &Image,
    id: TopicId,
    changes: &[ConfigChange],
) -> Result<Vec<MetadataRecord>, Refusal> {
    let topic = topic_of_a_user(image, id)?;
    let mut configs = topic.configs.clone();
    let mut seen = BTreeSet::new();
    for change in changes {
        if !seen.insert(change.key()) {
            return Err(Refusal::ConfigTwice(change.key().to_owned()));
        }
        match change {
            ConfigChange::Set { key, value } => {
                configs.insert(key.clone(), value.clone());
            }
            ConfigChange::Unset { key } => {
                known(key)?;
                configs.remove(key);
            }
            ConfigChange::Append { key, value } => {
                let mut words = list_of(topic, key, value)?;
                for word in words_of(value) {
                    if !words.contains(&word) {
                        words.push(word);
                    }
                }
                configs.insert(key.clone(), words.join(","));
            }
            ConfigChange::Subtract { key, value } => {
                let mut words = list_of(topic, key, value)?;
                let gone = words_of(value);
                words.retain(|word| !gone.contains(word));
                configs.insert(key.clone(), words.join(","));
            }
        }
    }
    configure(image, topic, configs)
}

pub(super) fn configure_topic(
    image: &Image,
    id: TopicId,
    configs: &BTreeMap<String, String>,
) -> Result<Vec<MetadataRecord>, Refusal> {
    configure(image, topic_of_a_user(image, id)?, configs.clone())
}

fn configure(
    image: &Image,
    topic: &Topic,
    configs: BTreeMap<String, String>,
) -> Result<Vec<MetadataRecord>, Refusal> {
    let configs = check_configs(configs, smallest_factor(topic))?;
    if configs == topic.configs {
        return Ok(Vec::new());
    }
    check_level(image, ALTERING_SINCE)?;
    Ok(vec![MetadataRecord::TopicConfigured(TopicConfigured { id: topic.id, configs })])
}

/// The fewest replicas that a partition of the topic has, or will have however its reassignment ends.
fn smallest_factor(topic: &Topic) -> u32 {
    let stay = |partition: &Partition| {
        let moving = partition.removing.len().max(partition.adding.len());
        partition.replicas.len().saturating_sub(moving)
    };
    let fewest = topic.partitions.iter().map(stay).min().and_then(|count| u32::try_from(count).ok());
    fewest.unwrap_or(u32::MAX).min(topic.replication_factor)
}

fn known(key: &str) -> Result<&'static Key, ConfigError> {
    Key::of_name(key).ok_or_else(|| ConfigError::Unknown(key.to_owned()))
}

/// The words of a list that is in force.
fn list_of(topic: &Topic, name: &str, value: &str) -> Result<Vec<String>, ConfigError> {
    let key = known(name)?;
    if key.kind != ValueKind::List {
        let expected = "for a list, and this key is of none: nothing can be added or taken away".to_owned();
        return Err(ConfigError::Value { key: name.to_owned(), value: value.to_owned(), expected });
    }
    let list = topic.configs.get(name).cloned().or_else(|| key.default_value()).unwrap_or_default();
    Ok(words_of(&list))
}

/// The words of a list as configurations write it.
fn words_of(list: &str) -> Vec<String> {
    let words = list.split(',').map(str::trim).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

pub(super) fn create_partitions(
    image: &Image,
    id: TopicId,
    count: u32,
) -> Result<Vec<MetadataRecord>, Refusal> {
    let topic = topic_of_a_user(image, id)?;
    let first = topic.partition_count();
    if count > PARTITIONS_PER_TOPIC_MAX {
        return Err(Refusal::PartitionCount(count));
    }
    let Some(added) = count.checked_sub(first).filter(|added| *added > 0) else {
        return Err(Refusal::PartitionsOnlyGrow { name: topic.name.clone(), wanted: count, existing: first });
    };
    check_partitions(image, added)?;
    check_level(image, ALTERING_SINCE)?;
    let places = Places::of(image);
    check_replication_factor(Some(topic.replication_factor), &places)?;
    let partitions = places.place(added, topic.replication_factor, image.partition_count());
    Ok(vec![MetadataRecord::PartitionsAdded(PartitionsAdded { id, first, partitions })])
}

fn check_name(image: &Image, wanted: &CreateTopic) -> Result<(), Refusal> {
    if wanted.owner == Owner::User && wanted.name.is_internal() {
        return Err(Refusal::NameReserved(wanted.name.clone()));
    }
    match image.clash(&wanted.name) {
        Some(existing) if *existing == wanted.name => Err(Refusal::TopicExists(wanted.name.clone())),
        Some(existing) => Err(Refusal::NameClash { wanted: wanted.name.clone(), existing: existing.clone() }),
        None => Ok(()),
    }
}

fn check_partitions(image: &Image, wanted: u32) -> Result<u32, Refusal> {
    if wanted == 0 || wanted > PARTITIONS_PER_TOPIC_MAX {
        return Err(Refusal::PartitionCount(wanted));
    }
    let existing = image.partition_count();
    if existing + u64::from(wanted) > u64::from(PARTITIONS_PER_BROKER_MAX) {
        return Err(Refusal::TooManyPartitions { wanted, existing });
    }
    Ok(wanted)
}

fn check_replication_factor(wanted: Option<u32>, places: &Places) -> Result<u32, Refusal> {
    let brokers = places.count();
    let most = u32::try_from(brokers).unwrap_or(u32::MAX);
    let factor = wanted.unwrap_or(REPLICATION_FACTOR_DEFAULT.min(most));
    if factor == 0 || factor > most {
        return Err(Refusal::ReplicationFactor { wanted: factor, brokers });
    }
    if places.has_no_leader() {
        return Err(Refusal::NoActiveBroker);
    }
    Ok(factor)
}

/// The configs that the topic will carry. The default of `min.insync.replicas` depends on the replication factor and
/// is written into the topic, so that another default of a later version does not change the topic.
fn check_configs(
    mut configs: BTreeMap<String, String>,
    replication_factor: u32,
) -> Result<BTreeMap<String, String>, Refusal> {
    let default = if replication_factor == 1 { 1 } else { 2 };
    configs.entry(MIN_INSYNC.to_owned()).or_insert_with(|| default.to_string());
    let min_insync = TopicConfig::read(&configs)?.min_insync_replicas;
    if min_insync > replication_factor {
        return Err(Refusal::MinInsync { min_insync, replication_factor });
    }
    Ok(configs)
}

#[cfg(test)]
mod tests;
