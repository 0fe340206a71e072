//! Topics with a weaker sync mode, through the broker: what is acknowledged, what the timer does, what readers hear.

use millrace_env::counting::CallKind;

use super::*;

async fn topic_in(world: &World, mode: &str) {
    let configs = [("sync.mode".to_owned(), mode.to_owned())].into();
    let request = CreateTopicRequest { configs, ..new_topic("a", 1) };
    world.broker.create_topic(&ctx(), request).await.unwrap();
}

/// The syncs of segments so far.
fn syncs(world: &World) -> usize {
    let calls = world.sim.calls().log();
    let of_segments = calls.iter().filter(|logged| {
        logged.call.kind == CallKind::SyncData
            && logged.call.path.extension().is_some_and(|suffix| suffix == "log")
    });
    of_segments.count()
}

#[tokio::test]
async fn an_interval_is_kept_by_one_timer_though_nobody_waits() {
    let world = World::new(1).await;
    topic_in(&world, "interval=100,1048576").await;
    let before = syncs(&world);
    world.produce("a", &["1", "2"]).await.unwrap();
    assert_eq!(syncs(&world), before, "acknowledged without a sync");
    assert_eq!(world.values("a", 0).await.unwrap(), ["1", "2"]);
    // The janitor and the timer.
    world.sim.clock().wait_for_sleepers(2).await;
    world.sim.clock().advance(Duration::from_millis(50));
    while syncs(&world) == before {
        tokio::task::yield_now().await;
    }
    let world = world.cut(Survival::Nothing).await;
    assert_eq!(world.values("a", 0).await.unwrap(), ["1", "2"]);
}

#[tokio::test]
async fn a_reader_that_a_power_cut_has_left_ahead_of_the_log_is_told_so() {
    let world = World::new(1).await;
    topic_in(&world, "os").await;
    world.produce("a", &["1", "2", "3"]).await.unwrap();
    let described = world.broker.describe_topic(&ctx(), by_name("a")).await.unwrap();
    let epoch = described.partitions[0].leader_epoch;
    assert_eq!(world.values("a", 0).await.unwrap(), ["1", "2", "3"]);
    let world = world.cut(Survival::Nothing).await;
    world.produce("a", &["x", "x", "x", "x", "x"]).await.unwrap();
    let ahead = PartitionFetch { last_read_epoch: Some(epoch), ..from("a", 0, 3) };
    let request = fetch_request(vec![ahead], Duration::ZERO);
    let answer = world.broker.fetch(&ctx(), request).await.unwrap().partitions.remove(0);
    assert_eq!(answer.map_err(|error| error.code).err(), Some(ErrorCode::LogTruncated));
}

#[tokio::test]
async fn a_topic_of_the_product_is_synced_whatever_the_mode_of_others() {
    let world = World::new(1).await;
    topic_in(&world, "os").await;
    let before = syncs(&world);
    world.broker.init_producer(&ctx()).await.unwrap();
    assert!(syncs(&world) > before, "a block of producer ids");
    let world = world.cut(Survival::Nothing).await;
    let topics = world.broker.list_topics(&ctx()).await.unwrap();
    assert!(topics.iter().any(|topic| topic.name.as_str() == "a"));
}
