//! Generations of a classic group: who waits for whom, who leads, who is fenced; and random histories.

use millrace_types::TimestampMs;
use proptest::prelude::*;

use super::*;
use crate::state::GroupState;

fn at(ms: u64) -> Now {
    Now { moment: Moment(ms), wall: TimestampMs(1_000_000 + i64::try_from(ms).unwrap()) }
}

fn id(text: &str) -> MemberId {
    MemberId::new(text).unwrap()
}

fn instance(text: &str) -> InstanceId {
    InstanceId::new(text).unwrap()
}

fn profile(protocols: &[&str]) -> ClassicMember {
    let protocol = |name: &&str| ClassicProtocol {
        name: (*name).to_owned(),
        metadata: Bytes::from(format!("wants {name}")),
    };
    ClassicMember {
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 30_000,
        protocols: protocols.iter().map(protocol).collect(),
        ..ClassicMember::default()
    }
}

fn fixed(name: &str) -> ClassicMember {
    ClassicMember { instance: Some(instance(name)), ..profile(&["range"]) }
}

fn group() -> ClassicGroup {
    let config = ClassicConfig { initial_delay_ms: 0, ..ClassicConfig::default() };
    ClassicGroup::restore(config, ClassicState::default(), at(0))
}

fn join(request: u64, member: &str, came: Came, profile: ClassicMember) -> ClassicEvent {
    let protocol_type = "consumer".to_owned();
    ClassicEvent::Join(RequestId(request), ClassicJoin { member: id(member), came, profile, protocol_type })
}

fn who(member: &str, generation: i32) -> Committer {
    Committer { member: Some(id(member)), instance: None, epoch: Some(GroupEpoch(generation)) }
}

fn sync(request: u64, member: &str, generation: i32, assignments: &[(&str, &str)]) -> ClassicEvent {
    let share = |(member, text): &(&str, &str)| (id(member), Bytes::from((*text).to_owned()));
    let assignments = assignments.iter().map(share).collect();
    ClassicEvent::Sync(
        RequestId(request),
        ClassicSync { who: who(member, generation), protocol_type: None, protocol: None, assignments },
    )
}

fn beat(member: &str, generation: i32) -> ClassicEvent {
    ClassicEvent::Heartbeat(RequestId(99), who(member, generation))
}

type Answered = (u64, Result<ClassicAnswer, ClassicRefusal>);

fn answers(effects: Vec<ClassicEffect>) -> Vec<Answered> {
    let answer = |effect| match effect {
        ClassicEffect::Reply(request, answer) => Some((request.0, answer)),
        ClassicEffect::Persist(_) => None,
    };
    effects.into_iter().filter_map(answer).collect()
}

fn only(effects: Vec<ClassicEffect>) -> Result<ClassicAnswer, ClassicRefusal> {
    let mut answers = answers(effects);
    assert_eq!(answers.len(), 1, "{answers:?}");
    answers.remove(0).1
}

fn generation(answer: &Result<ClassicAnswer, ClassicRefusal>) -> (i32, &str, bool) {
    match answer {
        Ok(ClassicAnswer::Joined { generation, protocol, role, .. }) => {
            (generation.0, protocol, matches!(role, Role::Leader(_)))
        }
        other => panic!("{other:?}"),
    }
}

fn share(answer: &Result<ClassicAnswer, ClassicRefusal>) -> &[u8] {
    match answer {
        Ok(ClassicAnswer::Synced { assignment, .. }) => assignment,
        other => panic!("{other:?}"),
    }
}

/// `a` leads generation 2, `b` follows; both have their assignments.
fn two() -> ClassicGroup {
    let mut group = group();
    let first = only(group.step(join(1, "a", Came::Fresh, profile(&["range", "sticky"])), at(0)));
    assert_eq!(generation(&first), (1, "range", true));
    assert_eq!(share(&only(group.step(sync(2, "a", 1, &[("a", "all")]), at(0)))), b"all");
    assert_eq!(group.step(join(3, "b", Came::Fresh, profile(&["sticky", "range"])), at(1)), []);
    assert_eq!(only(group.step(beat("a", 1), at(1))), Err(ClassicRefusal::Rebalancing));
    let effects = group.step(join(4, "a", Came::WithId, profile(&["range", "sticky"])), at(2));
    assert!(matches!(effects[0], ClassicEffect::Persist(_)));
    let formed = answers(effects);
    assert_eq!(formed.len(), 2);
    assert_eq!(generation(&formed[0].1), (2, "range", true));
    assert_eq!(generation(&formed[1].1), (2, "range", false));
    assert_eq!(group.step(sync(5, "b", 2, &[("a", "stolen"), ("b", "stolen")]), at(3)), []);
    let effects = group.step(sync(6, "a", 2, &[("a", "half"), ("b", "rest"), ("x", "?")]), at(3));
    assert!(matches!(effects[0], ClassicEffect::Persist(_)));
    let told = answers(effects);
    assert_eq!(told.iter().map(|(request, _)| *request).collect::<Vec<_>>(), [6, 5]);
    assert_eq!((share(&told[0].1), share(&told[1].1)), (&b"half"[..], &b"rest"[..]));
    group
}

#[test]
fn a_generation_is_written_before_it_is_told_and_only_its_leader_assigns() {
    let group = two();
    assert_eq!(group.check_commit(&who("a", 2)), Ok(()));
    let stale = CommitRefused::StaleEpoch { given: Some(GroupEpoch(1)), current: GroupEpoch(2) };
    assert_eq!(group.check_commit(&who("a", 1)), Err(stale));
    assert!(group.check_commit(&who("c", 2)).is_err());
    assert_eq!(group.check_commit(&Committer::default()), Err(CommitRefused::NotAMember));
}

#[test]
fn while_the_next_generation_forms_the_members_of_this_one_commit_and_the_newcomer_does_not() {
    let mut group = two();
    group.step(join(7, "c", Came::Fresh, profile(&["range"])), at(4));
    assert_eq!(group.check_commit(&who("a", 2)), Ok(()));
    assert!(group.check_commit(&who("c", 2)).is_err());
    group.step(join(8, "a", Came::WithId, profile(&["range", "sticky"])), at(5));
    let formed = answers(group.step(join(9, "b", Came::WithId, profile(&["sticky", "range"])), at(5)));
    assert_eq!(formed.len(), 3);
    assert_eq!(group.check_commit(&who("a", 3)), Err(CommitRefused::Rebalancing));
    assert!(matches!(group.check_commit(&who("a", 2)), Err(CommitRefused::StaleEpoch { .. })));
}

#[test]
fn who_does_not_join_again_in_time_is_out() {
    let mut group = two();
    group.step(join(7, "c", Came::Fresh, profile(&["range"])), at(4));
    group.step(join(8, "a", Came::WithId, profile(&["range"])), at(4));
    // `b` beats, so that its session lives, but never joins.
    for ms in [8_000, 16_000, 24_000, 30_000] {
        assert_eq!(only(group.step(beat("b", 2), at(ms))), Err(ClassicRefusal::Rebalancing));
        assert_eq!(group.step(ClassicEvent::Deadline, at(ms)), []);
    }
    let deadline = group.next_deadline().unwrap();
    assert_eq!(deadline, Moment(30_004));
    assert_eq!(answers(group.step(ClassicEvent::Deadline, at(deadline.0))).len(), 2);
    assert!(matches!(only(group.step(beat("b", 2), at(30_005))), Err(ClassicRefusal::Stranger(_))));
}

#[test]
fn an_id_that_was_given_must_come_back_with_it() {
    let mut group = group();
    let refused = only(group.step(join(1, "a", Came::FreshAndReturns, profile(&["range"])), at(0)));
    assert_eq!(refused, Err(ClassicRefusal::MemberIdRequired { member: id("a") }));
    assert!(matches!(
        only(group.step(join(2, "z", Came::WithId, profile(&["range"])), at(0))),
        Err(ClassicRefusal::Stranger(Stranger::Unknown { .. }))
    ));
    assert_eq!(generation(&only(group.step(join(3, "a", Came::WithId, profile(&["range"])), at(1)))).0, 1);
    group.step(join(4, "b", Came::FreshAndReturns, profile(&["range"])), at(2));
    group.step(ClassicEvent::Deadline, at(10_002));
    assert!(only(group.step(join(5, "b", Came::WithId, profile(&["range"])), at(10_003))).is_err());
}

#[test]
fn a_static_member_that_restarts_stays_in_the_generation_and_its_old_life_is_fenced() {
    let mut group = group();
    group.step(join(1, "a", Came::Fresh, fixed("one")), at(0));
    group.step(sync(2, "a", 1, &[("a", "all")]), at(0));
    let effects = group.step(join(3, "b", Came::Fresh, fixed("one")), at(1));
    assert!(matches!(effects[0], ClassicEffect::Persist(_)));
    let Ok(ClassicAnswer::Joined { generation, leader, role, .. }) = only(effects) else { panic!() };
    assert_eq!((generation, leader), (GroupEpoch(1), id("b")));
    assert!(matches!(role, Role::ReturnedLeader(members) if members.len() == 1));
    assert_eq!(share(&only(group.step(sync(4, "b", 1, &[]), at(1)))), b"all");
    assert_eq!(group.check_commit(&who("b", 1)), Ok(()));
    assert!(group.check_commit(&who("a", 1)).is_err());
    let named = Committer { instance: Some(instance("one")), ..who("a", 1) };
    let fenced = Stranger::FencedInstance { instance: instance("one") };
    assert_eq!(group.check_commit(&named), Err(fenced.clone().into()));
    assert_eq!(only(group.step(join(5, "a", Came::WithId, fixed("one")), at(2))), Err(fenced.into()));
}

#[test]
fn who_hangs_up_while_it_waits_is_waited_for_as_long_as_it_can_come_back() {
    let mut group = two();
    group.step(join(7, "c", Came::Fresh, profile(&["range"])), at(4));
    group.step(join(8, "a", Came::WithId, profile(&["range", "sticky"])), at(5));
    // `a` knows who it is and has its session; `c` was never told, and can only come as somebody else.
    assert_eq!(group.step(ClassicEvent::HungUp(RequestId(8)), at(6)), []);
    assert_eq!(group.step(ClassicEvent::HungUp(RequestId(7)), at(6)), []);
    assert_eq!(group.next_deadline(), Some(Moment(6)));
    assert_eq!(group.step(ClassicEvent::Deadline, at(6)), []);
    assert_eq!(group.members().count(), 2);
    assert_eq!(group.step(join(9, "b", Came::WithId, profile(&["sticky", "range"])), at(7)), []);
    assert_eq!(group.next_deadline(), Some(Moment(10_006)));
    let formed = answers(group.step(ClassicEvent::Deadline, at(10_006)));
    assert_eq!(formed.iter().map(|(request, _)| *request).collect::<Vec<_>>(), [9]);
    assert_eq!(generation(&formed[0].1).0, 3);
    assert!(group.check_commit(&who("a", 2)).is_err());
}

#[test]
fn a_sync_of_another_kind_of_protocol_is_refused() {
    let mut group = group();
    group.step(join(1, "a", Came::Fresh, profile(&["range"])), at(0));
    for (protocol_type, protocol) in [("connect", "range"), ("consumer", "sticky")] {
        let (protocol_type, protocol) = (Some(protocol_type.to_owned()), Some(protocol.to_owned()));
        let sync = ClassicSync { who: who("a", 1), protocol_type, protocol, assignments: Vec::new() };
        let refused = only(group.step(ClassicEvent::Sync(RequestId(2), sync), at(1)));
        assert_eq!(refused, Err(ClassicRefusal::InconsistentProtocol));
    }
}

#[test]
fn a_coordinator_that_takes_over_in_mid_generation_lets_the_leader_finish_it() {
    let mut group = group();
    group.step(join(1, "a", Came::Fresh, profile(&["range"])), at(0));
    let mut next = ClassicGroup::restore(group.config, group.state().clone(), at(5));
    assert_eq!(next.check_commit(&who("a", 1)), Err(CommitRefused::Rebalancing));
    assert_eq!(share(&only(next.step(sync(2, "a", 1, &[("a", "all")]), at(6)))), b"all");
    let next = ClassicGroup::restore(group.config, next.state().clone(), at(7));
    assert_eq!(next.check_commit(&who("a", 1)), Ok(()));
}

#[test]
fn the_last_who_leaves_leaves_an_empty_group_that_can_be_deleted() {
    let mut group = two();
    assert_eq!(
        only(group.step(ClassicEvent::Delete(RequestId(1)), at(4))),
        Err(ClassicRefusal::NotEmpty { members: 2 })
    );
    group.step(ClassicEvent::Leave(RequestId(2), who("a", 2)), at(5));
    assert_eq!(group.expires_from(TimestampMs(1)), None);
    group.step(ClassicEvent::Leave(RequestId(3), who("b", 2)), at(6));
    assert_eq!(group.expires_from(TimestampMs(1)), Some(at(6).wall));
    assert_eq!(group.state().generation, GroupEpoch(3));
    assert_eq!(group.check_commit(&Committer::default()), Ok(()));
    assert_eq!(only(group.step(ClassicEvent::Delete(RequestId(4)), at(7))), Ok(ClassicAnswer::Done));
}

#[test]
fn strangers_to_the_protocol_and_absurd_sizes_are_refused() {
    let mut group = two();
    let cases = [
        (profile(&["other"]), "protocol"),
        (profile(&[]), "none"),
        (ClassicMember { session_timeout_ms: 1, ..profile(&["range"]) }, "session"),
        (ClassicMember { rebalance_timeout_ms: u64::MAX, ..profile(&["range"]) }, "rebalance"),
        (profile(&["range"; 40]), "count"),
    ];
    for (profile, case) in cases {
        assert!(only(group.step(join(1, "c", Came::Fresh, profile), at(4))).is_err(), "{case}");
    }
    assert_eq!(group.check_commit(&who("a", 2)), Ok(()));
    assert_eq!(group.phase, Phase::Stable);
}

/// What a simulated consumer knows.
#[derive(Clone, Default)]
struct Known {
    generation: Option<i32>,
    leads: bool,
}

struct World {
    group: ClassicGroup,
    now: u64,
    known: BTreeMap<MemberId, Known>,
    asked: BTreeMap<u64, MemberId>,
    log: GroupState,
    generation: GroupEpoch,
    /// Whose assignment each generation has.
    assigned_by: BTreeMap<GroupEpoch, MemberId>,
    /// The members that each generation was told to have.
    sets: BTreeMap<GroupEpoch, BTreeSet<MemberId>>,
}

impl World {
    fn step(&mut self, event: ClassicEvent) {
        if let ClassicEvent::Sync(_, sync) = &event
            && let Some(member) = &sync.who.member
            && self.group.state.leader.as_ref() == Some(member)
            && matches!(self.group.phase, Phase::Syncing { .. })
            && sync.who.epoch == Some(self.group.state.generation)
        {
            self.assigned_by.entry(self.group.state.generation).or_insert(member.clone());
        }
        let mut persisted = false;
        for effect in self.group.step(event, at(self.now)) {
            match effect {
                ClassicEffect::Persist(records) => {
                    records.into_iter().for_each(|record| self.log.apply(record));
                    persisted = true;
                }
                ClassicEffect::Reply(request, answer) => self.hear(request.0, answer),
            }
        }
        let written = self.log.classic.clone().unwrap_or_default();
        assert_eq!(written.generation, self.group.state.generation);
        if persisted {
            assert_eq!(written, self.group.state);
        }
    }

    fn hear(&mut self, request: u64, answer: Result<ClassicAnswer, ClassicRefusal>) {
        let member = self.asked.remove(&request).expect("one answer to each request");
        match answer {
            Ok(ClassicAnswer::Joined { member: told, generation, role, .. }) => {
                let leads = matches!(role, Role::Leader(_));
                if let Role::Leader(members) = &role {
                    let members: BTreeSet<_> = members.iter().map(|(id, _, _)| id.clone()).collect();
                    // A static member that was replaced is told no more.
                    let told = self.sets.entry(generation).or_insert_with(|| BTreeSet::clone(&members));
                    assert!(members.is_subset(told), "{generation}");
                }
                self.known.insert(told, Known { generation: Some(generation.0), leads });
            }
            Ok(ClassicAnswer::Synced { assignment, .. }) => {
                let generation = self.group.state.generation;
                let by = &self.assigned_by[&generation];
                assert!(assignment.is_empty() || assignment == by.as_str().as_bytes());
            }
            Err(ClassicRefusal::Stranger(_)) => {
                self.known.remove(&member);
            }
            Ok(ClassicAnswer::Done) | Err(_) => {}
        }
    }

    fn act(&mut self, number: u64, op: u8, k: u8, param: u16) {
        let member = id(&format!("m{k}"));
        let known = self.known.get(&member).cloned();
        let who = Committer {
            member: Some(member.clone()),
            instance: None,
            epoch: known.as_ref().and_then(|known| known.generation).map(GroupEpoch),
        };
        let request = RequestId(number);
        self.asked.insert(number, member.clone());
        match op {
            0..=3 => {
                let came = if self.group.members.contains_key(&member) { Came::WithId } else { Came::Fresh };
                let mut profile =
                    if param.is_multiple_of(9) { profile(&["sticky", "range"]) } else { profile(&["range"]) };
                profile.instance = (k < 2).then(|| instance("shared"));
                let protocol_type = "consumer".to_owned();
                self.step(ClassicEvent::Join(request, ClassicJoin { member, came, profile, protocol_type }));
            }
            4..=7 => {
                let share = Bytes::from(member.as_str().to_owned());
                let leads = known.is_some_and(|known| known.leads);
                let all = self.group.members.keys().map(|id| (id.clone(), share.clone()));
                let assignments = if leads || param.is_multiple_of(3) { all.collect() } else { Vec::new() };
                let (protocol_type, protocol) = (None, None);
                let sync = ClassicSync { who, protocol_type, protocol, assignments };
                self.step(ClassicEvent::Sync(request, sync));
            }
            8..=10 => self.step(ClassicEvent::Heartbeat(request, who)),
            11 => self.step(ClassicEvent::Leave(request, who)),
            12 | 13 => {
                self.asked.remove(&number);
                self.now += u64::from(param) % 15_000;
                if self.group.next_deadline().is_some_and(|moment| moment.0 <= self.now) {
                    self.step(ClassicEvent::Deadline);
                }
            }
            14 => {
                self.asked.remove(&number);
                // Whoever asked for one of those that wait has gone.
                let gone = self.asked.keys().nth(usize::from(param) % self.asked.len().max(1)).copied();
                if let Some(gone) = gone {
                    self.asked.remove(&gone);
                    self.step(ClassicEvent::HungUp(RequestId(gone)));
                    self.step(ClassicEvent::Deadline);
                }
            }
            _ => {
                let written = self.log.classic.clone().unwrap_or_default();
                self.group = ClassicGroup::restore(self.group.config, written, at(self.now));
                self.asked.clear();
            }
        }
    }

    fn check(&mut self) {
        let group = &self.group;
        assert!(group.state.generation >= self.generation, "a generation went back");
        self.generation = group.state.generation;
        assert!(group.next_deadline().is_none_or(|moment| moment.0 > self.now || moment.0 == 0));
        assert_eq!(group.members.is_empty(), group.phase == Phase::Empty);
        if group.phase == Phase::Stable {
            assert!(
                group.state.synced && group.members.values().all(|m| m.join.is_none() && m.sync.is_none())
            );
        }
        for (name, holder) in &group.instances {
            assert_eq!(group.members[holder].profile.instance.as_ref(), Some(name));
        }
        // Nobody waits for ever: every request is answered, or it waits in the group.
        let waiting =
            |id: &u64| group.members.values().any(|m| [m.join, m.sync].contains(&Some(RequestId(*id))));
        assert!(self.asked.keys().all(waiting));
        for generation in 0..group.state.generation.0 {
            for k in 0..5 {
                assert!(group.check_commit(&who(&format!("m{k}"), generation)).is_err());
            }
        }
    }
}

proptest! {
    #[test]
    fn no_history_breaks_the_rules_of_a_classic_group(
        history in proptest::collection::vec((0..16_u8, 0..5_u8, any::<u16>()), 0..150),
    ) {
        let mut world = World {
            group: group(),
            now: 0,
            known: BTreeMap::new(),
            asked: BTreeMap::new(),
            log: GroupState::default(),
            generation: GroupEpoch(0),
            assigned_by: BTreeMap::new(),
            sets: BTreeMap::new(),
        };
        for (number, (op, k, param)) in (0_u64..).zip(history) {
            world.act(number, op, k, param);
            world.check();
        }
    }
}

#[test]
fn a_group_stays_as_small_as_a_record() {
    let mut group = group();
    let bulky = |number: u64| {
        let metadata = Bytes::from(vec![0; 250 * 1024]);
        let protocols = vec![ClassicProtocol { name: "range".to_owned(), metadata }];
        join(number, &format!("m{number}"), Came::Fresh, ClassicMember { protocols, ..profile(&[]) })
    };
    for number in 0..12 {
        group.step(bulky(number), at(0));
    }
    let refused = answers(group.step(bulky(12), at(0)));
    assert!(matches!(refused[..], [(12, Err(ClassicRefusal::OutOfRange { .. }))]), "{refused:?}");
    let Err(refused) = only(group.step(ClassicEvent::Heartbeat(RequestId(1), Committer::default()), at(0)))
    else {
        panic!("nobody was heard");
    };
    assert_eq!(refused, ClassicRefusal::Stranger(Stranger::UnknownInstance { instance: None }));
}
