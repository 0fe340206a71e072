//! Appending batches to one partition: raw `pwrite` into a preallocated file and one CRC-32C over each batch, against
//! `Batch::check` and `Log::append`.
//!
//! "written" leaves syncs out on both sides (the log runs on a file system that answers them at once); "synced" waits
//! for every batch. Each round begins with an empty file or log; making and removing it is not measured.

use std::path::Path;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use millrace_benches::contest::{Arena, Side};
use millrace_benches::options::Options;
use millrace_benches::records;
use millrace_benches::sample::{Column, Done, Sample, Whose, latencies, measure, nanos_since};
use millrace_benches::store::{RawFile, Store};
use millrace_benches::unsynced;
use millrace_env::Env;
use millrace_log::LogConfig;
use millrace_record::{Batch, CRC_START, Checks, Origin, crc32c};
use millrace_types::limits::BATCH_BYTES_DEFAULT;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KIB: usize = 1024;

/// What is appended in one round.
#[derive(Clone, Debug)]
struct Job {
    batch: Bytes,
    count: u64,
    synced: bool,
}

fn main() -> Result<()> {
    let options = Options::read("append");
    let scratch = options.scratch()?;
    let mut arena = Arena::new(&options);
    for (bytes, total) in
        [(1024 * KIB, 256 << 20), (64 * KIB, 256 << 20), (16 * KIB, 128 << 20), (KIB, 16 << 20)]
    {
        let job = Job {
            batch: records::batch_of_size(bytes)?.into_bytes(),
            count: total / bytes as u64,
            synced: false,
        };
        let title = format!(
            "append, written: batches of {} KiB, 1 partition, {} MiB per round",
            bytes / KIB,
            total >> 20
        );
        let columns = [Column::GbPerSecond, Column::CpuPerGb, Column::CpuMicros];
        contest(&mut arena, &title, &columns, scratch.path(), &job)?;
    }
    for (bytes, total) in [(1024 * KIB, 128 << 20), (64 * KIB, 32 << 20)] {
        let job = Job {
            batch: records::batch_of_size(bytes)?.into_bytes(),
            count: total / bytes as u64,
            synced: true,
        };
        let title = format!("append, synced one by one: batches of {} KiB, 1 partition", bytes / KIB);
        let columns = [Column::GbPerSecond, Column::CpuPerGb, Column::P50, Column::P99];
        contest(&mut arena, &title, &columns, scratch.path(), &job)?;
    }
    Ok(())
}

fn contest(arena: &mut Arena, title: &str, columns: &[Column], folder: &Path, job: &Job) -> Result<()> {
    let sides = vec![
        Side::new("raw pwrite + CRC-32C", || raw(folder, job)),
        Side::new("Batch::check + Log::append", || ours(folder, job)),
    ];
    arena.contest(title, columns, sides)
}

fn raw(folder: &Path, job: &Job) -> Result<Sample> {
    let path = folder.join("raw");
    let mut file = RawFile::create(&path, job.count * job.batch.len() as u64)?;
    let sample = measure(Whose::Ours, || {
        let mut taken = latencies()?;
        for _ in 0..job.count {
            let start = std::time::Instant::now();
            let sum = crc32c(job.batch.get(CRC_START..).unwrap_or_default());
            std::hint::black_box(sum);
            file.append(&job.batch)?;
            if job.synced {
                file.sync()?;
                taken.record(nanos_since(start))?;
            }
        }
        Ok(done(job, taken))
    })?;
    std::fs::remove_file(path)?;
    Ok(sample)
}

fn ours(folder: &Path, job: &Job) -> Result<Sample> {
    let path = folder.join("ours");
    let env = if job.synced { millrace_env::real::env() } else { unsynced::env() };
    let sample = append(&env, &path, job)?;
    std::fs::remove_dir_all(path)?;
    Ok(sample)
}

fn append(env: &Env, path: &Path, job: &Job) -> Result<Sample> {
    let store = Store::create(env, path, 1, &LogConfig::default())?;
    let log = store.log()?;
    let checks = Checks { bytes_max: BATCH_BYTES_DEFAULT, origin: Origin::Client };
    measure(Whose::Ours, || {
        let mut taken = latencies()?;
        let mut last = None;
        let mut unsynced = 0;
        for _ in 0..job.count {
            let start = std::time::Instant::now();
            let ticket = log.append(Batch::check(job.batch.clone(), &checks)?)?;
            unsynced += job.batch.len();
            if job.synced {
                ticket.wait()?;
                taken.record(nanos_since(start))?;
            } else if unsynced >= 8 << 20 {
                // The log lets 16 MiB wait for a sync; here a sync is a call that returns at once.
                ticket.wait()?;
                unsynced = 0;
            } else {
                last = Some(ticket);
            }
        }
        if let Some(ticket) = last {
            ticket.wait().context("the last append")?;
        }
        Ok(done(job, taken))
    })
}

fn done(job: &Job, taken: millrace_benches::sample::Latencies) -> Done {
    Done { bytes: job.count * job.batch.len() as u64, operations: job.count, latencies: Some(taken) }
}
