//! What clients were told, and what must be true because of it.
//!
//! What was acknowledged is in every later read, for ever; what was refused for certain never is; no producer id is given
//! twice. The ledger knows names and numbers only, and nothing of how they are decided.

use std::collections::BTreeSet;

use millrace_metadata::Image;
use millrace_types::TopicName;

/// What a client wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::quorum) enum Op {
    /// A topic of a name that nobody else wants.
    Topic(TopicName),
    /// Some producer ids.
    Ids,
}

/// What clients were told.
#[derive(Debug, Default)]
pub(in crate::quorum) struct Ledger {
    acknowledged: BTreeSet<TopicName>,
    refused: BTreeSet<TopicName>,
    given: BTreeSet<i64>,
}

impl Ledger {
    pub(in crate::quorum) fn acknowledge(&mut self, name: TopicName) {
        self.acknowledged.insert(name);
    }

    /// Nothing was written, and it is not asked for again.
    pub(in crate::quorum) fn refuse(&mut self, name: TopicName) {
        self.refused.insert(name);
    }

    pub(in crate::quorum) fn give(&mut self, first: i64, count: u32) -> Result<(), String> {
        for id in first..first + i64::from(count) {
            if !self.given.insert(id) {
                return Err(format!("producer id {id} was given twice"));
            }
        }
        Ok(())
    }

    /// What is acknowledged now: a read that begins now must see it.
    pub(in crate::quorum) fn acknowledged(&self) -> BTreeSet<TopicName> {
        self.acknowledged.clone()
    }

    /// Holds a read against what was acknowledged before it began, and what was refused.
    pub(in crate::quorum) fn check(&self, before: &BTreeSet<TopicName>, image: &Image) -> Result<(), String> {
        if let Some(name) = before.iter().find(|name| image.topic_by_name(name).is_none()) {
            return Err(format!("topic {name} was acknowledged, and version {} has it not", image.version()));
        }
        if let Some(name) = self.refused.iter().find(|name| image.topic_by_name(name).is_some()) {
            return Err(format!("topic {name} was refused, and version {} has it", image.version()));
        }
        Ok(())
    }
}
