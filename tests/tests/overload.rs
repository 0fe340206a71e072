//! More than a broker can take, at the door of the real process: requests larger than its memory, readers that hardly read,
//! everybody back at once, thousands of partitions, the largest batches, a stop under load.
//!
//! What is asserted is who is served, what is kept and what is bounded, never how fast. The long forms are in `soak_*`.
#![allow(clippy::expect_used, reason = "a suite fails by panicking, in its own functions too")]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use millrace_client::{Client, ClientOptions, NewTopic, Outcome, PartitionIndex, ProducerRecord, Until};
use millrace_proto::v1::{self, Durability};
use millrace_record::{Batch, BatchBuilder, BatchOptions, NO_HEADERS};
use millrace_tests::broker::{BrokerProcess, BrokerSetup};
use millrace_tests::read::{Wire, topic_named};
use millrace_tests::say;
use millrace_tests::wire::{Recorded, wait_until};
use millrace_types::TimestampMs;
use millrace_types::limits::BATCH_BYTES_MAX;
use rustix::process::Signal;
use tempfile::TempDir;

const MIB: usize = 1024 * 1024;

struct World {
    _home: TempDir,
    setup: BrokerSetup,
    broker: BrokerProcess,
}

impl World {
    fn new(args: &[&str]) -> World {
        let home = TempDir::new().expect("a folder");
        let mut setup = BrokerSetup::new(&home.path().join("data"), &home.path().join("log"));
        setup.args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let broker = setup.start();
        World { _home: home, setup, broker }
    }

    async fn topic(&self, topic: NewTopic) {
        self.broker.client().await.admin().create_topic(topic).await.expect("a topic");
    }

    /// Files that the broker has open.
    fn open_files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", self.broker.pid())).expect("a running child");
        let links = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        links.map(|link| link.to_string_lossy().into_owned()).collect()
    }
}

fn large_topic(name: &str) -> NewTopic {
    NewTopic::new(name).config("max.message.bytes", BATCH_BYTES_MAX.to_string()).config("sync.mode", "os")
}

/// A batch of one record that takes exactly so many bytes.
fn batch_of(bytes: usize) -> Batch {
    let build = |value: usize| {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        let value = vec![b'x'; value];
        builder.append(TimestampMs(1), None, Some(&value), NO_HEADERS).expect("it fits");
        builder.build().expect("a batch")
    };
    // A length takes as many bytes a little below as it does there.
    let below = bytes - 100;
    let batch = build(below + bytes - build(below).size());
    assert_eq!(batch.size(), bytes);
    batch
}

fn request(topic: &str, partition: i32, batch: &Batch) -> v1::ProduceRequest {
    let partition = v1::PartitionProduce {
        topic: topic_named(topic),
        partition,
        data: Some(v1::partition_produce::Data::Batch(batch.bytes().clone())),
        ..Default::default()
    };
    let durability = Durability::Committed.into();
    v1::ProduceRequest { partitions: vec![partition], durability, timeout_ms: 0, correlation_id: 0 }
}

fn error_of(answer: &v1::ProduceResponse) -> Option<String> {
    answer.partitions.iter().find_map(|part| part.error.as_ref()).map(|error| error.name.clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn producers_of_large_batches_are_held_back_and_none_is_dropped() {
    large_batches("overload", 40, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: cargo xtask soak"]
async fn soak_producers_of_large_batches_are_held_back_and_none_is_dropped() {
    large_batches("overload, soak", 200, 10).await;
}

/// Together they want much more than the budget; every batch is answered, and all are there.
async fn large_batches(suite: &str, producers: usize, each: usize) {
    const BUDGET_MIB: u64 = 200;
    let world = World::new(&["--memory-budget", &format!("{BUDGET_MIB}MiB")]);
    world.topic(large_topic("t")).await;
    let idle = world.broker.own_memory_kib();
    let batch = Arc::new(batch_of(BATCH_BYTES_MAX));
    let peak = Arc::new(AtomicU64::new(0));
    let address = world.broker.grpc().to_owned();
    let mut tasks = Vec::new();
    for _ in 0..producers {
        let (address, batch) = (address.clone(), Arc::clone(&batch));
        tasks.push(tokio::spawn(async move {
            let mut wire = Wire::connect(&address).await;
            for _ in 0..each {
                let answer = wire.rpc.produce(request("t", 0, &batch)).await.expect("an answer").into_inner();
                assert_eq!(error_of(&answer), None);
            }
        }));
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let watching = {
        let (peak, is_over, pid) = (Arc::clone(&peak), Arc::clone(&is_over), world.broker.pid());
        tokio::task::spawn_blocking(move || {
            while !is_over.load(Ordering::SeqCst) {
                peak.fetch_max(millrace_tests::broker::own_memory_kib_of(pid), Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(2));
            }
        })
    };
    for task in tasks {
        task.await.expect("every batch is acknowledged");
    }
    is_over.store(true, Ordering::SeqCst);
    watching.await.expect("it watched");
    let mut wire = Wire::connect(&address).await;
    assert_eq!(wire.end("t", 0).await, i64::try_from(producers * each).expect("a number"));
    let peak_mib = peak.load(Ordering::SeqCst) / 1024;
    say(&format!(
        "{suite}: {producers} producers x {each} batches of 8 MiB through a budget of {BUDGET_MIB} MiB: RssAnon {} MiB idle, \
         {peak_mib} MiB at most",
        idle / 1024
    ));
    // The budget, and what the allocator keeps.
    assert!(peak_mib <= BUDGET_MIB * 11 / 10 + idle / 1024, "{peak_mib} MiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_hardly_read_disturb_nobody_and_keep_no_deleted_topic() {
    let world = World::new(&[]);
    world.topic(large_topic("t").config("segment.bytes", "1048576")).await;
    world.topic(NewTopic::new("polite")).await;
    let mut slow = slow_readers(&world, 100).await;
    // They take a byte in turn, all of them, between records of a polite client.
    let client = world.broker.client().await;
    let producer = client.producer().linger(Duration::ZERO).build().expect("a producer");
    for _ in 0..20 {
        for stream in &mut slow {
            // What is not there yet is not waited for.
            let _byte = stream.read(&mut [0]);
        }
        let delivery = producer.send(ProducerRecord::new("polite", "please")).await.expect("it is taken");
        delivery.await.expect("it is acknowledged while they read");
    }
    let before = partition_directories(&world.setup);
    client.admin().delete_topic("t").await.expect("it is deleted under its readers");
    wait_until(|| partition_directories(&world.setup) < before, "the directory goes").await;
    let delivery = producer.send(ProducerRecord::new("polite", "again")).await.expect("it is taken");
    delivery.await.expect("it is acknowledged");
    drop((slow, producer, client));
    wait_until(|| world.broker.metric("millrace_memory_in_use_bytes") == Some(0.0), "memory comes back")
        .await;
    wait_until(
        || !world.open_files().iter().any(|file| file.ends_with("(deleted)")),
        "no deleted file is held open",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: cargo xtask soak"]
async fn soak_readers_that_hardly_read_are_cut_off() {
    let world = World::new(&[]);
    world.topic(large_topic("t")).await;
    let mut slow = slow_readers(&world, 1_000).await;
    let connections = || world.broker.metric("millrace_grpc_connections").unwrap_or(0.0);
    let mut bytes = 0;
    // One byte of each per second; an answer of 2 MiB may take a minute.
    for _ in 0..600 {
        if connections() < 1.0 {
            break;
        }
        for stream in &mut slow {
            bytes += stream.read(&mut [0]).unwrap_or(0);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(connections() < 1.0, "{} are still served", connections());
    wait_until(|| world.broker.metric("millrace_memory_in_use_bytes") == Some(0.0), "memory comes back")
        .await;
    say(&format!("overload, soak: 1000 readers of 1 B/s were cut off after {bytes} bytes in all"));
}

/// Raw connections that have asked for 2 MiB and read nothing yet.
async fn slow_readers(world: &World, count: usize) -> Vec<TcpStream> {
    let mut wire = Wire::connect(world.broker.grpc()).await;
    let batch = batch_of(MIB);
    for _ in 0..4 {
        wire.rpc.produce(request("t", 0, &batch)).await.expect("an answer");
    }
    let fetch = v1::FetchRequest {
        partitions: vec![v1::PartitionFetch { topic: topic_named("t"), ..Default::default() }],
        max_bytes: 2 * 1024 * 1024,
        ..Default::default()
    };
    let asked = Recorded::call(|mut rpc| async move { drop(rpc.fetch(fetch).await) }).await;
    let connect = |_| {
        let mut stream = TcpStream::connect(world.broker.grpc()).expect("it accepts");
        stream.write_all(&asked.bytes).expect("it reads");
        stream.set_nonblocking(true).expect("a socket");
        stream
    };
    (0..count).map(connect).collect()
}

fn partition_directories(setup: &BrokerSetup) -> usize {
    let entries = std::fs::read_dir(&setup.data_dir).expect("a data directory");
    entries.filter_map(Result::ok).filter(|entry| entry.path().is_dir()).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_waits_holds_up_no_other_on_its_connection() {
    let world = World::new(&[]);
    world.topic(NewTopic::new("t").partitions(2)).await;
    let wire = Wire::connect(world.broker.grpc()).await;
    let waits = v1::FetchRequest {
        partitions: vec![v1::PartitionFetch { topic: topic_named("t"), ..Default::default() }],
        max_bytes: 1024,
        min_bytes: 1,
        max_wait_ms: 60_000,
        ..Default::default()
    };
    // Sixty long waits, one connection.
    let waiting: Vec<_> = (0..60)
        .map(|_| {
            let (mut wire, waits) = (wire.clone(), waits.clone());
            tokio::spawn(async move { wire.rpc.fetch(waits).await.expect("an answer").into_inner() })
        })
        .collect();
    wait_until(|| world.broker.metric("millrace_requests_in_flight") >= Some(60.0), "they wait").await;
    let batch = batch_of(200);
    let mut busy = wire.clone();
    for _ in 0..50 {
        let answer = busy.rpc.produce(request("t", 1, &batch)).await.expect("an answer").into_inner();
        assert_eq!(error_of(&answer), None);
    }
    assert!(waiting.iter().all(|task| !task.is_finished()), "what nobody wrote to is still waited for");
    busy.rpc.produce(request("t", 0, &batch)).await.expect("an answer");
    for task in waiting {
        let answer = task.await.expect("it is woken");
        assert_eq!(answer.partitions[0].next_offset, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_comes_back_after_a_restart_and_is_served() {
    reconnect_storm("overload", 300).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: cargo xtask soak"]
async fn soak_everybody_comes_back_after_a_restart_and_is_served() {
    reconnect_storm("overload, soak", 4_000).await;
}

/// Clients with a connection each; the broker is killed and started again, and each of them goes on.
async fn reconnect_storm(suite: &str, clients: usize) {
    let mut world = World::new(&[]);
    world.topic(NewTopic::new("t").partitions(4).config("sync.mode", "os")).await;
    world.setup.grpc = world.broker.grpc().to_owned();
    let mut producers = Vec::new();
    for _ in 0..clients {
        let client = world.broker.client().await;
        let producer = client.producer().linger(Duration::ZERO).build().expect("a producer");
        producer.send(ProducerRecord::new("t", "before")).await.expect("it is taken").await.expect("stored");
        producers.push(producer);
    }
    let full_files = world.open_files().len();
    assert!(full_files > clients, "everybody has a connection");
    world.broker.kill_hard();
    let mut deliveries = Vec::new();
    for producer in &producers {
        deliveries.push(producer.send(ProducerRecord::new("t", "after")).await.expect("it is taken"));
    }
    world.broker = world.setup.start();
    for delivery in deliveries {
        delivery.await.expect("everybody is served in the end");
    }
    let files = world.open_files().len();
    assert!(files <= full_files + 64, "{files} files open, {full_files} before");
    let mut wire = Wire::connect(world.broker.grpc()).await;
    let mut records = 0;
    for partition in 0..4 {
        records += wire.end("t", partition).await;
    }
    assert_eq!(records, 2 * i64::try_from(clients).expect("a number"), "each record once");
    say(&format!(
        "{suite}: {clients} clients came back at once; {files} files open, {full_files} before the restart"
    ));
    drop((producers, wire));
    wait_until(|| world.broker.metric("millrace_grpc_connections") == Some(0.0), "they are gone").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_partitions_are_written_in_one_request_and_survive_a_restart() {
    many_partitions("overload", 400).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: cargo xtask soak"]
async fn soak_many_partitions_are_written_in_one_request_and_survive_a_restart() {
    many_partitions("overload, soak", 10_000).await;
}

async fn many_partitions(suite: &str, partitions: u32) {
    let mut world = World::new(&[]);
    let idle_kib = world.broker.own_memory_kib();
    world.topic(NewTopic::new("t").partitions(partitions)).await;
    let count = i32::try_from(partitions).expect("a number");
    let batch = batch_of(200);
    let part = |partition| request("t", partition, &batch).partitions.remove(0);
    let all = v1::ProduceRequest { partitions: (0..count).map(part).collect(), ..Default::default() };
    let mut wire = Wire::connect(world.broker.grpc()).await;
    let answer = wire.rpc.produce(all).await.expect("an answer").into_inner();
    assert_eq!((answer.partitions.len(), error_of(&answer)), (partitions as usize, None));
    let full_kib = world.broker.own_memory_kib();
    drop(wire);
    assert_eq!(world.broker.stop().code(), Some(0));
    world.broker = world.setup.start();
    let mut wire = Wire::connect(world.broker.grpc()).await;
    for partition in (0..count).step_by(7).chain([count - 1]) {
        assert_eq!(wire.end("t", partition).await, 1, "partition {partition}");
    }
    let each = (full_kib.saturating_sub(idle_kib)) / u64::from(partitions);
    say(&format!(
        "{suite}: {partitions} partitions, {each} KiB of RssAnon for each, open again in {} ms",
        world.broker.took().as_millis()
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_batch_passes_every_limit_and_one_byte_more_is_refused() {
    let world = World::new(&[]);
    // The smallest segments: a batch larger than a segment has one of its own.
    world.topic(large_topic("t").config("segment.bytes", "65536")).await;
    let client = world.broker.client().await;
    let beyond = NewTopic::new("beyond").config("max.message.bytes", (BATCH_BYTES_MAX + 1).to_string());
    client.admin().create_topic(beyond).await.expect_err("no topic takes more");
    let mut wire = Wire::connect(world.broker.grpc()).await;
    for _ in 0..3 {
        let answer = wire.rpc.produce(request("t", 0, &batch_of(BATCH_BYTES_MAX))).await;
        assert_eq!(error_of(&answer.expect("an answer").into_inner()), None);
    }
    let less = NewTopic::new("less").config("max.message.bytes", (BATCH_BYTES_MAX - 1).to_string());
    world.topic(less).await;
    let answer = wire.rpc.produce(request("less", 0, &batch_of(BATCH_BYTES_MAX))).await;
    assert_eq!(error_of(&answer.expect("an answer").into_inner()).as_deref(), Some("BATCH_TOO_LARGE"));
    // The same through the library, which knows the topic's limit.
    let producer = client.producer().batch_bytes(BATCH_BYTES_MAX).build().expect("a producer");
    let value = Bytes::from(vec![7; BATCH_BYTES_MAX - 200]);
    producer.send(ProducerRecord::new("t", value.clone())).await.expect("taken").await.expect("stored");
    let refused = producer.send(ProducerRecord::new("t", vec![7; BATCH_BYTES_MAX])).await;
    assert_eq!(refused.expect_err("too large").outcome(), Outcome::Definite);
    let mut reader = client.reader().topic("t").until(Until::EndAtStart).start().await.expect("a reader");
    let mut sizes = Vec::new();
    while let Some(record) = reader.next().await {
        sizes.push(record.expect("a record").value.map_or(0, |value| value.len()));
    }
    assert_eq!(sizes.len(), 4);
    assert_eq!(sizes.last(), Some(&value.len()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_answers_what_it_took_and_loses_nothing() {
    let mut world = World::new(&[]);
    world.topic(NewTopic::new("t").partitions(4)).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let stored = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for number in 0..8_u32 {
        let options =
            ClientOptions { request_timeout: Duration::from_millis(500), ..ClientOptions::default() };
        let client = Client::connect([world.broker.grpc().to_owned()], options).await.expect("it accepts");
        let producer =
            client.producer().delivery_timeout(Duration::from_secs(2)).build().expect("a producer");
        let (is_over, stored) = (Arc::clone(&is_over), Arc::clone(&stored));
        let partition = PartitionIndex(number % 4);
        tasks.push(tokio::spawn(async move {
            let mut known = BTreeMap::new();
            for record in 0_u32.. {
                if is_over.load(Ordering::SeqCst) {
                    break;
                }
                let value = format!("{number}-{record}");
                let record = ProducerRecord::new("t", value.clone()).partition(partition);
                let Ok(delivery) = producer.send(record).await else { break };
                match delivery.await {
                    Ok(metadata) => {
                        stored.fetch_add(1, Ordering::SeqCst);
                        known.insert(metadata.offset.expect("an offset").get(), value);
                    }
                    // The broker is gone: whether it was stored is said, and either may be true.
                    Err(_) => break,
                }
            }
            (partition, known)
        }));
    }
    wait_until(|| stored.load(Ordering::SeqCst) > 200, "there is load").await;
    assert_eq!(world.broker.stop().code(), Some(0), "a stop under load is a clean one");
    is_over.store(true, Ordering::SeqCst);
    assert!(world.setup.data_dir.join(millrace_log::names::CLEAN_MARK).exists(), "the clean mark is left");
    world.broker = world.setup.start();
    let mut wire = Wire::connect(world.broker.grpc()).await;
    let mut there = BTreeMap::new();
    for partition in 0..4 {
        let records = wire.records("t", partition, 0).await;
        there.insert(partition, records.into_iter().map(|record| (record.offset, record.value)).collect());
    }
    let there: BTreeMap<i32, BTreeMap<i64, Option<Bytes>>> = there;
    let mut checked = 0;
    for task in tasks {
        let (partition, known) = task.await.expect("a producer");
        let partition = there.get(&i32::try_from(partition.0).expect("a number")).expect("a partition");
        for (offset, value) in known {
            assert_eq!(partition.get(&offset), Some(&Some(Bytes::from(value))), "at {offset}");
            checked += 1;
        }
    }
    say(&format!("overload: stopped under load, {checked} acknowledged records are all there"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_it_at_once_and_what_was_acknowledged_stays() {
    let mut world = World::new(&["--drain-timeout", "10m"]);
    world.topic(NewTopic::new("t")).await;
    let mut wire = Wire::connect(world.broker.grpc()).await;
    wire.rpc.produce(request("t", 0, &batch_of(200))).await.expect("an answer");
    // A message that never ends: it has begun, so the drain waits for it, and much longer than this test takes.
    let large = request("t", 0, &batch_of(BATCH_BYTES_MAX));
    let begun = Recorded::call(|mut rpc| async move { drop(rpc.produce(large).await) }).await;
    let mut unfinished = TcpStream::connect(world.broker.grpc()).expect("it accepts");
    unfinished.write_all(&begun.bytes).expect("it reads");
    let reads_it = || world.broker.metric("millrace_memory_in_use_bytes") >= Some(BATCH_BYTES_MAX as f64);
    wait_until(reads_it, "the message begins").await;
    world.broker.signal(Signal::TERM);
    wait_until(|| TcpStream::connect(world.broker.grpc()).is_err(), "nobody new is taken").await;
    world.broker.signal(Signal::TERM);
    assert_eq!(world.broker.wait().code(), Some(130));
    drop((unfinished, wire));
    world.broker = world.setup.start();
    assert_eq!(Wire::connect(world.broker.grpc()).await.end("t", 0).await, 1);
}
