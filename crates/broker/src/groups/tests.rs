//! Outcomes that are taken in another order than the log has them.

mod replicated;

use std::path::PathBuf;

use millrace_env::counting::CallKind;
use millrace_env::sim::{Fault, Sim};
use millrace_group::classic::ClassicConfig;
use millrace_group::consumer::GroupConfig;
use millrace_group::{Commit, PersistTicket};
use millrace_log::{Appended, Log, LogConfig, LogDir, LogDirOptions, PartitionMeta};
use millrace_types::{NodeId, Offset, TopicName, TopicPartition};

use super::partition::{Of, Settled};
use super::seat::Outcome;
use super::*;
use crate::led_log::{LedError, LedTicket};

fn partition(sim: &Sim) -> (Arc<LogDir>, Arc<GroupsPartition>) {
    let options =
        LogDirOptions { path: PathBuf::from("/data"), node: NodeId(1), tail_cache_bytes: 0, handles: None };
    let dir = LogDir::open(&sim.env(), options).unwrap().dir;
    let id = TopicPartition { topic: TopicId([3; 16]), partition: PartitionIndex(0) };
    let name = TopicName::new("__consumer_offsets").unwrap();
    let meta = PartitionMeta { id, name, partitions: 1, replication_factor: 1 };
    let log = dir.create(meta, LogConfig::default()).unwrap();
    (dir, read(sim, &log))
}

/// The partition as it is read back from its log.
fn read(sim: &Sim, log: &Arc<Log>) -> Arc<GroupsPartition> {
    let rules = Rules {
        config: GroupConfig::default(),
        classic: ClassicConfig::default(),
        totals: Arc::default(),
        counters: GroupCounters::default(),
    };
    let topics = Arc::new(GroupTopics::new(&Image::default(), BTreeSet::new()));
    let found = Ok((Arc::clone(log), replay_groups(log)));
    Arc::new(GroupsPartition::new(sim.env(), rules, topics, found))
}

fn commit(topic: &str, offset: u64) -> Event {
    let commit = Commit {
        topic: TopicName::new(topic).unwrap(),
        topic_id: TopicId([9; 16]),
        partition: PartitionIndex(0),
        offset: Offset::from_count(offset),
        leader_epoch: None,
        metadata: String::new(),
    };
    Event::Commit { group: GroupId::new("g").unwrap(), commits: vec![commit] }
}

fn begin(partition: &Arc<GroupsPartition>, event: Event) -> (Of, PersistTicket, LedTicket) {
    let mut state = partition.lock();
    let begun = partition.begin(&mut state, |value, now, draft| {
        value.step_offsets(event, now, draft, None);
        Ok(())
    });
    begun.unwrap().1.unwrap().parts()
}

fn outcome_of(ticket: LedTicket) -> Result<Appended, LedError> {
    futures::executor::block_on(ticket)
}

/// What is shown: topic and offset. `None` while the value is read again.
fn shown(partition: &GroupsPartition) -> Option<Vec<(String, i64)>> {
    let mut state = partition.lock();
    let value = state.value.ready().ok()?;
    let group = GroupId::new("g").unwrap();
    let all = value.offsets.of_group(&group);
    Some(all.map(|(key, value)| (key.topic.to_string(), value.offset.get())).collect())
}

#[test]
fn a_commit_that_was_refused_is_not_shown_by_a_later_one_whose_outcome_comes_first() {
    let sim = Sim::new(1);
    let (_dir, partition) = partition(&sim);
    let (generation, id, ticket) = begin(&partition, commit("a", 1));
    let stored_at = outcome_of(ticket).unwrap().base_offset;
    assert_eq!(partition.settle(generation, id, Outcome::Stored(stored_at)), Settled::Nothing);
    sim.disk().inject(Fault::no_space(CallKind::Write));
    let refused = begin(&partition, commit("a", 2));
    let stored = begin(&partition, commit("b", 3));
    let stored_at = outcome_of(stored.2).unwrap().base_offset;
    assert_eq!(partition.settle(stored.0, stored.1, Outcome::Stored(stored_at)), Settled::Nothing);
    assert_eq!(shown(&partition), None, "not the one that was refused");
    outcome_of(refused.2).unwrap_err();
    assert_eq!(partition.settle(refused.0, refused.1, Outcome::Refused), Settled::RebuildNow);
    let log = Arc::clone(partition.lock().log.as_ref().unwrap().log());
    assert_eq!(shown(&read(&sim, &log)), Some(vec![("a".to_owned(), 1), ("b".to_owned(), 3)]));
}

#[test]
fn commits_that_are_stored_are_shown_whichever_outcome_comes_first() {
    let sim = Sim::new(2);
    let (_dir, partition) = partition(&sim);
    let begun: Vec<_> = (1..=4).map(|offset| begin(&partition, commit("a", offset))).collect();
    let mut outcomes: Vec<_> = begun
        .into_iter()
        .map(|(generation, id, ticket)| (generation, id, outcome_of(ticket).unwrap().base_offset))
        .collect();
    outcomes.swap(0, 2);
    let mut seen = Vec::new();
    for (generation, id, stored_at) in outcomes {
        assert_eq!(partition.settle(generation, id, Outcome::Stored(stored_at)), Settled::Nothing);
        seen.push(shown(&partition).unwrap()[0].1);
    }
    assert_eq!(seen, [3, 3, 3, 4]);
    sim.disk().inject(Fault::no_space(CallKind::Write));
    let (generation, id, ticket) = begin(&partition, commit("a", 5));
    outcome_of(ticket).unwrap_err();
    assert_eq!(partition.settle(generation, id, Outcome::Refused), Settled::Nothing);
    let (generation, id, ticket) = begin(&partition, commit("a", 6));
    let stored_at = outcome_of(ticket).unwrap().base_offset;
    assert_eq!(partition.settle(generation, id, Outcome::Stored(stored_at)), Settled::Nothing);
    assert_eq!(shown(&partition), Some(vec![("a".to_owned(), 6)]));
}

/// `cargo test --release -p millrace-broker --lib a_million -- --ignored --nocapture`
#[test]
#[ignore = "a measurement: it tells how long a start reads a million committed offsets in one partition"]
fn a_million_offsets_are_read_back() {
    let sim = Sim::new(1);
    let (_dir, partition) = partition(&sim);
    let log = Arc::clone(partition.lock().log.as_ref().unwrap().log());
    let mut records = Vec::new();
    for group in 0..1000 {
        let group = GroupId::new(&format!("group-{group}")).unwrap();
        records.clear();
        for number in 0..1000 {
            let key = OffsetCommitKey {
                group: group.clone(),
                topic: TopicName::new("a.topic.of.some.name").unwrap(),
                partition: PartitionIndex(number),
            };
            let value = OffsetCommitValue {
                offset: Offset::from_count(u64::from(number)),
                leader_epoch: millrace_types::LeaderEpoch(1),
                metadata: String::new(),
                committed_at: millrace_types::TimestampMs(1),
                expires_at: None,
                topic_id: TopicId([9; 16]),
            };
            records.push((key.encode(), Some(value.encode())));
        }
        let batch = draft::batch_of(&records, millrace_types::TimestampMs(1)).unwrap();
        log.append(batch).unwrap().wait().unwrap();
    }
    let clock = millrace_env::real::RealClock::new();
    let began = millrace_env::Clock::monotonic(&clock);
    let replayed = replay_groups(&log).unwrap();
    let took = millrace_env::Clock::monotonic(&clock).since(began);
    assert_eq!(replayed.offsets.groups().count(), 1000);
    eprintln!("a million offsets ({} bytes) in {took:?}", log.size_bytes());
}
