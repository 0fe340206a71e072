//! Power cuts under load: whatever was acknowledged is there, once, in order, and nothing that was deleted comes back.

use std::collections::{BTreeMap, BTreeSet};

use millrace_types::GroupId;
use parking_lot::Mutex;

use super::*;
use crate::OffsetCommit;

/// What the brokers have acknowledged, told by the clients. Kept outside of the machine that is cut.
#[derive(Clone, Debug, Default)]
struct Acknowledged {
    /// Value to offset, in partition 0 of `load`.
    values: BTreeMap<String, i64>,
    committed: BTreeMap<u64, u64>,
    /// Whether a topic is there, by name; `None` while that is not known.
    topics: BTreeMap<String, Option<bool>>,
    producers: BTreeSet<i64>,
}

type Shared = Arc<Mutex<Acknowledged>>;

/// Produces idempotently, one batch after another, until the broker fails.
async fn produce(broker: Arc<Broker>, acks: Shared, name: String) {
    let Ok(producer) = broker.init_producer(&ctx()).await else { return };
    assert!(acks.lock().producers.insert(producer.id.0), "producer id {} twice", producer.id);
    for number in 0_i32.. {
        let value = format!("{name}.{number}");
        let sequence = SequenceStart { id: producer.id, epoch: producer.epoch, base_sequence: number };
        let request = produce_request(vec![plain("load", 0, &[&value], Some(sequence))]);
        let Ok(pending) = broker.produce(&ctx(), request).await else { return };
        match pending.acknowledged().await.partitions.remove(0) {
            Ok(produced) => {
                acks.lock().values.insert(value, produced.base_offset.get());
            }
            Err(_) => return,
        }
    }
}

async fn commit(broker: Arc<Broker>, acks: Shared, number: u64) {
    let start = acks.lock().committed.get(&number).copied().unwrap_or(0);
    for offset in start + 1.. {
        let commit = OffsetCommit {
            topic: by_name("load"),
            partition: PartitionIndex(0),
            offset: Offset::from_count(offset),
            leader_epoch: None,
            metadata: String::new(),
        };
        let group = GroupId::new(&format!("g{number}")).unwrap();
        let request = CommitOffsetsRequest { group, offsets: vec![commit], member: None };
        match broker.commit_offsets(&ctx(), request).await {
            Ok(answers) if answers.iter().all(Result::is_ok) => {
                acks.lock().committed.insert(number, offset);
            }
            _ => return,
        }
    }
}

/// Makes topics and deletes three of four again. A fate is known from its acknowledgement to the next request.
async fn churn(broker: Arc<Broker>, acks: Shared, name: String) {
    for number in 0..40 {
        let name = format!("{name}.{number}");
        acks.lock().topics.insert(name.clone(), None);
        if broker.create_topic(&ctx(), new_topic(&name, 2)).await.is_err() {
            return;
        }
        acks.lock().topics.insert(name.clone(), Some(true));
        if number % 4 == 0 {
            continue;
        }
        acks.lock().topics.insert(name.clone(), None);
        if broker.delete_topic(&ctx(), by_name(&name)).await.is_err() {
            return;
        }
        acks.lock().topics.insert(name, Some(false));
    }
}

async fn check(world: &World, acks: &Shared) {
    let mut stored = Vec::new();
    loop {
        let request = fetch_request(vec![from("load", 0, stored.len() as u64)], Duration::ZERO);
        let fetched = world.broker.fetch(&ctx(), request).await.unwrap().partitions.remove(0).unwrap();
        if fetched.extents.is_empty() {
            break;
        }
        stored.extend(decoded(fetched.extents));
    }
    assert_eq!(stored.iter().collect::<BTreeSet<_>>().len(), stored.len(), "a value is stored twice");
    let acks = acks.lock().clone();
    for (value, offset) in &acks.values {
        let found = stored.get(usize::try_from(*offset).unwrap());
        assert_eq!(found, Some(value), "acknowledged at {offset}");
    }
    for (number, offset) in &acks.committed {
        let group = GroupId::new(&format!("g{number}")).unwrap();
        let request = FetchOffsetsRequest { group, partitions: None, member: None };
        let found = world.broker.fetch_offsets(&ctx(), request).await.unwrap();
        let found = found.first().and_then(|one| one.as_ref().unwrap().offset).map_or(0, Offset::get);
        assert!(found >= i64::try_from(*offset).unwrap(), "group {number} committed {offset}, found {found}");
    }
    let listed = world.broker.list_topics(&ctx()).await.unwrap();
    for (name, fate) in &acks.topics {
        let is_there = listed.iter().any(|topic| topic.name.as_str() == name);
        assert!(fate.is_none_or(|expected| expected == is_there), "{name}: {fate:?}, there: {is_there}");
    }
    assert_eq!(world.broker.orphans(), []);
    assert_eq!(world.broker.start_report().damaged, Vec::<String>::new());
}

async fn run(seed: u64) -> Acknowledged {
    let mut world = World::new(seed).await;
    let request = CreateTopicRequest {
        configs: [("segment.bytes".to_owned(), "65536".to_owned())].into(),
        ..new_topic("load", 1)
    };
    world.broker.create_topic(&ctx(), request).await.unwrap();
    let acks = Shared::default();
    for round in 0..4 {
        let mut tasks = Vec::new();
        for number in 0..3_u64 {
            let (broker, acks) = (&world.broker, &acks);
            let name = format!("{round}.{number}");
            tasks.push(tokio::spawn(produce(Arc::clone(broker), Arc::clone(acks), name)));
            tasks.push(tokio::spawn(commit(Arc::clone(broker), Arc::clone(acks), number)));
            tasks.push(tokio::spawn(churn(
                Arc::clone(broker),
                Arc::clone(acks),
                format!("t{round}.{number}"),
            )));
        }
        // The cut comes somewhere in the middle: after so many acknowledgements, and a little later.
        let wanted = acks.lock().values.len() + usize::try_from(world.sim.rng().below(60)).unwrap();
        while acks.lock().values.len() <= wanted {
            tokio::task::yield_now().await;
        }
        for _ in 0..world.sim.rng().below(400) {
            tokio::task::yield_now().await;
        }
        let World { sim, broker } = world;
        let env = if round % 2 == 0 { sim.power_cut(Survival::Random) } else { sim.kill() };
        for task in tasks {
            task.await.unwrap();
        }
        drop(broker);
        world = World { broker: start(env).await, sim };
        check(&world, &acks).await;
    }
    acks.lock().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_cuts_and_kills_under_load() {
    let (mut commits, mut topics) = (0, 0);
    for seed in 0..12 {
        let acks = run(seed).await;
        commits += acks.committed.len();
        topics += acks.topics.values().flatten().count();
    }
    assert!(
        commits > 0 && topics > 0,
        "the load was one: {commits} groups, {topics} topics with a known fate"
    );
}
