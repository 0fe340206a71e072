//! Batches fill up, linger, and leave in order.

use millrace_types::{TopicId, TopicName};

use super::*;

const RULES: BatchRules =
    BatchRules { linger: Duration::from_secs(1), batch_bytes: 1000, compression: Compression::None };

fn topic() -> Arc<TopicInfo> {
    let name = TopicName::new("t").unwrap();
    Arc::new(TopicInfo { name, id: TopicId([1; 16]), partitions: 4, batch_bytes_max: 10_000 })
}

fn partition(number: u32) -> TopicPartition {
    TopicPartition { topic: TopicId([1; 16]), partition: PartitionIndex(number) }
}

fn at(seconds: u64) -> Monotonic {
    Monotonic(Duration::from_secs(seconds))
}

fn append(
    accumulator: &mut Accumulator,
    to: u32,
    bytes: usize,
    now: Monotonic,
) -> Result<Appended, AppendError> {
    let record = ProducerRecord::new("t", vec![0; bytes]);
    let stamped = StampedRecord { record: &record, timestamp: TimestampMs(0), now };
    accumulator.append(&topic(), partition(to), &stamped, &mut None)
}

#[test]
fn a_batch_leaves_when_it_has_lingered() {
    let mut accumulator = Accumulator::new(RULES);
    assert!(append(&mut accumulator, 0, 10, at(5)).unwrap().is_news);
    assert!(!append(&mut accumulator, 0, 10, at(5)).unwrap().is_news, "nothing to look at yet");
    assert!(accumulator.ready(at(5)).is_empty());
    assert_eq!(accumulator.next_ready(at(5)), Some(at(6)));
    assert_eq!(accumulator.ready(at(6)), [partition(0)]);
    let (_, batch) = accumulator.take(partition(0), at(6)).unwrap();
    assert_eq!(batch.builder.record_count(), 2);
    assert!(accumulator.is_empty());
}

#[test]
fn full_batches_leave_at_once_and_in_order() {
    let mut accumulator = Accumulator::new(RULES);
    let numbers: Vec<_> = (0..3)
        .map(|_| append(&mut accumulator, 0, 700, at(0)).unwrap())
        .map(|appended| appended.number)
        .collect();
    assert_eq!(numbers, [0, 1, 2]);
    assert_eq!(accumulator.ready(at(0)), [partition(0)]);
    for number in [0, 1] {
        assert_eq!(accumulator.take(partition(0), at(0)).unwrap().1.ticket.number, number);
    }
    assert!(accumulator.take(partition(0), at(0)).is_none(), "the last one is open and lingers");
    accumulator.close_all();
    assert_eq!(accumulator.take(partition(0), at(0)).unwrap().1.ticket.number, 2);
}

#[test]
fn a_record_over_the_target_travels_alone_and_over_the_limit_not_at_all() {
    let mut accumulator = Accumulator::new(RULES);
    append(&mut accumulator, 0, 10, at(0)).unwrap();
    append(&mut accumulator, 0, 5_000, at(0)).unwrap();
    assert!(append(&mut accumulator, 0, 10_000, at(0)).is_err());
    append(&mut accumulator, 0, 10, at(0)).unwrap();
    accumulator.close_all();
    let mut counts = Vec::new();
    while let Some((_, batch)) = accumulator.take(partition(0), at(0)) {
        counts.push(batch.builder.record_count());
    }
    assert_eq!(counts, [1, 1, 1]);
    assert!(append(&mut accumulator, 1, 10_000, at(0)).is_err());
    assert!(accumulator.is_empty(), "a refused record leaves no trace");
}

#[test]
fn what_is_too_old_is_taken_out() {
    let mut accumulator = Accumulator::new(RULES);
    append(&mut accumulator, 0, 10, at(0)).unwrap();
    append(&mut accumulator, 1, 10, at(7)).unwrap();
    assert_eq!(accumulator.oldest(), Some(at(0)));
    assert_eq!(accumulator.take_begun_before(at(3)).len(), 1);
    assert_eq!(accumulator.oldest(), Some(at(7)));
}

#[tokio::test]
async fn a_batch_that_is_dropped_tells_its_records() {
    let mut accumulator = Accumulator::new(RULES);
    let delivery = append(&mut accumulator, 0, 10, at(0)).unwrap().delivery;
    drop(accumulator);
    assert_eq!(delivery.await, Err(ProduceError::Stopped));
}
