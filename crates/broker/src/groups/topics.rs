//! The topics as groups see them: one value of one image for all groups, with every pattern that a member subscribes by.
//!
//! Patterns are compiled by an engine of linear time, within a bound, and only to be matched: what they match is kept,
//! not the program.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millrace_group::assign::TopicInput;
use millrace_group::{Pattern, TopicView, Topics};
use millrace_metadata::Image;
use millrace_types::limits::{PATTERN_PROGRAM_BYTES_MAX, PATTERNS_PER_BROKER_MAX};
use millrace_types::{ErrorCode, TopicName};
use parking_lot::Mutex;
use regex::{Regex, RegexBuilder};

use crate::ApiError;

/// Topics, and which ones they are: a later value has a larger number.
#[derive(Clone, Debug, Default)]
pub(super) struct TopicsOf {
    pub(super) version: u64,
    pub(super) topics: Arc<Topics>,
}

/// The newest topics.
#[derive(Debug)]
pub(super) struct GroupTopics {
    newest: Mutex<TopicsOf>,
    /// The version of the newest image that was followed.
    image: Mutex<u64>,
}

impl GroupTopics {
    /// The topics of an image. A pattern that is written down and does not compile any more matches nothing.
    pub(super) fn new(image: &Image, patterns: BTreeSet<Pattern>) -> GroupTopics {
        let by_name = by_name(image);
        let matches = patterns.into_iter().map(|pattern| {
            let names = matched(&pattern, &by_name).unwrap_or_default();
            (pattern, names)
        });
        let matches = matches.collect();
        let topics = Arc::new(Topics { by_name, matches });
        GroupTopics {
            newest: Mutex::new(TopicsOf { version: 1, topics }),
            image: Mutex::new(image.version()),
        }
    }

    pub(super) fn newest(&self) -> TopicsOf {
        self.newest.lock().clone()
    }

    /// The topics with what a pattern matches.
    ///
    /// # Errors
    /// INVALID_PATTERN, or THROTTLED if there are too many others.
    pub(super) fn with(&self, pattern: &Pattern) -> Result<TopicsOf, ApiError> {
        let mut newest = self.newest.lock();
        if newest.topics.matches.contains_key(pattern) {
            return Ok(newest.clone());
        }
        if newest.topics.matches.len() >= PATTERNS_PER_BROKER_MAX {
            let message = format!("{PATTERNS_PER_BROKER_MAX} other patterns are subscribed by already");
            return Err(ApiError::new(ErrorCode::Throttled, message));
        }
        let names = matched(pattern, &newest.topics.by_name)?;
        let mut topics = Topics::clone(&newest.topics);
        topics.matches.insert(pattern.clone(), names);
        *newest = TopicsOf { version: newest.version + 1, topics: Arc::new(topics) };
        Ok(newest.clone())
    }

    /// The topics with what patterns match that are written down: however many there are, and though they do not compile any more.
    pub(super) fn hold(&self, patterns: &[Pattern]) -> TopicsOf {
        let mut newest = self.newest.lock();
        if patterns.iter().all(|pattern| newest.topics.matches.contains_key(pattern)) {
            return newest.clone();
        }
        let mut topics = Topics::clone(&newest.topics);
        for pattern in patterns {
            if !topics.matches.contains_key(pattern) {
                let names = matched(pattern, &topics.by_name).unwrap_or_default();
                topics.matches.insert(pattern.clone(), names);
            }
        }
        *newest = TopicsOf { version: newest.version + 1, topics: Arc::new(topics) };
        newest.clone()
    }

    /// Follows an image, unless a later one was followed before.
    pub(super) fn follow(&self, image: &Image) -> TopicsOf {
        let mut followed = self.image.lock();
        let mut newest = self.newest.lock();
        if image.version() < *followed {
            return newest.clone();
        }
        *followed = image.version();
        let by_name = by_name(image);
        if by_name != newest.topics.by_name {
            let patterns = newest.topics.matches.keys().cloned();
            let matches = patterns.map(|pattern| {
                let names = matched(&pattern, &by_name).unwrap_or_default();
                (pattern, names)
            });
            let topics = Arc::new(Topics { matches: matches.collect(), by_name });
            *newest = TopicsOf { version: newest.version + 1, topics };
        }
        newest.clone()
    }

    /// Keeps the patterns that somebody subscribes by.
    pub(super) fn keep(&self, wanted: &BTreeSet<Pattern>) {
        let mut newest = self.newest.lock();
        if newest.topics.matches.keys().all(|pattern| wanted.contains(pattern)) {
            return;
        }
        let mut topics = Topics::clone(&newest.topics);
        topics.matches.retain(|pattern, _| wanted.contains(pattern));
        *newest = TopicsOf { version: newest.version + 1, topics: Arc::new(topics) };
    }
}

fn by_name(image: &Image) -> BTreeMap<TopicName, TopicView> {
    let view = |topic: &millrace_metadata::Topic| TopicView {
        id: topic.id,
        shape: TopicInput::of(topic.partition_count()),
    };
    image.topics().map(|topic| (topic.name.clone(), view(topic))).collect()
}

/// The topics whose whole name the pattern matches. Those of the product are subscribed to by name or not at all.
fn matched(
    pattern: &Pattern,
    topics: &BTreeMap<TopicName, TopicView>,
) -> Result<BTreeSet<TopicName>, ApiError> {
    let compiled = compiled(pattern)?;
    let names = topics.keys().filter(|name| !name.is_internal() && compiled.is_match(name.as_str()));
    Ok(names.cloned().collect())
}

fn compiled(pattern: &Pattern) -> Result<Regex, ApiError> {
    let invalid = |error: regex::Error| {
        ApiError::new(ErrorCode::InvalidPattern, format!("the pattern {pattern}: {error}"))
    };
    // Alone first: `a)(b` is no pattern, whatever stands around it.
    let build = |text: &str| {
        RegexBuilder::new(text)
            .size_limit(PATTERN_PROGRAM_BYTES_MAX)
            .dfa_size_limit(PATTERN_PROGRAM_BYTES_MAX)
            .build()
    };
    build(pattern.as_str()).map_err(invalid)?;
    let whole = build(&format!("^(?:{pattern})$"));
    // A comment at the end of a verbose pattern swallows the bracket, unless that is on a line of its own.
    whole.or_else(|_| build(&format!("^(?:{pattern}\n)$"))).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use millrace_types::TopicId;

    use super::*;

    fn names(pattern: &str) -> Result<Vec<String>, ErrorCode> {
        let topics = ["a", "ab", "b", "__consumer_offsets"];
        let view = |name: &&str| {
            let view = TopicView { id: TopicId([1; 16]), shape: TopicInput::of(1) };
            (TopicName::new(name).unwrap(), view)
        };
        let topics = topics.iter().map(view).collect();
        let matched = matched(&Pattern::new(pattern).unwrap(), &topics).map_err(|error| error.code)?;
        Ok(matched.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_pattern_matches_whole_names_and_none_of_the_products() {
        assert_eq!(names("a"), Ok(vec!["a".to_owned()]));
        assert_eq!(names("a|b"), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(names(".*").unwrap().len(), 3);
        assert_eq!(names("(?x) a # with a comment"), Ok(vec!["a".to_owned()]));
        assert_eq!(names("c"), Ok(Vec::new()));
    }

    #[test]
    fn a_hostile_pattern_is_refused() {
        for hostile in ["(", "a)(b", "(a{1000}){1000}", r"(?=a)", r"(a)\1"] {
            assert_eq!(names(hostile), Err(ErrorCode::InvalidPattern), "{hostile}");
        }
        let deep = "(".repeat(400) + &")".repeat(400);
        assert!(names(&deep).is_ok_and(|names| names.is_empty()) || names(&deep).is_err());
    }
}
