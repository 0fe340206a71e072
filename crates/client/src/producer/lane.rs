//! What is on its way to one partition. Pure: batches, answers and the time come in; batches to send and outcomes
//! come out.
//!
//! ```text
//!             oldest                        newest
//!   entries:  [ done ][ in flight ][ in flight ][ waiting ]        at most `window` of them
//!   sequence:  40..49   50..59       60..69       70..79   next_sequence = 80
//! ```
//!
//! **Retries.** Sequences are given once and kept: after a lost answer the same bytes are sent again, in order, and
//! the broker tells a retry from a new batch by its sequence. Nothing is sent again before every attempt of this lane
//! was answered or its connection was given up, so attempts never overtake each other. Entries leave at the front only:
//! the oldest one without an answer is always among the last five that the broker remembers.
//!
//! **Gaps.** A batch that is refused for good, or given up by its delivery timeout, leaves a hole in the sequence, and
//! the broker refuses what follows as OUT_OF_ORDER_SEQUENCE. That answer for the oldest entry proves that neither it
//! nor any later one was stored: once nothing is on its way, the lane goes on under the next epoch of its producer id,
//! from sequence 0. What that rests on: an attempt that a broken connection still holds must not be served between that
//! answer and the first append of the new epoch; it would have to be older than the delivery timeout to matter. (Kafka's clients do the same, for all partitions at once: KIP-360. Sequences are counted for each
//! partition, so one lane is enough.) The new epoch also shuts out attempts that linger in a broken connection.
//!
//! **First contact.** A broker takes any sequence of a producer that a partition does not know. Until the first
//! acknowledgement under an identity only one batch is on its way, or a later batch could pass a refused earlier one.

use std::collections::VecDeque;

use bytes::Bytes;
use millrace_env::Monotonic;
use millrace_types::{ErrorCode, Outcome, ProducerId};

use super::delivery::BatchAck;
use super::stamp::{Identity, restamp};
use crate::Refusal;

/// How long a partition may be unknown to the broker before that is believed: a topic that was just created takes a
/// moment to be known everywhere.
const UNKNOWN_TOPIC_GRACE: std::time::Duration = std::time::Duration::from_secs(10);

/// What a lane does with batches whose answers are lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Delivering {
    /// Sends them again under the same sequence.
    Once,
    /// Reports them as lost: without sequences a retry might store them twice.
    AtMostOnce,
}

/// A batch of a lane, `T` being who waits for it.
#[derive(Debug)]
struct Entry<T> {
    bytes: Bytes,
    records: u32,
    base_sequence: i32,
    deadline: Monotonic,
    /// `None` once it was told its outcome.
    ticket: Option<T>,
    state: State,
    /// Whether an attempt was sent whose outcome nobody knows.
    is_uncertain: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Waiting,
    InFlight { attempt: u64 },
    Done,
}

/// What has to happen before the lane sends again, once nothing is in flight. Later ones include the earlier.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Recovery {
    Resend,
    NextEpoch,
    NewProducer,
}

/// Why a batch has failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Failure {
    /// The broker refused it; `outcome` counts every attempt.
    Refused { refusal: Refusal, outcome: Outcome },
    /// Its time is over.
    TimedOut { last: String, outcome: Outcome },
    /// The answer was lost, and a retry might store it twice.
    Lost { reason: String },
}

/// The outcome of a batch.
#[derive(Debug)]
pub(crate) struct Settled<T> {
    pub(crate) ticket: T,
    pub(crate) result: Result<BatchAck, Failure>,
}

/// A batch to be sent now; its answer comes back under `attempt`.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) attempt: u64,
    pub(crate) bytes: Bytes,
}

/// How an attempt ended without an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LostAttempt {
    pub(crate) reason: String,
    /// Definite if nothing was sent.
    pub(crate) outcome: Outcome,
}

/// What is on its way to one partition.
#[derive(Debug)]
pub(crate) struct Lane<T> {
    delivering: Delivering,
    window: usize,
    identity: Option<Identity>,
    /// The producer id that the partition no longer takes.
    disowned: Option<ProducerId>,
    next_sequence: i32,
    /// Whether the partition has acknowledged a batch of this identity.
    is_known: bool,
    entries: VecDeque<Entry<T>>,
    next_attempt: u64,
    recovery: Option<Recovery>,
    /// Whether the broker has shown that nothing that is left was stored under this identity.
    is_gap_proven: bool,
    paused_until: Monotonic,
    unknown_since: Option<Monotonic>,
    last_error: String,
    settled: Vec<Settled<T>>,
}

impl<T> Lane<T> {
    pub(crate) fn new(delivering: Delivering, window: usize) -> Lane<T> {
        Lane {
            delivering,
            window,
            identity: None,
            disowned: None,
            next_sequence: 0,
            is_known: false,
            entries: VecDeque::new(),
            next_attempt: 0,
            recovery: None,
            is_gap_proven: false,
            paused_until: Monotonic::default(),
            unknown_since: None,
            last_error: "it was never sent".to_owned(),
            settled: Vec::new(),
        }
    }

    /// Whether there is nothing to send and nothing to wait for.
    pub(crate) fn is_idle(&self) -> bool {
        self.entries.is_empty()
    }

    /// The outcomes since the last call.
    pub(crate) fn take_settled(&mut self) -> Vec<Settled<T>> {
        std::mem::take(&mut self.settled)
    }

    /// Whether the lane waits for a producer id: at its beginning, or for a fresh one.
    pub(crate) fn wants_identity(&self) -> bool {
        self.delivering == Delivering::Once && self.identity.is_none() && !self.is_in_flight()
    }

    /// Whether `identity` will do: one that the partition has disowned will not.
    pub(crate) fn takes(&self, identity: Identity) -> bool {
        self.wants_identity() && self.disowned != Some(identity.id)
    }

    /// Goes on as `identity`, from sequence 0.
    pub(crate) fn adopt(&mut self, identity: Identity) {
        self.identity = Some(identity);
        self.recovery = None;
        self.is_gap_proven = false;
        self.restart_sequence();
    }

    /// The stamp of the next batch, if the lane takes one now; `None` for the stamp without an identity.
    pub(crate) fn room(&self, now: Monotonic) -> Option<Option<(Identity, i32)>> {
        let is_waiting = self.entries.iter().any(|entry| entry.state == State::Waiting);
        if is_waiting || self.entries.len() >= self.window_now() || !self.may_send(now) {
            return None;
        }
        match (self.delivering, self.identity) {
            (Delivering::AtMostOnce, _) => Some(None),
            (Delivering::Once, Some(identity)) => Some(Some((identity, self.next_sequence))),
            (Delivering::Once, None) => None,
        }
    }

    /// Takes a batch that was stamped as [`Lane::room`] said.
    pub(crate) fn push(&mut self, bytes: Bytes, records: u32, deadline: Monotonic, ticket: T) {
        let base_sequence = self.next_sequence;
        self.next_sequence = sequence_after(base_sequence, records);
        let (state, ticket) = (State::Waiting, Some(ticket));
        self.entries.push_back(Entry {
            bytes,
            records,
            base_sequence,
            deadline,
            ticket,
            state,
            is_uncertain: false,
        });
    }

    /// Whether there is a batch to be sent now.
    pub(crate) fn would_send(&self, now: Monotonic) -> bool {
        self.may_send(now)
            && self.in_flight() < self.window_now()
            && self.entries.iter().any(|entry| entry.state == State::Waiting)
    }

    /// The next batch to send, if one may be sent now.
    pub(crate) fn send(&mut self, now: Monotonic) -> Option<Attempt> {
        if !self.would_send(now) {
            return None;
        }
        let entry = self.entries.iter_mut().find(|entry| entry.state == State::Waiting)?;
        let attempt = self.next_attempt;
        self.next_attempt += 1;
        entry.state = State::InFlight { attempt };
        Some(Attempt { attempt, bytes: entry.bytes.clone() })
    }

    /// The broker has stored the batch of that attempt.
    pub(crate) fn on_ack(&mut self, attempt: u64, ack: BatchAck) {
        let Some(index) = self.index_of(attempt) else { return };
        self.is_known = true;
        self.unknown_since = None;
        self.paused_until = Monotonic::default();
        let mut passed = self.entries.iter().take(index);
        if passed.any(|entry| entry.state == State::Waiting && !entry.is_uncertain) {
            // The broker took this batch although it had refused an earlier one: it has lost track of the sequence.
            self.recover(Recovery::NextEpoch);
        }
        self.finish(index, Ok(ack));
        self.advance();
    }

    /// The broker has refused the batch of that attempt. Whatever is tried again waits until `retry_at`.
    pub(crate) fn on_refusal(&mut self, attempt: u64, refusal: Refusal, now: Monotonic, retry_at: Monotonic) {
        let Some(index) = self.index_of(attempt) else { return };
        self.last_error = refusal.to_string();
        let is_oldest = self.entries.iter().take(index).all(|entry| entry.state == State::Done);
        let Some(entry) = self.entries.get_mut(index) else { return };
        let (was_uncertain, is_abandoned) = (entry.is_uncertain, entry.ticket.is_none());
        entry.state = State::Waiting;
        self.paused_until = self.paused_until.max(retry_at);
        let code = refusal.code;
        match code {
            _ if is_abandoned => entry.state = State::Done,
            Some(ErrorCode::OutOfOrderSequence) if self.delivering == Delivering::Once => {
                // What leaves a gap is not stored, whatever became of earlier attempts.
                entry.is_uncertain = false;
                if is_oldest {
                    self.is_gap_proven = true;
                    self.entries.iter_mut().for_each(|entry| entry.is_uncertain = false);
                }
                self.recover(if is_oldest { Recovery::NextEpoch } else { Recovery::Resend });
            }
            Some(ErrorCode::DuplicateSequence) if was_uncertain => {
                self.is_known = true;
                self.finish(index, Ok(BatchAck { base_offset: None, append_time: None }));
            }
            Some(ErrorCode::DuplicateSequence) => self.recover(Recovery::NextEpoch),
            Some(ErrorCode::UnknownProducerId | ErrorCode::ProducerFenced) if !was_uncertain => {
                self.recover(Recovery::NewProducer);
            }
            Some(ErrorCode::UnknownProducerId | ErrorCode::ProducerFenced) => {
                self.fail(index, refusal);
                self.recover(Recovery::NewProducer);
            }
            _ if self.is_worth_retrying(&refusal, now) => {
                if let Some(entry) = self.entries.get_mut(index) {
                    entry.is_uncertain |= refusal.outcome == Outcome::Indefinite;
                }
                self.recover(Recovery::Resend);
            }
            _ => self.fail(index, refusal),
        }
        self.advance();
    }

    /// The connection of that attempt was given up before an answer.
    pub(crate) fn on_lost(&mut self, attempt: u64, lost: &LostAttempt, retry_at: Monotonic) {
        let Some(index) = self.index_of(attempt) else { return };
        let Some(entry) = self.entries.get_mut(index) else { return };
        self.last_error.clone_from(&lost.reason);
        self.paused_until = self.paused_until.max(retry_at);
        let was_sent = lost.outcome == Outcome::Indefinite;
        entry.is_uncertain |= was_sent && !self.is_gap_proven;
        entry.state = State::Waiting;
        if entry.ticket.is_none() {
            entry.state = State::Done;
        } else if was_sent && self.delivering == Delivering::AtMostOnce {
            let reason = lost.reason.clone();
            self.finish(index, Err(Failure::Lost { reason }));
        }
        self.recover(Recovery::Resend);
        self.advance();
    }

    /// Gives up what is past its deadline. A batch in flight is reported as indefinite at once; its place is kept
    /// until the answer.
    pub(crate) fn expire(&mut self, now: Monotonic) {
        for index in 0..self.entries.len() {
            let Some(entry) = self.entries.get_mut(index) else { break };
            if entry.deadline > now || entry.ticket.is_none() {
                continue;
            }
            let in_flight = matches!(entry.state, State::InFlight { .. });
            let is_uncertain = entry.is_uncertain || in_flight;
            let outcome = if is_uncertain { Outcome::Indefinite } else { Outcome::Definite };
            let last = self.last_error.clone();
            let state = entry.state;
            self.finish(index, Err(Failure::TimedOut { last, outcome }));
            if in_flight && let Some(entry) = self.entries.get_mut(index) {
                entry.state = state;
            }
        }
        self.advance();
    }

    /// When something happens by itself: a deadline, or the end of a pause.
    pub(crate) fn next_event(&self, now: Monotonic) -> Option<Monotonic> {
        let open = self.entries.iter().filter(|entry| entry.ticket.is_some());
        let deadline = open.map(|entry| entry.deadline).min();
        let pause = Some(self.paused_until).filter(|until| *until > now && !self.entries.is_empty());
        [deadline, pause].into_iter().flatten().min()
    }

    fn window_now(&self) -> usize {
        let first_contact = self.delivering == Delivering::Once && !self.is_known;
        if first_contact { 1 } else { self.window }
    }

    fn in_flight(&self) -> usize {
        self.entries.iter().filter(|entry| matches!(entry.state, State::InFlight { .. })).count()
    }

    /// Whether an attempt is without an answer.
    pub(crate) fn is_in_flight(&self) -> bool {
        self.in_flight() > 0
    }

    fn may_send(&self, now: Monotonic) -> bool {
        let has_identity = self.delivering == Delivering::AtMostOnce || self.identity.is_some();
        self.recovery.is_none() && has_identity && self.paused_until <= now
    }

    fn index_of(&self, attempt: u64) -> Option<usize> {
        self.entries.iter().position(|entry| entry.state == State::InFlight { attempt })
    }

    fn recover(&mut self, how: Recovery) {
        let how = if self.delivering == Delivering::Once { how } else { Recovery::Resend };
        self.recovery = self.recovery.max(Some(how));
    }

    fn is_worth_retrying(&mut self, refusal: &Refusal, now: Monotonic) -> bool {
        if refusal.code == Some(ErrorCode::UnknownTopicOrPartition) {
            let since = *self.unknown_since.get_or_insert(now);
            return now.since(since) < UNKNOWN_TOPIC_GRACE;
        }
        match refusal.outcome {
            Outcome::Definite => refusal.is_retriable,
            // Only a retry under the same sequence tells what became of it, even after a failed disk.
            Outcome::Indefinite => self.delivering == Delivering::Once,
        }
    }

    /// Fails a batch with what the broker said.
    fn fail(&mut self, index: usize, refusal: Refusal) {
        let Some(entry) = self.entries.get(index) else { return };
        let outcome = if entry.is_uncertain { Outcome::Indefinite } else { refusal.outcome };
        // The newest batch leaves no gap if its sequence is given to the next one.
        let is_newest = index + 1 == self.entries.len();
        if is_newest && outcome == Outcome::Definite {
            self.next_sequence = entry.base_sequence;
        }
        self.finish(index, Err(Failure::Refused { refusal, outcome }));
    }

    fn finish(&mut self, index: usize, result: Result<BatchAck, Failure>) {
        let Some(entry) = self.entries.get_mut(index) else { return };
        entry.state = State::Done;
        if let Some(ticket) = entry.ticket.take() {
            self.settled.push(Settled { ticket, result });
        }
    }

    /// Drops what is done at the front, and recovers once nothing is in flight.
    fn advance(&mut self) {
        while self.entries.front().is_some_and(|entry| entry.state == State::Done) {
            self.entries.pop_front();
        }
        if self.entries.is_empty() {
            // Nothing is left to be tried again, and nobody wakes an idle lane at the end of a pause.
            self.paused_until = Monotonic::default();
        }
        if self.is_in_flight() {
            return;
        }
        match self.recovery {
            None => {}
            Some(Recovery::Resend) => self.recovery = None,
            Some(Recovery::NextEpoch) => match self.identity.and_then(Identity::next_epoch) {
                Some(identity) => {
                    self.give_up_uncertain();
                    self.adopt(identity);
                }
                None => self.recovery = Some(Recovery::NewProducer),
            },
            Some(Recovery::NewProducer) => {}
        }
        if self.recovery == Some(Recovery::NewProducer) {
            self.give_up_uncertain();
            self.disowned = self.identity.take().map(|identity| identity.id).or(self.disowned);
        }
    }

    /// Under another identity a batch that may be stored might be stored twice.
    fn give_up_uncertain(&mut self) {
        for index in 0..self.entries.len() {
            if self.entries.get(index).is_some_and(|entry| entry.is_uncertain) {
                let reason = self.last_error.clone();
                self.finish(index, Err(Failure::Lost { reason }));
            }
        }
    }

    /// Counts from 0 again, and stamps what is still to be sent.
    fn restart_sequence(&mut self) {
        self.entries.retain(|entry| entry.state != State::Done);
        self.next_sequence = 0;
        self.is_known = false;
        let Some(identity) = self.identity else { return };
        for entry in &mut self.entries {
            // The batch was parsed when it was built, so its header is one.
            if let Ok(bytes) = restamp(&entry.bytes, identity.at(self.next_sequence)) {
                entry.bytes = bytes;
            }
            entry.base_sequence = self.next_sequence;
            self.next_sequence = sequence_after(self.next_sequence, entry.records);
        }
    }
}

/// The sequence `records` after `base`; behind `i32::MAX` comes 0.
fn sequence_after(base: i32, records: u32) -> i32 {
    let sum = i64::from(base) + i64::from(records);
    i32::try_from(sum & i64::from(i32::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
