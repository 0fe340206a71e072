//! Strangers at the door of the real process: cut, flipped and oversized requests, clients that do not read. Memory stays
//! bounded, everything that was granted comes back, and polite clients notice nothing.
#![allow(clippy::expect_used, reason = "a suite fails by panicking, in its own functions too")]

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use millrace_client::{Client, ClientOptions, NewTopic, ProducerRecord};
use millrace_proto::v1::{self, Durability};
use millrace_tests::broker::{BrokerProcess, BrokerSetup};
use millrace_tests::read::{Wire, topic_named};
use millrace_tests::wire::{Recorded, wait_until};
use millrace_tests::{Seed, say};
use tempfile::TempDir;

const TOPIC: &str = "t";
/// What strangers may cost, in KiB beside what the broker has when it is idle.
const GROWTH_KIB_MAX: u64 = 128 * 1024;
/// What the broker may hold while nobody reads: the budget of 512 MiB, and half of it for the copies that HTTP/2 makes.
const STALLED_KIB_MAX: u64 = 768 * 1024;

/// A broker, and a polite client at work until the end.
struct World {
    _home: TempDir,
    broker: BrokerProcess,
    idle_kib: u64,
    polite: Arc<Polite>,
    work: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Polite {
    is_over: AtomicBool,
    records: AtomicU64,
}

impl World {
    async fn new() -> World {
        let home = TempDir::new().expect("a folder");
        let broker = BrokerSetup::new(&home.path().join("data"), &home.path().join("log")).start();
        let client =
            Client::connect([broker.grpc().to_owned()], ClientOptions::default()).await.expect("it accepts");
        client.admin().create_topic(NewTopic::new(TOPIC)).await.expect("a topic");
        client.admin().create_topic(NewTopic::new("polite")).await.expect("a topic");
        let idle_kib = broker.own_memory_kib();
        let polite = Arc::new(Polite::default());
        let work = tokio::spawn(Arc::clone(&polite).work(client));
        World { _home: home, broker, idle_kib, polite, work }
    }

    /// Everything comes back, memory is bounded, and the polite client was served to the end.
    async fn end(self, suite: &str) {
        self.end_within(suite, GROWTH_KIB_MAX).await;
    }

    async fn end_within(mut self, suite: &str, growth_kib_max: u64) {
        self.polite.is_over.store(true, Ordering::SeqCst);
        self.work.await.expect("the polite client was served");
        let broker = &self.broker;
        for metric in
            ["millrace_memory_in_use_bytes", "millrace_requests_in_flight", "millrace_grpc_connections"]
        {
            // The polite client and its connection are gone by now too.
            wait_until(|| broker.metric(metric) == Some(0.0), metric).await;
        }
        let grown = self.broker.own_memory_kib().saturating_sub(self.idle_kib);
        assert!(grown <= growth_kib_max, "{grown} KiB more than when idle");
        let records = self.polite.records.load(Ordering::SeqCst);
        assert!(records > 0, "the polite client got nothing done");
        say(&format!(
            "{suite}: {grown} KiB more than when idle; {records} records of a polite client meanwhile"
        ));
        assert_eq!(self.broker.stop().code(), Some(0), "it still stops cleanly");
    }
}

impl Polite {
    async fn work(self: Arc<Self>, client: Client) {
        let producer = client.producer().build().expect("a producer");
        while !self.is_over.load(Ordering::SeqCst) {
            let delivery = producer.send(ProducerRecord::new("polite", "please")).await.expect("it is taken");
            delivery.await.expect("it is acknowledged");
            self.records.fetch_add(1, Ordering::SeqCst);
        }
        producer.close().await.expect("nothing is left");
    }
}

fn produce_request(value: &Bytes) -> v1::ProduceRequest {
    let record = v1::Record {
        key: None,
        value: Some(value.clone()),
        headers: Vec::new(),
        timestamp_ms: None,
        offset: 0,
    };
    let partition = v1::PartitionProduce {
        topic: topic_named(TOPIC),
        partition: 0,
        data: Some(v1::partition_produce::Data::Records(v1::RecordList { records: vec![record] })),
        sequence: None,
        compression: v1::Compression::None.into(),
    };
    let durability = Durability::Committed.into();
    v1::ProduceRequest { partitions: vec![partition], durability, timeout_ms: 0, correlation_id: 0 }
}

async fn recorded_produce() -> Vec<u8> {
    let request = produce_request(&Bytes::from_static(b"hello"));
    let bytes = Recorded::call(|mut rpc| async move { drop(rpc.produce(request).await) }).await.bytes;
    assert!(bytes.windows(5).any(|window| window == b"hello"), "the record is not in what was recorded");
    bytes
}

/// Sends bytes to the broker, reads a little of what it says if it is asked to, and hangs up.
fn send(broker: &str, bytes: &[u8]) {
    let mut stream = TcpStream::connect(broker).expect("it accepts");
    // A broker that hangs up first is within its rights.
    let _sent = stream.write_all(bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_cut_at_every_byte_leaves_nothing_behind() {
    let world = World::new().await;
    let bytes = recorded_produce().await;
    let address = world.broker.grpc().to_owned();
    let cuts = bytes.len();
    tokio::task::spawn_blocking(move || (0..=cuts).for_each(|cut| send(&address, &bytes[..cut])))
        .await
        .expect("sent");
    world.end(&format!("hostile_clients: {cuts} cuts")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_with_any_byte_changed_harms_nobody() {
    let mut seed = Seed::announced("hostile_clients");
    let world = World::new().await;
    let bytes = recorded_produce().await;
    let address = world.broker.grpc().to_owned();
    let changes = bytes.len();
    let changing = tokio::task::spawn_blocking(move || {
        for at in 0..changes {
            let mut changed = bytes.clone();
            changed[at] = changed[at].wrapping_add(u8::try_from(seed.between(1, 256)).unwrap_or(1));
            send(&address, &changed);
        }
    });
    changing.await.expect("sent");
    world.end(&format!("hostile_clients: {changes} changed bytes")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_and_other_protocols_are_hung_up_on() {
    let mut seed = Seed::announced("hostile_clients, noise");
    let world = World::new().await;
    let address = world.broker.grpc().to_owned();
    let talking = tokio::task::spawn_blocking(move || {
        send(&address, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n");
        send(&address, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
        // Kafka's ApiVersions, and an AMQP header.
        send(&address, b"\x00\x00\x00\x0e\x00\x12\x00\x00\x00\x00\x00\x01\x00\x04test");
        send(&address, b"AMQP\x00\x00\x09\x01");
        for _ in 0..200 {
            let length = seed.between(1, 5_000);
            let noise: Vec<u8> = (0..length).map(|_| u8::try_from(seed.draw() & 0xff).unwrap_or(0)).collect();
            send(&address, &noise);
            // The same behind a greeting that is right.
            send(&address, &[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &noise].concat());
        }
    });
    talking.await.expect("sent");
    world.end("hostile_clients: noise").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_beyond_the_limit_is_refused_and_not_held() {
    let world = World::new().await;
    let mut wire = Wire::connect(world.broker.grpc()).await;
    let request = produce_request(&Bytes::from(vec![7; 101 * 1024 * 1024]));
    let refused = wire.rpc.produce(request).await.expect_err("too large");
    let code = millrace_proto::error_of(&refused).map(|error| error.name);
    assert_eq!(code.as_deref(), Some("REQUEST_TOO_LARGE"), "{refused}");
    // One that fits the broker, and not the topic.
    let request = produce_request(&Bytes::from(vec![7; 2 * 1024 * 1024]));
    let answer = wire.rpc.produce(request).await.expect("an answer").into_inner();
    let error = answer.partitions.first().and_then(|partition| partition.error.clone()).expect("an error");
    assert_eq!(error.name, "BATCH_TOO_LARGE", "{}", error.message);
    drop(wire);
    world.end("hostile_clients: oversized").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_do_not_read_hold_little_and_lose_it_when_they_go() {
    const READERS: usize = 100;
    let world = World::new().await;
    let mut wire = Wire::connect(world.broker.grpc()).await;
    let megabyte = produce_request(&Bytes::from(vec![7; 1_000_000]));
    for _ in 0..32 {
        wire.rpc.produce(megabyte.clone()).await.expect("an answer");
    }
    drop(wire);
    let fetch = v1::FetchRequest {
        partitions: vec![v1::PartitionFetch {
            topic: topic_named(TOPIC),
            partition: 0,
            offset: 0,
            ..Default::default()
        }],
        max_bytes: 32 * 1024 * 1024,
        ..v1::FetchRequest::default()
    };
    let bytes = Recorded::call(|mut rpc| async move { drop(rpc.fetch(fetch).await) }).await.bytes;
    let mut streams: Vec<TcpStream> = Vec::new();
    for _ in 0..READERS {
        let mut stream = TcpStream::connect(world.broker.grpc()).expect("it accepts");
        stream.write_all(&bytes).expect("it reads");
        streams.push(stream);
    }
    let limit = world.broker.metric("millrace_memory_limit_bytes").expect("a limit");
    let before = world.polite.records.load(Ordering::SeqCst);
    // The polite client gets on while all of them wait.
    wait_until(|| world.polite.records.load(Ordering::SeqCst) > before + 100, "the polite client's turn")
        .await;
    let held = world.broker.metric("millrace_memory_in_use_bytes").expect("a number");
    assert!(held <= limit, "{held} of {limit} bytes are granted");
    let peak = world.broker.own_memory_kib();
    assert!(peak <= STALLED_KIB_MAX, "{peak} KiB while nobody reads");
    drop(streams);
    let figures =
        format!("{READERS} readers that do not read, {held} bytes granted to them, {peak} KiB in all");
    // The allocator keeps what was freed for a while: what counts is that it does not grow with the readers.
    world.end_within(&format!("hostile_clients: {figures}"), STALLED_KIB_MAX).await;
}
