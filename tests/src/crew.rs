//! Clients at work that write histories: ours, librdkafka (confluent-kafka) and kafka-python.
//!
//! Of each kind there is a producer (idempotent, acknowledged by all), a reader that follows every partition from its beginning,
//! and members of a group that commit. At the end others of each kind read every partition whole, and the histories of all of them
//! are judged.

mod member;
mod reader;
mod whole;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use millrace_client::{Client, ClientOptions};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::history::{History, Journal, Verdict, check};
use crate::kafka_clients::{KAFKA_PYTHON, KafkaClient, LIBRDKAFKA, Talk, Told};

/// A safety net, not a measurement: nobody needs that long unless something is broken.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long an application waits for records.
const POLL: Duration = Duration::from_millis(300);
/// How long a producer tries.
const DELIVERY: Duration = Duration::from_secs(30);
/// The most records that a poll answers.
const POLL_RECORDS: usize = 500;
/// The group that clients of Kafka form. (Ours are members by another protocol: theirs is a group of its own.)
const KAFKA_GROUP: &str = "historians";
const OUR_GROUP: &str = "annalists";

/// librdkafka's client of histories.
pub const RDKAFKA_HISTORY: KafkaClient =
    KafkaClient { program: "python/history_librdkafka.py", ..LIBRDKAFKA };
/// kafka-python's client of histories.
pub const KAFKA_PYTHON_HISTORY: KafkaClient =
    KafkaClient { program: "python/history_kafka_python.py", ..KAFKA_PYTHON };

/// Where the clients find the brokers, and what they work on.
#[derive(Debug, Clone)]
pub struct Place {
    /// The native doors.
    pub grpc: Vec<String>,
    /// The Kafka doors.
    pub kafka: Vec<String>,
    /// The topic, which is there already.
    pub topic: String,
    /// Its partitions.
    pub partitions: u32,
    /// Records that each producer sends in a second, at most.
    pub pace: u32,
}

/// What the tasks of a crew share.
#[derive(Debug, Clone)]
struct Shift {
    place: Place,
    is_over: Arc<AtomicBool>,
    acked: Arc<AtomicU64>,
}

impl Shift {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// A client of its own, as a process has.
    async fn client(&self, name: &str) -> Client {
        let options = ClientOptions { client_id: name.to_owned(), ..ClientOptions::default() };
        Client::connect(self.place.grpc.clone(), options).await.expect("a broker that accepts")
    }

    fn name_of(&self, partition: u32) -> String {
        format!("{}-{partition}", self.place.topic)
    }
}

/// The clients. Dropped, they are stopped where they are.
#[derive(Debug)]
pub struct Crew {
    shift: Shift,
    folder: PathBuf,
    runtime: Option<Runtime>,
    tasks: Vec<(String, JoinHandle<()>)>,
    talk: Talk,
    /// Programs of others that run.
    programs: Vec<usize>,
    /// What was done to the brokers.
    faults: Journal,
}

impl Crew {
    /// Starts them; their histories go into that folder, which is there and empty.
    ///
    /// # Panics
    /// When one does not start.
    #[must_use]
    pub fn start(place: Place, folder: &Path) -> Crew {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().expect("a runtime");
        let shift = Shift { place, is_over: Arc::default(), acked: Arc::default() };
        let mut crew = Crew {
            shift,
            folder: folder.to_owned(),
            runtime: Some(runtime),
            tasks: Vec::new(),
            talk: Talk::default(),
            programs: Vec::new(),
            faults: Journal::new(folder, "faults"),
        };
        crew.spawn("rust-writer", |shift, journal| writer::run(shift, journal, 1 << 32));
        crew.spawn("rust-reader", reader::run);
        crew.spawn("rust-member-a", member::run);
        crew.spawn("rust-member-b", member::run);
        for (number, (client, name)) in
            [(RDKAFKA_HISTORY, "librdkafka"), (KAFKA_PYTHON_HISTORY, "kafka-python")].iter().enumerate()
        {
            let first = (number as u64 + 2) << 32;
            let more = json!({ "first": first, "pace": crew.shift.place.pace });
            crew.program(client, &format!("{name}-writer"), "write", more);
            crew.program(client, &format!("{name}-reader"), "read", json!({}));
            crew.program(client, &format!("{name}-member"), "group", json!({ "group": KAFKA_GROUP }));
        }
        crew.hear_ready(6);
        crew
    }

    fn spawn<W: Future<Output = ()> + Send + 'static>(
        &mut self,
        process: &str,
        work: impl FnOnce(Shift, Journal) -> W,
    ) {
        let journal = Journal::new(&self.folder, process);
        let work = work(self.shift.clone(), journal.clone());
        let runtime = self.runtime.as_ref().expect("it runs");
        let task = runtime.spawn(async move {
            work.await;
            journal.flush();
        });
        self.tasks.push((process.to_owned(), task));
    }

    fn program(&mut self, client: &KafkaClient, process: &str, verb: &str, more: Value) {
        let file = self.folder.join(format!("{process}.jsonl"));
        let bootstrap = self.shift.place.kafka.join(",");
        let mut command = client.command(&[&bootstrap, file.to_str().expect("a path in UTF-8")]);
        let who = self.talk.start(process, &mut command);
        let Place { topic, partitions, .. } = &self.shift.place;
        let mut wish = json!({ "do": verb, "process": process, "topic": topic, "partitions": partitions });
        if let (Some(wish), Value::Object(more)) = (wish.as_object_mut(), more) {
            wish.extend(more);
        }
        self.talk.say(who, &wish);
        self.programs.push(who);
    }

    fn hear_ready(&mut self, count: usize) {
        for number in 0..count {
            let (who, told) = self.talk.hear("clients that are ready");
            let is_ready = matches!(&told, Told::Line(line) if line["ready"] == true);
            assert!(
                is_ready,
                "program {who} ({number} others are ready): {told:?}\n{}",
                self.talk.complaints()
            );
        }
    }

    /// Writes down what was done to the brokers, for whoever reads the histories.
    pub fn note(&self, fault: &str) {
        self.faults.note(fault);
        self.faults.flush();
    }

    /// Records that were acknowledged to our own producer so far.
    #[must_use]
    pub fn acked(&self) -> u64 {
        self.shift.acked.load(Ordering::SeqCst)
    }

    /// Waits until so many records more were acknowledged to our own producer; false when that takes longer than `patience`.
    #[must_use]
    pub fn goes_on(&self, records: u64, patience: Duration) -> bool {
        let (target, end) = (self.acked() + records, Instant::now() + patience);
        while self.acked() < target {
            if Instant::now() > end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// Ends the work, reads everything whole with each kind of client, and judges. The brokers must be well again.
    ///
    /// # Panics
    /// When a client fails or does not end.
    #[must_use]
    pub fn judge(mut self) -> Verdict {
        self.end();
        self.spawn("rust-whole", whole::run);
        self.program(&RDKAFKA_HISTORY, "librdkafka-whole", "whole", json!({}));
        self.program(&KAFKA_PYTHON_HISTORY, "kafka-python-whole", "whole", json!({}));
        self.hear_ready(2);
        self.join();
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(&self.folder).expect("a folder").flatten().map(|entry| entry.path()).collect();
        files.sort();
        let history = History::read(&files).unwrap_or_else(|error| panic!("{error}"));
        let verdict = check(&history);
        let wholes = 3 * u64::from(self.shift.place.partitions);
        assert_eq!(
            verdict.tally.wholes, wholes,
            "every partition was read whole by three clients\n{verdict}"
        );
        verdict
    }

    /// Lets nobody begin anything more, and waits for what was begun.
    fn end(&mut self) {
        self.shift.is_over.store(true, Ordering::SeqCst);
        self.programs.iter().for_each(|who| self.talk.hang_up(*who));
        self.join();
    }

    /// Waits for all that runs.
    fn join(&mut self) {
        let runtime = self.runtime.as_ref().expect("it runs");
        for (process, task) in self.tasks.drain(..) {
            let ended = runtime.block_on(async { tokio::time::timeout(PATIENCE, task).await });
            let ended = ended.unwrap_or_else(|_| panic!("{process} does not end"));
            ended.unwrap_or_else(|error| panic!("{process}: {error}"));
        }
        let mut left = self.programs.clone();
        while !left.is_empty() {
            let (who, told) = self.talk.hear("the end of a client");
            if told == Told::Silent {
                left.retain(|program| *program != who);
            }
        }
        for who in self.programs.drain(..) {
            self.talk.end(who);
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.shift.is_over.store(true, Ordering::SeqCst);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
