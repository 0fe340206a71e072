//! Parts that many requests have: a topic, a partition, an epoch.

use std::collections::BTreeSet;

use millrace_broker::{ApiError, TopicRef};
use millrace_kafka_wire::Uuid;
use millrace_types::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName};

use crate::error_map::{Fault, KafkaError};

/// How the topics of a request are named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Naming {
    /// By name.
    Names,
    /// By id (KIP-516).
    Ids,
}

impl Naming {
    /// By id from version `first` on.
    pub(crate) fn ids_from(first: i16, version: i16) -> Naming {
        if version >= first { Naming::Ids } else { Naming::Names }
    }

    /// The topic that a request names. A name that breaks the rule is one that nobody has.
    pub(crate) fn topic(self, name: &str, id: Uuid) -> Result<TopicRef, Fault> {
        match self {
            Naming::Names => TopicName::new(name).map(TopicRef::Name).map_err(|error| {
                // Said for each partition of the topic: the name itself may be long.
                Fault::new(KafkaError::UnknownTopicOrPartition, error.to_string())
            }),
            Naming::Ids => Ok(TopicRef::Id(TopicId(id))),
        }
    }

    /// What an answer says of an error. Of a topic that was named by its id Kafka says in another word that it is unknown.
    pub(crate) fn fault(self, error: ApiError) -> Fault {
        let unknown = error.code == ErrorCode::UnknownTopicOrPartition;
        match self {
            Naming::Ids if unknown => Fault::new(KafkaError::UnknownTopicId, error.message),
            _ => error.into(),
        }
    }
}

/// The topic of a request that names topics by name alone.
pub(crate) fn topic(name: &str) -> Result<TopicRef, Fault> {
    Naming::Names.topic(name, [0; 16])
}

/// A partition number.
pub(crate) fn partition(wire: i32) -> Result<PartitionIndex, Fault> {
    PartitionIndex::new(wire)
        .ok_or_else(|| Fault::new(KafkaError::UnknownTopicOrPartition, format!("partition {wire}")))
}

/// An offset that somebody wants to read from.
pub(crate) fn offset(wire: i64) -> Result<Offset, Fault> {
    Offset::new(wire).ok_or_else(|| Fault::new(KafkaError::OffsetOutOfRange, format!("offset {wire}")))
}

/// An epoch; -1 means that none is known.
pub(crate) fn epoch(wire: i32) -> Option<LeaderEpoch> {
    (wire >= 0).then_some(LeaderEpoch(wire))
}

/// Those of `names` that come more than once.
pub(crate) fn twice<N: Ord + Copy>(names: impl Iterator<Item = N>) -> BTreeSet<N> {
    let (mut seen, mut twice) = (BTreeSet::new(), BTreeSet::new());
    for name in names {
        if !seen.insert(name) {
            twice.insert(name);
        }
    }
    twice
}

/// The first error among answers, by which a request is counted.
pub(crate) fn first_error<A>(answers: &[Result<A, Fault>]) -> Option<KafkaError> {
    answers.iter().find_map(|answer| answer.as_ref().err()).map(|fault| fault.error)
}

/// What the broker would have answered, had it answered all.
pub(crate) fn unanswered<A>() -> Result<A, ApiError> {
    Err(ApiError::new(ErrorCode::Internal, "the broker left it unanswered"))
}

/// The faults of the questions that the broker cannot be asked, each in its place.
#[derive(Debug)]
pub(crate) struct Faults(Vec<Option<Fault>>);

/// Parts the questions that the broker can be asked from those that it cannot.
pub(crate) fn readable<Q>(questions: Vec<Result<Q, Fault>>) -> (Vec<Q>, Faults) {
    let mut readable = Vec::with_capacity(questions.len());
    let mut faults = Vec::with_capacity(questions.len());
    for question in questions {
        match question {
            Ok(question) => {
                readable.push(question);
                faults.push(None);
            }
            Err(fault) => faults.push(Some(fault)),
        }
    }
    (readable, Faults(faults))
}

impl Faults {
    /// The first of them.
    pub(crate) fn first(&self) -> Option<KafkaError> {
        self.0.iter().flatten().map(|fault| fault.error).next()
    }

    /// The broker's answers with the faults between them, in the order of the questions.
    pub(crate) fn between<A>(self, answers: Vec<Result<A, Fault>>) -> Vec<Result<A, Fault>> {
        let mut answers = answers.into_iter();
        let missing = || Fault::new(KafkaError::UnknownServerError, "the broker left it unanswered");
        let answer = |fault: Option<Fault>| match fault {
            Some(fault) => Err(fault),
            None => answers.next().unwrap_or_else(|| Err(missing())),
        };
        self.0.into_iter().map(answer).collect()
    }

    /// The same of a broker that may have refused all that it was asked: then that is the answer to each. `of_each` is what is said
    /// of the error of a single answer.
    pub(crate) fn around<A, E, R: Into<Fault>>(
        self,
        outcome: Result<Vec<Result<A, E>>, R>,
        of_each: impl Fn(E) -> Fault,
    ) -> Vec<Result<A, Fault>> {
        let answers = match outcome {
            Ok(answers) => answers.into_iter().map(|answer| answer.map_err(&of_each)).collect(),
            Err(refused) => {
                let (refused, asked) = (refused.into(), self.0.iter().filter(|fault| fault.is_none()));
                asked.map(|_| Err(refused.clone())).collect()
            }
        };
        self.between(answers)
    }
}
