//! Alters the configuration of topics: decided key by key (KIP-339), written, and followed by the open logs before it is
//! answered. Each topic stands for itself; of the changes of one topic all are made or none.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_log::Replication;
use millrace_metadata::{Command, ConfigChange, Topic};

use crate::admission::Operation;
use crate::core::Core;
use crate::io_pool::{each_on_pool, to_its_end};
use crate::ops::change_topics::Wanted;
use crate::partitions::log_config;
use crate::unfinished::may_pass;
use crate::{ApiError, Context, TopicDescription, TopicRef};

/// What is to be changed of one topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicChanges {
    /// The topic.
    pub topic: TopicRef,
    /// How its configuration is changed.
    pub changes: Alteration,
}

/// How a configuration is changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Alteration {
    /// Key by key, each once.
    Keys(Vec<ConfigChange>),
    /// As a whole: what is not named goes back to its default.
    Whole(BTreeMap<String, String>),
}

/// Changes of any number of topics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AlterTopicsRequest {
    /// At most [`millrace_types::limits::PARTITIONS_PER_REQUEST_MAX`].
    pub topics: Vec<TopicChanges>,
    /// Check only, and answer what the topics would be.
    pub validate_only: bool,
}

impl Core {
    pub(crate) async fn alter_topics(
        self: &Arc<Self>,
        ctx: &Context,
        request: AlterTopicsRequest,
    ) -> Result<Vec<Result<TopicDescription, ApiError>>, ApiError> {
        let wanted = request.topics.into_iter().map(|TopicChanges { topic, changes }| Wanted {
            topic,
            command: Box::new(|id| match changes {
                Alteration::Keys(changes) => Command::AlterTopic { id, changes },
                Alteration::Whole(configs) => Command::ConfigureTopic { id, configs },
            }),
        });
        let change = self.topics_change_of(ctx, Operation::AlterTopics, wanted.collect())?;
        if request.validate_only {
            return self.would_change(&change);
        }
        let core = Arc::clone(self);
        let alter = async move {
            let _nothing_else = core.topics_change.write().await;
            let decided = core.metadata.propose_each(&change.commands()).await?;
            let mut answers = Vec::new();
            for topic in core.changed(&change, decided) {
                answers.push(match topic {
                    Ok(topic) => core.follow_config(&topic).await.map(|()| core.describe(&topic)),
                    Err(error) => Err(error),
                });
            }
            Ok(answers)
        };
        to_its_end(&self.env, "alter topics", Box::pin(alter)).await
    }

    /// Makes the open logs of a topic follow its configuration; those that find no room follow later.
    ///
    /// # Errors
    /// If the data directory has failed.
    pub(crate) async fn follow_config(&self, topic: &Topic) -> Result<(), ApiError> {
        if self.logs_follow_metadata() {
            return Ok(());
        }
        let (logs, config) = (self.partitions.open_of(topic.id), log_config(topic, Replication::Alone));
        let done = each_on_pool(&self.env, logs, move |log| log.configure(config.clone())).await?;
        let mut is_behind = false;
        for outcome in done {
            match outcome {
                Err(error) if may_pass(&error) => {
                    tracing::warn!(topic = %topic.name, %error, "a log follows its configuration later");
                    is_behind = true;
                }
                outcome => outcome?,
            }
        }
        self.unfinished.note_config(topic.id, is_behind);
        Ok(())
    }
}
