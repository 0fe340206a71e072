//! A disk that fills up under a broker at work, on a real ext4: produce is refused, nothing else is, and the same process
//! goes on when there is room again.

#![allow(clippy::expect_used, reason = "a suite fails by panicking, in its own functions too")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use millrace_client::{
    Client, Delivery, NewTopic, Offset, OffsetCommit, Outcome, PartitionIndex, Producer, ProducerRecord,
};
use millrace_env::Fs as _;
use millrace_env::real::RealFs;
use millrace_tests::broker::{BrokerProcess, BrokerSetup};
use millrace_tests::disk::{Disk, quick_folder};
use millrace_tests::load::RecordId;
use millrace_tests::read::Wire;
use millrace_tests::{Need, Seed, on_two_workers, require, say, tool};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

const MIB: u64 = 1024 * 1024;
const DISK_BYTES: u64 = 64 * MIB;
const PARTITIONS: u32 = 4;
const PRODUCERS: u32 = 2;
const GROUP: &str = "auditors";
/// Records that are acknowledged before the disk fills up.
const RECORDS: (u64, u64) = (300, 3_000);
/// What the balloon leaves free, in KiB: from nothing at all to a little more than the reserve.
const LEFT_KIB: (u64, u64) = (0, 4_000);

#[test]
fn ten_times_full_nothing_is_lost_and_the_same_process_goes_on() {
    if require("crash_disk_full", &Need::EXT4) {
        run("crash_disk_full", 10);
    }
}

#[test]
#[ignore = "long: cargo xtask soak"]
fn thirty_times_full_nothing_is_lost_and_the_same_process_goes_on() {
    if require("crash_disk_full_soak", &Need::EXT4) {
        run("crash_disk_full_soak", 30);
    }
}

fn run(suite: &str, episodes: u32) {
    on_two_workers(async {
        let began = Instant::now();
        let mut seed = Seed::announced(suite);
        let disk = Disk::new(&quick_folder(), DISK_BYTES, &["-m", "0"]);
        let logs = TempDir::new().expect("a folder");
        let mut setup = BrokerSetup::new(&disk.path().join("data"), &logs.path().join("broker.log"));
        let mut broker = setup.start();
        broker.grpc().clone_into(&mut setup.grpc);
        let pid = broker.pid();
        let mut records = 0;
        let mut met_the_end = 0;
        for episode in 1..=episodes {
            let told = Episode { number: episode, disk: disk.path(), broker: &broker };
            let (acked, was_empty) = told.run(&mut seed).await;
            records += acked;
            met_the_end += u32::from(was_empty);
            assert!(broker.is_running() && broker.pid() == pid, "the same process all the time");
        }
        assert_eq!(broker.stop().code(), Some(0), "a stop on demand is a success");
        let verified = tool::run(tool::bare().args(["log", "verify"]).arg(setup.data_dir.clone()), "");
        assert_eq!(verified.code, 0, "{suite}: {}{}", verified.out, verified.err);
        let broker = setup.start();
        let mut wire = Wire::connect(broker.grpc()).await;
        for partition in 0..PARTITIONS {
            wire.records(&topic(episodes), partition.cast_signed(), 0).await;
        }
        say(&format!(
            "{suite}: the disk was full {episodes} times in {:.1} s ({met_the_end} times with less than 256 KiB left), \
             {records} records acknowledged and read back in order: 0 lost, 0 twice, one process",
            began.elapsed().as_secs_f64()
        ));
    });
}

fn topic(episode: u32) -> String {
    format!("ledger-{episode}")
}

/// The disk fills up once, and is emptied.
struct Episode<'a> {
    number: u32,
    disk: &'a Path,
    broker: &'a BrokerProcess,
}

impl Episode<'_> {
    /// Answers how many records were acknowledged, and whether the balloon left next to nothing.
    async fn run(&self, seed: &mut Seed) -> (u64, bool) {
        let client = self.broker.client().await;
        let new = NewTopic::new(topic(self.number)).partitions(PARTITIONS).config("segment.bytes", "1048576");
        client.admin().create_topic(new).await.expect("a topic");
        let makers = Makers::start(&client, self.number);
        makers.wait_for_acked(seed.between(RECORDS.0, RECORDS.1)).await;

        let left = seed.between(LEFT_KIB.0, LEFT_KIB.1).saturating_sub(LEFT_KIB.1 / 2) * 1024;
        let refused = || self.broker.produce_errors().get("STORAGE_FULL").copied().unwrap_or(0);
        let refused_before = refused();
        let balloon = self.disk.join("balloon");
        inflate(&balloon, left);
        // The producers go on, so that it is a matter of time whether the room ends by the balloon or by them.
        while refused() == refused_before {
            tokio::task::yield_now().await;
        }
        self.everything_else_goes_on(&client, left).await;
        std::fs::remove_file(&balloon).expect("the balloon goes");
        let acked = makers.acked();
        makers.wait_for_acked(acked + 100).await;
        let book = makers.stop().await;
        (self.compare(&book).await, left < 256 * 1024)
    }

    async fn everything_else_goes_on(&self, client: &Client, left: u64) {
        let mut wire = Wire::connect(self.broker.grpc()).await;
        for partition in 0..PARTITIONS {
            let records = wire.records(&topic(self.number), partition.cast_signed(), 0).await;
            let in_order = records.iter().enumerate().all(|(at, record)| record.offset == at as i64);
            assert!(in_order, "partition {partition} has a hole");
        }
        assert_eq!(self.broker.get("/readyz").0, 200);
        let committed = client.admin().commit_offsets(GROUP, &[self.commit()]).await;
        let is_full = |code: &str| assert_eq!(code, "STORAGE_FULL", "with {left} bytes left");
        match committed {
            Ok(parts) => {
                for refusal in parts.iter().filter_map(|part| part.as_ref().err()) {
                    is_full(&refusal.code.map_or_else(String::new, |code| code.to_string()));
                }
            }
            // Where another process has taken the reserve too, it may be refused; never half done.
            Err(error) => {
                assert_eq!(error.outcome(), Outcome::Definite, "{error}");
                assert!(left < 2 * MIB, "{error}, with {left} bytes left");
            }
        }
        if self.number > 1 {
            client.admin().delete_topic(&topic(self.number - 1)).await.expect("a deletion");
        }
    }

    fn commit(&self) -> OffsetCommit {
        OffsetCommit {
            topic: topic(self.number),
            partition: PartitionIndex::new(0).expect("a partition"),
            offset: Offset::new(1).expect("an offset"),
            leader_epoch: None,
            metadata: String::new(),
        }
    }

    /// Every record is where it was acknowledged, once, and nothing else is there.
    async fn compare(&self, book: &BTreeMap<(u32, i64), RecordId>) -> u64 {
        let mut wire = Wire::connect(self.broker.grpc()).await;
        let mut count = 0;
        for partition in 0..PARTITIONS {
            for record in wire.records(&topic(self.number), partition.cast_signed(), 0).await {
                let found = record.value.as_deref().and_then(RecordId::of_value);
                let acked = book.get(&(partition, record.offset)).copied();
                assert!(
                    found.is_some() && found == acked,
                    "{partition}-{}: {found:?}, {acked:?}",
                    record.offset
                );
                count += 1;
            }
        }
        assert_eq!(count, book.len(), "an acknowledged record is lost");
        count as u64
    }
}

/// Leaves `left` bytes of the file system free.
fn inflate(balloon: &Path, left: u64) {
    let file = std::fs::File::create(balloon).expect("a balloon");
    let mut size = 0;
    loop {
        let available = RealFs.space_left(balloon).expect("the room").available;
        let more = available.saturating_sub(left);
        if more == 0 {
            return;
        }
        // The broker writes meanwhile: what was free is not any more, and then less will do.
        let flags = rustix::fs::FallocateFlags::empty();
        match rustix::fs::fallocate(&file, flags, size, more) {
            Ok(()) => return,
            Err(rustix::io::Errno::NOSPC) => size = file.metadata().expect("a size").len(),
            Err(error) => panic!("{error}"),
        }
        if more < 64 * 1024 {
            return;
        }
    }
}

/// Producers at work, and the book of what was acknowledged to them.
struct Makers {
    stop: Arc<AtomicBool>,
    acked: watch::Receiver<u64>,
    tasks: Vec<JoinHandle<()>>,
    collector: JoinHandle<BTreeMap<(u32, i64), RecordId>>,
}

impl Makers {
    fn start(client: &Client, episode: u32) -> Makers {
        let stop = Arc::new(AtomicBool::new(false));
        let (count, acked) = watch::channel(0);
        let (send, receive) = mpsc::unbounded_channel();
        let tasks = (0..PRODUCERS).map(|number| {
            let producer = client.producer().buffer_bytes(256 * 1024).build().expect("a producer");
            tokio::spawn(make(producer, (number, episode), send.clone(), Arc::clone(&stop)))
        });
        let tasks = tasks.collect();
        let collector = tokio::spawn(collect(receive, count));
        Makers { stop, acked, tasks, collector }
    }

    fn acked(&self) -> u64 {
        *self.acked.borrow()
    }

    async fn wait_for_acked(&self, records: u64) {
        let mut acked = self.acked.clone();
        acked.wait_for(|acked| *acked >= records).await.expect("the collector goes on");
    }

    /// Sends no more, waits for what was sent, and answers the book.
    async fn stop(self) -> BTreeMap<(u32, i64), RecordId> {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.expect("a producer");
        }
        self.collector.await.expect("a book")
    }
}

type Sent = (RecordId, Delivery);

async fn make(
    producer: Producer,
    (number, episode): (u32, u32),
    sent: mpsc::UnboundedSender<Sent>,
    stop: Arc<AtomicBool>,
) {
    let topic: Arc<str> = topic(episode).into();
    for sequence in 0_u64.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let partition = u32::try_from(sequence % u64::from(PARTITIONS)).expect("a partition");
        let id = RecordId { producer: number, partition, sequence };
        let record = ProducerRecord::new(Arc::clone(&topic), id.value());
        let record = record.partition(PartitionIndex::new(partition.cast_signed()).expect("a partition"));
        let delivery = producer.send(record).await.expect("it is taken");
        sent.send((id, delivery)).expect("somebody collects");
    }
}

async fn collect(
    mut sent: mpsc::UnboundedReceiver<Sent>,
    count: watch::Sender<u64>,
) -> BTreeMap<(u32, i64), RecordId> {
    let mut book = BTreeMap::new();
    while let Some((id, delivery)) = sent.recv().await {
        // A full disk is worth waiting for: every record is sent again until there is room.
        let stored = delivery.await.unwrap_or_else(|error| panic!("{id:?}: {error}"));
        let offset = stored.offset.expect("an offset").get();
        assert_eq!(book.insert((id.partition, offset), id), None, "two records at {}-{offset}", id.partition);
        count.send_modify(|count| *count += 1);
    }
    book
}
