//! Every assignor over random groups: all assigned once, balance, determinism, and what may move.

use proptest::prelude::*;

use super::*;

fn member(number: usize) -> MemberId {
    MemberId::new(&format!("m{number:03}")).unwrap()
}

fn topic(number: u8) -> TopicId {
    TopicId([number; 16])
}

fn rack(number: u8) -> RackId {
    RackId::new(&format!("r{number}")).unwrap()
}

fn subscribers(count: usize, topics: &BTreeSet<TopicId>) -> BTreeMap<MemberId, MemberInput> {
    let input = MemberInput { topics: topics.clone(), ..MemberInput::default() };
    (0..count).map(|number| (member(number), input.clone())).collect()
}

/// A group whose members all subscribe to the same topics.
fn equal(members: usize, partitions: &[u32]) -> AssignInput {
    let topics: BTreeMap<_, _> =
        partitions.iter().zip(1..).map(|(&count, number)| (topic(number), TopicInput::of(count))).collect();
    let members = subscribers(members, &topics.keys().copied().collect());
    AssignInput { members, topics }
}

fn own(input: &mut AssignInput, target: &Target) {
    for (id, member) in &mut input.members {
        member.owned = target.get(id).cloned().unwrap_or_default();
    }
}

fn check_all_once(input: &AssignInput, target: &Target) {
    assert_eq!(input.members.keys().collect::<Vec<_>>(), target.keys().collect::<Vec<_>>());
    let mut seen = BTreeSet::new();
    for (id, owned) in target {
        for partition in owned {
            assert!(input.members[id].topics.contains(&partition.topic), "{id} does not subscribe");
            assert!(seen.insert(*partition), "{partition} twice");
        }
    }
    for (id, shape) in &input.topics {
        let wanted = input.members.values().any(|member| member.topics.contains(id));
        let assigned = seen.iter().filter(|partition| partition.topic == *id).count();
        assert_eq!(assigned, if wanted { shape.partitions.len() } else { 0 }, "{id}");
    }
    let existing = |p: &TopicPartition| input.topics[&p.topic].indexes().any(|index| index == p.partition);
    assert!(seen.iter().all(existing));
}

fn spread(target: &Target) -> usize {
    let loads = || target.values().map(BTreeSet::len);
    loads().max().unwrap_or(0) - loads().min().unwrap_or(0)
}

fn moved(before: &Target, after: &Target) -> usize {
    let stays = |id: &MemberId, p: &TopicPartition| after.get(id).is_some_and(|owned| owned.contains(p));
    before.iter().map(|(id, owned)| owned.iter().filter(|p| !stays(id, p)).count()).sum()
}

fn near(input: &AssignInput, target: &Target) -> usize {
    let is_near = |id: &MemberId, p: &TopicPartition| {
        let racks = &input.topics[&p.topic].partitions[usize::try_from(p.partition.0).unwrap()];
        input.members[id].rack.as_ref().is_some_and(|rack| racks.contains(rack))
    };
    target.iter().map(|(id, owned)| owned.iter().filter(|p| is_near(id, p)).count()).sum()
}

/// Any group: members with any subscriptions and any claims, some of them absurd.
fn any_input() -> impl Strategy<Value = AssignInput> {
    let racks = proptest::collection::btree_set((0..3_u8).prop_map(rack), 0..3);
    let shape = proptest::collection::vec(racks, 0..12).prop_map(|partitions| TopicInput { partitions });
    let topics = proptest::collection::btree_map((1..6_u8).prop_map(topic), shape, 0..5);
    let claim = (1..7_u8, 0..14_u32).prop_map(|(number, index)| TopicPartition {
        topic: topic(number),
        partition: PartitionIndex(index),
    });
    let member_input = (
        proptest::collection::btree_set((1..7_u8).prop_map(topic), 0..5),
        proptest::option::of((0..3_u8).prop_map(rack)),
        proptest::option::of((0..100_u8).prop_map(|n| InstanceId::new(&format!("i{n}")).unwrap())),
        proptest::collection::btree_set(claim, 0..20),
    )
        .prop_map(|(topics, rack, instance, owned)| MemberInput { topics, rack, instance, owned });
    let members = proptest::collection::btree_map((0..20_usize).prop_map(member), member_input, 0..8);
    (members, topics).prop_map(|(members, topics)| AssignInput { members, topics })
}

fn equal_input() -> impl Strategy<Value = AssignInput> {
    (1..9_usize, proptest::collection::vec(0..15_u32, 1..5))
        .prop_map(|(members, sizes)| equal(members, &sizes))
}

proptest! {
    #[test]
    fn every_partition_goes_to_one_subscriber(input in any_input()) {
        for assignor in Assignor::ALL {
            check_all_once(&input, &assign(assignor, &input));
        }
    }

    #[test]
    fn a_second_run_over_the_result_changes_nothing(mut input in any_input()) {
        for assignor in Assignor::ALL {
            let target = assign(assignor, &input);
            own(&mut input, &target);
            prop_assert_eq!(assign(assignor, &input), target, "{}", assignor.name());
        }
    }

    #[test]
    fn equal_subscriptions_are_balanced_within_one(mut input in equal_input(), claims in any_input()) {
        for (member, claims) in input.members.values_mut().zip(claims.members.into_values()) {
            member.owned = claims.owned;
            member.rack = claims.rack;
        }
        for assignor in [Assignor::Uniform, Assignor::Sticky, Assignor::Rack] {
            prop_assert!(spread(&assign(assignor, &input)) <= 1, "{}", assignor.name());
        }
    }

    #[test]
    fn no_single_move_makes_unequal_subscriptions_more_even(input in any_input()) {
        for assignor in [Assignor::Uniform, Assignor::Sticky, Assignor::Rack] {
            let target = assign(assignor, &input);
            for owned in target.values() {
                for partition in owned {
                    for (id, other) in &target {
                        let could = input.members[id].topics.contains(&partition.topic);
                        prop_assert!(!could || other.len() + 2 > owned.len(), "{}", assignor.name());
                    }
                }
            }
        }
    }

    #[test]
    fn who_leaves_moves_only_what_was_its_own(mut input in equal_input(), leaver in 0..9_usize) {
        for assignor in [Assignor::Sticky, Assignor::Rack] {
            let before = assign(assignor, &input);
            own(&mut input, &before);
            let leaver = member(leaver);
            input.members.remove(&leaver);
            let after = assign(assignor, &input);
            check_all_once(&input, &after);
            prop_assert_eq!(moved(&before, &after), before.get(&leaver).map_or(0, BTreeSet::len));
        }
    }

    #[test]
    fn who_joins_takes_only_what_balance_demands(mut input in equal_input()) {
        let before = assign(Assignor::Sticky, &input);
        own(&mut input, &before);
        let members = input.members.len();
        let some = input.members.values().next().cloned().unwrap_or_default();
        input.members.insert(member(500), MemberInput { owned: BTreeSet::new(), ..some });
        let after = assign(Assignor::Sticky, &input);
        let partitions: usize = before.values().map(BTreeSet::len).sum();
        // The new one ends with the smaller share, and it gets nothing that does not come from somebody.
        prop_assert_eq!(moved(&before, &after), partitions / (members + 1));
        prop_assert_eq!(after[&member(500)].len(), partitions / (members + 1));
    }

    #[test]
    fn sticky_moves_as_little_as_balance_allows(mut input in equal_input(), claims in any_input()) {
        for (member, claims) in input.members.values_mut().zip(claims.members.into_values()) {
            member.owned = claims.owned;
        }
        // What is really held: claims that exist, the first of two who claim the same.
        let mut taken = BTreeSet::new();
        let topics = &input.topics;
        for member in input.members.values_mut() {
            member.owned.retain(|p| {
                let exists = topics.get(&p.topic).is_some_and(|shape| shape.indexes().any(|i| i == p.partition));
                exists && taken.insert(*p)
            });
        }
        let before: Target = input.members.iter().map(|(id, m)| (id.clone(), m.owned.clone())).collect();
        let after = assign(Assignor::Sticky, &input);
        let partitions: usize = after.values().map(BTreeSet::len).sum();
        let (floor, extra) = (partitions / before.len(), partitions % before.len());
        // The best that can be kept: so many of the fullest keep one more than the others.
        let mut loads: Vec<usize> = before.values().map(BTreeSet::len).collect();
        loads.sort_by_key(|load| std::cmp::Reverse(*load));
        let kept = |(place, load): (usize, &usize)| (*load).min(floor + usize::from(place < extra));
        let best: usize = loads.iter().enumerate().map(kept).sum();
        prop_assert_eq!(taken.len() - moved(&before, &after), best);
    }

    #[test]
    fn racks_are_served_at_least_as_well_as_by_sticky(input in any_input()) {
        let (rack, sticky) = (assign(Assignor::Rack, &input), assign(Assignor::Sticky, &input));
        prop_assert!(near(&input, &rack) >= near(&input, &sticky));
    }

    #[test]
    fn a_new_life_of_a_static_member_takes_its_place(sizes in proptest::collection::vec(0..15_u32, 1..4)) {
        let mut input = equal(4, &sizes);
        for (number, member) in input.members.values_mut().enumerate() {
            member.instance = Some(InstanceId::new(&format!("i{number}")).unwrap());
        }
        for assignor in [Assignor::Range, Assignor::Uniform] {
            let before = assign(assignor, &input);
            let mut next = input.clone();
            let life = next.members.remove(&member(1)).unwrap();
            next.members.insert(member(900), life);
            let after = assign(assignor, &next);
            prop_assert_eq!(&before[&member(1)], &after[&member(900)]);
        }
    }
}

#[test]
fn range_gives_the_same_places_of_topics_of_one_size_to_the_same_member() {
    let target = assign(Assignor::Range, &equal(3, &[7, 7]));
    for owned in target.values() {
        let places = |number| {
            owned.iter().filter(move |p| p.topic == topic(number)).map(|p| p.partition).collect::<Vec<_>>()
        };
        assert_eq!(places(1), places(2));
        assert!(places(1).windows(2).all(|pair| pair[0].0 + 1 == pair[1].0));
    }
    assert_eq!(target[&member(0)].len(), 6);
}

#[test]
fn with_room_in_every_rack_all_partitions_are_near() {
    let mut input = equal(6, &[12]);
    for (number, member) in (0_u8..).zip(input.members.values_mut()) {
        member.rack = Some(rack(number / 2));
    }
    for shape in input.topics.values_mut() {
        for (number, racks) in (0_u8..).zip(&mut shape.partitions) {
            racks.insert(rack(number % 3));
        }
    }
    let target = assign(Assignor::Rack, &input);
    check_all_once(&input, &target);
    assert_eq!((spread(&target), near(&input, &target)), (0, 12));
}

#[test]
fn a_thousand_members_lose_one_and_one_partition_moves() {
    let mut input = equal(1000, &[1000]);
    let before = assign(Assignor::Sticky, &input);
    own(&mut input, &before);
    input.members.remove(&member(500));
    let after = assign(Assignor::Sticky, &input);
    check_all_once(&input, &after);
    assert_eq!(moved(&before, &after), 1);
}

#[test]
fn names_read_back() {
    for assignor in Assignor::ALL {
        assert_eq!(Assignor::from_name(assignor.name()), Some(assignor));
    }
    assert_eq!(Assignor::from_name("cooperative-sticky"), None);
}
