//! What is handed out is held, what goes is handed out no more, and nothing is committed that was not handed out.

use futures::FutureExt;
use millrace_record::{BatchBuilder, BatchOptions, NO_HEADERS};
use millrace_types::{LeaderEpoch, TimestampMs, TopicId, TopicName};

use super::*;
use crate::consumer::{Current, Next, next_of};

fn key(index: u32) -> TopicPartition {
    TopicPartition { topic: TopicId([7; 16]), partition: PartitionIndex(index) }
}

fn assigned(indexes: &[u32]) -> BTreeMap<TopicPartition, AssignedPartition> {
    let name = |index: &u32| {
        let topic = TopicName::new("orders").unwrap();
        (key(*index), AssignedPartition { topic, partition: PartitionIndex(*index) })
    };
    indexes.iter().map(name).collect()
}

/// A consumer that reads these partitions from the beginning.
fn reading(indexes: &[u32]) -> Shared {
    let shared = Shared::new();
    shared.change(|state| {
        assert!(!state.adopt(assigned(indexes)));
        state.advance(Stage::Announced, Stage::Open);
        for held in state.held.values_mut() {
            held.position = Some(Offset::ZERO);
        }
    });
    shared
}

/// `count` records of a partition from `base`, fetched for what feeds it now.
fn fetched(shared: &Shared, index: u32, base: u64, count: u64) {
    let feed = shared.lock().held[&key(index)].feed.unwrap();
    fetched_for(shared, index, feed, base..base + count);
}

fn fetched_for(shared: &Shared, index: u32, feed: u64, offsets: std::ops::Range<u64>) {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for _ in offsets.clone() {
        builder.append(TimestampMs(0), None, Some(b"value"), NO_HEADERS).unwrap();
    }
    let batch = builder.build().unwrap().placed_at(Offset::from_count(offsets.start), LeaderEpoch(3));
    let (batches, next) = (VecDeque::from([batch]), Offset::from_count(offsets.end));
    let chunk = Chunk { key: key(index), feed, batches, next, memory: None, then: Then::More };
    shared.lock().push(chunk);
}

/// The next record, as partition and offset.
fn next(shared: &Shared, current: &mut Option<Current>) -> Option<(u32, i64)> {
    loop {
        let next = next_of(current, &mut shared.lock(), Waker::noop());
        match next {
            Next::Record(record) => return Some((record.partition.0, record.offset.get())),
            Next::Batch(Queued { key, feed, batch }) => {
                let records = batch.records().unwrap();
                *current = Some(Current { key, feed, batch, records });
            }
            _ => return None,
        }
    }
}

fn due(shared: &Shared) -> Vec<(u32, i64)> {
    let wishes = shared.lock().due(None);
    wishes.iter().map(|wish| (wish.key.partition.0, wish.mark.offset.get())).collect()
}

#[test]
fn only_what_earlier_polls_handed_out_is_committed() {
    let (shared, mut current) = (reading(&[0, 1]), None);
    fetched(&shared, 0, 0, 10);
    fetched(&shared, 1, 0, 10);
    for offset in 0..3 {
        assert_eq!(next(&shared, &mut current), Some((0, offset)));
        assert!(due(&shared).is_empty(), "nobody has come back");
    }
    shared.check_in();
    assert_eq!(due(&shared), [(0, 3)], "nothing of what is fetched only");
    next(&shared, &mut current);
    assert_eq!(due(&shared), [(0, 3)]);
    shared.lock().held.get_mut(&key(0)).unwrap().committed = Offset::new(3);
    assert!(due(&shared).is_empty(), "once");
}

#[test]
fn what_is_taken_away_is_handed_out_no_more_and_the_rest_goes_on() {
    let (shared, mut current) = (reading(&[0, 1]), None);
    fetched(&shared, 0, 0, 10);
    fetched(&shared, 0, 10, 10);
    fetched(&shared, 1, 0, 2);
    assert_eq!(next(&shared, &mut current), Some((0, 0)));
    assert!(shared.change(|state| state.adopt(assigned(&[1]))));
    assert_eq!(next(&shared, &mut current), Some((1, 0)), "though a batch of the other was open");
    let going = BTreeSet::from([key(0)]);
    assert!(shared.until_done_with(&going).now_or_never().is_none(), "its record is not done yet");
    shared.check_in();
    assert!(shared.until_done_with(&going).now_or_never().is_some());
    assert_eq!(due(&shared), [(0, 1), (1, 1)]);
    assert!(shared.lock().held.contains_key(&key(0)), "it is owned until it was let go");
    shared.lock().advance(Stage::Doomed, Stage::Parting);
    shared.lock().let_go(&going);
    assert!(!shared.lock().held.contains_key(&key(0)));
    assert_eq!(next(&shared, &mut current), Some((1, 1)));
    assert_eq!(next(&shared, &mut current), None);
}

#[test]
fn partitions_take_turns_batch_by_batch_each_in_its_order() {
    let (shared, mut current) = (reading(&[0, 1]), None);
    for base in [0, 2, 4] {
        fetched(&shared, 0, base, 2);
    }
    fetched(&shared, 1, 0, 2);
    let order: Vec<_> = std::iter::from_fn(|| next(&shared, &mut current)).collect();
    assert_eq!(order, [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (0, 3), (0, 4), (0, 5)]);
}

#[test]
fn what_was_fetched_for_another_place_is_thrown_away() {
    let (shared, mut current) = (reading(&[0]), None);
    let feed = shared.lock().held[&key(0)].feed.unwrap();
    fetched(&shared, 0, 0, 10);
    assert_eq!(next(&shared, &mut current), Some((0, 0)));
    shared.change(|state| state.seek(key(0), Offset::from_count(7)));
    fetched_for(&shared, 0, feed, 10..20);
    assert_eq!(next(&shared, &mut current), None);
    fetched(&shared, 0, 5, 5);
    assert_eq!(next(&shared, &mut current), Some((0, 7)), "a batch may begin before the place");
}

#[test]
fn a_pause_keeps_the_place() {
    let (shared, mut current) = (reading(&[0]), None);
    fetched(&shared, 0, 0, 10);
    next(&shared, &mut current);
    shared.change(|state| {
        state.cut(key(0));
        state.held.get_mut(&key(0)).unwrap().is_paused = true;
    });
    assert_eq!(next(&shared, &mut current), None);
    assert_eq!(shared.lock().held[&key(0)].feed, None, "nothing is fetched for it");
    shared.change(|state| state.held.get_mut(&key(0)).unwrap().is_paused = false);
    fetched(&shared, 0, 0, 10);
    assert_eq!(next(&shared, &mut current), Some((0, 1)));
}

#[test]
fn what_was_lost_and_has_come_again_is_another_hold() {
    let (shared, mut current) = (reading(&[0]), None);
    fetched(&shared, 0, 0, 10);
    next(&shared, &mut current);
    shared.check_in();
    let before = shared.lock().due(None);
    assert_eq!(shared.lock().lose_all().len(), 1, "the application knew of it");
    shared.lock().adopt(assigned(&[0]));
    let now = shared.lock().held[&key(0)].hold;
    assert_ne!(before[0].hold, now, "a commit for the one before is not for this");
    assert!(due(&shared).is_empty());
    assert!(shared.lock().lose_all().is_empty(), "nobody was told of it yet");
}

#[test]
fn nothing_is_handed_out_while_the_broker_may_have_given_up_the_member() {
    let (shared, mut current) = (reading(&[0]), None);
    fetched(&shared, 0, 0, 10);
    next(&shared, &mut current);
    shared.lock().is_suspended = true;
    assert_eq!(next(&shared, &mut current), None);
    shared.lock().unsuspend();
    assert_eq!(next(&shared, &mut current), Some((0, 1)));
}

#[test]
fn an_error_comes_behind_what_was_fetched_before_it_and_a_seek_ends_it() {
    let (shared, mut current) = (reading(&[0]), None);
    fetched(&shared, 0, 0, 1);
    let feed = shared.lock().held[&key(0)].feed.unwrap();
    let (topic, partition) = (TopicName::new("orders").unwrap(), PartitionIndex(0));
    let error =
        ReadError::Corrupt { topic, partition, offset: Offset::from_count(1), reason: "no".to_owned() };
    let then = Then::Failed(error.clone());
    let (batches, next_offset) = (VecDeque::new(), Offset::from_count(1));
    shared.lock().push(Chunk { key: key(0), feed, batches, next: next_offset, memory: None, then });
    assert_eq!(next(&shared, &mut current), Some((0, 0)));
    let told = next_of(&mut current, &mut shared.lock(), Waker::noop());
    assert!(matches!(told, Next::Error(ConsumeError::Partition(told)) if told == error));
    assert_eq!(next(&shared, &mut current), None);
    shared.change(|state| state.seek(key(0), Offset::from_count(2)));
    fetched(&shared, 0, 2, 1);
    assert_eq!(next(&shared, &mut current), Some((0, 2)));
}
