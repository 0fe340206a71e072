//! Who makes topics, lets them grow, changes them and deletes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_broker::{
    AlterTopicsRequest, Alteration, ApiError, Broker, CreatePartitionsRequest, CreateTopicRequest,
    NewPartitions, TopicChanges, TopicDescription, TopicRef,
};
use millrace_env::BoxFuture;
use millrace_types::{ErrorCode, TopicId, TopicName};

use super::{Client, No};
use crate::caller::ctx;

/// The topic with which a cluster begins.
pub(in super::super) const FIRST: &str = "first";
/// Topics at once.
const TOPICS_MAX: usize = 4;

/// How a topic is to be.
#[derive(Clone, Debug)]
pub(in super::super) struct Wanted {
    pub(in super::super) name: String,
    pub(in super::super) partitions: u32,
    pub(in super::super) minimum: u32,
}

/// Makes a topic, however often that takes.
pub(in super::super) async fn create(client: &Client, wanted: Wanted) -> bool {
    let configs = BTreeMap::from([
        ("min.insync.replicas".to_owned(), wanted.minimum.to_string()),
        ("segment.bytes".to_owned(), "65536".to_owned()),
    ]);
    let request = CreateTopicRequest {
        name: wanted.name.clone(),
        partitions: Some(wanted.partitions),
        replication_factor: Some(3),
        configs,
        validate_only: false,
    };
    let Ok(name) = TopicName::new(&wanted.name) else { return false };
    while !client.is_closing() {
        let request = request.clone();
        let make = move |broker: Arc<Broker>| -> BoxFuture<Result<TopicDescription, ApiError>> {
            let request = request.clone();
            Box::pin(async move { broker.create_topic(&ctx(), request).await })
        };
        let node = client.anybody();
        let made = client.ask(node, make).await;
        client.tell(|| format!("create {wanted:?} at {node}: {}", said(&made)));
        let made = match made {
            Err(No::Error(error)) if error.code == ErrorCode::TopicAlreadyExists => {
                client.described(TopicRef::Name(name.clone())).await
            }
            made => made.ok(),
        };
        if let Some(topic) = made {
            client.mark(|marks| marks.topics += 1);
            let partitions = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
            if partitions != wanted.partitions || topic.replication_factor != 3 {
                client.breaks(&format!("{wanted:?} was made as {topic:?}"));
            }
            client.shared.state.lock().truth.made(name, topic.id, partitions);
            return true;
        }
        client.sleep(300).await;
    }
    false
}

fn said<T>(answer: &Result<T, No>) -> String {
    match answer {
        Ok(_) => "done".to_owned(),
        Err(no) => format!("{no:?}"),
    }
}

impl Client {
    async fn described(&self, topic: TopicRef) -> Option<TopicDescription> {
        let describe = move |broker: Arc<Broker>| -> BoxFuture<_> {
            let topic = topic.clone();
            Box::pin(async move { broker.describe_topic(&ctx(), topic).await })
        };
        self.ask(self.anybody(), describe).await.ok()
    }

    /// Changes topics until the world closes; minimums between `minimum` and 2.
    pub(in super::super) async fn administer(self, minimum: u32) {
        let mut made = 0;
        while !self.is_closing() {
            self.sleep(4_000).await;
            let living = self.shared.state.lock().truth.living();
            let mut topics: Vec<TopicId> = living.iter().map(|(_, at)| at.topic).collect();
            topics.dedup();
            let Some(topic) = self.rng.pick(&topics).copied() else { continue };
            match self.rng.below(8) {
                0..4 if topics.len() < TOPICS_MAX => {
                    made += 1;
                    let wanted = Wanted {
                        name: format!("{}-{made}", self.name),
                        partitions: 1 + u32::try_from(self.rng.below(2)).unwrap_or(0),
                        minimum: 2,
                    };
                    create(&self, wanted).await;
                }
                0..5 => self.delete(topic).await,
                5..6 => self.grow(topic).await,
                _ => self.alter(topic, minimum).await,
            }
        }
    }

    async fn delete(&self, topic: TopicId) {
        {
            let mut state = self.shared.state.lock();
            match state.truth.topics.get_mut(&topic) {
                // The first one stays.
                Some(known) if known.name.as_str() != FIRST => known.doomed = true,
                _ => return,
            }
        }
        let delete = move |broker: Arc<Broker>| -> BoxFuture<Result<(), ApiError>> {
            Box::pin(async move { broker.delete_topic(&ctx(), TopicRef::Id(topic)).await })
        };
        let deleted = self.ask(self.anybody(), delete).await;
        self.tell(|| format!("delete {topic}: {}", said(&deleted)));
        if deleted.is_ok() {
            self.mark(|marks| marks.topics_deleted += 1);
            if let Some(known) = self.shared.state.lock().truth.topics.get_mut(&topic) {
                known.deleted = true;
            }
        }
    }

    async fn grow(&self, topic: TopicId) {
        let count = self.shared.state.lock().truth.topics.get(&topic).map_or(0, |known| known.partitions) + 1;
        let grow = move |broker: Arc<Broker>| -> BoxFuture<Result<(), ApiError>> {
            let topics = vec![NewPartitions { topic: TopicRef::Id(topic), count }];
            let request = CreatePartitionsRequest { topics, validate_only: false };
            Box::pin(async move {
                let answers = broker.create_partitions(&ctx(), request).await?;
                answers.into_iter().try_for_each(|answer| answer.map(drop))
            })
        };
        let grown = self.ask(self.anybody(), grow).await;
        self.tell(|| format!("grow {topic} to {count}: {}", said(&grown)));
        if grown.is_ok() {
            self.mark(|marks| marks.grown += 1);
            if let Some(known) = self.shared.state.lock().truth.topics.get_mut(&topic) {
                known.partitions = known.partitions.max(count);
            }
        } else if let Some(described) = self.described(TopicRef::Id(topic)).await
            && let Ok(there) = u32::try_from(described.partitions.len())
            && let Some(known) = self.shared.state.lock().truth.topics.get_mut(&topic)
        {
            // Nobody has told whether it was done: what is seen counts.
            known.partitions = known.partitions.max(there);
        }
    }

    async fn alter(&self, topic: TopicId, minimum: u32) {
        let value = minimum.max(1 + u32::try_from(self.rng.below(2)).unwrap_or(0));
        let alter = move |broker: Arc<Broker>| -> BoxFuture<Result<(), ApiError>> {
            let configs = BTreeMap::from([
                ("min.insync.replicas".to_owned(), value.to_string()),
                ("segment.bytes".to_owned(), "65536".to_owned()),
            ]);
            let changes = TopicChanges { topic: TopicRef::Id(topic), changes: Alteration::Whole(configs) };
            let request = AlterTopicsRequest { topics: vec![changes], validate_only: false };
            Box::pin(async move {
                let answers = broker.alter_topics(&ctx(), request).await?;
                answers.into_iter().try_for_each(|answer| answer.map(drop))
            })
        };
        let altered = self.ask(self.anybody(), alter).await;
        self.tell(|| format!("minimum {value} for {topic}: {}", said(&altered)));
        if altered.is_ok() {
            self.mark(|marks| marks.minimums += 1);
        }
    }
}
