//! The book of topics: which must be there, which must not.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};

use millrace_client::{ClientError, Outcome};

/// What is known of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// Its creation was acknowledged.
    There,
    /// Its deletion was acknowledged, or its creation was refused.
    Gone,
    /// Nobody answered.
    Unknown,
}

/// The topics that come and go. Names are never used twice.
#[derive(Debug, Default)]
pub(super) struct TopicBook {
    known: Mutex<BTreeMap<String, Presence>>,
    pub(super) creating: AtomicBool,
    pub(super) deleting: AtomicBool,
}

impl TopicBook {
    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Presence>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn oldest(&self) -> Option<String> {
        let known = self.known();
        known.iter().find(|(_, presence)| **presence == Presence::There).map(|(name, _)| name.clone())
    }

    pub(super) fn count(&self) -> usize {
        self.known().values().filter(|presence| **presence == Presence::There).count()
    }

    pub(super) fn begin(&self, name: &str) {
        self.known().insert(name.to_owned(), Presence::Unknown);
    }

    pub(super) fn created(&self, name: &str, outcome: Result<(), ClientError>) {
        self.settle(name, outcome, Presence::There, Presence::Gone);
    }

    pub(super) fn deleted(&self, name: &str, outcome: Result<(), ClientError>) {
        self.settle(name, outcome, Presence::Gone, Presence::There);
    }

    fn settle(&self, name: &str, outcome: Result<(), ClientError>, done: Presence, refused: Presence) {
        let presence = match outcome {
            Ok(()) => done,
            Err(error) if error.outcome() == Outcome::Definite => refused,
            Err(_) => Presence::Unknown,
        };
        self.known().insert(name.to_owned(), presence);
    }

    /// Holds a listing against the book, which learns from it what nobody answered.
    pub(super) fn compare(&self, listed: &[String]) -> Vec<String> {
        let mut violations = Vec::new();
        let mut known = self.known();
        for (name, presence) in known.iter_mut() {
            let is_listed = listed.iter().any(|listed| listed == name);
            match presence {
                Presence::There if !is_listed => {
                    violations.push(format!("topic {name} was made and is LOST"))
                }
                Presence::Gone if is_listed => {
                    violations.push(format!("topic {name} was deleted and is back"))
                }
                _ => *presence = if is_listed { Presence::There } else { Presence::Gone },
            }
        }
        let strangers = listed.iter().filter(|name| *name != super::TOPIC && !known.contains_key(*name));
        violations.extend(strangers.map(|name| format!("nobody made topic {name}")));
        violations
    }
}
