//! A lane against scripted answers, and against a broker's sequence rule under random faults.

use std::time::Duration;

use millrace_record::{Batch, BatchBuilder, BatchOptions, Checks, NO_HEADERS, Origin, ProducerStamp};
use millrace_types::{Offset, ProducerEpoch, TimestampMs};

use super::*;

const FAR: Duration = Duration::from_secs(100);

fn at(seconds: u64) -> Monotonic {
    Monotonic(Duration::from_secs(seconds))
}

fn identity(id: i64) -> Identity {
    Identity { id: ProducerId(id), epoch: ProducerEpoch(0) }
}

fn lane() -> Lane<u32> {
    let mut lane = Lane::new(Delivering::Once, 5);
    assert!(lane.takes(identity(1)));
    lane.adopt(identity(1));
    lane
}

/// Pushes a batch of `records` records whose ticket is `ticket`, as the driver does.
fn push(lane: &mut Lane<u32>, ticket: u32, records: u32) {
    let (identity, sequence) = lane.room(at(0)).expect("room").expect("idempotent");
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.set_producer(identity.at(sequence));
    for _ in 0..records {
        builder.append(TimestampMs(0), None, Some(&ticket.to_le_bytes()), NO_HEADERS).unwrap();
    }
    let bytes = builder.build().unwrap().into_bytes();
    lane.push(bytes, records, Monotonic(FAR), ticket);
}

fn send(lane: &mut Lane<u32>) -> (u64, ProducerStamp) {
    let attempt = lane.send(at(0)).expect("something to send");
    (attempt.attempt, stamp(&attempt.bytes))
}

fn push_and_send(lane: &mut Lane<u32>, ticket: u32, records: u32) -> (u64, ProducerStamp) {
    push(lane, ticket, records);
    send(lane)
}

fn stamp(bytes: &Bytes) -> ProducerStamp {
    let checks = Checks { bytes_max: 1 << 20, origin: Origin::Client };
    Batch::check(bytes.clone(), &checks).unwrap().producer().unwrap()
}

fn ack(offset: u64) -> BatchAck {
    BatchAck { base_offset: Some(Offset::from_count(offset)), append_time: None }
}

fn refuse(lane: &mut Lane<u32>, attempt: u64, code: ErrorCode) {
    lane.on_refusal(attempt, Refusal::new(code, ""), at(0), at(0));
}

fn lose(lane: &mut Lane<u32>, attempt: u64) {
    let lost = LostAttempt { reason: "reset".to_owned(), outcome: Outcome::Indefinite };
    lane.on_lost(attempt, &lost, at(0));
}

/// Makes the partition know the lane.
fn greet(lane: &mut Lane<u32>) {
    push(lane, 0, 1);
    let (attempt, _) = send(lane);
    lane.on_ack(attempt, ack(0));
    assert_eq!(lane.take_settled().len(), 1);
}

#[test]
fn a_lane_that_is_empty_after_a_refusal_takes_the_next_batch_at_once() {
    let mut lane = lane();
    let (attempt, _) = push_and_send(&mut lane, 0, 1);
    let retry_at = at(7);
    lane.on_refusal(attempt, Refusal::new(ErrorCode::InvalidRequest, ""), at(0), retry_at);
    assert!(lane.is_idle() && lane.next_event(at(0)).is_none());
    assert!(lane.room(at(0)).is_some(), "nothing would wake the lane at the end of a pause");
}

#[test]
fn one_batch_alone_makes_first_contact_and_five_follow() {
    let mut lane = lane();
    push(&mut lane, 0, 3);
    let (first, stamp) = send(&mut lane);
    assert_eq!(stamp.base_sequence, 0);
    assert!(lane.room(at(0)).is_none() && lane.send(at(0)).is_none());
    lane.on_ack(first, ack(0));
    for ticket in 1..6 {
        push(&mut lane, ticket, 2);
        assert_eq!(send(&mut lane).1.base_sequence, 3 + 2 * (i32::try_from(ticket).unwrap() - 1));
    }
    assert!(lane.room(at(0)).is_none());
}

#[test]
fn a_lost_connection_sends_everything_again_in_order_with_the_same_sequences() {
    let mut lane = lane();
    greet(&mut lane);
    let sent: Vec<_> = (1..4).map(|ticket| push_and_send(&mut lane, ticket, 1)).collect();
    lane.on_ack(sent[0].0, ack(1));
    lose(&mut lane, sent[1].0);
    assert!(lane.send(at(0)).is_none(), "nothing is sent while an attempt is open");
    lose(&mut lane, sent[2].0);
    assert_eq!([send(&mut lane).1, send(&mut lane).1], [sent[1].1, sent[2].1]);
    assert!(lane.send(at(0)).is_none());
}

#[test]
fn a_batch_refused_for_good_leaves_no_gap_for_the_next_one() {
    let mut lane = lane();
    greet(&mut lane);
    push(&mut lane, 1, 7);
    let (attempt, stamp) = send(&mut lane);
    refuse(&mut lane, attempt, ErrorCode::BatchTooLarge);
    let settled = lane.take_settled();
    assert!(matches!(settled[0].result, Err(Failure::Refused { outcome: Outcome::Definite, .. })));
    push(&mut lane, 2, 1);
    assert_eq!(send(&mut lane).1, stamp, "its sequence is given again");
}

#[test]
fn a_refused_batch_with_others_behind_it_moves_them_to_the_next_epoch() {
    let mut lane = lane();
    greet(&mut lane);
    let sent: Vec<_> = (1..4).map(|ticket| push_and_send(&mut lane, ticket, 2).0).collect();
    refuse(&mut lane, sent[0], ErrorCode::BatchTooLarge);
    refuse(&mut lane, sent[1], ErrorCode::OutOfOrderSequence);
    assert!(lane.send(at(0)).is_none());
    // The connection breaks instead of the last answer; that it was a gap is known already.
    lose(&mut lane, sent[2]);
    let (next, stamp) = send(&mut lane);
    assert_eq!((stamp.epoch, stamp.base_sequence), (ProducerEpoch(1), 0));
    assert!(lane.send(at(0)).is_none(), "first contact of the new epoch");
    lane.on_ack(next, ack(1));
    assert_eq!(send(&mut lane).1.base_sequence, 2);
    assert_eq!(lane.take_settled().iter().map(|s| s.ticket).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_throttled_batch_is_sent_again_before_those_behind_it() {
    let mut lane = lane();
    greet(&mut lane);
    let (first, second) = (push_and_send(&mut lane, 1, 1), push_and_send(&mut lane, 2, 1));
    lane.on_refusal(first.0, Refusal::new(ErrorCode::Throttled, ""), at(0), at(1));
    lane.on_refusal(second.0, Refusal::new(ErrorCode::OutOfOrderSequence, ""), at(0), at(1));
    assert!(lane.send(at(0)).is_none(), "it pauses");
    assert_eq!(lane.next_event(at(0)), Some(at(1)));
    let again = lane.send(at(1)).unwrap();
    assert_eq!(stamp(&again.bytes), first.1);
    assert!(lane.take_settled().is_empty());
}

#[test]
fn time_runs_out_definitely_for_what_was_never_sent_and_indefinitely_otherwise() {
    let mut lane = lane();
    greet(&mut lane);
    let (attempt, _) = push_and_send(&mut lane, 1, 1);
    push(&mut lane, 2, 1);
    lane.expire(Monotonic(FAR));
    let outcomes: Vec<_> =
        lane.take_settled().into_iter().map(|settled| settled.result.unwrap_err()).collect();
    assert!(matches!(outcomes[0], Failure::TimedOut { outcome: Outcome::Indefinite, .. }));
    assert!(matches!(outcomes[1], Failure::TimedOut { outcome: Outcome::Definite, .. }));
    assert!(!lane.is_idle(), "its answer is still to come");
    lane.on_ack(attempt, ack(1));
    assert!(lane.is_idle() && lane.take_settled().is_empty());
}

#[test]
fn a_partition_that_forgot_the_producer_gets_a_new_one() {
    let mut lane = lane();
    greet(&mut lane);
    let first = push_and_send(&mut lane, 1, 1).0;
    lose(&mut lane, first);
    let first = send(&mut lane).0;
    let second = push_and_send(&mut lane, 2, 1).0;
    refuse(&mut lane, first, ErrorCode::UnknownProducerId);
    refuse(&mut lane, second, ErrorCode::UnknownProducerId);
    let settled = lane.take_settled();
    assert_eq!(settled.len(), 1, "the first may be stored: nobody can tell");
    assert!(matches!(settled[0].result, Err(Failure::Refused { outcome: Outcome::Indefinite, .. })));
    assert!(lane.wants_identity() && !lane.takes(identity(1)) && lane.takes(identity(2)));
    lane.adopt(identity(2));
    let stamp = send(&mut lane).1;
    assert_eq!((stamp.id, stamp.base_sequence), (ProducerId(2), 0));
}

#[test]
fn without_idempotence_a_lost_answer_is_reported_and_not_repeated() {
    let mut lane: Lane<u32> = Lane::new(Delivering::AtMostOnce, 5);
    assert_eq!(lane.room(at(0)), Some(None));
    lane.push(Bytes::from_static(b"batch"), 1, Monotonic(FAR), 1);
    let attempt = lane.send(at(0)).unwrap().attempt;
    lose(&mut lane, attempt);
    assert!(matches!(lane.take_settled()[0].result, Err(Failure::Lost { .. })));
    assert!(lane.is_idle());
}

#[test]
fn sequences_wrap_to_zero() {
    assert_eq!(sequence_after(i32::MAX, 1), 0);
    assert_eq!(sequence_after(i32::MAX - 1, 3), 1);
}

/// The rule by which a broker takes batches of one producer (KIP-98), and the log it makes.
#[derive(Default)]
struct Partition {
    log: Vec<u32>,
    epoch: i16,
    last_sequence: Option<i32>,
    /// Base sequence and offset of the last five batches.
    window: VecDeque<(i32, usize)>,
}

impl Partition {
    fn append(&mut self, bytes: &Bytes) -> Result<BatchAck, ErrorCode> {
        let stamp = stamp(bytes);
        let batch = Batch::parse_stored(bytes).unwrap();
        if stamp.epoch.0 < self.epoch {
            return Err(ErrorCode::ProducerFenced);
        }
        if stamp.epoch.0 > self.epoch {
            if stamp.base_sequence != 0 {
                return Err(ErrorCode::OutOfOrderSequence);
            }
            (self.epoch, self.last_sequence) = (stamp.epoch.0, None);
            self.window.clear();
        }
        if let Some((_, offset)) = self.window.iter().find(|(base, _)| *base == stamp.base_sequence) {
            return Ok(ack(*offset as u64));
        }
        match self.last_sequence {
            Some(last) if stamp.base_sequence <= last => return Err(ErrorCode::DuplicateSequence),
            Some(last) if stamp.base_sequence != last + 1 => return Err(ErrorCode::OutOfOrderSequence),
            _ => {}
        }
        let offset = self.log.len();
        for record in batch.records().unwrap() {
            self.log.push(u32::from_le_bytes(record.unwrap().value.unwrap()[..].try_into().unwrap()));
        }
        self.last_sequence = Some(stamp.sequence_after(batch.record_count() - 1));
        self.window.push_back((stamp.base_sequence, offset));
        if self.window.len() > 5 {
            self.window.pop_front();
        }
        Ok(ack(offset as u64))
    }
}

/// A small seeded generator: a failing seed is a test.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// One connection's requests, in order, each served or not.
fn serve(lane: &mut Lane<u32>, partition: &mut Partition, dice: &mut Dice, wire: &mut VecDeque<Attempt>) {
    let breaks = dice.roll(8) == 0;
    while let Some(attempt) = wire.pop_front() {
        let served = dice.roll(4) > 0;
        if breaks {
            // Requests of a broken connection are served up to some point; no answer arrives.
            let was_served = served.then(|| partition.append(&attempt.bytes));
            lose(lane, attempt.attempt);
            for rest in wire.drain(..) {
                if was_served.is_some() && dice.roll(2) == 0 {
                    let _ = partition.append(&rest.bytes);
                }
                lose(lane, rest.attempt);
            }
            return;
        }
        match dice.roll(12) {
            0 => refuse(lane, attempt.attempt, ErrorCode::Throttled),
            1 => refuse(lane, attempt.attempt, ErrorCode::BatchTooLarge),
            2 => {
                let _ = partition.append(&attempt.bytes);
                refuse(lane, attempt.attempt, ErrorCode::TimedOut);
            }
            _ => match partition.append(&attempt.bytes) {
                Ok(ack) => lane.on_ack(attempt.attempt, ack),
                Err(code) => refuse(lane, attempt.attempt, code),
            },
        }
    }
}

fn check(seed: u64, partition: &Partition, settled: &[Settled<u32>]) {
    for Settled { ticket, result } in settled {
        let stored = partition.log.iter().filter(|stored| *stored == ticket).count();
        match result {
            Ok(ack) => {
                let at = usize::try_from(ack.base_offset.unwrap().get()).unwrap();
                assert_eq!((stored, partition.log[at]), (1, *ticket), "seed {seed}: acknowledged");
            }
            Err(Failure::Refused { outcome: Outcome::Definite, .. }) => {
                assert_eq!(stored, 0, "seed {seed}: {ticket} was refused for good and is stored");
            }
            Err(_) => assert!(stored <= 1, "seed {seed}: {ticket} is stored {stored} times"),
        }
    }
    let acked: Vec<_> = settled.iter().filter(|s| s.result.is_ok()).map(|s| s.ticket).collect();
    let in_log: Vec<_> = partition.log.iter().copied().filter(|stored| acked.contains(stored)).collect();
    let mut sorted = in_log.clone();
    sorted.sort_unstable();
    assert_eq!(in_log, sorted, "seed {seed}: order");
}

#[test]
fn whatever_breaks_every_acknowledged_batch_is_stored_once_and_in_order() {
    for seed in 0..2_000 {
        let (mut lane, mut partition, mut dice) = (lane(), Partition::default(), Dice(seed));
        let (mut wire, mut settled, mut ticket) = (VecDeque::new(), Vec::new(), 0);
        while ticket < 40 || !lane.is_idle() {
            while ticket < 40 && dice.roll(4) > 0 && lane.room(at(0)).is_some() {
                push(&mut lane, ticket, 1);
                ticket += 1;
            }
            while let Some(attempt) = lane.send(at(0)) {
                wire.push_back(attempt);
            }
            serve(&mut lane, &mut partition, &mut dice, &mut wire);
            settled.extend(lane.take_settled());
        }
        assert_eq!(settled.len(), 40, "seed {seed}: every batch has an outcome");
        check(seed, &partition, &settled);
    }
}
