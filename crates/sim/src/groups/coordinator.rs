//! What the world does with a coordinator, whichever it is.

use std::collections::BTreeSet;

use millrace_group::GroupState;
use millrace_group::Pattern;
use millrace_types::TopicName;

use super::wire::{Ask, Letter, RequestNo, StreamNo, Topic, TopicChange};

/// How the links to members behave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Links {
    /// A member has one stream, by which the coordinator can reach it; what comes by an older one is refused.
    Streams,
    /// Each heartbeat is a request of its own, may overtake others, and comes when it comes.
    Loose,
}

/// What becomes of the oldest persist under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Disk {
    Commits,
    Fails,
}

/// A coordinator, with its log and its disk.
pub(crate) trait Coordinator {
    /// Lets time pass, with all that is due by then.
    fn advance(&mut self, to_ms: u64);
    /// A message has come. What is not sent by a stream, or by one that is over, comes without.
    fn ask(&mut self, request: RequestNo, stream: StreamNo, ask: &Ask);
    /// It has noticed that a stream broke.
    fn disconnected(&mut self, stream: StreamNo);
    /// Whether something is on its way to the disk.
    fn is_writing(&self) -> bool;
    /// The disk gets on.
    fn disk(&mut self, disk: Disk);
    /// The machine stops. What was not synced is lost, or not.
    fn crash(&mut self);
    /// It starts again.
    ///
    /// # Errors
    /// It does not, though nothing is wrong with the disk.
    fn start(&mut self) -> Result<(), String>;
    /// Whether it is of no use any more until it has been started again.
    fn must_stop(&self) -> bool;
    fn is_up(&self) -> bool;
    /// Changes a topic, and waits until that is done.
    ///
    /// # Errors
    /// It is refused, though nothing is wrong with it.
    fn change_topic(&mut self, change: &TopicChange) -> Result<(), String>;
    fn topics(&self) -> Vec<Topic>;
    /// What it has let out since it was asked last.
    fn letters(&mut self) -> Vec<Letter>;
    /// What is written down of the group, where that can be seen.
    fn state(&self) -> Option<&GroupState>;
    /// How long a position is kept, in milliseconds.
    fn retention_ms(&self) -> u64;
}

/// Whether a pattern of the simulation, which is a text and `.*` behind it, matches a name.
pub(crate) fn matches(pattern: &Pattern, name: &TopicName) -> bool {
    pattern.as_str().strip_suffix(".*").is_some_and(|prefix| name.as_str().starts_with(prefix))
}

/// The names among these that a pattern matches.
pub(crate) fn matched(pattern: &Pattern, topics: &[Topic]) -> BTreeSet<TopicName> {
    topics.iter().map(|topic| topic.name.clone()).filter(|name| matches(pattern, name)).collect()
}
