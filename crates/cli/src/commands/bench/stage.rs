//! The topic of a run: made and taken away, or somebody else's.

use millrace_client::{Client, ErrorCode, NewTopic, TopicDescription};
use millrace_env::{RngExt as _, real};

use super::usage;
use crate::args::BenchTopicArgs;
use crate::exit::tell;

/// A topic to run on.
#[derive(Debug)]
pub(super) struct Stage {
    topic: TopicDescription,
    is_made: bool,
    is_kept: bool,
}

impl Stage {
    /// Makes the topic, or takes the one that is there. One that is there is written to only if it is also to be kept.
    ///
    /// # Errors
    /// The broker's answer, or that the topic exists.
    pub(super) async fn set(
        client: &Client,
        args: &BenchTopicArgs,
        is_writing: bool,
    ) -> anyhow::Result<Stage> {
        let admin = client.admin();
        let existing = match &args.topic {
            Some(name) => match admin.describe_topic(name).await {
                Ok(topic) => Some(topic),
                Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => None,
                Err(error) => return Err(error.into()),
            },
            None => None,
        };
        if let Some(topic) = existing {
            if is_writing && !args.keep {
                let name = &topic.name;
                return Err(usage(format!(
                    "topic {name} exists and is not ours: nothing is written to it unless --keep says that the records may \
                     stay there"
                )));
            }
            if !args.configs.is_empty() {
                return Err(usage("--config is for a topic that is made; this one exists"));
            }
            return Ok(Stage { topic, is_made: false, is_kept: true });
        }
        let name = args.topic.clone().unwrap_or_else(|| {
            let [a, b, c, d, ..] = real::env().rng.uuid_v4();
            format!("millrace-bench-{:08x}", u32::from_be_bytes([a, b, c, d]))
        });
        let mut topic = NewTopic::new(name).partitions(args.partitions.get());
        for (key, value) in &args.configs {
            topic = topic.config(key, value);
        }
        let topic = admin.create_topic(topic).await?;
        Ok(Stage { topic, is_made: true, is_kept: args.keep })
    }

    /// The topic's name.
    pub(super) fn topic(&self) -> &str {
        self.topic.name.as_str()
    }

    /// Whether this run has made it, so that it was empty at the start.
    pub(super) fn is_made(&self) -> bool {
        self.is_made
    }

    /// How many partitions it has.
    pub(super) fn partitions(&self) -> u32 {
        u32::try_from(self.topic.partitions.len()).unwrap_or(u32::MAX)
    }

    /// What an acknowledgement of it means.
    pub(super) fn sync_mode(&self) -> &str {
        let mode = self.topic.configs.iter().find(|config| config.key == "sync.mode");
        mode.map_or("always", |config| config.value.as_str())
    }

    /// Deletes the topic if this run has made it and nobody wants it.
    ///
    /// # Errors
    /// The broker's answer.
    pub(super) async fn strike(self, client: &Client) -> anyhow::Result<()> {
        let name = self.topic();
        if !self.is_made {
            return Ok(());
        }
        if self.is_kept {
            tell!("topic {name} is kept");
            return Ok(());
        }
        match client.admin().delete_topic(name).await {
            Ok(()) => Ok(()),
            Err(error) => {
                Err(anyhow::Error::new(error).context(format!("topic {name} was made and is still there")))
            }
        }
    }
}
