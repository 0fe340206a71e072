//! Connections that break at any byte, brokers that restart, bytes that do not move: every acknowledged record is stored
//! once and in order, readers go on where they were, and memory stays bounded.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::time::Duration;

use futures::FutureExt;
use millrace_client::{
    Client, Offset, Outcome, PartitionIndex, ProduceError, Producer, ProducerRecord, ReaderBuilder,
    RecordMetadata, Until,
};
use millrace_tests::cutting_proxy::{Cut, Direction, Proxy};
use millrace_tests::embedded::Embedded;

const PARTITIONS: u32 = 3;

/// Cuts spread over the first bytes of a connection, where the handshake is, and over the stream behind it.
fn cuts(count: u64) -> Vec<Cut> {
    let cut = |n: u64| {
        let direction = if n.is_multiple_of(2) { Direction::ToBroker } else { Direction::ToClient };
        let reach = if direction == Direction::ToBroker { 60_000 } else { 2_500 };
        // A step without a factor in common with the reach visits many different places.
        Cut { direction, after: 1 + (n * 7_919) % reach }
    };
    (0..count).map(cut).collect()
}

fn producer(client: &Client) -> Producer {
    client.producer().batch_bytes(2_000).linger(Duration::ZERO).build().unwrap()
}

fn record(topic: &str, n: u64) -> ProducerRecord {
    let partition = PartitionIndex(u32::try_from(n % u64::from(PARTITIONS)).unwrap());
    ProducerRecord::new(topic, format!("{n:0>100}")).partition(partition)
}

/// Reads the topic and checks that it holds `count` records, each once and where its delivery said, and that every
/// partition has them in the order of sending.
async fn check(client: &Client, topic: &str, stored: &[RecordMetadata]) {
    let mut reader = client.reader().topic(topic).until(Until::EndAtStart).start().await.unwrap();
    let mut places = BTreeMap::new();
    let mut last = BTreeMap::new();
    while let Some(record) = reader.next().await {
        let record = record.unwrap();
        let n: usize = std::str::from_utf8(record.value.as_ref().unwrap()).unwrap().parse().unwrap();
        assert!(places.insert(n, (record.partition, record.offset)).is_none(), "{n} is stored twice");
        assert!(last.insert(record.partition, n).is_none_or(|last| last < n), "{n} is out of order");
    }
    assert_eq!(places.len(), stored.len());
    for (n, stored) in stored.iter().enumerate() {
        assert_eq!(places.get(&n), Some(&(stored.partition, stored.offset.unwrap())), "record {n}");
    }
}

#[tokio::test]
async fn connections_cut_at_any_byte_lose_and_repeat_nothing() {
    let broker = Embedded::start().await;
    broker.topic("cut", PARTITIONS).await;
    let proxy = Proxy::start(broker.addr()).await;
    let client = broker.client(&[proxy.addr()]).await;
    let producer = producer(&client);
    let mut deliveries = vec![producer.send(record("cut", 0)).await.unwrap()];
    proxy.cut_next(cuts(60));
    proxy.cut_all();
    let mut n = 1;
    while proxy.cuts_left() > 0 || n < 3_000 {
        deliveries.push(producer.send(record("cut", n)).await.unwrap());
        n += 1;
    }
    let mut stored = Vec::new();
    for delivery in deliveries {
        stored.push(delivery.await.unwrap());
    }
    check(&broker.client(&[]).await, "cut", &stored).await;
}

#[tokio::test]
async fn a_reader_behind_broken_connections_misses_and_repeats_nothing() {
    let broker = Embedded::start().await;
    broker.topic("cut", PARTITIONS).await;
    let client = broker.client(&[]).await;
    let producer = producer(&client);
    for n in 0..2_000 {
        drop(producer.send(record("cut", n)).await.unwrap());
    }
    producer.close().await.unwrap();

    let readers: [fn(ReaderBuilder) -> ReaderBuilder; 2] = [|fetching| fetching, ReaderBuilder::subscribe];
    for with in readers {
        let proxy = Proxy::start(broker.addr()).await;
        let through = broker.client(&[proxy.addr()]).await;
        let reader = with(through.reader().topic("cut").fetch_bytes(5_000).prefetch_bytes(5_000));
        let mut reader = reader.until(Until::EndAtStart).start().await.unwrap();
        proxy.cut_next((0..40).map(|n| Cut { direction: Direction::ToClient, after: 1 + n * 397 }));
        proxy.cut_all();
        let mut next = BTreeMap::new();
        let mut count = 0;
        while let Some(record) = reader.next().await {
            let record = record.unwrap();
            let expected = next.insert(record.partition, record.offset.next()).unwrap_or(Offset::ZERO);
            assert_eq!(record.offset, expected);
            count += 1;
        }
        assert_eq!(count, 2_000);
    }
}

#[tokio::test]
async fn a_restart_in_mid_stream_is_waited_for_by_producer_and_reader() {
    let mut broker = Embedded::start().await;
    broker.topic("restart", PARTITIONS).await;
    let client = broker.client(&[]).await;
    let producer = producer(&client);
    let mut reader = client.reader().topic("restart").start().await.unwrap();
    let mut follower = client.reader().topic("restart").subscribe().start().await.unwrap();
    let (mut stored, mut deliveries) = (Vec::new(), Vec::new());
    for n in 0..3_000 {
        deliveries.push(producer.send(record("restart", n)).await.unwrap());
        if n % 1_000 == 500 {
            // Calls are in flight: some of these deliveries are still open.
            broker.stop().await;
            broker.resume().await;
        }
    }
    for delivery in deliveries {
        stored.push(delivery.await.unwrap());
    }
    let (mut read, mut followed) = (0, 0);
    while read < stored.len() {
        reader.next().await.unwrap().unwrap();
        read += 1;
    }
    while followed < stored.len() {
        follower.next().await.unwrap().unwrap();
        followed += 1;
    }
    check(&client, "restart", &stored).await;
}

#[tokio::test]
async fn a_broker_that_stalls_holds_senders_back_within_the_buffer() {
    const BUFFER: usize = 64 * 1024;
    let broker = Embedded::start().await;
    broker.topic("stall", PARTITIONS).await;
    let proxy = Proxy::start(broker.addr()).await;
    let client = broker.client(&[proxy.addr()]).await;
    let producer = client.producer().batch_bytes(2_000).buffer_bytes(BUFFER).build().unwrap();
    let mut deliveries = vec![producer.send(record("stall", 0)).await.unwrap()];
    producer.flush().await.unwrap();
    proxy.pause();
    let mut n = 1;
    // The topic is known, so nothing but the buffer can make a sender wait.
    while let Some(sent) = producer.send(record("stall", n)).now_or_never() {
        deliveries.push(sent.unwrap());
        n += 1;
        assert!(deliveries.len() * 100 < BUFFER, "more than the buffer holds");
    }
    assert!(producer.buffered_bytes() <= BUFFER);
    assert!(deliveries.len() * 300 > BUFFER, "only {} records fit", deliveries.len());
    proxy.resume();
    deliveries.push(producer.send(record("stall", n)).await.unwrap());
    let mut stored = Vec::new();
    for delivery in deliveries {
        stored.push(delivery.await.unwrap());
    }
    assert_eq!(producer.buffered_bytes(), 0);
    check(&client, "stall", &stored).await;
}

#[tokio::test]
async fn a_delivery_that_runs_out_of_time_says_what_is_known() {
    let broker = Embedded::start().await;
    broker.topic("late", PARTITIONS).await;
    let proxy = Proxy::start(broker.addr()).await;
    let client = broker.client(&[proxy.addr()]).await;
    let producer = client.producer().linger(Duration::ZERO).delivery_timeout(Duration::from_millis(300));
    let producer = producer.build().unwrap();
    producer.send(record("late", 0)).await.unwrap().await.unwrap();
    proxy.pause();
    let sent = producer.send(record("late", 3)).await.unwrap();
    let error = sent.await.unwrap_err();
    assert!(matches!(error, ProduceError::TimedOut { .. }), "{error}");
    assert_eq!(error.outcome(), Outcome::Indefinite, "it is on its way");
    proxy.resume();
    // Whatever became of it, the partition goes on.
    let next = producer.send(record("late", 6)).await.unwrap().await.unwrap();
    assert!(next.offset >= Some(Offset::from_count(1)));
}

#[tokio::test]
async fn a_dead_server_is_left_for_a_living_one() {
    let broker = Embedded::start().await;
    broker.topic("two", PARTITIONS).await;
    let proxy = Proxy::start(broker.addr()).await;
    let mut dead = Embedded::start().await;
    dead.stop().await;
    let client = broker.client(&[dead.addr(), proxy.addr(), broker.addr()]).await;
    let producer = producer(&client);
    let mut stored = Vec::new();
    for n in 0..300 {
        let delivery = producer.send(record("two", n)).await.unwrap();
        if n == 100 {
            proxy.cut_all();
        }
        stored.push(delivery.await.unwrap());
    }
    check(&client, "two", &stored).await;
}
