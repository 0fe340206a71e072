//! Groups of consumers at work, and the book that is kept of what each was handed and of what it was told is committed.
//!
//! The book lives in the memory of the test process: no kill of the broker touches it. Nobody helps a member that has lost its
//! broker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use millrace_client::{
    AssignedPartition, Client, ClientOptions, CommitError, ConsumedRecord, Consumer, ConsumerBuilder,
    NewTopic, Offset, OffsetCommit, PartitionIndex, ProducerRecord,
};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::Seed;
use crate::group_log::{Told, What};

/// The topic that all groups read.
pub const TOPIC: &str = "work";
/// Its partitions.
pub const PARTITIONS: u32 = 6;
const MEMBERS: u32 = 2;
/// Enough for every partition to get some.
const RECORDS_OF_PROGRESS: usize = 300;
const POLL: Duration = Duration::from_millis(100);
/// A safety net, not a measurement.
const PATIENCE: Duration = Duration::from_secs(120);

/// How the members of a group commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Commits {
    Automatically,
    AfterEachPoll,
}

/// What is known of one group.
#[derive(Debug)]
pub struct Book {
    name: String,
    commits: Commits,
    /// How often each offset was handed out, by partition.
    handed: Mutex<Vec<Vec<u32>>>,
    /// The largest offset whose commit was acknowledged, by partition.
    acked: Mutex<Vec<i64>>,
    /// What was committed when somebody asked the last time.
    fetched: Mutex<Vec<i64>>,
    records: AtomicU64,
    acked_commits: AtomicU64,
    failed_commits: AtomicU64,
    told: Mutex<Vec<Told>>,
    violations: Mutex<Vec<String>>,
}

impl Book {
    fn new(name: &str, commits: Commits) -> Book {
        Book {
            name: name.to_owned(),
            commits,
            handed: Mutex::new(vec![Vec::new(); PARTITIONS as usize]),
            acked: Mutex::new(vec![0; PARTITIONS as usize]),
            fetched: Mutex::new(vec![0; PARTITIONS as usize]),
            records: AtomicU64::new(0),
            acked_commits: AtomicU64::new(0),
            failed_commits: AtomicU64::new(0),
            told: Mutex::default(),
            violations: Mutex::default(),
        }
    }

    fn blame(&self, what: impl std::fmt::Display) {
        self.violations.lock().push(format!("{}: {what}", self.name));
    }

    fn note_handed(&self, records: &[ConsumedRecord]) {
        let mut handed = self.handed.lock();
        for record in records {
            let offsets = &mut handed[record.partition.0 as usize];
            let at = usize::try_from(record.offset.get()).expect("an offset");
            if offsets.len() <= at {
                offsets.resize(at + 1, 0);
            }
            offsets[at] += 1;
        }
        self.records.fetch_add(records.len() as u64, Ordering::SeqCst);
    }

    fn note_committed(&self, marks: &BTreeMap<u32, OffsetCommit>, outcome: &Result<(), CommitError>) {
        let failed: Vec<&AssignedPartition> = match outcome {
            Ok(()) => Vec::new(),
            Err(CommitError::Failed { failed }) => failed.iter().map(|(partition, _)| partition).collect(),
            Err(_) => return,
        };
        if !failed.is_empty() {
            self.failed_commits.fetch_add(1, Ordering::SeqCst);
        }
        let mut acked = self.acked.lock();
        for (partition, mark) in marks {
            if failed.iter().all(|failed| failed.partition.0 != *partition) {
                let acked = &mut acked[*partition as usize];
                *acked = (*acked).max(mark.offset.get());
                self.acked_commits.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    /// What is committed must not be before what was acknowledged, nor before what was seen, nor behind what was handed out.
    async fn check_commits(&self, client: &Client) {
        let acked = self.acked.lock().clone();
        let found = client.admin().fetch_offsets(&self.name, &[]).await.expect("an answer");
        let mut seen = vec![0_i64; PARTITIONS as usize];
        for committed in found {
            seen[committed.partition.0 as usize] = committed.offset.map_or(0, Offset::get);
        }
        let mut fetched = self.fetched.lock();
        let handed = self.handed.lock();
        for partition in 0..PARTITIONS as usize {
            let (now, acked, before) = (seen[partition], acked[partition], fetched[partition]);
            if now < acked || now < before {
                let what = format!(
                    "partition {partition} went back to {now}: {acked} was acknowledged, {before} was seen"
                );
                self.blame(what);
            }
            let end = handed[partition].len();
            if usize::try_from(now).unwrap_or(0) > end {
                self.blame(format!("partition {partition}: {now} is committed, {end} were handed out"));
            }
        }
        *fetched = seen;
    }

    fn covers(&self, ends: &[i64]) -> bool {
        let handed = self.handed.lock();
        ends.iter()
            .zip(handed.iter())
            .all(|(end, offsets)| offsets.len() as i64 >= *end && offsets.iter().all(|times| *times > 0))
    }

    /// Records that were handed out more than once, and how often together.
    fn repeated(&self) -> (usize, u64) {
        let handed = self.handed.lock();
        let again = handed.iter().flatten().filter(|times| **times > 1);
        again.fold((0, 0), |(records, times), more| (records + 1, times + u64::from(*more - 1)))
    }
}

/// Three groups and a producer, at work until stopped.
#[derive(Debug)]
pub struct GroupLoad {
    client: Client,
    books: Vec<Arc<Book>>,
    members: Vec<JoinHandle<()>>,
    producer: JoinHandle<()>,
    allowed: Arc<Semaphore>,
    acked: Arc<AtomicU64>,
    is_stopping: Arc<AtomicBool>,
}

impl GroupLoad {
    /// Makes the topic and begins.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn start(address: &str) -> GroupLoad {
        let client = connect(address, "load").await;
        let topic = NewTopic::new(TOPIC).partitions(PARTITIONS);
        client.admin().create_topic(topic).await.expect("a topic");
        let (allowed, acked) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicU64::new(0)));
        let is_stopping = Arc::new(AtomicBool::new(false));
        let producer = tokio::spawn(produce(client.clone(), Arc::clone(&allowed), Arc::clone(&acked)));
        let mut load = GroupLoad {
            client,
            books: Vec::new(),
            members: Vec::new(),
            producer,
            allowed,
            acked,
            is_stopping,
        };
        for (name, commits) in [
            ("automatic", Commits::Automatically),
            ("explicit", Commits::AfterEachPoll),
            ("static", Commits::AfterEachPoll),
        ] {
            let book = Arc::new(Book::new(name, commits));
            for number in 0..MEMBERS {
                load.add_member(address, &book, number).await;
            }
            load.books.push(book);
        }
        load
    }

    async fn add_member(&mut self, address: &str, book: &Arc<Book>, number: u32) {
        // A connection each, as processes have.
        let client = connect(address, &format!("{}-{number}", book.name)).await;
        let told = Told::default();
        book.told.lock().push(told.clone());
        let consumer: ConsumerBuilder = client.consumer(&book.name).topic(TOPIC).callbacks(told);
        let consumer = match book.commits {
            Commits::Automatically => consumer.auto_commit(Duration::from_millis(20)),
            Commits::AfterEachPoll => consumer.manual_commit(),
        };
        let is_static = book.name == "static";
        let consumer = if is_static { consumer.instance_id(format!("blue-{number}")) } else { consumer };
        let consumer = consumer.start().await.expect("a member");
        self.members.push(tokio::spawn(work(consumer, Arc::clone(book), Arc::clone(&self.is_stopping))));
    }

    /// Lets so many more records be produced.
    pub fn allow(&self, records: usize) {
        self.allowed.add_permits(records);
    }

    /// How many records were acknowledged.
    #[must_use]
    pub fn acked(&self) -> u64 {
        self.acked.load(Ordering::SeqCst)
    }

    /// Waits until so many records are acknowledged.
    ///
    /// # Panics
    /// When they never are.
    pub async fn wait_for_acked(&self, records: u64) {
        self.wait("the records are acknowledged", || self.acked() >= records).await;
    }

    /// Waits until every group was handed new records and, where it says so, has committed.
    ///
    /// # Panics
    /// When one never does.
    pub async fn wait_for_progress(&self) {
        let before: Vec<(u64, u64)> = self.books.iter().map(|book| progress_of(book)).collect();
        // All that was allowed before may have been read meanwhile.
        self.allow(RECORDS_OF_PROGRESS);
        let has_moved = |(book, before): (&Arc<Book>, &(u64, u64))| {
            let now = progress_of(book);
            now.0 > before.0 && (book.commits == Commits::Automatically || now.1 > before.1)
        };
        self.wait("every group goes on by itself", || self.books.iter().zip(&before).all(has_moved)).await;
    }

    async fn wait(&self, what: &str, holds: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds() {
            let at: Vec<_> = self.books.iter().map(|book| (&book.name, progress_of(book))).collect();
            assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}; records and commits: {at:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Holds what the broker says is committed against the books.
    pub async fn check_commits(&self) {
        for book in &self.books {
            book.check_commits(&self.client).await;
        }
    }

    /// What was wrong.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.books.iter().flat_map(|book| book.violations.lock().clone()).collect()
    }

    /// Stops producing, lets every group read to the end, and closes its members; what they have committed must be all.
    ///
    /// # Panics
    /// When records are missing.
    pub async fn finish(&mut self) {
        self.allowed.close();
        (&mut self.producer).await.expect("the producer ends");
        let topic = self.client.admin().describe_topic(TOPIC).await.expect("an answer");
        let ends: Vec<i64> = topic.partitions.iter().map(|p| p.high_watermark.get()).collect();
        let total: i64 = ends.iter().sum();
        self.wait("what is there was acknowledged, once", || self.acked() == total.cast_unsigned()).await;
        self.wait("every record is handed out in every group", || {
            self.books.iter().all(|book| book.covers(&ends))
        })
        .await;
        self.is_stopping.store(true, Ordering::SeqCst);
        for member in self.members.drain(..) {
            member.await.expect("a member ends");
        }
        self.check_commits().await;
        for book in &self.books {
            let committed = book.fetched.lock().clone();
            if committed != ends {
                book.blame(format!("its members have left, {committed:?} is committed of {ends:?}"));
            }
        }
    }

    /// A line for each group.
    #[must_use]
    pub fn report(&self) -> Vec<String> {
        let line = |book: &Arc<Book>| {
            let (records, times) = book.repeated();
            let count = |what| book.told.lock().iter().map(|told| told.count(what)).sum::<usize>();
            let (handed, commits) = progress_of(book);
            format!(
                "group {}: {handed} records handed out, {records} of them again ({times} times); {commits} offsets \
                 acknowledged, {} commits refused in part; {} assignments, {} revocations, {} memberships lost",
                book.name,
                book.failed_commits.load(Ordering::SeqCst),
                count(What::Assigned),
                count(What::Revoked),
                count(What::Lost),
            )
        };
        self.books.iter().map(line).collect()
    }
}

impl Drop for GroupLoad {
    fn drop(&mut self) {
        self.producer.abort();
        self.members.iter().for_each(JoinHandle::abort);
    }
}

fn progress_of(book: &Book) -> (u64, u64) {
    (book.records.load(Ordering::SeqCst), book.acked_commits.load(Ordering::SeqCst))
}

async fn connect(address: &str, name: &str) -> Client {
    let options = ClientOptions { client_id: name.to_owned(), ..ClientOptions::default() };
    Client::connect([address.to_owned()], options).await.expect("it accepts")
}

/// Sends records as far as it is allowed to.
async fn produce(client: Client, allowed: Arc<Semaphore>, acked: Arc<AtomicU64>) {
    let producer = client.producer().buffer_bytes(256 * 1024).build().expect("a producer");
    let mut seed = Seed::new(1);
    while let Ok(permit) = allowed.acquire().await {
        permit.forget();
        let partition = u32::try_from(seed.between(0, u64::from(PARTITIONS))).unwrap_or(0);
        let record = ProducerRecord::new(TOPIC, "a record of some length, so that batches end somewhere");
        let delivery = producer.send(record.partition(PartitionIndex(partition))).await.expect("room");
        let acked = Arc::clone(&acked);
        tokio::spawn(async move {
            delivery.await.expect("every record is acknowledged in the end");
            acked.fetch_add(1, Ordering::SeqCst);
        });
    }
    producer.flush().await.expect("every record is acknowledged in the end");
    producer.close().await.expect("it ends");
}

/// One member: reads, keeps the book, commits, and leaves when all is read.
async fn work(mut consumer: Consumer, book: Arc<Book>, is_stopping: Arc<AtomicBool>) {
    while !is_stopping.load(Ordering::SeqCst) {
        let records = match consumer.poll(POLL).await {
            Ok(records) => records,
            Err(error) => return book.blame(format!("a member met {error}")),
        };
        book.note_handed(&records);
        if book.commits == Commits::AfterEachPoll && !records.is_empty() {
            let marks = marks_behind(&records);
            let offsets: Vec<OffsetCommit> = marks.values().cloned().collect();
            let outcome = consumer.handle().commit_offsets_sync(&offsets).await;
            book.note_committed(&marks, &outcome);
        }
    }
    consumer.close().await;
}

fn marks_behind(records: &[ConsumedRecord]) -> BTreeMap<u32, OffsetCommit> {
    let mark = |record: &ConsumedRecord| OffsetCommit {
        topic: record.topic.to_string(),
        partition: record.partition,
        offset: record.offset.next(),
        leader_epoch: Some(record.leader_epoch),
        metadata: String::new(),
    };
    records.iter().map(|record| (record.partition.0, mark(record))).collect()
}
