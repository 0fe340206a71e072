//! Creates a topic.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_env::RngExt;
use millrace_log::Replication;
use millrace_metadata::{Command, CreateTopic, Image, Owner, Topic};
use millrace_types::{ErrorCode, TopicId, TopicName, TopicPartition};

use crate::admission::{Operation, Resource};
use crate::core::Core;
use crate::io_pool::{each_on_pool, to_its_end};
use crate::partitions::{Held, log_config, numbers, partition_meta};
use crate::{ApiError, Context, TopicDescription};

/// The topic to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateTopicRequest {
    /// Its name, as the user wrote it.
    pub name: String,
    /// How many partitions; `None` leaves it to the broker.
    pub partitions: Option<u32>,
    /// How many replicas; `None` leaves it to the broker.
    pub replication_factor: Option<u32>,
    /// Kafka's keys; unknown ones are refused.
    pub configs: BTreeMap<String, String>,
    /// Check only, and answer what would be made.
    pub validate_only: bool,
}

impl Core {
    pub(crate) async fn create_topic(
        self: &Arc<Self>,
        ctx: &Context,
        request: CreateTopicRequest,
    ) -> Result<TopicDescription, ApiError> {
        let in_flight = self.admission.admit(ctx, Operation::CreateTopic, Resource::Cluster)?;
        let name = TopicName::new(&request.name)
            .map_err(|error| ApiError::new(ErrorCode::InvalidTopicName, error.to_string()))?;
        self.admission.authorize(ctx, Operation::CreateTopic, Resource::Topic(&name))?;
        let id = TopicId(self.env.rng.uuid_v4());
        let command = Command::CreateTopic(CreateTopic {
            id,
            name,
            partitions: request.partitions,
            replication_factor: request.replication_factor,
            configs: request.configs,
            owner: Owner::User,
        });
        if request.validate_only {
            return self.would_be(&command, id);
        }
        let core = Arc::clone(self);
        let create = async move {
            let _in_flight = in_flight;
            let _no_deletion = core.topics_change.read().await;
            core.check_room_for(&core.metadata.check(&command)?)?;
            core.metadata.propose(&command).await?;
            let topic = core.topic(&crate::TopicRef::Id(id))?;
            core.make_logs(&topic).await?;
            Ok(core.describe(&topic))
        };
        to_its_end(&self.env, "create topic", Box::pin(create)).await
    }

    /// What a command would make: decided and folded, not written.
    fn would_be(&self, command: &Command, id: TopicId) -> Result<TopicDescription, ApiError> {
        let records = self.metadata.check(command)?;
        let image = Image::clone(&self.metadata.image());
        let image = records.iter().try_fold(image, Image::apply);
        let internal = |message: String| ApiError::new(ErrorCode::Internal, message);
        let image = image.map_err(|error| internal(error.to_string()))?;
        let topic =
            image.topic_by_id(id).ok_or_else(|| internal("the topic is not in its image".to_owned()))?;
        Ok(self.describe(topic))
    }

    /// Makes the logs of a topic whose record is committed, and takes the topic back if they cannot be made.
    async fn make_logs(&self, topic: &Arc<Topic>) -> Result<(), ApiError> {
        if self.logs_follow_metadata() {
            return Ok(());
        }
        let metas = numbers(topic).map(|partition| partition_meta(topic, partition)).collect();
        let (dir, config) = (Arc::clone(&self.dir), log_config(topic, Replication::Alone));
        let made = each_on_pool(&self.env, metas, move |meta| dir.create(meta, config.clone())).await?;
        match made.into_iter().collect::<Result<Vec<_>, _>>() {
            Ok(logs) => {
                self.partitions.insert(topic.id, logs.into_iter().map(Held::Open).collect());
                Ok(())
            }
            Err(error) => {
                self.take_back(topic).await?;
                Err(error.into())
            }
        }
    }

    /// Deletes a topic that could not be made whole. What of its logs was made is deleted; what was not is no error.
    async fn take_back(&self, topic: &Arc<Topic>) -> Result<(), ApiError> {
        tracing::warn!(topic = %topic.name, "the topic's logs cannot be made; the topic is deleted again");
        if let Err(error) = self.metadata.propose(&Command::DeleteTopic { id: topic.id }).await {
            self.unfinished.half_made(topic.id);
            let message = format!("topic {} cannot be made whole, nor taken back yet: {error}", topic.name);
            return Err(ApiError::new(ErrorCode::OutcomeUnknown, message));
        }
        let ids = numbers(topic).map(|partition| TopicPartition { topic: topic.id, partition }).collect();
        self.delete_logs(ids).await
    }
}
