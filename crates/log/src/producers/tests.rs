//! Retries, gaps, fences, forgetting; and that the state is a function of the log.

use proptest::prelude::*;

use super::*;
use crate::format::producer_snapshot;

const NOW: TimestampMs = TimestampMs(1_000_000);

fn batch(producer: i64, epoch: i16, first_sequence: i32, records: i32) -> BatchFacts {
    BatchFacts {
        producer: ProducerId(producer),
        epoch: ProducerEpoch(epoch),
        first_sequence,
        last_offset_delta: records - 1,
        timestamp: TimestampMs(i64::from(first_sequence)),
    }
}

/// Applies batches one after the other from offset 0, each of which must be acceptable, and tells the end offset.
fn grow(state: &mut ProducerState, batches: &[BatchFacts]) -> Offset {
    let mut end = Offset::ZERO;
    for batch in batches {
        assert_eq!(state.check(batch), Verdict::Accept, "{batch:?}");
        state.apply(batch, end, NOW);
        end = end.saturating_add(u64::try_from(batch.last_offset_delta).unwrap() + 1);
    }
    end
}

fn duplicate_of(base: u64, last: u64, timestamp: i64) -> Verdict {
    Verdict::DuplicateOf {
        base_offset: Offset::from_count(base),
        last_offset: Offset::from_count(last),
        timestamp: TimestampMs(timestamp),
    }
}

#[test]
fn an_exact_retry_of_the_last_five_batches_gets_its_first_answer() {
    let mut state = ProducerState::new();
    let sent: Vec<_> = (0..7).map(|i| batch(1, 0, i * 10, 10)).collect();
    grow(&mut state, &sent);
    for (i, sent) in sent.iter().enumerate().skip(2) {
        let base = i as u64 * 10;
        assert_eq!(state.check(sent), duplicate_of(base, base + 9, i64::try_from(base).unwrap()));
    }
    assert_eq!(state.check(&sent[0]), Verdict::Duplicate);
    assert_eq!(state.check(&sent[1]), Verdict::Duplicate);
}

#[test]
fn a_gap_and_an_overlap_are_out_of_order() {
    let mut state = ProducerState::new();
    grow(&mut state, &[batch(1, 0, 0, 10)]);
    let out_of_order = |found| Verdict::OutOfOrder { expected: 10, found };
    assert_eq!(state.check(&batch(1, 0, 11, 1)), out_of_order(11));
    assert_eq!(state.check(&batch(1, 0, 5, 10)), out_of_order(5));
    assert_eq!(state.check(&batch(1, 0, i32::MAX, 1)), out_of_order(i32::MAX));
    assert_eq!(state.check(&batch(1, 0, 3, 2)), Verdict::Duplicate, "stored, in another batch");
}

#[test]
fn sequences_wrap_to_zero() {
    let mut state = ProducerState::lost(NOW);
    grow(&mut state, &[batch(1, 0, i32::MAX - 1, 2), batch(1, 0, 0, 1)]);
    assert_eq!(state.check(&batch(1, 0, i32::MAX - 1, 2)), duplicate_of(0, 1, i64::from(i32::MAX) - 1));
    let mut across = ProducerState::lost(NOW);
    grow(&mut across, &[batch(1, 0, i32::MAX - 1, 5), batch(1, 0, 3, 1)]);
    assert_eq!(across.check(&batch(1, 0, i32::MAX - 1, 5)), duplicate_of(0, 4, i64::from(i32::MAX) - 1));
}

#[test]
fn a_new_epoch_starts_at_zero_and_fences_the_old() {
    let mut state = ProducerState::new();
    grow(&mut state, &[batch(1, 3, 0, 10)]);
    assert_eq!(state.check(&batch(1, 4, 10, 1)), Verdict::OutOfOrder { expected: 0, found: 10 });
    assert_eq!(state.check(&batch(1, 4, 0, 1)), Verdict::Accept);
    state.apply(&batch(1, 4, 0, 1), Offset::from_count(10), NOW);
    assert_eq!(state.check(&batch(1, 3, 10, 1)), Verdict::Fenced { current: ProducerEpoch(4) });
    assert_eq!(state.check(&batch(1, 3, 0, 10)), Verdict::Fenced { current: ProducerEpoch(4) });
}

#[test]
fn an_unknown_producer_is_judged_by_what_may_have_been_forgotten() {
    let late = batch(9, 0, 5, 1);
    let mut state = ProducerState::new();
    assert_eq!(state.check(&late), Verdict::OutOfOrder { expected: 0, found: 5 });
    grow(&mut state, &[batch(1, 0, 0, 1)]);
    assert_eq!(state.expire(TimestampMs(NOW.0 + 1001), 1000), 1);
    assert_eq!(state.check(&late), Verdict::Unknown);
    assert_eq!(state.check(&batch(9, 0, 0, 1)), Verdict::Accept);
    let mut lost = ProducerState::lost(NOW);
    assert_eq!(lost.check(&late), Verdict::Accept);
    lost.expire(TimestampMs(NOW.0 + 1001), 1000);
    assert_eq!(lost.check(&late), Verdict::Unknown);
}

#[test]
fn what_was_never_seen_is_not_called_a_duplicate() {
    let mut state = ProducerState::lost(NOW);
    grow(&mut state, &[batch(1, 0, 50, 10)]);
    assert_eq!(state.check(&batch(1, 0, 40, 10)), Verdict::OutOfOrder { expected: 60, found: 40 });
    assert_eq!(state.check(&batch(1, 0, 55, 5)), Verdict::Duplicate);
}

#[test]
fn idle_time_counts_from_the_append() {
    let mut state = ProducerState::new();
    grow(&mut state, &[batch(1, 0, 0, 1), batch(2, 0, 0, 1)]);
    state.apply(&batch(2, 0, 1, 1), Offset::from_count(2), TimestampMs(NOW.0 + 500));
    assert_eq!(state.expire(TimestampMs(NOW.0 + 1000), 1000), 0);
    assert_eq!(state.expire(TimestampMs(NOW.0 + 1001), 1000), 1);
    assert_eq!(state.check(&batch(2, 0, 2, 1)), Verdict::Accept);
}

#[test]
fn batches_without_a_producer_leave_no_trace_and_bad_sequences_are_refused() {
    let mut state = ProducerState::new();
    grow(&mut state, &[batch(-1, -1, -1, 3)]);
    assert!(state.is_empty());
    assert_eq!(state.check(&batch(1, 0, -1, 1)), Verdict::OutOfOrder { expected: 0, found: -1 });
}

#[test]
fn a_full_table_forgets_who_wrote_longest_ago() {
    let mut state = ProducerState::new();
    let limit = i64::try_from(PRODUCERS_PER_PARTITION_MAX).unwrap();
    let mut offset = Offset::ZERO;
    // Ids fall, so that neither the lowest nor the highest id is the oldest; the very first writes again at the end.
    for id in (0..limit).rev() {
        state.apply(&batch(id, 0, 0, 1), offset, NOW);
        offset = offset.next();
    }
    state.apply(&batch(limit - 1, 0, 1, 1), offset, NOW);
    assert_eq!((state.len(), state.history()), (PRODUCERS_PER_PARTITION_MAX, History::Complete));
    state.apply(&batch(limit, 0, 0, 1), offset.next(), NOW);
    assert_eq!(state.history(), History::SomeForgotten);
    assert_eq!(state.len(), PRODUCERS_PER_PARTITION_MAX - PRODUCERS_PER_PARTITION_MAX / EVICTED_ONE_IN + 1);
    assert_eq!(state.check(&batch(limit - 1, 0, 2, 1)), Verdict::Accept, "wrote last");
    assert_eq!(state.check(&batch(limit - 2, 0, 1, 1)), Verdict::Unknown, "wrote first");
    assert_eq!(state.check(&batch(0, 0, 1, 1)), Verdict::Accept);
    let bytes = producer_snapshot::encode(&state, offset.saturating_add(2));
    assert!(bytes.len() <= producer_snapshot::BYTES_MAX);
    assert_eq!(producer_snapshot::decode(&bytes).unwrap().1, state);
}

/// The answer computed from the whole log by looking at all of it, with nothing remembered.
fn naive(log: &[(BatchFacts, Offset)], batch: &BatchFacts) -> Verdict {
    let own: Vec<_> = log.iter().filter(|(stored, _)| stored.producer == batch.producer).collect();
    let Some((newest, _)) = own.last() else {
        let first = batch.first_sequence;
        return if first == 0 { Verdict::Accept } else { Verdict::OutOfOrder { expected: 0, found: first } };
    };
    if batch.epoch < newest.epoch {
        return Verdict::Fenced { current: newest.epoch };
    }
    let own: Vec<_> = own.into_iter().filter(|(stored, _)| stored.epoch == batch.epoch).collect();
    let next = own.last().map_or(0, |(newest, _)| newest.first_sequence + newest.last_offset_delta + 1);
    if batch.first_sequence == next {
        return Verdict::Accept;
    }
    let same = |stored: &BatchFacts| {
        (stored.first_sequence, stored.last_offset_delta) == (batch.first_sequence, batch.last_offset_delta)
    };
    let window = own.iter().rev().take(PRODUCER_WINDOW);
    if let Some((stored, base)) = window.into_iter().find(|(stored, _)| same(stored)) {
        let last = base.saturating_add(u64::try_from(stored.last_offset_delta).unwrap());
        return Verdict::DuplicateOf { base_offset: *base, last_offset: last, timestamp: stored.timestamp };
    }
    if batch.first_sequence + batch.last_offset_delta < next {
        Verdict::Duplicate
    } else {
        Verdict::OutOfOrder { expected: next, found: batch.first_sequence }
    }
}

proptest! {
    #[test]
    fn the_state_answers_as_the_log_does_and_is_rebuilt_from_it(
        offered in prop::collection::vec((0i64..4, 0i16..3, 0i32..25, 1i32..5, any::<bool>()), 1..200),
        snapshot_at in 0usize..200,
        cut_at in 0usize..200,
    ) {
        let mut state = ProducerState::new();
        let mut log: Vec<(BatchFacts, Offset)> = Vec::new();
        let mut end = Offset::ZERO;
        let mut states = vec![(state.clone(), end)];
        for (producer, epoch, sequence, records, well_behaved) in offered {
            let mut offer = batch(producer, epoch, sequence, records);
            if let (true, Verdict::OutOfOrder { expected, .. }) = (well_behaved, naive(&log, &offer)) {
                offer.first_sequence = expected;
            }
            let verdict = state.check(&offer);
            prop_assert_eq!(verdict, naive(&log, &offer));
            if verdict == Verdict::Accept {
                state.apply(&offer, end, NOW);
                log.push((offer, end));
                end = end.saturating_add(u64::try_from(records).unwrap());
                states.push((state.clone(), end));
            }
        }
        // Rebuilt from the first batch on.
        let mut rebuilt = ProducerState::new();
        for (batch, base) in &log {
            rebuilt.apply(batch, *base, NOW);
        }
        prop_assert_eq!(&rebuilt, &state);
        // Truncated: a snapshot somewhere before the cut, then the log up to the cut.
        let cut_at = cut_at % states.len();
        let snapshot_at = snapshot_at % (cut_at + 1);
        let (before, offset) = &states[snapshot_at];
        let (read, mut restored) = producer_snapshot::decode(&producer_snapshot::encode(before, *offset)).unwrap();
        prop_assert_eq!(read, *offset);
        for (batch, base) in &log[snapshot_at..cut_at] {
            restored.apply(batch, *base, NOW);
        }
        prop_assert_eq!(&restored, &states[cut_at].0);
    }
}
