//! The configurations of topics, without what else there is to say of them.

use std::sync::Arc;

use millrace_metadata::Topic;
use millrace_types::TopicName;

use crate::admission::{Operation, Resource};
use crate::core::{Core, check_partition_count};
use crate::ops::describe_topic::describe_configs;
use crate::{ApiError, ConfigEntry, Context, TopicRef};

/// The configuration of one topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicConfigs {
    /// The topic's name.
    pub name: TopicName,
    /// Every key that is followed, and those without meaning that the topic sets; sorted.
    pub configs: Vec<ConfigEntry>,
}

impl Core {
    pub(crate) fn topic_configs(
        self: &Arc<Self>,
        ctx: &Context,
        topics: &[TopicRef],
    ) -> Result<Vec<Result<TopicConfigs, ApiError>>, ApiError> {
        let _in_flight = self.admission.admit(ctx, Operation::DescribeTopic, Resource::Cluster)?;
        check_partition_count(topics.len())?;
        let configs = |topic: &TopicRef| {
            let topic = self.topic(topic)?;
            self.admission.authorize(ctx, Operation::DescribeTopic, Resource::Topic(&topic.name))?;
            Ok(TopicConfigs { name: topic.name.clone(), configs: with_what_is_set(&topic) })
        };
        Ok(topics.iter().map(configs).collect())
    }
}

fn with_what_is_set(topic: &Topic) -> Vec<ConfigEntry> {
    let mut configs = describe_configs(topic);
    for (key, value) in &topic.configs {
        // Those that are followed are there, in their order.
        if let Err(place) = configs.binary_search_by(|entry| entry.key.as_str().cmp(key)) {
            configs.insert(place, ConfigEntry { key: key.clone(), value: value.clone(), is_set: true });
        }
    }
    configs
}
