//! More than a broker can take, at the Kafka port of the real process: readers that do not read, calls that wait, everybody
//! back at once. `overload` has the same of the native door.
//!
//! What is asserted is who is served, what is kept and what is bounded, never how fast.
#![allow(clippy::expect_used, reason = "a suite fails by panicking, in its own functions too")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_kafka_wire::{FetchRequest, FetchResponse};
use millrace_record::Compression;
use millrace_tests::broker::{BrokerProcess, BrokerSetup};
use millrace_tests::kafka_door::{KafkaConnection, batch_of, fetch_request, frame, produce_request};
use millrace_tests::say;
use tempfile::TempDir;

/// The least that a broker takes.
const BUDGET_MIB: u64 = 200;
const OWN_MEMORY_KIB_MAX: u64 = BUDGET_MIB * 1024 / 10 * 11;
/// A safety net: nothing waits that long unless something is broken.
const PATIENCE: Duration = Duration::from_secs(240);
const FETCH: i16 = 12;

struct World {
    _home: TempDir,
    setup: BrokerSetup,
    broker: BrokerProcess,
}

fn world() -> World {
    let home = TempDir::new().expect("a folder");
    let mut setup = BrokerSetup::new(&home.path().join("data"), &home.path().join("log"));
    setup.args = vec!["--memory-budget".to_owned(), format!("{BUDGET_MIB}MiB")];
    let broker = setup.start();
    World { _home: home, setup, broker }
}

impl World {
    fn connect(&self) -> KafkaConnection {
        KafkaConnection::open(self.broker.kafka())
    }

    /// A connection that has sent these bytes and reads nothing.
    fn silent(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.broker.kafka()).expect("it accepts");
        stream.write_all(bytes).expect("it reads");
        stream
    }

    fn fill(&self, topic: &str, batches: usize, value_bytes: usize) {
        let mut connection = self.connect();
        connection.topic_id(topic);
        let batch = batch_of(&vec![b'x'; value_bytes], Compression::None);
        for _ in 0..batches {
            assert_eq!(connection.produce(topic, &batch).0, 0);
        }
    }

    fn memory_comes_back(&self) {
        wait_until(|| self.broker.metric("millrace_kafka_connections") == Some(0.0), "they are gone");
        wait_until(|| self.broker.metric("millrace_memory_in_use_bytes") == Some(0.0), "memory comes back");
    }
}

fn small(value: &str) -> Bytes {
    batch_of(value.as_bytes(), Compression::None)
}

fn large_fetch(topic: &str) -> FetchRequest {
    let mut request = fetch_request(FETCH, topic, [0; 16], 0);
    (request.max_bytes, request.topics[0].partitions[0].partition_max_bytes) = (16 << 20, 16 << 20);
    request
}

fn wait_until(condition: impl Fn() -> bool, what: &str) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "{what}: in vain");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn readers_that_do_not_read_take_bounded_memory_and_disturb_nobody() {
    let world = world();
    // What is read from its file, and what is copied into memory.
    world.fill("large", 20, 900_000);
    world.fill("small", 100, 100_000);
    let slow: Vec<TcpStream> = (0..200)
        .map(|number| {
            let topic = if number % 2 == 0 { "large" } else { "small" };
            world.silent(&frame(FETCH, 1, &large_fetch(topic)))
        })
        .collect();
    let mut polite = world.connect();
    polite.topic_id("polite");
    let mut peak_kib = 0;
    for number in 0..50 {
        assert_eq!(polite.produce("polite", &small("please")), (0, number));
        assert_eq!(polite.fetch("polite", number).0, 0);
        peak_kib = peak_kib.max(world.broker.own_memory_kib());
    }
    say(&format!(
        "overload_kafka: {} readers of 10 to 18 MB that do not read: at most {peak_kib} KiB of own memory with a budget of \
         {BUDGET_MIB} MiB",
        slow.len()
    ));
    assert!(peak_kib <= OWN_MEMORY_KIB_MAX, "{peak_kib} KiB of own memory");
    drop((slow, polite));
    world.memory_comes_back();
}

#[test]
#[ignore = "minutes: cargo xtask soak"]
fn soak_readers_that_do_not_read_are_cut_off() {
    let world = world();
    world.fill("large", 20, 900_000);
    let mut slow: Vec<TcpStream> =
        (0..50).map(|_| world.silent(&frame(FETCH, 1, &large_fetch("large")))).collect();
    // Half a minute, and a second for every 64 KiB of the answer.
    let end = Instant::now() + Duration::from_secs(600);
    while world.broker.metric("millrace_kafka_connections") != Some(0.0) {
        assert!(Instant::now() < end, "they are still served");
        std::thread::sleep(Duration::from_secs(1));
    }
    world.memory_comes_back();
    // They hear of it when they read on.
    for stream in &mut slow {
        let _what_was_sent = stream.read_to_end(&mut Vec::new());
    }
}

#[test]
fn a_connection_that_waits_holds_up_no_other() {
    let world = world();
    world.fill("quiet", 1, 100);
    let mut waiting: Vec<KafkaConnection> = (0..100)
        .map(|_| {
            let mut connection = world.connect();
            let mut wait = fetch_request(FETCH, "quiet", [0; 16], 1);
            (wait.max_wait_ms, wait.min_bytes) = (60_000, 1);
            connection.send(FETCH, &wait);
            connection
        })
        .collect();
    // Others stand still in the middle of a request.
    let half = frame(9, 1, &produce_request(9, "quiet", [0; 16], &small("never whole")));
    let halves: Vec<TcpStream> = (0..100).map(|_| world.silent(&half[..half.len() - 1])).collect();
    let in_flight = || world.broker.metric("millrace_requests_in_flight") >= Some(100.0);
    wait_until(in_flight, "they wait");
    let mut busy = world.connect();
    busy.topic_id("busy");
    for number in 0..50 {
        assert_eq!(busy.produce("busy", &small("next")), (0, number));
        assert_eq!(busy.fetch("busy", number).0, 0);
    }
    assert!(in_flight(), "what nobody wrote to is still waited for");
    assert_eq!(busy.produce("quiet", &small("at last")).0, 0);
    for connection in &mut waiting {
        let answer: FetchResponse = connection.receive::<FetchRequest>(FETCH);
        let records = answer.responses[0].partitions[0].records.clone().unwrap_or_default();
        assert!(!records.is_empty(), "it is woken");
    }
    drop((waiting, halves, busy));
    world.memory_comes_back();
}

#[test]
fn everybody_comes_back_to_the_kafka_port_after_a_restart_and_is_served() {
    reconnect_storm("overload_kafka", 200);
}

#[test]
#[ignore = "minutes: cargo xtask soak"]
fn soak_everybody_comes_back_to_the_kafka_port_after_a_restart_and_is_served() {
    reconnect_storm("overload_kafka, soak", 3_000);
}

/// Clients with a connection each; the broker is killed and started again, and each of them is there before it accepts.
fn reconnect_storm(suite: &str, clients: usize) {
    let mut world = world();
    world.setup.kafka = world.broker.kafka().to_owned();
    let address = world.setup.kafka.clone();
    world.connect().topic_id("t");
    let is_down = Barrier::new(clients + 1);
    std::thread::scope(|scope| {
        let storm: Vec<_> = (0..clients)
            .map(|_| {
                let (address, is_down) = (&address, &is_down);
                std::thread::Builder::new().stack_size(256 * 1024).spawn_scoped(scope, move || {
                    let mut before = KafkaConnection::open(address);
                    assert_eq!(before.produce("t", &small("before")).0, 0);
                    is_down.wait();
                    is_down.wait();
                    wait_until(|| TcpStream::connect(address).is_ok(), "it accepts again");
                    let mut after = KafkaConnection::open(address);
                    assert_eq!(after.produce("t", &small("after")).0, 0);
                })
            })
            .map(|thread| thread.expect("a thread"))
            .collect();
        is_down.wait();
        world.broker.kill_hard();
        is_down.wait();
        world.broker = world.setup.start();
        storm.into_iter().for_each(|client| client.join().expect("everybody is served"));
    });
    let (error, last) = world.connect().produce("t", &small("the last"));
    assert_eq!((error, last), (0, 2 * i64::try_from(clients).expect("a number")), "each record once");
    say(&format!("{suite}: {clients} clients came back at once to the Kafka port, each was served"));
    world.memory_comes_back();
}
