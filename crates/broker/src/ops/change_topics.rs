//! What changes of topics have in common: many in one request, each decided for itself, all written at once.

use std::sync::Arc;

use millrace_metadata::{Command, Topic};
use millrace_types::{ErrorCode, TopicId};

use crate::admission::{InFlight, Operation, Resource};
use crate::core::{Core, check_count};
use crate::{ApiError, Context, TopicDescription, TopicRef};

/// What is wanted of one topic.
pub(crate) struct Wanted {
    pub(crate) topic: TopicRef,
    /// The command, once the topic's id is known.
    pub(crate) command: Box<dyn FnOnce(TopicId) -> Command + Send>,
}

/// A change that was let in: its commands, or why there is none, in the order of the request.
#[derive(Debug)]
pub(crate) struct TopicsChange {
    parts: Vec<Result<(TopicId, Command), ApiError>>,
    _in_flight: InFlight,
}

impl TopicsChange {
    pub(crate) fn commands(&self) -> Vec<Command> {
        self.parts.iter().flatten().map(|(_, command)| command.clone()).collect()
    }
}

impl Core {
    /// Whether a change of topics is done once the metadata say so: in a cluster each broker's replicas and coordinators follow them
    /// by themselves. A broker that is alone makes, configures and deletes its logs with the change.
    pub(crate) fn logs_follow_metadata(&self) -> bool {
        self.cluster.is_some()
    }

    /// Lets a change in and finds its topics.
    pub(crate) fn topics_change_of(
        self: &Arc<Self>,
        ctx: &Context,
        operation: Operation,
        wanted: Vec<Wanted>,
    ) -> Result<TopicsChange, ApiError> {
        let in_flight = self.admission.admit(ctx, operation, Resource::Cluster)?;
        check_count(wanted.len(), "topics")?;
        let parts = wanted.into_iter().map(|Wanted { topic, command }| {
            let topic = self.topic(&topic)?;
            self.admission.authorize(ctx, operation, Resource::Topic(&topic.name))?;
            Ok((topic.id, command(topic.id)))
        });
        Ok(TopicsChange { parts: parts.collect(), _in_flight: in_flight })
    }

    /// What the topics would be.
    pub(crate) fn would_change(
        &self,
        change: &TopicsChange,
    ) -> Result<Vec<Result<TopicDescription, ApiError>>, ApiError> {
        let decided = self.metadata.check_each(&change.commands())?;
        let mut answers = decided.answers.into_iter();
        let describe = |part: &Result<(TopicId, Command), ApiError>| {
            let (id, _) = part.as_ref().map_err(ApiError::clone)?;
            answers.next().unwrap_or(Ok(()))?;
            decided.image.topic_by_id(*id).map(|topic| self.describe(topic)).ok_or_else(gone)
        };
        Ok(change.parts.iter().map(describe).collect())
    }

    /// The topics as they are after what was decided.
    pub(crate) fn changed(
        &self,
        change: &TopicsChange,
        decided: Vec<Result<(), ApiError>>,
    ) -> Vec<Result<Arc<Topic>, ApiError>> {
        let image = self.metadata.image();
        let mut answers = decided.into_iter();
        let topic = |part: &Result<(TopicId, Command), ApiError>| {
            let (id, _) = part.as_ref().map_err(ApiError::clone)?;
            answers.next().unwrap_or(Ok(()))?;
            image.topic_by_id(*id).cloned().ok_or_else(gone)
        };
        change.parts.iter().map(topic).collect()
    }
}

fn gone() -> ApiError {
    ApiError::new(ErrorCode::UnknownTopicOrPartition, "the topic was deleted")
}
