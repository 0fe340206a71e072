//! A broker under load, and the book that is kept of what it acknowledged.
//!
//! The book lives in the memory of the test process: no kill of the broker and no power cut of its disk touches it. The
//! load goes on while the broker is dead: producers, commits and topic changes repeat what was not answered, as programs do.

mod book;
mod losses;
mod record;
mod tasks;
mod topics;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use millrace_client::{Client, ClientOptions, NewTopic, Producer};
use millrace_types::SyncMode;
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};
use tokio::task::JoinHandle;

pub use book::Book;
pub use losses::Losses;
pub use record::RecordId;

use crate::Seed;
use crate::read::Wire;

/// The topic that the producers write to.
pub const TOPIC: &str = "ledger";
/// Its partitions.
pub const PARTITIONS: u32 = 16;
/// The group whose offsets are committed.
pub const GROUP: &str = "auditors";
const PRODUCERS: u32 = 2;
/// Small, so that little is repeated after a kill and records meet the disk soon.
const BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// What was under way at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Underway {
    /// Records sent and not acknowledged.
    pub records: u64,
    /// A create was not answered.
    pub create: bool,
    /// A delete was not answered.
    pub delete: bool,
    /// A commit was not answered.
    pub commit: bool,
}

/// Producers, a committer and a maker of topics, at work until dropped.
#[derive(Debug)]
pub struct Load {
    book: Arc<Book>,
    producers: Vec<Producer>,
    /// Held for reading during each step, for writing during a pause.
    gate: Arc<RwLock<()>>,
    tasks: Vec<JoinHandle<()>>,
    client: Client,
    folder_prefix: String,
}

/// While it lives, no step of the load begins.
#[derive(Debug)]
pub struct Pause {
    _gate: OwnedRwLockWriteGuard<()>,
}

impl Load {
    /// Makes the topic and begins.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn start(address: &str, seed: &mut Seed) -> Load {
        Load::start_behind(address, address, seed).await
    }

    /// Makes the topic with this sync mode and begins.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn start_in(mode: SyncMode, address: &str, seed: &mut Seed) -> Load {
        Load::begin(mode, address, address, seed).await
    }

    /// Makes the topic directly, and begins to work through another address that leads to the same broker.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn start_behind(address: &str, through: &str, seed: &mut Seed) -> Load {
        Load::begin(SyncMode::Always, address, through, seed).await
    }

    async fn begin(mode: SyncMode, address: &str, through: &str, seed: &mut Seed) -> Load {
        let options = ClientOptions { client_id: "load".to_owned(), ..ClientOptions::default() };
        let direct = Client::connect([address.to_owned()], options.clone()).await.expect("it accepts");
        let topic = NewTopic::new(TOPIC).partitions(PARTITIONS).config("segment.bytes", "1048576");
        let topic = topic.config("sync.mode", mode.to_string());
        let topic = direct.admin().create_topic(topic).await.expect("a topic");
        let client = Client::lazy([through.to_owned()], options).expect("an address");
        let book = Arc::new(Book::new(PARTITIONS, mode));
        let gate = Arc::new(RwLock::new(()));
        let folder_prefix = format!("{}-", topic.id);
        let mut load = Load { folder_prefix, book, producers: Vec::new(), gate, tasks: Vec::new(), client };
        for number in 0..PRODUCERS {
            load.add_producer(number, mode, seed.fork());
        }
        let (client, book, gate) = (load.client.clone(), Arc::clone(&load.book), Arc::clone(&load.gate));
        load.tasks.push(tokio::spawn(tasks::commit(client, book, gate)));
        let (client, book, gate) = (load.client.clone(), Arc::clone(&load.book), Arc::clone(&load.gate));
        load.tasks.push(tokio::spawn(tasks::change_topics(client, book, gate)));
        load
    }

    fn add_producer(&mut self, number: u32, mode: SyncMode, seed: Seed) {
        let compression = tasks::compression_of(number, mode);
        let builder = self.client.producer().compression(compression).buffer_bytes(BUFFER_BYTES);
        let producer = builder.build().expect("a producer");
        self.producers.push(producer.clone());
        let maker = tasks::Maker { producer, number, seed, book: Arc::clone(&self.book) };
        self.tasks.push(tokio::spawn(maker.run(Arc::clone(&self.gate))));
    }

    /// How the names of the directories of its topic's partitions begin.
    #[must_use]
    pub fn folder_prefix(&self) -> &str {
        &self.folder_prefix
    }

    /// What it knows.
    #[must_use]
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// What is not answered at this moment.
    #[must_use]
    pub fn underway(&self) -> Underway {
        let flag = |flag: &std::sync::atomic::AtomicBool| flag.load(Ordering::SeqCst);
        Underway {
            records: self.book.unanswered(),
            create: flag(&self.book.topics.creating),
            delete: flag(&self.book.topics.deleting),
            commit: flag(&self.book.commits.calling),
        }
    }

    /// The power was cut at that time, and `wire` leads to a broker that has recovered and that the load cannot reach yet.
    pub async fn note_cut(&self, wire: &mut Wire, at: Instant) {
        for partition in 0..PARTITIONS {
            let end = wire.end(TOPIC, i32::try_from(partition).unwrap_or(0)).await;
            self.book.cut(partition, end, at);
        }
    }

    /// Lets no new step begin, and waits until every record that was sent has its outcome.
    pub async fn pause(&self) -> Pause {
        let gate = Arc::clone(&self.gate).write_owned().await;
        for producer in &self.producers {
            // Each delivery tells the same to the book.
            let _outcome = producer.flush().await;
        }
        self.book.wait_for_answers().await;
        Pause { _gate: gate }
    }

    /// What the group has committed must not be older than what was acknowledged, nor newer than what was tried.
    ///
    /// # Panics
    /// When the broker does not answer.
    pub async fn check_commits(&self) {
        let low = self.book.commits.acked.load(Ordering::SeqCst);
        let found = self.client.admin().fetch_offsets(GROUP, &[]).await.expect("an answer");
        let high = self.book.commits.tried.load(Ordering::SeqCst);
        if low > 0 && found.len() != PARTITIONS as usize {
            self.book.blame(format!("offsets of {} partitions are committed, not {PARTITIONS}", found.len()));
        }
        for committed in found {
            let offset = committed.offset.map_or(-1, |offset| offset.get());
            if offset < low || offset > high {
                let partition = committed.partition;
                self.book.blame(format!(
                    "committed offset of {partition}: {offset}, acknowledged {low}, tried {high}"
                ));
            }
        }
    }

    /// Topics that were made are there, topics that were deleted are not. Wants a pause.
    ///
    /// # Panics
    /// When the broker does not answer.
    pub async fn check_topics(&self, _: &Pause) {
        let listed = self.client.admin().list_topics().await.expect("an answer");
        let names: Vec<String> = listed.iter().map(|topic| topic.name.to_string()).collect();
        for violation in self.book.topics.compare(&names) {
            self.book.blame(violation);
        }
    }

    /// Reads what was appended since the last time and holds it against the book. Wants a pause.
    pub async fn check_records(&self, wire: &mut Wire, _: &Pause) {
        for partition in 0..PARTITIONS {
            let from = self.book.read_to(partition);
            let records = wire.records(TOPIC, i32::try_from(partition).unwrap_or(0), from).await;
            self.book.compare(partition, &records);
        }
    }

    /// Reads everything again from the beginning: it must be what was read before. Wants a pause.
    pub async fn check_again(&self, wire: &mut Wire, _: &Pause) {
        for partition in 0..PARTITIONS {
            let records = wire.records(TOPIC, i32::try_from(partition).unwrap_or(0), 0).await;
            self.book.compare_again(partition, &records);
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
