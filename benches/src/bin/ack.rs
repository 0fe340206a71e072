//! From produce to acknowledgement inside the engine: raw append + `fdatasync`, one file and one thread each, against
//! `Log::append` and its ticket.
//!
//! One dirty partition shows the latency of a single client; 16 show what syncing side by side carries; 256 what a
//! broker with many busy partitions does. Records of 100 B, one in each batch; every client waits for its own
//! acknowledgement before it goes on (closed loop). With more clients than partitions batches ride on one sync.
//!
//! Then the sync modes beside each other. The weaker ones acknowledge what is written; nothing drives the timer of the
//! interval here, because its bytes are reached long before its time.

use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use bytes::Bytes;
use millrace_benches::contest::{Arena, Side};
use millrace_benches::options::Options;
use millrace_benches::records;
use millrace_benches::sample::{Column, Done, Latencies, Sample, Whose, latencies, measure, nanos_since};
use millrace_benches::store::{RawFile, Store};
use millrace_log::{Log, LogConfig};
use millrace_record::{Batch, Checks, Origin};
use millrace_types::SyncMode;
use millrace_types::limits::BATCH_BYTES_DEFAULT;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long the clients of a round go on.
const ROUND: Duration = Duration::from_secs(1);
/// Room reserved for each raw file: more than a round fills.
const RAW_FILE_BYTES: u64 = 4 << 20;

fn main() -> Result<()> {
    let options = Options::read("ack");
    let scratch = options.scratch()?;
    let mut arena = Arena::new(&options);
    let batch = records::batch(1, 100)?.into_bytes();
    let columns = [Column::PerSecond, Column::P50, Column::P99, Column::P999, Column::CpuMicros];
    for (partitions, clients) in [(1, vec![1]), (16, vec![16, 64]), (256, vec![256])] {
        let title = format!("ack: {partitions} dirty partitions, 100 B, sync.mode always");
        let folder = scratch.path();
        let batch = &batch;
        let mut sides = vec![Side::new(format!("raw, {partitions} files and threads"), move || {
            raw(folder, partitions, batch)
        })];
        for clients in clients {
            let name = format!("Log, {clients} clients");
            let work = Work { mode: SyncMode::Always, partitions, clients };
            sides.push(Side::new(name, move || ours(folder, work, batch)));
        }
        arena.contest(&title, &columns, sides)?;
    }
    for (partitions, clients) in [(1, 1), (16, 16)] {
        let title = format!("ack: {partitions} dirty partitions, 100 B, {clients} clients, by sync mode");
        let (folder, batch) = (scratch.path(), &batch);
        let mut sides = Vec::new();
        for name in ["always", "interval=100,1048576", "os"] {
            let work = Work { mode: name.parse()?, partitions, clients };
            sides.push(Side::new(name.to_owned(), move || ours(folder, work, batch)));
        }
        arena.contest(&title, &columns, sides)?;
    }
    Ok(())
}

/// What is appended to, and by how many.
#[derive(Clone, Copy)]
struct Work {
    mode: SyncMode,
    partitions: u32,
    clients: usize,
}

fn raw(folder: &Path, files: u32, batch: &Bytes) -> Result<Sample> {
    let path = folder.join("raw");
    std::fs::create_dir_all(&path)?;
    let files: Vec<RawFile> = (0..files)
        .map(|index| RawFile::create(&path.join(index.to_string()), RAW_FILE_BYTES))
        .collect::<Result<_>>()?;
    let clients = files.into_iter().map(|mut file| {
        move || {
            file.append(batch)?;
            file.sync()
        }
    });
    let sample = closed_loop(clients.collect(), batch.len() as u64)?;
    std::fs::remove_dir_all(path)?;
    Ok(sample)
}

fn ours(folder: &Path, work: Work, batch: &Bytes) -> Result<Sample> {
    let Work { mode, partitions, clients } = work;
    let path = folder.join("ours");
    let config = LogConfig { sync_mode: mode, ..LogConfig::default() };
    let store = Store::create(&millrace_env::real::env(), &path, partitions, &config)?;
    let clients = store.logs.iter().cycle().take(clients).map(|log| move || produce(log, batch));
    let sample = closed_loop(clients.collect(), batch.len() as u64)?;
    store.dir.close()?;
    drop(store);
    std::fs::remove_dir_all(path)?;
    Ok(sample)
}

fn produce(log: &Log, batch: &Bytes) -> Result<()> {
    let checks = Checks { bytes_max: BATCH_BYTES_DEFAULT, origin: Origin::Client };
    log.append(Batch::check(batch.clone(), &checks)?)?.wait()?;
    Ok(())
}

/// Each client on a thread of its own, again and again until the round is over.
fn closed_loop<C>(clients: Vec<C>, bytes: u64) -> Result<Sample>
where
    C: FnMut() -> Result<()> + Send,
{
    let start_line = Barrier::new(clients.len());
    measure(Whose::Ours, || {
        let all: Vec<Result<Latencies>> = std::thread::scope(|scope| {
            let run = |client: C| {
                let start_line = &start_line;
                scope.spawn(move || run_client(client, start_line))
            };
            let threads: Vec<_> = clients.into_iter().map(run).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, Result<Latencies>>| {
                thread.join().unwrap_or_else(|_| Err(anyhow!("a client panicked")))
            };
            threads.into_iter().map(join).collect()
        });
        let mut latencies = latencies()?;
        for client in all {
            latencies.add(client?)?;
        }
        let operations = latencies.len();
        Ok(Done { bytes: operations * bytes, operations, latencies: Some(latencies) })
    })
}

fn run_client(mut client: impl FnMut() -> Result<()>, start_line: &Barrier) -> Result<Latencies> {
    let mut taken = latencies()?;
    start_line.wait();
    let begun = Instant::now();
    while begun.elapsed() < ROUND {
        let start = Instant::now();
        client()?;
        taken.record(nanos_since(start))?;
    }
    Ok(taken)
}
