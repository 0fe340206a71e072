//! Reading batches of one partition from the page cache, in order: `pread` and copies out of a map, against
//! `Log::read`.
//!
//! "first pass" reads a log that was just opened: every sealed block is checked once against its seal. "again" is every
//! pass after that. "tail" reads what was just appended, which is still in the tail cache.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use millrace_benches::contest::{Arena, Side};
use millrace_benches::options::Options;
use millrace_benches::records;
use millrace_benches::sample::{Column, Done, Sample, Whose, measure};
use millrace_benches::store::Store;
use millrace_benches::unsynced;
use millrace_env::{Fs as _, OpenMode};
use millrace_log::{Log, LogConfig, ReadRequest};
use millrace_types::Offset;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LOG_BYTES: u64 = 256 << 20;
const SEGMENT_BYTES: u64 = 64 << 20;
const TAIL_BYTES: u64 = 32 << 20;
const BATCH_BYTES: usize = 64 * 1024;

fn main() -> Result<()> {
    let options = Options::read("read");
    let scratch = options.scratch()?;
    let mut arena = Arena::new(&options);
    let folder = scratch.path().join("stored");
    fill(&folder, LOG_BYTES)?;
    let files = log_files(&folder)?;
    let columns = [Column::GbPerSecond, Column::CpuPerGb, Column::CpuMicros];
    for bytes in [1 << 20, 64 << 10] {
        let title = format!(
            "read, stored: {} KiB at a time, {} MiB, batches of 64 KiB",
            bytes >> 10,
            LOG_BYTES >> 20
        );
        let (files, folder) = (&files, &folder);
        let reopened = Store::open(&millrace_env::real::env(), folder, 1, &config())?;
        let log = reopened.log()?;
        let sides = vec![
            Side::new("pread into one buffer", || pread(files, bytes)),
            Side::new("copy out of a map", || copy(files, bytes)),
            Side::new("Log::read, again", || all_of(log, Offset::ZERO, bytes)),
        ];
        arena.contest(&title, &columns, sides)?;
        reopened.dir.close()?;
        drop(reopened);
        let title = format!("{title}, first pass after open");
        let sides = vec![
            Side::new("pread into one buffer", || pread(files, bytes)),
            Side::new("Log::read, first pass", || first_pass(folder, bytes)),
        ];
        arena.contest(&title, &columns, sides)?;
    }
    tail(&mut arena, scratch.path(), &columns)
}

fn tail(arena: &mut Arena, folder: &Path, columns: &[Column]) -> Result<()> {
    let path = folder.join("tail");
    let store = Store::create(&unsynced::env(), &path, 1, &config())?;
    append(store.log()?, TAIL_BYTES)?;
    let files = log_files(&path)?;
    let log = store.log()?;
    for bytes in [1 << 20, 64 << 10] {
        let title = format!(
            "read, tail cache: {} KiB at a time, {} MiB, batches of 64 KiB",
            bytes >> 10,
            TAIL_BYTES >> 20
        );
        let sides = vec![
            Side::new("pread into one buffer", || pread(&files, bytes)),
            Side::new("Log::read", || all_of(log, Offset::ZERO, bytes)),
        ];
        arena.contest(&title, columns, sides)?;
    }
    Ok(())
}

fn config() -> LogConfig {
    LogConfig { segment_bytes: SEGMENT_BYTES, ..LogConfig::default() }
}

fn fill(path: &Path, bytes: u64) -> Result<()> {
    let store = Store::create(&unsynced::env(), path, 1, &config())?;
    append(store.log()?, bytes)?;
    store.dir.janitor_step();
    Ok(store.dir.close()?)
}

fn append(log: &Log, bytes: u64) -> Result<()> {
    let batch = records::batch_of_size(BATCH_BYTES)?;
    for _ in 0..bytes / batch.size() as u64 {
        log.append(batch.clone())?.wait()?;
    }
    Ok(())
}

fn log_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for partition in std::fs::read_dir(folder)? {
        let path = partition?.path();
        if path.is_dir() {
            for file in std::fs::read_dir(path)? {
                files.push(file?.path());
            }
        }
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "log"));
    files.sort();
    Ok(files)
}

fn pread(files: &[PathBuf], bytes: usize) -> Result<Sample> {
    let mut buffer = vec![0; bytes];
    measure(Whose::Ours, || {
        let mut done = Done::default();
        for path in files {
            let file = File::open(path)?;
            let mut position = 0;
            loop {
                let read = file.read_at(&mut buffer, position)?;
                if read == 0 {
                    break;
                }
                position += read as u64;
                done.operations += 1;
            }
            done.bytes += position;
        }
        Ok(done)
    })
}

fn copy(files: &[PathBuf], bytes: usize) -> Result<Sample> {
    let mut buffer = vec![0; bytes];
    measure(Whose::Ours, || {
        let mut done = Done::default();
        for path in files {
            let file = millrace_env::real::RealFs.open(path, OpenMode::Read)?;
            let size = file.size()?;
            if size == 0 {
                continue;
            }
            let map = file.map(size)?;
            map.populate(0..usize::try_from(size)?)?;
            for part in map.bytes().chunks(bytes) {
                buffer.get_mut(..part.len()).context("a part larger than the buffer")?.copy_from_slice(part);
                std::hint::black_box(&buffer);
                done.operations += 1;
            }
            done.bytes += size;
        }
        Ok(done)
    })
}

fn first_pass(folder: &Path, bytes: usize) -> Result<Sample> {
    let store = Store::open(&millrace_env::real::env(), folder, 1, &config())?;
    let sample = all_of(store.log()?, Offset::ZERO, bytes)?;
    store.dir.close()?;
    Ok(sample)
}

fn all_of(log: &Log, from: Offset, bytes_max: usize) -> Result<Sample> {
    measure(Whose::Ours, || {
        let mut done = Done::default();
        let mut from = from;
        loop {
            let answer = log.read(&ReadRequest { from, until: None, bytes_max })?.load()?;
            if answer.extents.is_empty() {
                break;
            }
            done.bytes += answer.extents.iter().map(|extent| extent.len() as u64).sum::<u64>();
            done.operations += 1;
            ensure!(answer.range.end > from, "a read that does not move on");
            from = answer.range.end;
        }
        Ok(done)
    })
}
