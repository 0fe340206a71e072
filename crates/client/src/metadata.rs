//! What the client remembers of topics: enough to pick a partition and to refuse a record that is too large.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_types::limits::{BATCH_BYTES_DEFAULT, BATCH_BYTES_MAX};
use millrace_types::{TopicId, TopicName};
use parking_lot::Mutex;

use crate::{Client, ClientError, TopicDescription};

/// The topic config that bounds a batch.
const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
/// The most topics that are remembered; the rest are asked for again.
const TOPICS_MAX: usize = 10_000;

/// A topic, as producers and readers need it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TopicInfo {
    pub(crate) name: TopicName,
    pub(crate) id: TopicId,
    pub(crate) partitions: u32,
    /// The largest batch that the topic takes, in bytes.
    pub(crate) batch_bytes_max: usize,
}

impl TopicInfo {
    fn of(topic: TopicDescription) -> Result<TopicInfo, ClientError> {
        let partitions = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
        if partitions == 0 {
            return Err(ClientError::Answer(format!("topic {} without partitions", topic.name)));
        }
        let configured = topic.configs.iter().find(|config| config.key == MAX_MESSAGE_BYTES);
        let batch_bytes_max = configured.and_then(|config| config.value.parse().ok());
        Ok(TopicInfo {
            name: topic.name,
            id: topic.id,
            partitions,
            batch_bytes_max: batch_bytes_max.unwrap_or(BATCH_BYTES_DEFAULT).min(BATCH_BYTES_MAX),
        })
    }
}

/// Topics by name.
#[derive(Default, Debug)]
pub(crate) struct TopicCache {
    topics: Mutex<BTreeMap<String, Arc<TopicInfo>>>,
}

impl TopicCache {
    pub(crate) fn known(&self, name: &str) -> Option<Arc<TopicInfo>> {
        self.topics.lock().get(name).cloned()
    }

    /// Forgets what a broker has just contradicted.
    pub(crate) fn forget(&self, name: &str) {
        self.topics.lock().remove(name);
    }

    fn remember(&self, topic: TopicInfo) -> Arc<TopicInfo> {
        let topic = Arc::new(topic);
        let mut topics = self.topics.lock();
        if topics.len() >= TOPICS_MAX {
            topics.pop_first();
        }
        topics.insert(topic.name.as_str().to_owned(), Arc::clone(&topic));
        topic
    }
}

impl Client {
    /// The topic of that name, remembered or asked for.
    pub(crate) async fn topic(&self, name: &str) -> Result<Arc<TopicInfo>, ClientError> {
        match self.topics().known(name) {
            Some(topic) => Ok(topic),
            None => {
                let topic = self.admin().describe_topic_once(name).await?;
                Ok(self.topics().remember(TopicInfo::of(topic)?))
            }
        }
    }
}
