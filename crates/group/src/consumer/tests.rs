//! One behaviour per test: joining, moving, fencing, static members, deadlines, topics, the end.

use millrace_types::{PartitionIndex, TimestampMs, TopicId, TopicName};

use super::*;
use crate::assign::TopicInput;
use crate::fence::Stranger;
use crate::ids::Pattern;
use crate::topics::{Subscription, TopicView};

pub(super) fn at(ms: u64) -> Now {
    Now { moment: Moment(ms), wall: TimestampMs(1_000_000 + i64::try_from(ms).unwrap()) }
}

pub(super) fn id(text: &str) -> MemberId {
    MemberId::new(text).unwrap()
}

pub(super) fn name(text: &str) -> TopicName {
    TopicName::new(text).unwrap()
}

pub(super) fn topics(sizes: &[(&str, u8, u32)]) -> Arc<Topics> {
    let view = |&(text, number, partitions): &(&str, u8, u32)| {
        (name(text), TopicView { id: TopicId([number; 16]), shape: TopicInput::of(partitions) })
    };
    Arc::new(Topics { by_name: sizes.iter().map(view).collect(), matches: BTreeMap::new() })
}

pub(super) fn profile(names: &[&str]) -> Profile {
    let names = names.iter().map(|text| name(text)).collect();
    let subscription = Subscription { names, pattern: None };
    Profile { subscription, rebalance_timeout_ms: 30_000, ..Profile::default() }
}

pub(super) fn fixed(names: &[&str], instance: &str) -> Profile {
    Profile { instance: Some(InstanceId::new(instance).unwrap()), ..profile(names) }
}

fn group(partitions: u32) -> ConsumerGroup {
    ConsumerGroup::new(GroupConfig::default(), topics(&[("t", 1, partitions)]))
}

fn parts(indexes: &[u32]) -> BTreeSet<TopicPartition> {
    let of = |index: &u32| TopicPartition { topic: TopicId([1; 16]), partition: PartitionIndex(*index) };
    indexes.iter().map(of).collect()
}

fn reply(effects: &[Effect]) -> Result<Answer, Refusal> {
    let found = effects.iter().find_map(|effect| match effect {
        Effect::Reply(reply) => Some(reply.clone()),
        _ => None,
    });
    found.unwrap()
}

fn assignment(effects: &[Effect]) -> Assignment {
    match reply(effects) {
        Ok(Answer::Assignment(assignment)) => assignment,
        other => panic!("{other:?}"),
    }
}

fn persists(effects: &[Effect]) -> bool {
    matches!(effects.first(), Some(Effect::Persist(_)))
}

fn due(effects: &[Effect]) -> Vec<&str> {
    effects
        .iter()
        .filter_map(|e| if let Effect::Due(member) = e { Some(member.as_str()) } else { None })
        .collect()
}

fn join(group: &mut ConsumerGroup, member: &str, profile: Profile, ms: u64) -> Assignment {
    assignment(&group.step(Event::Join(Join { member: id(member), profile }), at(ms)))
}

fn beat(member: &str, epoch: i32, owned: Option<&[u32]>) -> Event {
    Event::Heartbeat(Heartbeat {
        member: id(member),
        instance: None,
        epoch: GroupEpoch(epoch),
        heard: None,
        owned: owned.map(parts),
        profile: None,
    })
}

fn leave(member: &str, instance: Option<&str>, leaving: Leaving) -> Event {
    let instance = instance.map(|text| InstanceId::new(text).unwrap());
    Event::Leave { member: id(member), instance, epoch: None, leaving }
}

fn committer(member: &str, instance: Option<&str>, epoch: i32) -> Committer {
    let instance = instance.map(|text| InstanceId::new(text).unwrap());
    Committer { member: Some(id(member)), instance, epoch: Some(GroupEpoch(epoch)) }
}

/// `a` owns 0 to 3, `b` has just joined, `a` does not know yet.
fn one_and_a_newcomer() -> ConsumerGroup {
    let mut group = group(4);
    assert_eq!(join(&mut group, "a", profile(&["t"]), 0).assigned, parts(&[0, 1, 2, 3]));
    let b = join(&mut group, "b", profile(&["t"]), 0);
    assert_eq!((b.epoch, b.assigned.len(), b.waiting), (GroupEpoch(2), 0, 2));
    group
}

#[test]
fn a_partition_goes_over_only_when_its_owner_has_let_go() {
    let mut group = one_and_a_newcomer();
    // Told to let go: the epoch stays, so that it can still commit what it has done.
    let a = assignment(&group.step(beat("a", 1, Some(&[0, 1, 2, 3])), at(1)));
    assert_eq!((a.epoch, a.assigned.clone()), (GroupEpoch(1), parts(&[0, 1])));
    assert_eq!(group.check_commit(&committer("a", None, 1)), Ok(()));
    let b = assignment(&group.step(beat("b", 2, Some(&[])), at(1)));
    assert_eq!((b.assigned.len(), b.waiting), (0, 2));
    // It has let go: the epoch rises, the commit of before is refused, the other one is due.
    let effects = group.step(beat("a", 1, Some(&[0, 1])), at(2));
    assert_eq!(assignment(&effects).epoch, GroupEpoch(2));
    assert_eq!(due(&effects), ["b"]);
    let stale = CommitRefused::StaleEpoch { given: Some(GroupEpoch(1)), current: GroupEpoch(2) };
    assert_eq!(group.check_commit(&committer("a", None, 1)), Err(stale));
    let b = assignment(&group.step(Event::Poll { member: id("b") }, at(2)));
    assert_eq!((b.epoch, b.assigned, b.waiting), (GroupEpoch(2), parts(&[2, 3]), 0));
    assert!(group.is_settled());
}

#[test]
fn a_heartbeat_that_changes_nothing_writes_nothing() {
    let mut group = group(2);
    join(&mut group, "a", profile(&["t"]), 0);
    let effects = group.step(beat("a", 1, None), at(100));
    assert!(!persists(&effects) && effects.len() == 1);
    assert_eq!(group.next_deadline(), Some(Moment(10_100)));
}

#[test]
fn neither_silence_nor_half_of_it_acknowledges_a_revocation() {
    let mut group = one_and_a_newcomer();
    group.step(beat("a", 1, Some(&[0, 1, 2, 3])), at(1));
    for event in [beat("a", 1, None), beat("a", 1, Some(&[0, 1, 2])), Event::Poll { member: id("a") }] {
        let a = assignment(&group.step(event, at(2)));
        assert_eq!(a.epoch, GroupEpoch(1));
    }
    assert_eq!(assignment(&group.step(Event::Poll { member: id("b") }, at(3))).waiting, 2);
}

#[test]
fn who_never_lets_go_is_put_out_after_its_rebalance_timeout() {
    let mut group = one_and_a_newcomer();
    for ms in (0..30_000).step_by(5_000) {
        assert!(assignment(&group.step(beat("a", 1, Some(&[0, 1, 2, 3])), at(ms))).epoch == GroupEpoch(1));
        group.step(beat("b", 2, None), at(ms));
    }
    assert_eq!(group.next_deadline(), Some(Moment(30_000)));
    let effects = group.step(Event::Deadline, at(30_000));
    let lost = Effect::Lost { member: id("a"), because: LostBecause::RevocationTimedOut };
    assert!(persists(&effects) && effects.contains(&lost));
    assert_eq!(due(&effects), ["b"]);
    let b = assignment(&group.step(Event::Poll { member: id("b") }, at(30_001)));
    assert_eq!((b.epoch, b.assigned), (GroupEpoch(3), parts(&[0, 1, 2, 3])));
    let unknown = Stranger::Unknown { member: id("a") };
    assert_eq!(reply(&group.step(beat("a", 1, None), at(30_002))), Err(unknown.clone().into()));
    assert_eq!(group.check_commit(&committer("a", None, 1)), Err(unknown.into()));
}

#[test]
fn silence_ends_a_membership_and_a_broken_connection_sooner() {
    let mut group = group(2);
    join(&mut group, "a", profile(&["t"]), 0);
    group.step(Event::Disconnected { member: id("a") }, at(1_000));
    assert_eq!(group.next_deadline(), Some(Moment(6_000)));
    // It is back in time.
    group.step(beat("a", 1, None), at(5_000));
    assert_eq!(group.next_deadline(), Some(Moment(15_000)));
    assert_eq!(group.step(Event::Deadline, at(14_999)), []);
    let effects = group.step(Event::Deadline, at(15_000));
    assert!(effects.contains(&Effect::Lost { member: id("a"), because: LostBecause::SessionExpired }));
    assert_eq!(group.next_deadline(), None);
}

#[test]
fn a_join_that_is_repeated_before_it_was_heard_is_the_same_join() {
    let mut group = group(2);
    let first = join(&mut group, "a", profile(&["t"]), 0);
    let again = group.step(Event::Join(Join { member: id("a"), profile: profile(&["t"]) }), at(1));
    assert_eq!(assignment(&again), first);
    assert!(!persists(&again));
}

#[test]
fn a_member_that_begins_anew_has_a_new_epoch_and_its_old_place() {
    let mut group = one_and_a_newcomer();
    group.step(beat("a", 1, Some(&[0, 1, 2, 3])), at(1));
    group.step(beat("a", 1, Some(&[0, 1])), at(2));
    let again = join(&mut group, "a", profile(&["t"]), 3);
    assert_eq!((again.epoch, again.assigned), (GroupEpoch(3), parts(&[0, 1])));
    assert!(group.check_commit(&committer("a", None, 2)).is_err());
}

#[test]
fn an_answer_that_was_lost_is_given_again_to_who_owns_no_more_than_it_may() {
    let mut group = one_and_a_newcomer();
    group.step(beat("a", 1, Some(&[0, 1, 2, 3])), at(1));
    group.step(beat("a", 1, Some(&[0, 1])), at(2));
    // `a` never heard of epoch 2.
    assert_eq!(assignment(&group.step(beat("a", 1, Some(&[0, 1])), at(3))).epoch, GroupEpoch(2));
    let fenced = Refusal::FencedEpoch { given: GroupEpoch(1), current: GroupEpoch(2) };
    assert_eq!(reply(&group.step(beat("a", 1, Some(&[0, 1, 2])), at(3))), Err(fenced.clone()));
    assert_eq!(reply(&group.step(beat("a", 1, None), at(3))), Err(fenced));
    let ahead = Refusal::FencedEpoch { given: GroupEpoch(9), current: GroupEpoch(2) };
    assert_eq!(reply(&group.step(beat("a", 9, Some(&[])), at(3))), Err(ahead));
}

#[test]
fn a_static_member_that_restarts_takes_its_place_without_a_new_epoch() {
    let mut group = group(4);
    join(&mut group, "a", fixed(&["t"], "one"), 0);
    let b = join(&mut group, "b", fixed(&["t"], "two"), 0);
    group.step(beat("a", 1, Some(&[0, 1, 2, 3])), at(1));
    group.step(beat("a", 1, Some(&[0, 1])), at(1));
    // Killed without a word; the next life has another id.
    let effects = group.step(Event::Join(Join { member: id("c"), profile: fixed(&["t"], "one") }), at(2));
    let c = assignment(&effects);
    assert_eq!((c.epoch, c.assigned), (b.epoch, parts(&[0, 1])));
    assert!(effects.contains(&Effect::Lost { member: id("a"), because: LostBecause::Replaced }));
    // The old life is fenced, whether it says its instance or not.
    let one = InstanceId::new("one").unwrap();
    let fenced = CommitRefused::Stranger(Stranger::FencedInstance { instance: one });
    assert_eq!(group.check_commit(&committer("a", Some("one"), 2)), Err(fenced));
    assert!(matches!(
        group.check_commit(&committer("a", None, 2)),
        Err(CommitRefused::Stranger(Stranger::Unknown { .. }))
    ));
    assert_eq!(group.check_commit(&committer("c", Some("one"), 2)), Ok(()));
    assert!(group.check_commit(&committer("c", Some("two"), 2)).is_err());
}

#[test]
fn a_static_member_that_leaves_for_now_keeps_its_place_until_its_session_ends() {
    let mut group = group(2);
    join(&mut group, "a", fixed(&["t"], "one"), 0);
    assert_eq!(reply(&group.step(leave("a", Some("one"), Leaving::ForNow), at(1))), Ok(Answer::Done));
    assert!(group.check_commit(&committer("a", Some("one"), 1)).is_err());
    assert!(reply(&group.step(beat("a", 1, None), at(2))).is_err());
    assert!(reply(&group.step(Event::Poll { member: id("a") }, at(2))).is_err());
    let back = join(&mut group, "b", fixed(&["t"], "one"), 3);
    assert_eq!((back.epoch, back.assigned), (GroupEpoch(1), parts(&[0, 1])));
    group.step(leave("b", Some("one"), Leaving::ForNow), at(4));
    let effects = group.step(Event::Deadline, at(10_004));
    assert!(effects.contains(&Effect::Lost { member: id("b"), because: LostBecause::SessionExpired }));
    let dynamic = join(&mut group, "d", profile(&["t"]), 10_005);
    assert_eq!(dynamic.assigned.len(), 2);
    assert_eq!(reply(&group.step(leave("d", None, Leaving::ForNow), at(10_006))), Err(Refusal::NotStatic));
}

#[test]
fn topics_that_come_grow_and_go_move_what_they_must() {
    let mut group = group(2);
    let pattern = Pattern::new("t.*").unwrap();
    let mut wants = profile(&["t"]);
    wants.subscription.pattern = Some(pattern.clone());
    join(&mut group, "a", wants, 0);
    assert_eq!(group.step(Event::Topics(topics(&[("t", 1, 2), ("other", 9, 1)])), at(1)), []);
    let mut more = Topics::clone(&topics(&[("t", 1, 3), ("t2", 2, 1), ("other", 9, 1)]));
    more.matches.insert(pattern, [name("t"), name("t2")].into());
    let effects = group.step(Event::Topics(Arc::new(more)), at(2));
    assert_eq!(due(&effects), ["a"]);
    assert_eq!(assignment(&group.step(beat("a", 1, None), at(3))).assigned.len(), 4);
    assert_eq!(group.expires_from(&name("t2"), TimestampMs(5)), None);
    assert_eq!(group.expires_from(&name("other"), TimestampMs(5)), Some(TimestampMs(5)));
    group.step(Event::Topics(topics(&[])), at(4));
    let a = assignment(&group.step(beat("a", 2, None), at(5)));
    assert!(a.assigned.is_empty());
}

#[test]
fn only_an_empty_group_takes_commits_of_nobody_and_is_deleted() {
    let mut group = group(2);
    let nobody = Committer::default();
    assert_eq!(group.check_commit(&nobody), Ok(()));
    join(&mut group, "a", profile(&["t"]), 0);
    assert_eq!(group.check_commit(&nobody), Err(CommitRefused::NotAMember));
    assert_eq!(reply(&group.step(Event::Delete, at(1))), Err(Refusal::NotEmpty { members: 1 }));
    group.step(leave("a", None, Leaving::ForGood), at(2));
    assert_eq!(group.expires_from(&name("t"), TimestampMs(5)), Some(at(2).wall));
    assert_eq!(reply(&group.step(Event::Delete, at(3))), Ok(Answer::Done));
    assert!(group.state().is_forgotten());
}

#[test]
fn what_is_too_much_is_refused() {
    let config = GroupConfig { members_max: 1, ..GroupConfig::default() };
    let mut group = ConsumerGroup::new(config, topics(&[]));
    join(&mut group, "a", profile(&["t"]), 0);
    let join = |profile| Event::Join(Join { member: id("b"), profile });
    assert_eq!(reply(&group.step(join(profile(&[])), at(1))), Err(Refusal::Full { max: 1 }));
    let names = (0..1001).map(|number| name(&format!("t{number}"))).collect();
    let subscription = Subscription { names, pattern: None };
    let greedy = Profile { subscription, ..profile(&[]) };
    assert_eq!(reply(&group.step(join(greedy), at(1))), Err(Refusal::TooManyNames { names: 1001 }));
    let all: Vec<u32> = (0..10_001).collect();
    let claims = reply(&group.step(beat("a", 1, Some(&all)), at(1)));
    assert_eq!(claims, Err(Refusal::TooManyOwned { partitions: 10_001 }));
    let patient = Profile { rebalance_timeout_ms: u64::MAX, ..profile(&[]) };
    assert!(matches!(reply(&group.step(join(patient), at(1))), Err(Refusal::RebalanceTimeout { .. })));
}

#[test]
fn a_list_that_was_sent_before_the_revocation_was_heard_acknowledges_nothing() {
    let mut group = one_and_a_newcomer();
    let with = |heard, owned: &[u32]| match beat("a", 1, Some(owned)) {
        Event::Heartbeat(heartbeat) => Event::Heartbeat(Heartbeat { heard: Some(heard), ..heartbeat }),
        other => other,
    };
    // It has not taken up anything yet, says so, and is told to let go while that is on its way again.
    let first = group.state().currents[&id("a")].revision;
    let told = assignment(&group.step(with(first, &[]), at(1)));
    assert_eq!((told.epoch, told.assigned), (GroupEpoch(1), parts(&[0, 1])));
    assert_eq!(assignment(&group.step(with(first, &[]), at(2))).epoch, GroupEpoch(1));
    assert_eq!(assignment(&group.step(with(told.revision, &[0, 1]), at(3))).epoch, GroupEpoch(2));
}

/// Lets every member heartbeat, owning what it was told, until nothing moves any more; how many rounds that took.
fn settle(group: &mut ConsumerGroup, told: &mut BTreeMap<MemberId, Assignment>) -> usize {
    for round in 0..10 {
        if group.is_settled() {
            return round;
        }
        for (member, told) in &mut *told {
            let heartbeat = Heartbeat {
                member: member.clone(),
                instance: None,
                epoch: told.epoch,
                heard: Some(told.revision),
                owned: Some(told.assigned.clone()),
                profile: None,
            };
            *told = assignment(&group.step(Event::Heartbeat(heartbeat), at(1)));
        }
    }
    panic!("the group does not settle");
}

#[test]
fn of_a_thousand_members_one_leaves_and_only_its_partition_moves() {
    let config = GroupConfig { session_timeout_ms: 1_000_000, ..GroupConfig::default() };
    let mut group = ConsumerGroup::new(config, topics(&[("t", 1, 1000)]));
    let mut told = BTreeMap::new();
    for number in 0..1000 {
        let member = format!("m{number:04}");
        told.insert(id(&member), join(&mut group, &member, profile(&["t"]), 0));
    }
    assert!(settle(&mut group, &mut told) <= 3);
    let before = told.clone();
    let effects = group.step(leave("m0500", None, Leaving::ForGood), at(2));
    assert_eq!(due(&effects).len(), 1);
    let Some(Effect::Persist(records)) = effects.first() else { panic!() };
    // The group, the three records of the leaver, and the target of who takes over.
    assert_eq!(records.len(), 5);
    told.remove(&id("m0500"));
    assert!(settle(&mut group, &mut told) <= 1);
    let moved = told.iter().filter(|(member, told)| before[*member].assigned != told.assigned).count();
    assert_eq!(moved, 1);
}

#[test]
fn a_coordinator_that_takes_over_counts_sessions_anew_and_sees_what_the_topics_did() {
    let mut group = one_and_a_newcomer();
    group.step(beat("a", 1, Some(&[0, 1, 2, 3])), at(1));
    let now = at(50_000);
    let topics = Arc::clone(&group.topics);
    let (next, effects) = ConsumerGroup::restore(group.config, topics, group.state().clone(), now);
    assert_eq!(effects, []);
    assert_eq!(next.state(), group.state());
    assert_eq!((&next.owners, &next.targeted), (&group.owners, &group.targeted));
    assert_eq!(next.next_deadline(), Some(Moment(60_000)));
    // `a` was letting go; that still takes no longer than it may.
    assert_eq!(next.live[&id("a")].revoke_until, Some(Moment(80_000)));
    let grown = super::tests::topics(&[("t", 1, 6)]);
    let (next, effects) = ConsumerGroup::restore(group.config, grown, group.state().clone(), now);
    assert!(persists(&effects));
    assert_eq!(next.state().meta.epoch, GroupEpoch(3));
}
