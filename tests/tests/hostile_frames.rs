//! A hundred thousand frames that no honest client sends, on the Kafka port of the real process, before and after the
//! handshake: memory stays within its budget, nothing panics, clients of both doors notice nothing, and the broker stops
//! cleanly.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a suite fails by panicking, in its own functions too"
)]

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use millrace_client::{Offset, PartitionIndex, Position, ProducerRecord};
use millrace_kafka_wire::ApiVersionsRequest;
use millrace_record::Compression;
use millrace_tests::broker::{BrokerProcess, BrokerSetup};
use millrace_tests::hostile::{Attack, Hostile, Kind, Victim, answered};
use millrace_tests::kafka_door::{KafkaConnection, batch_of, frame};
use millrace_tests::{Seed, on_two_workers, say, tool};
use tempfile::TempDir;

/// The least that a broker takes.
const BUDGET_MIB: u64 = 200;
/// What the process may hold beside its budget: a tenth of it.
const OWN_MEMORY_KIB_MAX: u64 = BUDGET_MIB * 1024 / 10 * 11;
/// A safety net: nothing waits that long unless something is broken.
const PATIENCE: Duration = Duration::from_secs(120);
/// Half frames that are held open at a time, by each sender.
const HELD_OPEN_MAX: usize = 32;
const SENDERS: u64 = 2;

#[test]
fn a_hundred_thousand_hostile_frames_disturb_nobody() {
    run("hostile_frames", 100_000);
}

#[test]
#[ignore = "long: cargo xtask soak"]
fn a_million_hostile_frames_disturb_nobody() {
    run("hostile_frames_soak", 1_000_000);
}

/// Not drawn, but all at once: what holds one of them back must hold all of them back.
#[test]
fn requests_that_are_large_in_memory_are_paid_for_by_however_many_they_are_sent() {
    const CONNECTIONS: usize = 64;
    const EACH: usize = 6;
    let (_home, broker, victim) = broker();
    let bombs = answered(&victim);
    let is_over = AtomicBool::new(false);
    let peak_kib = std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&broker, &is_over));
        let senders: Vec<_> = (0..CONNECTIONS)
            .map(|first| {
                let (bombs, address) = (&bombs, broker.kafka());
                scope.spawn(move || {
                    for frame in bombs.iter().cycle().skip(first).take(EACH) {
                        answered_or_hung_up(address, frame);
                    }
                })
            })
            .collect();
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        is_over.store(true, Ordering::SeqCst);
        watching.join().unwrap()
    });
    say(&format!(
        "hostile_frames: {} requests of {} kinds that become large, from {CONNECTIONS} connections at once: at most {peak_kib} KiB \
         of own memory with a budget of {BUDGET_MIB} MiB",
        CONNECTIONS * EACH,
        bombs.len(),
    ));
    assert!(peak_kib <= OWN_MEMORY_KIB_MAX, "{peak_kib} KiB of own memory");
    wait_until(|| broker.metric("millrace_memory_in_use_bytes") == Some(0.0), "memory comes back");
}

fn answered_or_hung_up(address: &str, frame: &[u8]) {
    let mut stream = TcpStream::connect(address).expect("it accepts");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _gone = stream.write_all(frame);
    let _gone = stream.shutdown(Shutdown::Write);
    let read = io::copy(&mut stream, &mut io::sink());
    let is_silent = read.is_err_and(|e| matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
    assert!(!is_silent, "it neither answers nor hangs up");
}

/// The most memory that is seen until it is over.
fn watch(broker: &BrokerProcess, is_over: &AtomicBool) -> u64 {
    let mut peak_kib = 0;
    while !is_over.load(Ordering::SeqCst) {
        peak_kib = peak_kib.max(broker.own_memory_kib());
        std::thread::sleep(Duration::from_millis(1));
    }
    peak_kib
}

fn broker() -> (TempDir, BrokerProcess, Victim) {
    let home = TempDir::new().unwrap();
    let mut setup = BrokerSetup::new(&home.path().join("data"), &home.path().join("log"));
    setup.args = vec!["--memory-budget".to_owned(), format!("{BUDGET_MIB}MiB")];
    let broker = setup.start();
    let id = KafkaConnection::open(broker.kafka()).topic_id("victim");
    (home, broker, Victim { topic: "victim".to_owned(), id })
}

fn run(suite: &str, frames: u64) {
    let mut seed = Seed::announced(suite);
    let home = TempDir::new().unwrap();
    let log_file = home.path().join("log");
    let mut setup = BrokerSetup::new(&home.path().join("data"), &log_file);
    setup.args = vec!["--memory-budget".to_owned(), format!("{BUDGET_MIB}MiB")];
    let mut broker = setup.start();
    let victim = {
        let mut connection = KafkaConnection::open(broker.kafka());
        let id = connection.topic_id("victim");
        connection.topic_id("polite-kafka");
        connection.topic_id("polite-grpc");
        Victim { topic: "victim".to_owned(), id }
    };
    let hostile = Hostile::against(&victim);
    let polite = Polite::default();
    let began = Instant::now();
    let (tally, peak_kib) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&broker, &polite.is_over));
        let through_kafka = scope.spawn(|| polite.through_kafka(broker.kafka()));
        let through_grpc = scope.spawn(|| on_two_workers(polite.through_grpc(&broker)));
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| {
                let (mut seed, hostile, broker) = (seed.fork(), &hostile, &broker);
                scope.spawn(move || send_all(frames / SENDERS, hostile, &mut seed, broker))
            })
            .collect();
        let sent: Vec<_> = senders.into_iter().map(|sender| sender.join()).collect();
        polite.is_over.store(true, Ordering::SeqCst);
        through_kafka.join().unwrap();
        through_grpc.join().unwrap();
        let mut total = BTreeMap::new();
        for (kind, count) in sent.into_iter().flat_map(Result::unwrap) {
            *total.entry(kind).or_insert(0) += count;
        }
        (total, watching.join().unwrap())
    });
    assert_eq!(tally.values().sum::<u64>(), frames);
    let served = polite.served();
    say(&format!(
        "{suite}: {frames} frames in {:.1} s, made of {} requests: {tally:?}; at most {peak_kib} KiB of own memory with a \
         budget of {BUDGET_MIB} MiB; {} records of honest Kafka and {} of honest gRPC clients meanwhile",
        began.elapsed().as_secs_f64(),
        hostile.templates(),
        served.0,
        served.1,
    ));
    assert!(peak_kib <= OWN_MEMORY_KIB_MAX, "{peak_kib} KiB of own memory");
    assert!(served.0 > 0 && served.1 > 0, "honest clients get on");
    for metric in ["millrace_memory_in_use_bytes", "millrace_requests_in_flight"] {
        wait_until(|| broker.metric(metric) == Some(0.0), metric);
    }
    assert_eq!(broker.stop().code(), Some(0), "it still stops cleanly");
    let log = std::fs::read_to_string(&log_file).unwrap();
    let panics: Vec<&str> = log.lines().filter(|line| line.contains("panicked")).collect();
    assert_eq!(panics, [""; 0], "the broker's log tells of panics");
    let verified = tool::run(tool::bare().args(["log", "verify"]).arg(&setup.data_dir), "");
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
}

/// Sends so many frames, one after the other: how many of each kind.
fn send_all(frames: u64, hostile: &Hostile, seed: &mut Seed, broker: &BrokerProcess) -> BTreeMap<Kind, u64> {
    let (mut tally, mut held) = (BTreeMap::new(), VecDeque::new());
    for _ in 0..frames {
        let attack = hostile.draw(seed);
        let is_greeted = seed.between(0, 2) == 0;
        if let Some(open) = send(broker.kafka(), &attack, is_greeted) {
            held.push_back(open);
        }
        while held.len() > HELD_OPEN_MAX {
            held.pop_front();
        }
        *tally.entry(attack.kind).or_insert(0) += 1;
    }
    tally
}

/// One frame on a connection of its own. The broker may answer it or hang up; it may not keep the connection once the
/// client has said that nothing follows. Answers the connection where it is to stay open.
fn send(address: &str, attack: &Attack, is_greeted: bool) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).expect("it accepts");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    if is_greeted {
        stream.write_all(&frame(0, 1, &ApiVersionsRequest::default())).expect("it reads");
    }
    // A broker that hangs up first is within its rights.
    let sent = judge(stream.write_all(&attack.bytes), attack);
    if attack.kind == Kind::HeldOpen {
        return sent.is_some().then_some(stream);
    }
    let _gone = stream.shutdown(Shutdown::Write);
    judge(io::copy(&mut stream, &mut io::sink()), attack);
    None
}

/// Whatever is answered is allowed, and so is hanging up; silence is not.
fn judge<T>(outcome: io::Result<T>, attack: &Attack) -> Option<T> {
    match outcome {
        Ok(done) => Some(done),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            let start = &attack.bytes[..attack.bytes.len().min(200)];
            panic!("the broker neither answers nor hangs up: {:?} {start:02x?}", attack.kind)
        }
        Err(_hung_up) => None,
    }
}

/// Clients that do nothing wrong, and check everything that they are told.
#[derive(Default)]
struct Polite {
    is_over: AtomicBool,
    kafka: AtomicU64,
    grpc: Arc<AtomicU64>,
}

impl Polite {
    fn served(&self) -> (u64, u64) {
        (self.kafka.load(Ordering::SeqCst), self.grpc.load(Ordering::SeqCst))
    }

    /// A record, its offset, the same record back; again.
    fn through_kafka(&self, address: &str) {
        let mut connection = KafkaConnection::open(address);
        let codecs = Compression::ALL.into_iter().cycle();
        for (number, codec) in (0_i64..).zip(codecs) {
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            let value = format!("record {number} through the Kafka door");
            let batch = batch_of(value.as_bytes(), codec);
            assert_eq!(connection.produce("polite-kafka", &batch), (0, number), "acknowledged in order");
            let (error, fetched) = connection.fetch("polite-kafka", number);
            assert_eq!(error, 0);
            assert_eq!(fetched[..8], number.to_be_bytes(), "the offset that was asked for");
            // All but the offset and the leader epoch is as it was sent.
            assert_eq!(fetched[16..], batch[16..], "record {number}");
            self.kafka.fetch_add(1, Ordering::SeqCst);
        }
    }

    async fn through_grpc(&self, broker: &BrokerProcess) {
        let client = broker.client().await;
        let partition = PartitionIndex(0);
        let producer = client.producer().build().unwrap();
        let reader = client.reader().partition("polite-grpc", partition);
        let mut reader = reader.from(Position::Offset(Offset::from_count(0))).start().await.unwrap();
        for number in 0_i64.. {
            if self.is_over.load(Ordering::SeqCst) {
                break;
            }
            let value = format!("record {number} through the native door");
            let record = ProducerRecord::new("polite-grpc", value.clone()).partition(partition);
            let stored = producer.send(record).await.unwrap().await.unwrap();
            assert_eq!(stored.offset.unwrap().get(), number, "acknowledged in order");
            let read = reader.next().await.unwrap().unwrap();
            assert_eq!((read.offset.get(), read.value.as_deref()), (number, Some(value.as_bytes())));
            self.grpc.fetch_add(1, Ordering::SeqCst);
        }
        producer.close().await.unwrap();
    }
}

fn wait_until(condition: impl Fn() -> bool, what: &str) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "{what}: it does not come back");
        std::thread::sleep(Duration::from_millis(20));
    }
}
