//! Starts a broker on a crash state and holds what it answers against the ledger.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_broker::{Broker, FetchOffsetsRequest, FetchRequest, Isolation, PartitionFetch, TopicRef};
use millrace_env::sim::{Sim, SimRng, Survival};
use millrace_log::{LogConfig, LogDir, PartitionMeta};
use millrace_types::{PartitionIndex, TopicId, TopicPartition};

use super::life::{client_batch, count, meta, next_sequence, offset, options};
use super::points::{Cache, Notes};
use super::raw;
use super::topics::{Told, Topic, by_name, commit, group_id, new_topic, produce, runtime, start, stop, text};
use crate::caller::ctx;
use crate::ledger::{Fate, Sent, Stop};

/// Groups that commit.
const GROUPS: [u32; 2] = [1, 2];
/// More than a workload writes.
const FETCH_BYTES: usize = 1 << 24;

/// What a broker answers about everything. Equal answers, equal brokers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Answers {
    /// Id and records of partition 0, by name.
    topics: BTreeMap<String, (TopicId, Vec<u8>)>,
    committed: BTreeMap<(u32, String), u64>,
}

async fn ask(broker: &Broker) -> Result<Answers, String> {
    let mut answers = Answers::default();
    for topic in broker.list_topics(&ctx()).await.map_err(text)? {
        let name = topic.name.as_str().to_owned();
        if !name.starts_with("__") {
            let records = fetch(broker, &name).await.map_err(|e| format!("topic {name}: {e}"))?;
            answers.topics.insert(name, (topic.id, records));
        }
    }
    for group in GROUPS {
        let request = FetchOffsetsRequest { group: group_id(group)?, partitions: None, member: None };
        for found in broker.fetch_offsets(&ctx(), request).await.map_err(text)? {
            let found = found.map_err(text)?;
            let name = match &found.topic {
                TopicRef::Both(name, _) | TopicRef::Name(name) => name.as_str().to_owned(),
                TopicRef::Id(id) => format!("id {id:?}"),
            };
            if let Some(at) = found.offset {
                answers.committed.insert((group, name), count(at));
            }
        }
    }
    Ok(answers)
}

async fn fetch(broker: &Broker, name: &str) -> Result<Vec<u8>, String> {
    let partition = PartitionFetch {
        topic: by_name(name)?,
        partition: PartitionIndex(0),
        offset: offset(0),
        end_offset: None,
        bytes_max: None,
        last_read_epoch: None,
        leader_epoch: None,
    };
    let request = FetchRequest {
        partitions: vec![partition],
        bytes_max: FETCH_BYTES,
        bytes_min: 1,
        wait: Duration::ZERO,
        isolation: Isolation::Committed,
    };
    let answers = broker.fetch(&ctx(), request).await.map_err(text)?.partitions;
    Ok(answers.into_iter().next().ok_or("no answer")?.map_err(text)?.extents.concat())
}

impl Notes for Told {
    fn revision(&self) -> u64 {
        self.revision
    }

    fn operation(&self) -> &'static str {
        self.operation
    }

    fn check(&self, sim: &Sim, _: Cache) -> Result<(), String> {
        check(sim, self)
    }

    fn recover(&self, sim: &Sim) -> Result<(), String> {
        runtime()?.block_on(start(sim.env())).map(drop)
    }

    fn check_harmed(&self, sim: &Sim, _: &SimRng) -> Result<(), String> {
        check_absent(sim, self).map_err(|e| format!("a log of a topic that nobody knows: {e}"))
    }
}

/// Recovers and judges.
fn check(sim: &Sim, told: &Told) -> Result<(), String> {
    runtime()?.block_on(async {
        let broker = start(sim.env()).await?;
        check_start(&broker, told)?;
        let answers = ask(&broker).await?;
        check_topics(&answers, told)?;
        check_commits(&answers, told)?;
        let again = sim.fork(1);
        again.power_cut(Survival::Nothing);
        let second = ask(&*start(again.env()).await?).await?;
        if second != answers {
            return Err("a second cut right after recovery leaves another broker".to_owned());
        }
        let live_on = live_on(&broker, told, &answers).await;
        let expected = live_on.map_err(|e| format!("life after recovery: {e}"))?;
        stop(&broker).await?;
        drop(broker);
        let broker = start(sim.env()).await?;
        if !broker.start_report().clean {
            return Err("a clean stop is called unclean".to_owned());
        }
        if ask(&broker).await? != expected {
            return Err("a clean restart leaves another broker".to_owned());
        }
        Ok(())
    })
}

/// What the metadata does not know is left alone, and the rest is served beside it.
fn check_absent(sim: &Sim, told: &Told) -> Result<(), String> {
    let sim = sim.fork(4);
    sim.power_cut(Survival::Everything);
    let id = TopicPartition { topic: TopicId([9; 16]), partition: PartitionIndex(0) };
    let path = raw::partition_path(id).join("00000000000000000000.log");
    let dir = LogDir::open(&sim.env(), options()).map_err(|e| e.to_string())?.dir;
    let unknown = PartitionMeta { id, ..meta(0)? };
    let log = dir.create(unknown, LogConfig::default()).map_err(|e| e.to_string())?;
    let batch = client_batch(1, &[b"nobody knows me".to_vec()], None)?;
    log.append(batch).map_err(|e| e.to_string())?.wait().map_err(|e| e.to_string())?;
    drop((log, dir));
    let before = raw::content(&*sim.disk().fs(), &path)?;
    sim.kill();
    for _ in 0..2 {
        match runtime()?.block_on(start(sim.env())) {
            Ok(broker) if broker.orphans() != [id] => return Err(format!("orphans: {:?}", broker.orphans())),
            Ok(broker) => drop(broker),
            // The very first start had not come to its metadata yet: nothing is served then, and nothing deleted.
            Err(_) if told.topics.is_empty() => {}
            Err(what) => return Err(what),
        }
        sim.power_cut(Survival::Everything);
        if raw::content(&*sim.disk().fs(), &path)? != before {
            return Err("it was changed".to_owned());
        }
    }
    Ok(())
}

fn check_start(broker: &Broker, told: &Told) -> Result<(), String> {
    let report = broker.start_report();
    match told.stop {
        Stop::Running if report.clean => return Err("a run that crashed is called clean".to_owned()),
        Stop::Closed if !report.clean => return Err("a clean stop is called unclean".to_owned()),
        _ => {}
    }
    if !report.damaged.is_empty() {
        return Err(format!("damage: {:?}", report.damaged));
    }
    if broker.orphans().is_empty() { Ok(()) } else { Err(format!("orphans: {:?}", broker.orphans())) }
}

fn check_topics(answers: &Answers, told: &Told) -> Result<(), String> {
    for (name, (id, bytes)) in &answers.topics {
        if told.deleted.contains(id) {
            return Err(format!("topic {name} came back"));
        }
        let topic = told.topics.get(name).ok_or_else(|| format!("nobody made topic {name}"))?;
        if topic.id.is_some_and(|due| due != *id) {
            return Err(format!("topic {name} is another one"));
        }
        let found = raw::all_stored(bytes)?;
        let held = topic.sent.get(..found.len()).ok_or_else(|| format!("topic {name} holds too much"))?;
        raw::compare(&found, held).map_err(|e| format!("topic {name}: {e}"))?;
        let end = held.last().map_or(0, |sent| sent.end());
        if end < topic.acked && topic.fate != Fate::Deleting {
            return Err(format!("topic {name} ends at {end}, {} were acknowledged", topic.acked));
        }
    }
    let is_lost = |(name, topic): &(&String, &Topic)| {
        topic.fate == Fate::There && !answers.topics.contains_key(name.as_str())
    };
    match told.topics.iter().find(is_lost) {
        Some((name, _)) => Err(format!("topic {name} is gone")),
        None => Ok(()),
    }
}

fn check_commits(answers: &Answers, told: &Told) -> Result<(), String> {
    for (name, topic) in &told.topics {
        for (group, (acked, sent)) in &topic.committed {
            let found = answers.committed.get(&(*group, name.clone())).copied();
            let right = found == *acked || found == Some(*sent) || topic.fate == Fate::Deleting;
            if !right {
                return Err(format!("group {group} has {found:?} of {name}, {acked:?} or {sent} is due"));
            }
        }
    }
    let is_known = |(group, name): &(u32, String)| {
        told.topics.get(name).is_some_and(|topic| topic.committed.contains_key(group))
    };
    match answers.committed.keys().find(|key| !is_known(key)) {
        Some((group, name)) => Err(format!("group {group} never committed for this {name}")),
        None => Ok(()),
    }
}

/// Retries, new records, new ids, new topics, new commits. Answers what a restart must find.
async fn live_on(broker: &Broker, told: &Told, answers: &Answers) -> Result<Answers, String> {
    let id = broker.init_producer(&ctx()).await.map_err(text)?.id.0;
    if told.producers.contains(&id) {
        return Err(format!("producer id {id} was handed out before"));
    }
    for (name, (_, bytes)) in &answers.topics {
        let stored = raw::all_stored(bytes)?.len();
        let Some(held) = told.topics.get(name).and_then(|topic| topic.sent.get(..stored)) else { continue };
        if let Some(sent) = held.last() {
            let again = produce(broker, name, sent).await.map_err(|e| format!("a retry in {name}: {e}"))?;
            if count(again.base_offset) != sent.base {
                return Err(format!("a retry of offset {} in {name} was answered {again:?}", sent.base));
            }
        }
        let end = held.last().map_or(0, |sent| sent.end());
        let last = held.last().and_then(|sent| sent.producer).map(|(id, _)| id);
        let producer = Some((last.unwrap_or(id), next_sequence(held, Some(last.unwrap_or(id)))));
        let bytes = client_batch(9_000, &[b"life goes on".to_vec()], producer)?.into_bytes();
        let next = Sent { base: end, records: 1, timestamp: 9_000, producer, bytes, ..Sent::default() };
        let next = Arc::new(next);
        let answer = produce(broker, name, &next).await.map_err(|e| format!("an append to {name}: {e}"))?;
        if count(answer.base_offset) != end {
            return Err(format!("an append to {name} at {end} was answered {answer:?}"));
        }
    }
    broker.create_topic(&ctx(), new_topic("after")).await.map_err(text)?;
    commit(broker, 1, "after", 7).await?;
    let expected = ask(broker).await?;
    let all_there = answers.topics.keys().all(|name| expected.topics.contains_key(name));
    if !all_there || expected.committed.get(&(1, "after".to_owned())) != Some(&7) {
        return Err("what was there is not, or what was made is not".to_owned());
    }
    Ok(expected)
}
