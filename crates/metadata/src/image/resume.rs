//! An image as records, and back: a snapshot is as long as the image, not as what led to it.
//!
//! The counters come last, so that an image whose snapshot was cut short is not taken for one that is whole: until
//! they are there its version counts the records of the snapshot.

use std::sync::Arc;

use millrace_schema::{BrokerResumed, ImageResumed, MetadataRecord, TopicResumed};

use super::{ApplyError, FEATURE_LEVEL_NEWEST, Image, Topic};
use crate::{Broker, Partition, TopicConfig};

impl Image {
    /// Records that fold, from an empty image on, into one that is equal to this.
    #[must_use]
    pub fn to_records(&self) -> Vec<MetadataRecord> {
        let brokers = self.brokers().map(|broker| MetadataRecord::BrokerResumed(of_broker(broker)));
        let topics = self.topics().map(|topic| {
            MetadataRecord::TopicResumed(TopicResumed {
                id: topic.id,
                name: topic.name.clone(),
                replication_factor: topic.replication_factor,
                partitions: topic.partitions.iter().map(Partition::to_state).collect(),
                configs: topic.configs.clone(),
                always_synced: topic.always_synced,
            })
        });
        let counters = MetadataRecord::ImageResumed(ImageResumed {
            version: self.version,
            feature_level: self.feature_level,
            next_producer_id: self.next_producer_id(),
            broker_epoch: self.broker_epoch,
        });
        brokers.chain(topics).chain([counters]).collect()
    }

    pub(super) fn resume_topic(&mut self, record: &TopicResumed) -> Result<(), ApplyError> {
        let name = record.name.clone();
        let config =
            TopicConfig::read(&record.configs).map_err(|error| ApplyError::Config { name, error })?;
        self.insert_topic(Topic {
            id: record.id,
            name: record.name.clone(),
            replication_factor: record.replication_factor,
            partitions: record.partitions.iter().map(Partition::of_state).collect(),
            configs: record.configs.clone(),
            config,
            always_synced: record.always_synced,
        })
    }

    pub(super) fn resume_broker(&mut self, record: &BrokerResumed) -> Result<(), ApplyError> {
        if self.broker(record.node).is_some() {
            return Err(ApplyError::ResumedTwice);
        }
        let broker = Broker {
            node: record.node,
            directory: record.directory,
            grpc: record.grpc.clone(),
            kafka: record.kafka.clone(),
            internal: record.internal.clone(),
            epoch: record.epoch,
            incarnation: record.incarnation,
            standing: record.standing,
            standing_since: record.standing_since,
        };
        Arc::make_mut(&mut self.brokers).insert(record.node, broker);
        Ok(())
    }

    /// Takes the counters over: the version is theirs, this record does not count.
    pub(super) fn resume_counters(&mut self, record: &ImageResumed) -> Result<(), ApplyError> {
        if record.feature_level > FEATURE_LEVEL_NEWEST {
            return Err(ApplyError::FeatureLevel {
                found: record.feature_level,
                current: self.feature_level,
            });
        }
        let began_empty = self.feature_level == 0 && self.next_producer_id == 0 && self.broker_epoch == 0;
        let known = self.brokers().map(|broker| broker.epoch.0).max().unwrap_or(0);
        if !began_empty || known > record.broker_epoch {
            return Err(ApplyError::ResumedTwice);
        }
        self.feature_level = record.feature_level;
        self.next_producer_id = record.next_producer_id.0;
        self.broker_epoch = record.broker_epoch;
        self.version = record.version;
        Ok(())
    }
}

fn of_broker(broker: &Broker) -> BrokerResumed {
    BrokerResumed {
        node: broker.node,
        epoch: broker.epoch,
        incarnation: broker.incarnation,
        directory: broker.directory,
        grpc: broker.grpc.clone(),
        kafka: broker.kafka.clone(),
        internal: broker.internal.clone(),
        standing: broker.standing,
        standing_since: broker.standing_since,
    }
}
