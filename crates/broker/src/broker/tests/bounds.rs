//! Bounds: memory comes back on every path, a drain ends, too much is refused.

use futures::FutureExt;
use millrace_types::limits;
use prometheus_client::encoding::text::encode;

use super::*;

#[tokio::test]
async fn the_memory_of_an_answer_comes_back_when_the_door_drops_it() {
    let world = World::new(1).await;
    world.create("a", 1).await;
    world.produce("a", &["1"]).await.unwrap();
    let ctx = ctx();
    let fetch = || world.broker.fetch(&ctx, fetch_request(vec![from("a", 0, 0)], Duration::ZERO));
    let answer = fetch().await.unwrap();
    let size = answer.partitions[0].as_ref().unwrap().extents.iter().map(Bytes::len).sum::<usize>();
    assert_eq!(world.broker.memory().in_use(), size as u64);
    drop(answer);
    assert_eq!(world.broker.memory().in_use(), 0);
    // A fetch that is given up while it waits for memory, and one that is given up while it waits for records.
    let everything = world.broker.memory().acquire(world.broker.memory().bytes_max()).await.unwrap();
    assert!(fetch().now_or_never().is_none());
    let long = fetch_request(vec![from("a", 0, 1)], Duration::from_secs(9));
    assert!(world.broker.fetch(&ctx, long).now_or_never().is_none());
    drop(everything);
    assert_eq!(world.broker.memory().in_use(), 0);
}

#[tokio::test]
async fn an_answer_that_gets_no_memory_is_refused_in_bounded_time() {
    let world = World::new(1).await;
    world.create("a", 1).await;
    world.produce("a", &["1"]).await.unwrap();
    let everything = world.broker.memory().acquire(world.broker.memory().bytes_max()).await.unwrap();
    let broker = Arc::clone(&world.broker);
    let request = fetch_request(vec![from("a", 0, 0)], Duration::ZERO);
    let waiting = tokio::spawn(async move { broker.fetch(&ctx(), request).await });
    world.sim.clock().wait_for_sleepers(2).await;
    world.sim.clock().advance(Duration::from_millis(limits::MEMORY_WAIT_MS_MAX));
    assert_eq!(code(waiting.await.unwrap()), Some(ErrorCode::Throttled));
    drop(everything);
    assert_eq!(world.broker.memory().in_use(), 0);
}

#[tokio::test]
async fn a_request_for_too_many_partitions_is_refused_whole() {
    let world = World::new(1).await;
    let count = limits::PARTITIONS_PER_REQUEST_MAX + 1;
    let produce = produce_request(vec![plain("a", 0, &[], None); count]);
    assert_eq!(code(world.broker.produce(&ctx(), produce).await), Some(ErrorCode::InvalidRequest));
    let fetch = fetch_request(vec![from("a", 0, 0); count], Duration::ZERO);
    assert_eq!(code(world.broker.fetch(&ctx(), fetch).await), Some(ErrorCode::InvalidRequest));
}

#[tokio::test]
async fn a_drain_refuses_the_new_answers_the_waiting_and_leaves_the_clean_mark() {
    let world = World::new(1).await;
    world.create("a", 1).await;
    let broker = Arc::clone(&world.broker);
    let request = fetch_request(vec![from("a", 0, 0)], Duration::from_secs(30));
    let waiting = tokio::spawn(async move { broker.fetch(&ctx(), request).await });
    world.sim.clock().wait_for_sleepers(2).await;
    world.broker.shut_down(Duration::from_secs(30)).await.unwrap();
    assert!(waiting.await.unwrap().is_ok());
    assert_eq!(code(world.broker.list_topics(&ctx()).await), Some(ErrorCode::ShuttingDown));
    assert_eq!(world.broker.shut_down(Duration::ZERO).await, Ok(()), "again");
    let World { sim, broker } = world;
    drop(broker);
    let world = World { broker: start(sim.kill()).await, sim };
    assert!(world.broker.start_report().clean);
}

#[tokio::test]
async fn a_drain_waits_for_a_produce_that_is_not_acknowledged() {
    let world = World::new(1).await;
    world.create("a", 1).await;
    let pending =
        world.broker.produce(&ctx(), produce_request(vec![plain("a", 0, &["1"], None)])).await.unwrap();
    let broker = Arc::clone(&world.broker);
    let stopping = tokio::spawn(async move { broker.shut_down(Duration::from_secs(30)).await });
    while code(world.broker.list_topics(&ctx()).await).is_none() {
        tokio::task::yield_now().await;
    }
    assert!(!stopping.is_finished());
    assert!(pending.acknowledged().await.partitions.remove(0).is_ok());
    stopping.await.unwrap().unwrap();
}

#[tokio::test]
async fn metrics_tell_what_happened() {
    let world = World::new(1).await;
    let mut registry = Registry::default();
    world.broker.register_metrics(&mut registry);
    world.create("a", 2).await;
    world.produce("a", &["1"]).await.unwrap();
    let _refused = world.broker.describe_topic(&ctx(), by_name("nope")).await;
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    for line in [
        r#"requests_total{operation="produce",code="OK"} 1"#,
        r#"requests_total{operation="describe_topic",code="UNKNOWN_TOPIC_OR_PARTITION"} 1"#,
        "partitions_open 18",
        "memory_in_use_bytes 0",
        "produce_latency_seconds_count 1",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}
