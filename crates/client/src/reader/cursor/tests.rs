//! A cursor takes answers: what it hands on, where it goes on, when it ends.

use millrace_record::{BatchBuilder, BatchOptions, NO_HEADERS};
use millrace_types::{TimestampMs, TopicId, TopicName};

use super::*;

fn cursor(from: u64, end: Option<u64>) -> Cursor {
    let name = TopicName::new("t").unwrap();
    let topic = TopicInfo { name, id: TopicId([1; 16]), partitions: 1, batch_bytes_max: 1 << 20 };
    let rules =
        CursorRules { on_out_of_range: OnOutOfRange::Error, give_up_after: Some(Duration::from_secs(60)) };
    let range = (Offset::from_count(from), end.map(Offset::from_count));
    Cursor::new(Arc::new(topic), PartitionIndex(0), range, rules)
}

/// Batches of ten records each, from `base` on.
fn batches(base: u64, count: u64) -> Vec<u8> {
    let batch = |base: u64| {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        for _ in 0..10 {
            builder.append(TimestampMs(0), None, Some(b"value"), NO_HEADERS).unwrap();
        }
        builder.build().unwrap().placed_at(Offset::from_count(base), LeaderEpoch(3)).into_bytes()
    };
    (0..count).flat_map(|n| batch(base + 10 * n)).collect()
}

fn answer(batches: Vec<u8>, next: i64) -> v1::PartitionFetched {
    v1::PartitionFetched {
        batches: batches.into(),
        next_offset: next,
        high_watermark: 100,
        ..v1::PartitionFetched::default()
    }
}

fn at(seconds: u64) -> Monotonic {
    Monotonic(Duration::from_secs(seconds))
}

#[test]
fn batches_outside_of_the_range_are_left_out() {
    let mut cursor = cursor(25, Some(45));
    let taken = cursor.take(answer(batches(10, 5), 60));
    let bases: Vec<_> = taken.batches.iter().map(|batch| batch.base_offset().get()).collect();
    assert_eq!(bases, [20, 30, 40]);
    assert!(cursor.is_ended() && taken.failure.is_none());
    assert_eq!(taken.reached, Some(Offset::from_count(45)));
}

#[test]
fn an_answer_without_batches_moves_over_a_hole() {
    let mut cursor = cursor(25, None);
    assert!(cursor.take(answer(Vec::new(), 70)).batches.is_empty());
    assert_eq!(cursor.next.get(), 70);
    cursor.take(answer(Vec::new(), 10));
    assert_eq!(cursor.next.get(), 70, "never backwards");
}

#[test]
fn the_epoch_of_the_last_batch_goes_with_the_next_request() {
    let mut cursor = cursor(0, None);
    assert_eq!(cursor.request().last_read_epoch, None);
    cursor.take(answer(batches(0, 1), 10));
    let request = cursor.request();
    assert_eq!((request.offset, request.last_read_epoch), (10, Some(3)));
}

#[test]
fn a_flipped_bit_ends_the_partition_behind_the_last_good_batch() {
    let good = batches(0, 2);
    for position in 0..good.len() {
        let mut bad = good.clone();
        bad[position] ^= 0x10;
        let mut cursor = cursor(0, None);
        let taken = cursor.take(answer(bad, 20));
        // Base offset and leader epoch lie outside of the checksum; everything else is under it.
        let in_batch = position % (good.len() / 2);
        if !(0..8).contains(&in_batch) && !(12..16).contains(&in_batch) {
            assert!(matches!(taken.failure, Some(ReadError::Corrupt { .. })), "byte {position}");
            assert_eq!(taken.batches.len(), position / (good.len() / 2));
            assert!(cursor.is_ended());
        }
    }
}

#[test]
fn an_answer_cut_at_any_byte_is_an_error_or_ends_between_batches() {
    let whole = batches(0, 2);
    for length in 1..whole.len() {
        let mut cursor = cursor(0, None);
        let taken = cursor.take(answer(whole[..length].to_vec(), 0));
        assert_eq!(taken.failure.is_none(), length == whole.len() / 2, "{length} bytes");
    }
}

#[test]
fn an_empty_range_has_ended_at_once() {
    assert!(cursor(5, Some(5)).is_ended());
    assert!(!cursor(5, Some(6)).is_ended());
}

#[test]
fn errors_are_judged_by_their_code() {
    let judge = |code| cursor(0, None).on_refusal(Refusal::new(code, "m"), at(0));
    assert_eq!(judge(ErrorCode::Throttled), Verdict::Retry);
    assert_eq!(judge(ErrorCode::UnknownTopicOrPartition), Verdict::Retry);
    assert!(matches!(judge(ErrorCode::LogTruncated), Verdict::Fail(ReadError::Truncated { .. })));
    assert!(matches!(judge(ErrorCode::OffsetOutOfRange), Verdict::Fail(ReadError::OutOfRange { .. })));
    assert!(matches!(judge(ErrorCode::Corrupt), Verdict::Fail(ReadError::Corrupt { .. })));
    assert!(matches!(judge(ErrorCode::NotAuthorized), Verdict::Fail(ReadError::Refused { .. })));
    let mut resets = cursor(0, None);
    resets.rules.on_out_of_range = OnOutOfRange::Earliest;
    assert_eq!(resets.on_refusal(Refusal::new(ErrorCode::OffsetOutOfRange, ""), at(0)), Verdict::Reset);
}

#[test]
fn patience_ends_only_without_an_answer_in_between() {
    let mut cursor = cursor(0, None);
    assert_eq!(cursor.on_failure("down", at(0)), Verdict::Retry);
    cursor.take(answer(Vec::new(), 0));
    assert_eq!(cursor.on_failure("down", at(61)), Verdict::Retry);
    assert!(matches!(cursor.on_failure("down", at(121)), Verdict::Fail(ReadError::GaveUp { .. })));
    assert!(cursor.is_ended());
}
