//! What a start finds: after a clean stop, a kill, a power cut, and where disk and metadata disagree.

use std::path::{Path, PathBuf};

use millrace_env::counting::CallKind;
use millrace_env::sim::Fault;
use millrace_env::{FsExt, OpenMode};

use super::*;

/// The directories of partition logs, sorted by name.
fn log_dirs(world: &World) -> Vec<PathBuf> {
    let entries = world.sim.env().fs.read_dir(Path::new("/data")).unwrap();
    let dirs = entries.into_iter().map(|entry| entry.name).filter(|name| name.contains('-'));
    dirs.map(|name| Path::new("/data").join(name)).collect()
}

fn remove_all(world: &World, dir: &Path) {
    let fs = world.sim.env().fs;
    for entry in fs.read_dir(dir).unwrap() {
        fs.unlink(&dir.join(entry.name)).unwrap();
    }
    fs.remove_dir(dir).unwrap();
}

#[tokio::test]
async fn everything_acknowledged_is_there_after_every_kind_of_stop() {
    let mut world = World::new(1).await;
    world.create("a", 1).await;
    let mut expected = Vec::new();
    for round in 0..6 {
        for number in 0..5 {
            let value = format!("{round}.{number}");
            world.produce("a", &[&value]).await.unwrap();
            expected.push(value);
        }
        world = match round % 3 {
            0 => world.restart().await,
            1 => world.kill().await,
            _ => world.cut(Survival::Random).await,
        };
        assert_eq!(world.values("a", 0).await.unwrap(), expected);
        assert_eq!(world.broker.start_report().clean, round % 3 == 0);
        assert_eq!(world.broker.start_report().damaged, Vec::<String>::new());
    }
}

#[tokio::test]
async fn an_unclean_start_begins_a_leader_epoch() {
    let world = World::new(1).await;
    world.create("a", 1).await;
    world.produce("a", &["1"]).await.unwrap();
    let epoch = async |world: &World| {
        world.broker.describe_topic(&ctx(), by_name("a")).await.unwrap().partitions[0].leader_epoch
    };
    let first = epoch(&world).await;
    let world = world.restart().await;
    assert_eq!(epoch(&world).await, first);
    let world = world.kill().await;
    assert!(epoch(&world).await > first);
}

#[tokio::test]
async fn producer_ids_are_never_handed_out_twice() {
    let mut world = World::new(1).await;
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..3 {
        for _ in 0..1_500 {
            let producer = world.broker.init_producer(&ctx()).await.unwrap();
            assert!(seen.insert(producer.id), "{} twice", producer.id);
        }
        world = if round == 0 { world.restart().await } else { world.cut(Survival::Nothing).await };
    }
}

#[tokio::test]
async fn a_log_without_a_topic_is_left_alone() {
    let world = World::new(1).await;
    world.create("a", 1).await;
    world.produce("a", &["1"]).await.unwrap();
    let stranger = Path::new("/data").join(format!("{}-0", "ab".repeat(16)));
    let source =
        log_dirs(&world).into_iter().find(|dir| !dir.to_str().unwrap().contains("00000000")).unwrap();
    world.broker.shut_down(Duration::from_secs(5)).await.unwrap();
    let fs = world.sim.env().fs;
    fs.create_dir_all(&stranger).unwrap();
    let meta = millrace_log::format::partition_meta::encode(&millrace_log::PartitionMeta {
        id: millrace_types::TopicPartition {
            topic: millrace_types::TopicId([0xab; 16]),
            partition: PartitionIndex(0),
        },
        name: TopicName::new("stranger").unwrap(),
        partitions: 1,
        replication_factor: 1,
    });
    assert!(fs.exists(&source.join("partition.meta")).unwrap());
    fs.replace(&stranger.join("partition.meta"), &meta).unwrap();
    fs.sync_dir(Path::new("/data")).unwrap();
    let World { sim, broker } = world;
    drop(broker);
    let world = World { broker: start(sim.kill()).await, sim };
    assert_eq!(world.broker.orphans().len(), 1);
    assert!(log_dirs(&world).contains(&stranger));
    assert_eq!(world.values("a", 0).await.unwrap(), ["1"]);
}

#[tokio::test]
async fn a_log_that_a_crash_kept_from_being_made_is_made_at_the_next_start() {
    let world = World::new(1).await;
    let before = log_dirs(&world);
    world.create("a", 2).await;
    let made: Vec<_> = log_dirs(&world).into_iter().filter(|dir| !before.contains(dir)).collect();
    assert_eq!(made.len(), 2);
    world.sim.kill();
    // As if the process had died right behind the metadata record.
    for dir in &made {
        remove_all(&world, dir);
    }
    let world = world.kill().await;
    world.produce("a", &["1"]).await.unwrap();
    assert_eq!(world.values("a", 0).await.unwrap(), ["1"]);
}

#[tokio::test]
async fn a_log_that_is_missing_after_a_clean_stop_is_damage_and_not_made_anew() {
    let world = World::new(1).await;
    let before = log_dirs(&world);
    world.create("a", 1).await;
    world.create("b", 1).await;
    let made: Vec<_> = log_dirs(&world).into_iter().filter(|dir| !before.contains(dir)).collect();
    world.broker.shut_down(Duration::from_secs(5)).await.unwrap();
    remove_all(&world, &made[0]);
    let World { sim, broker } = world;
    drop(broker);
    let world = World { broker: start(sim.kill()).await, sim };
    assert_eq!(world.broker.start_report().damaged.len(), 1);
    let codes = [code(world.produce("a", &["1"]).await), code(world.produce("b", &["1"]).await)];
    assert!(codes.contains(&None) && codes.contains(&Some(ErrorCode::Corrupt)), "{codes:?}");
}

#[tokio::test]
async fn records_whose_partition_meta_is_lost_are_neither_served_nor_overwritten() {
    let world = World::new(1).await;
    let before = log_dirs(&world);
    world.create("a", 1).await;
    world.produce("a", &["precious"]).await.unwrap();
    let made = log_dirs(&world).into_iter().find(|dir| !before.contains(dir)).unwrap();
    world.sim.kill();
    let fs = world.sim.env().fs;
    fs.unlink(&made.join("partition.meta")).unwrap();
    let log = made.join("00000000000000000000.log");
    let size_before = fs.open(&log, OpenMode::Read).unwrap().size().unwrap();
    let World { sim, broker } = world;
    let env = sim.kill();
    drop(broker);
    let world = World { broker: start(env).await, sim };
    assert_eq!(code(world.values("a", 0).await), Some(ErrorCode::Corrupt));
    assert_eq!(world.broker.start_report().damaged.len(), 1);
    let fs = world.sim.env().fs;
    let file = fs.open(&log, OpenMode::Read).unwrap();
    assert_eq!(file.size().unwrap(), size_before);
    world.broker.delete_topic(&ctx(), by_name("a")).await.unwrap();
}

#[tokio::test]
async fn topics_that_come_and_go_at_once_leave_nothing_behind() {
    let world = World::new(1).await;
    let before = log_dirs(&world);
    let churn = (0..20).map(|number| {
        let broker = Arc::clone(&world.broker);
        tokio::spawn(async move {
            let name = format!("t{}", number % 4);
            let _made = broker.create_topic(&ctx(), new_topic(&name, 3)).await;
            let _gone = broker.delete_topic(&ctx(), by_name(&name)).await;
        })
    });
    for task in churn.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    for number in 0..4 {
        let _gone = world.broker.delete_topic(&ctx(), by_name(&format!("t{number}"))).await;
    }
    let left: Vec<_> =
        log_dirs(&world).into_iter().filter(|dir| !dir.to_str().unwrap().ends_with(".gone")).collect();
    assert_eq!(left, before);
    let world = world.kill().await;
    assert_eq!(world.broker.list_topics(&ctx()).await.unwrap().len(), 1);
    assert_eq!(world.broker.orphans(), []);
}

#[tokio::test]
async fn logs_without_any_metadata_are_not_served_and_not_deleted() {
    let world = World::new(1).await;
    world.create("a", 1).await;
    world.broker.shut_down(Duration::from_secs(5)).await.unwrap();
    let metadata = log_dirs(&world).into_iter().next().unwrap();
    assert!(metadata.ends_with(format!("{}1-0", "0".repeat(31))));
    remove_all(&world, &metadata);
    let left = log_dirs(&world);
    let World { sim, broker } = world;
    drop(broker);
    let refused = Broker::start(sim.kill(), config()).await;
    assert_eq!(refused.err().map(|error| error.code), Some(ErrorCode::Corrupt));
    let fs = sim.env().fs;
    assert!(left.iter().all(|dir| fs.exists(dir).unwrap()));
}

#[tokio::test]
async fn a_failed_sync_is_fatal_and_nothing_is_acknowledged_behind_it() {
    let world = World::new(1).await;
    world.create("a", 1).await;
    world.produce("a", &["1"]).await.unwrap();
    world.sim.disk().inject(Fault::io(CallKind::SyncData).on(".log"));
    assert_eq!(code(world.produce("a", &["2"]).await), Some(ErrorCode::StorageFailed));
    let fatal = world.broker.failed().await;
    assert!(!fatal.reason.is_empty());
    assert_eq!(code(world.produce("a", &["3"]).await), Some(ErrorCode::StorageFailed));
    assert!(world.broker.shut_down(Duration::from_secs(5)).await.is_err(), "no clean mark");
    world.sim.disk().heal();
    let world = world.kill().await;
    assert!(!world.broker.start_report().clean);
    assert_eq!(world.values("a", 0).await.unwrap().first().map(String::as_str), Some("1"));
}

#[tokio::test]
async fn a_log_that_the_medium_does_not_give_keeps_nobody_from_the_others() {
    let world = World::new(31).await;
    let hurt = world.create("hurt", 1).await.id;
    world.create("well", 1).await;
    for topic in ["hurt", "well"] {
        world.produce(topic, &["1"]).await.unwrap();
    }
    let log = format!("{hurt}-0/00000000000000000000.log");
    world.sim.disk().inject(Fault::io(CallKind::Open).on(&log).for_ever());
    let world = world.kill().await;
    assert_eq!(world.values("well", 0).await.unwrap(), ["1"]);
    world.produce("well", &["2"]).await.unwrap();
    assert_eq!(code(world.values("hurt", 0).await), Some(ErrorCode::Corrupt));
    assert_eq!(code(world.produce("hurt", &["2"]).await), Some(ErrorCode::Corrupt));
    assert!(world.broker.start_report().damaged.iter().any(|damage| damage.contains("hurt partition 0")));
    world.sim.disk().heal();
    let world = world.restart().await;
    assert!(!world.broker.start_report().clean, "it was not recovered, so the next start is no clean one");
    assert_eq!(world.values("hurt", 0).await.unwrap(), ["1"]);
}
