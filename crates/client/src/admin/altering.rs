//! Changing what there is: configurations, more partitions, fewer records.

use std::time::Duration;

use futures::future::BoxFuture;
use millrace_proto::v1;
use millrace_types::{Offset, PartitionIndex};

use super::topics::{describe, offset};
use super::{Admin, check_length, check_topic};
use crate::client::Retry;
use crate::connection::Rpc;
use crate::scatter::{Answers, Question};
use crate::{Client, ClientError, Refusal, TopicDescription};

/// A change of one key of a topic's configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfigChange {
    /// The topic sets the key itself from now on.
    Set {
        /// The key: Kafka's, or `sync.mode`.
        key: String,
        /// Its value.
        value: String,
    },
    /// The default counts again.
    Unset {
        /// The key.
        key: String,
    },
}

/// Which records of a partition are to be deleted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordsToDelete {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: PartitionIndex,
    /// The first offset that stays; `None` stands for the high watermark: everything that is committed goes.
    pub before: Option<Offset>,
}

impl Admin {
    /// Changes the configuration of a topic: all of the changes or none. Open logs follow it when this returns.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn alter_topic(
        &self,
        name: &str,
        changes: Vec<ConfigChange>,
    ) -> Result<TopicDescription, ClientError> {
        let changes = changes.into_iter().map(|change| match change {
            ConfigChange::Set { key, value } => v1::ConfigChange { key, value: Some(value) },
            ConfigChange::Unset { key } => v1::ConfigChange { key, value: None },
        });
        let request = v1::AlterTopicRequest {
            topic: Some(v1::TopicRef::by_name(&check_topic(name)?)),
            changes: changes.collect(),
            validate_only: false,
        };
        let send = |mut rpc: Rpc, request| async move { rpc.alter_topic(request).await };
        // The same changes once more change nothing.
        let answer = self.client.call(Retry::Always, request, send).await?;
        describe(answer.topic)
    }

    /// Gives a topic `count` partitions, those that it has included. Records with a key may go to another partition from then
    /// on: what orders them is lost where it matters across the change.
    ///
    /// # Errors
    /// [`ClientError`]. It is not repeated after an indefinite error: the partitions may be there then.
    pub async fn create_partitions(&self, name: &str, count: u32) -> Result<TopicDescription, ClientError> {
        let topic = Some(v1::TopicRef::by_name(&check_topic(name)?));
        let request = v1::CreatePartitionsRequest { topic, count, validate_only: false };
        let send = |mut rpc: Rpc, request| async move { rpc.create_partitions(request).await };
        let answer = self.client.call(Retry::Definite, request, send).await;
        // Whatever came of it: who asks next is told how many there are.
        self.client.topics().forget(name);
        describe(answer?.topic)
    }

    /// Deletes the records before an offset of each partition, for good; answers where each begins now, in order.
    ///
    /// # Errors
    /// [`ClientError`] of the whole call; what concerns one partition is its own result.
    pub async fn delete_records(
        &self,
        partitions: &[RecordsToDelete],
    ) -> Result<Vec<Result<Offset, Refusal>>, ClientError> {
        let questions = partitions.iter().map(|wanted| {
            let name = check_topic(&wanted.topic)?;
            let question = v1::RecordsToDelete {
                topic: Some(v1::TopicRef::by_name(&name)),
                partition: wanted.partition.get(),
                before_offset: wanted.before.map_or(-1, Offset::get),
            };
            Ok(Question { topic: name.to_string(), partition: wanted.partition, question })
        });
        let questions = questions.collect::<Result<_, ClientError>>()?;
        // Up to the high watermark, a repetition may delete what came in between.
        let to_the_end = partitions.iter().any(|wanted| wanted.before.is_none());
        let retry = if to_the_end { Retry::Definite } else { Retry::Always };
        self.client.ask_leaders(retry, questions, ask_to_delete).await
    }
}

/// Asks one broker.
fn ask_to_delete(
    client: Client,
    server: String,
    limit: Duration,
    partitions: Vec<v1::RecordsToDelete>,
) -> BoxFuture<'static, Answers<Offset>> {
    Box::pin(async move {
        let expected = partitions.len();
        let send = |mut rpc: Rpc, request| async move { rpc.delete_records(request).await };
        let answer = client.attempt(&server, limit, v1::DeleteRecordsRequest { partitions }, &send).await?;
        check_length(answer.partitions.len(), expected)?;
        let results = answer.partitions.into_iter().map(|deleted| match deleted.error {
            Some(error) => Ok(Err(Refusal::of(error))),
            None => Ok(Ok(offset(deleted.log_start_offset)?)),
        });
        results.collect()
    })
}
