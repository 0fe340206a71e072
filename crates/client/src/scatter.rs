//! Questions about many partitions: each goes to the leader of its partition, all at the same time.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::BoxFuture;
use millrace_types::{ErrorCode, Outcome, PartitionIndex, TopicPartition};

use crate::backoff::Backoff;
use crate::client::look_up::LOOK_UP_PAUSE;
use crate::client::{Retry, deserves_another_server};
use crate::{Client, ClientError, Refusal};

/// A question about a partition, as it travels.
pub(crate) struct Question<Q> {
    pub(crate) topic: String,
    pub(crate) partition: PartitionIndex,
    pub(crate) question: Q,
}

/// One answer for each question, in order.
pub(crate) type Answers<A> = Result<Vec<Result<A, Refusal>>, ClientError>;

/// A question that has no answer yet.
struct Open<Q> {
    index: usize,
    name: (String, PartitionIndex),
    /// `None` where it does not matter, as far as is known: there is one broker.
    at: Option<TopicPartition>,
    question: Q,
    last: Option<Refusal>,
}

type ByServer<Q> = BTreeMap<String, Vec<Open<Q>>>;

impl Client {
    /// Asks the leaders of `named` partitions, until each has answered or the request timeout is over; answers are in the order
    /// of the questions. `ask` asks one broker.
    ///
    /// # Errors
    /// [`ClientError`]: brokers could not be asked.
    pub(crate) async fn ask_leaders<Q: Clone, A>(
        &self,
        retry: Retry,
        questions: Vec<Question<Q>>,
        ask: fn(Client, String, Duration, Vec<Q>) -> BoxFuture<'static, Answers<A>>,
    ) -> Answers<A> {
        let clock = &self.env().clock;
        let deadline = clock.monotonic().after(self.options().request_timeout);
        let mut backoff = Backoff::following(self.options());
        let mut answers: Vec<Option<Result<A, Refusal>>> = questions.iter().map(|_| None).collect();
        let mut open = Vec::with_capacity(questions.len());
        for (index, Question { topic, partition, question }) in questions.into_iter().enumerate() {
            let at = self.name_of(&topic, partition).await;
            open.push(Open { index, name: (topic, partition), at, question, last: None });
        }
        loop {
            let (by_server, mut waiting) = self.by_server(open);
            let left = deadline.since(clock.monotonic());
            let (mut asked, mut calls) = (Vec::new(), Vec::new());
            for (server, open) in by_server {
                let questions = open.iter().map(|open| open.question.clone()).collect();
                calls.push(ask(self.clone(), server.clone(), left, questions));
                asked.push((server, open));
            }
            let mut failure = None;
            for ((server, open), answer) in asked.into_iter().zip(futures::future::join_all(calls).await) {
                match answer {
                    Ok(results) => {
                        for (mut open, result) in open.into_iter().zip(results) {
                            if let Err(refusal) = &result
                                && open.at.is_none()
                                && refusal.code == Some(ErrorCode::NotLeader)
                            {
                                // There are several, which nobody has said yet to a client that has just begun.
                                open.at = self.id_of(&open.name.0, open.name.1).await;
                            }
                            match result {
                                Err(refusal) if self.heed(open.at, &refusal) => {
                                    open.last = Some(refusal);
                                    waiting.push(open);
                                }
                                result => {
                                    if let Some(place) = answers.get_mut(open.index) {
                                        *place = Some(result);
                                    }
                                }
                            }
                        }
                    }
                    Err(error) => {
                        if deserves_another_server(&error) {
                            self.leave(&server);
                        }
                        if !error.is_retriable()
                            || (retry == Retry::Definite && error.outcome() == Outcome::Indefinite)
                        {
                            return Err(error);
                        }
                        failure = Some(error);
                        waiting.extend(open);
                    }
                }
            }
            if waiting.is_empty() {
                return Ok(answers.into_iter().flatten().collect());
            }
            let pause = backoff.next(&*self.env().rng).max(LOOK_UP_PAUSE / 2);
            if clock.monotonic().after(pause) >= deadline {
                return give_up(answers, waiting, failure, self);
            }
            clock.sleep(pause).await;
            open = waiting;
        }
    }

    /// The partition of a topic, where leaders are several.
    async fn name_of(&self, topic: &str, partition: PartitionIndex) -> Option<TopicPartition> {
        if !self.whereabouts().is_cluster() {
            return None;
        }
        self.id_of(topic, partition).await
    }

    async fn id_of(&self, topic: &str, partition: PartitionIndex) -> Option<TopicPartition> {
        // Whoever does not know it says so of the partition.
        let topic = self.topic(topic).await.ok()?;
        Some(TopicPartition { topic: topic.id, partition })
    }

    /// Sorts questions by whom to ask; last those that nobody can be asked at present.
    fn by_server<Q>(&self, open: Vec<Open<Q>>) -> (ByServer<Q>, Vec<Open<Q>>) {
        let (mut by_server, mut waiting) = (ByServer::new(), Vec::new());
        for open in open {
            match open.at.map_or_else(|| Some(self.home()), |at| self.server_of(at)) {
                Some(server) => by_server.entry(server).or_default().push(open),
                None => waiting.push(open),
            }
        }
        (by_server, waiting)
    }

    /// Notes what a refusal says of who leads the partition; answers whether another broker, or the same one a moment later, may
    /// know better.
    pub(crate) fn heed(&self, at: Option<TopicPartition>, refusal: &Refusal) -> bool {
        let Some(at) = at else { return false };
        match refusal.code {
            Some(ErrorCode::NotLeader) => self.whereabouts().not_leader(at, refusal.leader.as_deref()),
            Some(ErrorCode::ShuttingDown) => self.whereabouts().not_leader(at, None),
            Some(
                ErrorCode::FencedLeaderEpoch | ErrorCode::UnknownLeaderEpoch | ErrorCode::OffsetNotAvailable,
            ) => {}
            _ => return false,
        }
        self.look_up(at.topic);
        true
    }
}

fn give_up<Q, A>(
    mut answers: Vec<Option<Result<A, Refusal>>>,
    waiting: Vec<Open<Q>>,
    failure: Option<ClientError>,
    client: &Client,
) -> Answers<A> {
    for Open { index, last, .. } in waiting {
        let Some(refusal) = last else {
            let after = client.options().request_timeout;
            return Err(failure.unwrap_or(ClientError::TimedOut { server: client.home(), after }));
        };
        if let Some(place) = answers.get_mut(index) {
            *place = Some(Err(refusal));
        }
    }
    Ok(answers.into_iter().flatten().collect())
}
