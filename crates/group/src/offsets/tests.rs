//! Effects of events, visibility in the order of the log, and the rebuild from it.

use proptest::prelude::*;

use super::*;

const NOW: TimestampMs = TimestampMs(1_000);

fn group(name: &str) -> GroupId {
    GroupId::new(name).unwrap()
}

fn topic(number: u8) -> (TopicName, TopicId) {
    (TopicName::new(&format!("t{number}")).unwrap(), TopicId([number; 16]))
}

fn position(number: u8, offset: u64) -> Commit {
    let (topic, topic_id) = topic(number);
    let offset = Offset::from_count(offset);
    let partition = PartitionIndex(0);
    Commit { topic, topic_id, partition, offset, leader_epoch: None, metadata: String::new() }
}

fn key(name: &str, number: u8) -> OffsetCommitKey {
    OffsetCommitKey { group: group(name), topic: topic(number).0, partition: PartitionIndex(0) }
}

fn commit(value: &mut GroupOffsets, name: &str, commits: Vec<Commit>) -> Vec<Effect> {
    value.step(Event::Commit { group: group(name), commits }, NOW)
}

fn persisted(effects: &[Effect]) -> PersistId {
    effects
        .iter()
        .find_map(|effect| if let Effect::Persist { id, .. } = effect { Some(*id) } else { None })
        .unwrap()
}

fn seen(value: &GroupOffsets, name: &str, number: u8) -> Option<i64> {
    value.fetch(&key(name, number), topic(number).1).map(|value| value.offset.get())
}

#[test]
fn a_commit_persists_first_and_shows_when_committed() {
    let mut value = GroupOffsets::default();
    let effects = commit(&mut value, "g", vec![position(1, 5)]);
    assert!(matches!(&effects[..], [Effect::Persist { records, .. }, Effect::Reply(reply)]
        if records.len() == 1 && reply == &[Ok(())]));
    assert_eq!(seen(&value, "g", 1), None);
    value.committed(persisted(&effects));
    assert_eq!(seen(&value, "g", 1), Some(5));
}

#[test]
fn every_group_is_named_once_however_much_it_has_committed() {
    let mut value = GroupOffsets::default();
    assert_eq!(value.groups().count(), 0);
    for name in ["b", "a", "a-1", "~"] {
        let last =
            Commit { topic: TopicName::new(&"z".repeat(TOPIC_NAME_BYTES_MAX)).unwrap(), ..position(3, 1) };
        let commits = vec![position(1, 5), position(2, 6), last];
        let id = persisted(&commit(&mut value, name, commits));
        value.committed(id);
    }
    let named: Vec<&str> = value.groups().map(GroupId::as_str).collect();
    assert_eq!(named, ["a", "a-1", "b", "~"]);
}

#[test]
fn completions_out_of_order_leave_the_last_of_the_log() {
    let mut value = GroupOffsets::default();
    let first = persisted(&commit(&mut value, "g", vec![position(1, 5)]));
    let second = persisted(&commit(&mut value, "g", vec![position(1, 6)]));
    value.committed(second);
    value.committed(first);
    assert_eq!(seen(&value, "g", 1), Some(6));
}

#[test]
fn a_refused_persist_is_undone_if_it_is_the_newest() {
    let mut value = GroupOffsets::default();
    let first = persisted(&commit(&mut value, "g", vec![position(1, 5)]));
    let second = persisted(&commit(&mut value, "g", vec![position(1, 6)]));
    assert!(!value.refused(first));
    assert!(value.refused(second));
    value.committed(first);
    assert_eq!(seen(&value, "g", 1), Some(5));
}

#[test]
fn a_text_that_is_too_long_is_refused_alone() {
    let mut value = GroupOffsets::default();
    let long = Commit { metadata: "x".repeat(OFFSET_METADATA_BYTES_MAX + 1), ..position(1, 5) };
    let effects = commit(&mut value, "g", vec![long.clone(), position(2, 7)]);
    assert!(matches!(&effects[..], [Effect::Persist { records, .. }, Effect::Reply(reply)]
        if records.len() == 1 && reply.len() == 2 && reply[0].is_err() && reply[1].is_ok()));
    let nothing = commit(&mut value, "g", vec![long]);
    assert!(matches!(&nothing[..], [Effect::Reply(_)]), "nothing to persist: {nothing:?}");
}

#[test]
fn a_deleted_topic_is_forgotten_also_where_its_commit_is_still_on_its_way() {
    let mut value = GroupOffsets::default();
    let first = persisted(&commit(&mut value, "g", vec![position(1, 5), position(2, 1)]));
    value.committed(first);
    commit(&mut value, "h", vec![position(1, 9)]);
    let effects = value.step(Event::TopicsDeleted { ids: [topic(1).1].into() }, NOW);
    let Some(Effect::Persist { id, records }) = effects.first() else { panic!("{effects:?}") };
    assert_eq!(records.iter().map(|record| &record.key).collect::<Vec<_>>(), [&key("g", 1), &key("h", 1)]);
    assert!(records.iter().all(|record| record.value.is_none()));
    value.committed(*id);
    assert_eq!((seen(&value, "g", 1), seen(&value, "h", 1), seen(&value, "g", 2)), (None, None, Some(1)));
    assert!(value.step(Event::TopicsDeleted { ids: [topic(1).1].into() }, NOW).is_empty());
}

#[test]
fn what_has_expired_goes_and_what_is_committed_anew_meanwhile_stays() {
    let mut value = GroupOffsets::default();
    let first = persisted(&commit(&mut value, "g", vec![position(1, 5), position(2, 6), position(3, 7)]));
    value.committed(first);
    let all = |_: &TopicName, at| Some(at);
    assert_eq!(value.expired(&group("g"), TimestampMs(NOW.0 - 1), all), []);
    assert_eq!(value.expired(&group("h"), NOW, all), []);
    // A group that lives says of its topics that they are kept.
    let keys = value.expired(&group("g"), NOW, |name, at| (*name != topic(3).0).then_some(at));
    assert_eq!(keys, [key("g", 1), key("g", 2)]);
    let second = persisted(&commit(&mut value, "g", vec![position(2, 8)]));
    let effects = value.step(Event::Expired { keys: keys.clone() }, NOW);
    value.committed(second);
    value.committed(persisted(&effects));
    assert_eq!((seen(&value, "g", 1), seen(&value, "g", 2), seen(&value, "g", 3)), (None, Some(8), Some(7)));
    // Who wants it forgotten means also what is on its way.
    commit(&mut value, "g", vec![position(1, 9)]);
    let effects = value.step(Event::Forgotten { keys: keys.clone() }, NOW);
    value.committed(persisted(&effects));
    assert_eq!((seen(&value, "g", 1), seen(&value, "g", 2)), (None, None));
    assert!(value.step(Event::Forgotten { keys }, NOW).is_empty());
}

#[test]
fn offsets_of_an_earlier_topic_of_the_name_do_not_count() {
    let mut value = GroupOffsets::default();
    let id = persisted(&commit(&mut value, "g", vec![position(1, 5)]));
    value.committed(id);
    assert!(value.fetch(&key("g", 1), TopicId([99; 16])).is_none());
}

#[test]
fn a_group_lists_its_own_offsets_sorted() {
    let mut value = GroupOffsets::default();
    let dash = Commit { topic: TopicName::new("-").unwrap(), ..position(3, 1) };
    for (name, commits) in [
        ("g", vec![position(2, 2), dash, position(1, 1)]),
        ("f", vec![position(1, 3)]),
        ("ga", vec![position(1, 4)]),
    ] {
        let id = persisted(&commit(&mut value, name, commits));
        value.committed(id);
    }
    let listed: Vec<_> = value.of_group(&group("g")).map(|(key, _)| key.topic.as_str().to_owned()).collect();
    assert_eq!(listed, ["-", "t1", "t2"]);
    assert_eq!(value.of_group(&group("none")).count(), 0);
}

#[test]
fn a_malformed_record_stops_the_replay_and_a_stranger_does_not() {
    let mut value = GroupOffsets::default();
    assert_eq!(value.replay(None, None), Err(ReplayError::NoKey));
    assert!(value.replay(Some(&[0, 1, 0, 9]), None).is_err());
    assert_eq!(value.replay(Some(&[0, 2, 0, 1, b'g']), Some(&[1])), Ok(()));
    assert!(value.replay(Some(&key("g", 1).encode()), Some(&[0, 99])).is_err());
    assert_eq!(value, GroupOffsets::default());
}

proptest! {
    #[test]
    fn the_value_rebuilt_from_its_log_is_the_value(
        steps in prop::collection::vec((0_u8..3, 0_u8..4, 0_u64..100, prop::bool::weighted(0.2)), 0..50)
    ) {
        let mut value = GroupOffsets::default();
        let mut log = Vec::new();
        for (who, number, offset, delete) in steps {
            let effects = if delete {
                value.step(Event::TopicsDeleted { ids: [topic(number).1].into() }, NOW)
            } else {
                commit(&mut value, &format!("g{who}"), vec![position(number, offset)])
            };
            for effect in effects {
                if let Effect::Persist { id, records } = effect {
                    log.extend(records);
                    // Every third completes late, together with the next.
                    if offset % 3 != 0 {
                        value.committed(id);
                    }
                }
            }
        }
        value.committed(PersistId(u64::MAX));
        let mut rebuilt = GroupOffsets::default();
        for record in log {
            let bytes = record.value.map(|value| value.encode());
            rebuilt.replay(Some(&record.key.encode()), bytes.as_deref()).unwrap();
        }
        prop_assert_eq!(rebuilt.committed, value.committed);
        prop_assert!(value.pending.is_empty());
    }
}
