//! Commits, one at a time by each of eight members, beside what the log takes of the same bytes, synced alike.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use millrace_log::LogConfig;
use millrace_proto::v1;
use millrace_record::{Batch, Checks, Origin};
use millrace_types::limits::BATCH_BYTES_DEFAULT;
use tokio::runtime::Runtime;

use super::board::{Sums, View};
use super::fleet::Fleet;
use crate::barerpc::BareRpc;
use crate::child::Broker;
use crate::contest::{Arena, Side};
use crate::records;
use crate::rpc::{self, Rpc};
use crate::sample::{Column, Done, Whose, latencies, measure, nanos_since};
use crate::store::Store;

const COMMITTERS: usize = 8;
/// About what the record of a commit takes with its key.
const RECORD_BYTES: usize = 100;
const ROUND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);

/// Whose commits they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spread {
    /// Of one group: all go to one partition.
    OneGroup,
    /// Of a group for each member: each goes to a partition of its own.
    GroupEach,
}

struct Stage<'a> {
    runtime: &'a Runtime,

    fleet: Fleet,
    groups: Vec<String>,
    /// A connection for each client.
    clients: Vec<Rpc>,
    topic: v1::TopicRef,
    next: AtomicI64,
}

/// Measures it. The runtime must drive its tasks also while nobody waits in it: the members heartbeat.
///
/// # Errors
/// What a side says.
pub fn run(arena: &mut Arena, runtime: &Runtime, scratch: &Path, spread: Spread) -> Result<()> {
    let (title, logs) = match spread {
        Spread::OneGroup => ("8 members of one group, one commit at a time each; 1 partition, 1 log", 1_u32),
        Spread::GroupEach => ("8 groups of one member, one commit at a time each; 8 partitions, 8 logs", 8),
    };
    let title = format!("groups, commits: {title}, always synced");
    if !arena.wants(&title) {
        return Ok(());
    }
    let folder = scratch.join(format!("commits-{logs}"));
    std::fs::create_dir(&folder)?;
    let broker = Broker::start(&folder.join("data"))?;
    let bare = BareRpc::start()?;
    let connect =
        |addr: String| async move { try_join_all((0..COMMITTERS).map(|_| rpc::connect(&addr))).await };
    let bare_clients = runtime.block_on(connect(bare.addr.clone()))?;
    let stage = Stage {
        runtime,
        fleet: runtime.block_on(Fleet::connect(&broker.grpc, COMMITTERS))?,
        // Names that differ in the last digit alone are hashed to partitions that follow each other.
        groups: (0..COMMITTERS)
            .map(|index| format!("commits-{}", index % usize::try_from(logs).unwrap_or(1)))
            .collect(),
        clients: runtime.block_on(connect(broker.grpc.clone()))?,
        topic: runtime.block_on(async {
            rpc::create_topic(&mut rpc::connect(&broker.grpc).await?, "measured", 8).await
        })?,
        next: AtomicI64::new(0),
    };
    let members = stage.gather()?;
    let store = Store::create(&millrace_env::real::env(), &folder.join("log"), logs, &LogConfig::default())?;
    let batch = records::batch(1, RECORD_BYTES)?.into_bytes();
    let value = Bytes::from(records::value(RECORD_BYTES, 1));
    let sides = vec![
        Side::new("the log alone: Log::append, 8 threads", || {
            measure(Whose::Ours, || append(&store, &batch))
        }),
        Side::new("bare tonic, CommitOffsets, not stored", || {
            measure(Whose::Process(bare.process.pid()), || stage.commit(&bare_clients, &members))
        }),
        Side::new("Millrace, Produce", || {
            measure(Whose::Process(broker.process.pid()), || stage.produce(logs, &value))
        }),
        Side::new("Millrace, CommitOffsets", || {
            measure(Whose::Process(broker.process.pid()), || stage.commit(&stage.clients, &members))
        }),
    ];
    let columns = [Column::PerSecond, Column::P50, Column::P99, Column::CpuMicros];
    arena.contest(&title, &columns, sides)?;
    let Stage { fleet, clients, .. } = stage;
    drop((clients, bare_clients));
    runtime.block_on(fleet.hang_up())?;
    broker.process.stop()
}

/// Each thread waits for its record to be synced before it appends the next.
fn append(store: &Store, batch: &Bytes) -> Result<Done> {
    let checks = Checks { bytes_max: BATCH_BYTES_DEFAULT, origin: Origin::Client };
    let thread = |index: usize| {
        let log = store.logs.get(index % store.logs.len()).context("a store without logs")?;
        let mut taken = latencies()?;
        let begun = Instant::now();
        while begun.elapsed() < ROUND {
            let start = Instant::now();
            log.append(Batch::check(batch.clone(), &checks)?)?.wait()?;
            taken.record(nanos_since(start))?;
        }
        anyhow::Ok(taken)
    };
    std::thread::scope(|scope| {
        let thread = &thread;
        let threads: Vec<_> = (0..COMMITTERS).map(|index| scope.spawn(move || thread(index))).collect();
        let mut all = latencies()?;
        for thread in threads {
            all.add(thread.join().map_err(|_| anyhow!("a thread panicked"))??)?;
        }
        Ok(done(all))
    })
}

fn done(all: crate::sample::Latencies) -> Done {
    let operations = all.len();
    Done { bytes: operations * RECORD_BYTES as u64, operations, latencies: Some(all) }
}

impl Stage<'_> {
    /// All join; answers them once each has what is its share.
    fn gather(&self) -> Result<Vec<View>> {
        self.runtime.block_on(async {
            for (seat, group) in self.groups.iter().enumerate() {
                self.fleet.join(seat, group, "measured")?;
            }
            let groups = self.groups.iter().collect::<std::collections::BTreeSet<_>>().len();
            let everybody = Sums { members: COMMITTERS, owned: 8 * groups, waiting: 0 };
            self.fleet.board().until(PATIENCE, |sums| *sums == everybody).await?;
            let views = (0..COMMITTERS).map(|seat| self.fleet.board().view(seat).context("a member is gone"));
            views.collect()
        })
    }

    fn commit(&self, clients: &[Rpc], members: &[View]) -> Result<Done> {
        let committers = clients.iter().zip(members).zip(&self.groups);
        let committers = committers.map(|((rpc, member), group)| self.committer(rpc.clone(), member, group));
        self.side_by_side(committers)
    }

    async fn committer(&self, mut rpc: Rpc, view: &View, group: &str) -> Result<crate::sample::Latencies> {
        let (id, partition) = view.owned.first().cloned().context("a member that owns nothing")?;
        let topic = v1::TopicRef { name: String::new(), id };
        let member = v1::MemberRef { member: view.member.clone(), instance: None, epoch: view.epoch };
        let mut taken = latencies()?;
        let begun = Instant::now();
        while begun.elapsed() < ROUND {
            let offset = self.next.fetch_add(1, Ordering::Relaxed);
            let commit =
                v1::OffsetCommit { topic: Some(topic.clone()), partition, offset, ..Default::default() };
            let request = v1::CommitOffsetsRequest {
                group: group.to_owned(),
                offsets: vec![commit],
                member: Some(member.clone()),
            };
            let start = Instant::now();
            let answer = rpc.commit_offsets(request).await?.into_inner();
            taken.record(nanos_since(start))?;
            for offset in answer.offsets {
                ensure!(offset.error.is_none(), "refused: {:?}", offset.error);
            }
        }
        Ok(taken)
    }

    fn produce(&self, partitions: u32, value: &Bytes) -> Result<Done> {
        let partitions = i32::try_from(partitions)?;
        let producers = (0_i32..).zip(&self.clients);
        let producers = producers.map(|(index, rpc)| self.producer(rpc.clone(), index % partitions, value));
        self.side_by_side(producers)
    }

    async fn producer(
        &self,
        mut rpc: Rpc,
        partition: i32,
        value: &Bytes,
    ) -> Result<crate::sample::Latencies> {
        let mut taken = latencies()?;
        let begun = Instant::now();
        while begun.elapsed() < ROUND {
            let request = rpc::produce_request(&self.topic, partition, rpc::plain([value.clone()]));
            let start = Instant::now();
            rpc::check(rpc.produce(request).await?.get_ref())?;
            taken.record(nanos_since(start))?;
        }
        Ok(taken)
    }

    fn side_by_side(
        &self,
        all: impl Iterator<Item = impl Future<Output = Result<crate::sample::Latencies>>>,
    ) -> Result<Done> {
        let mut sum = latencies()?;
        for taken in self.runtime.block_on(try_join_all(all))? {
            sum.add(taken)?;
        }
        ensure!(self.fleet.board().sums().members == COMMITTERS, "a member was lost");
        Ok(done(sum))
    }
}
