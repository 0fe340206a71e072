//! A broker, a raw server of the same run beside it, and what the contests between the two share.

use anyhow::{Result, anyhow};
use millrace_proto::v1;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::child::Broker;
use crate::options::Options;
use crate::rawserver::{Mode, RawServer};
use crate::rpc::{self, Rpc};
use crate::sample::{Done, Sample, Whose, measure};
use crate::store::RawFile;

/// Bytes that one round sends, if the batches are large.
pub const ROUND_BYTES: usize = 256 << 20;
/// Batches that one round sends, if they are small.
pub const ROUND_REQUESTS_MAX: usize = 20_000;
/// Batches that may be unanswered.
pub const REQUESTS_IN_FLIGHT: usize = 16;
/// Readers that fetch side by side, each its own partition.
pub const READERS: u32 = 2;
/// Bytes that each of them fetches.
pub const FETCH_PARTITION_BYTES: usize = 192 << 20;

/// What is produced in ready-made batches.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The topic's.
    pub sync_mode: &'static str,
    /// Of the topic; batches go to one after the other.
    pub partitions: u32,
    /// Of a batch, roughly.
    pub bytes: usize,
}

impl Load {
    /// What the raw server does of the same kind, and what that is called.
    #[must_use]
    pub fn raw(self) -> (Mode, &'static str) {
        match self.sync_mode {
            "always" => (Mode::Pipelined, "raw TCP + CRC + append + fdatasync"),
            _ => (Mode::Buffered, "raw TCP + CRC + append"),
        }
    }
}

/// Both servers, and a client of the broker's native door.
#[derive(Debug)]
pub struct Pair {
    /// Where calls of the client run.
    pub runtime: Runtime,
    /// The broker.
    pub broker: Broker,
    /// Its client.
    pub rpc: Rpc,
    /// The raw server.
    pub raw: RawServer,
    scratch: TempDir,
}

impl Pair {
    /// Starts both.
    ///
    /// # Errors
    /// One does not come up.
    pub fn start(options: &Options) -> Result<Pair> {
        let scratch = options.scratch()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let broker = Broker::start(&scratch.path().join("data"))?;
        let raw = RawServer::start(scratch.path())?;
        let rpc = runtime.block_on(rpc::connect(&broker.grpc))?;
        Ok(Pair { runtime, broker, rpc, raw, scratch })
    }

    /// Stops the broker. The client goes first: a drain waits for calls that are open, and ours are as long as nobody
    /// drives them.
    ///
    /// # Errors
    /// It does not end well.
    pub fn stop(self) -> Result<()> {
        let Pair { runtime, broker, rpc, .. } = self;
        drop(rpc);
        drop(runtime);
        broker.process.stop()
    }

    /// Measures the raw server.
    ///
    /// # Errors
    /// What `work` says.
    pub fn on_raw(&self, work: impl FnOnce(&RawServer) -> Result<Done>) -> Result<Sample> {
        measure(Whose::Process(self.raw.process.pid()), || work(&self.raw))
    }

    /// Measures the broker.
    ///
    /// # Errors
    /// What `work` says.
    pub fn on_broker(&self, work: impl FnOnce() -> Result<Done>) -> Result<Sample> {
        measure(Whose::Process(self.broker.process.pid()), work)
    }

    /// Makes a topic for all rounds of a contest: a new one in every round would begin with an empty tail cache.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn create(&self, partitions: u32, configs: &[(&str, &str)]) -> Result<v1::TopicRef> {
        self.create_named("measured", partitions, configs)
    }

    /// The same, for who has more than one.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn create_named(
        &self,
        name: &str,
        partitions: u32,
        configs: &[(&str, &str)],
    ) -> Result<v1::TopicRef> {
        self.runtime.block_on(rpc::create_topic_with(&mut self.rpc.clone(), name, partitions, configs))
    }

    /// Deletes it.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn delete(&self, topic: &v1::TopicRef) -> Result<()> {
        self.runtime.block_on(rpc::delete_topic(&mut self.rpc.clone(), topic))
    }

    /// A virtual machine gives pages back that were free for some seconds, and the first touch of such a page costs ten
    /// times a write. Whoever is measured next finds pages that were in use a moment ago.
    ///
    /// # Errors
    /// The operating system's.
    pub fn warm(&self) -> Result<()> {
        let path = self.scratch.path().join("warm");
        let mut file = RawFile::create(&path, ROUND_BYTES as u64)?;
        let filling = vec![7; 1 << 20];
        for _ in 0..ROUND_BYTES / filling.len() {
            file.append(&filling)?;
        }
        Ok(std::fs::remove_file(path)?)
    }
}

/// Runs `job` so many times at once, each on a thread of its own.
///
/// # Errors
/// What one of them says.
pub fn side_by_side(times: u32, job: impl Fn(u32) -> Result<Done> + Sync) -> Result<Done> {
    std::thread::scope(|scope| {
        let job = &job;
        let threads: Vec<_> = (0..times).map(|number| scope.spawn(move || job(number))).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?).sum()
    })
}
