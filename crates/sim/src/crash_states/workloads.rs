//! What the processes do before they crash. Every choice comes from the seed.

use std::time::Duration;

use super::life::{FORGOTTEN_BYTES, Life, Shape};
use super::topics::{Service, runtime};
use crate::policy::{Policy, TOMBSTONES_MS};

/// A history of one data directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Workload {
    pub(super) name: &'static str,
    pub(super) process: Process,
}

/// Who writes the history.
#[derive(Clone, Copy, Debug)]
pub(super) enum Process {
    /// A program that drives the logs alone.
    Logs(fn(&mut Life) -> Result<(), String>),
    /// A broker.
    Broker(fn(&mut Service) -> Result<(), String>),
}

pub(super) const WORKLOADS: [Workload; 8] = [
    Workload { name: "appends", process: Process::Logs(appends) },
    Workload { name: "cuts", process: Process::Logs(cuts) },
    Workload { name: "rewound", process: Process::Logs(rewound) },
    Workload { name: "lives", process: Process::Logs(lives) },
    Workload { name: "partitions", process: Process::Logs(partitions) },
    Workload { name: "compaction", process: Process::Logs(compaction) },
    Workload { name: "retention", process: Process::Logs(retention) },
    Workload { name: "topics", process: Process::Broker(topics) },
];

/// Older than this, a segment is rolled.
const SEGMENT_AGE: Duration = Duration::from_secs(7_200);

fn shape(life: &Life) -> Shape {
    let bytes = match life.below(8) {
        0 => 20_000,
        1 => 4_096 + life.below(3_000),
        _ => 1 + life.below(1_500),
    };
    let producer = (life.below(3) > 0).then(|| 100 + life.below(2).cast_signed());
    let records = 1 + usize::try_from(life.below(3)).unwrap_or(0);
    Shape { records, bytes: usize::try_from(bytes).unwrap_or(1), producer }
}

fn write(life: &mut Life, partition: u32, batches: usize) -> Result<(), String> {
    let shapes: Vec<Shape> = (0..batches).map(|_| shape(life)).collect();
    let together = 1 + usize::try_from(life.below(3)).unwrap_or(0);
    life.append(partition, &shapes, together)
}

/// As much as two rolls take.
fn fill(life: &mut Life, partition: u32) -> Result<(), String> {
    let large = Shape { records: 1, bytes: 30_000, producer: Some(100) };
    life.append(partition, &[large, large], 1)?;
    write(life, partition, 2)?;
    life.append(partition, &[large, large], 2)
}

fn appends(life: &mut Life) -> Result<(), String> {
    life.open()?;
    for partition in 0..2 {
        life.create(partition)?;
    }
    for round in 0..3 {
        for partition in 0..2 {
            write(life, partition, 4)?;
            life.retry(partition, 100, usize::try_from(life.below(5)).unwrap_or(0))?;
        }
        if round != 1 {
            fill(life, 0)?;
        }
        life.janitor()?;
    }
    life.wait(SEGMENT_AGE);
    life.janitor()?;
    write(life, 1, 3)
}

fn cuts(life: &mut Life) -> Result<(), String> {
    life.open()?;
    life.create(0)?;
    write(life, 0, 5)?;
    fill(life, 0)?;
    life.janitor()?;
    write(life, 0, 3)?;
    let end = life.end_of(0);
    life.truncate(0, end - 1 - life.below(2))?;
    write(life, 0, 2)?;
    fill(life, 0)?;
    let end = life.end_of(0);
    life.truncate(0, end / 2)?;
    write(life, 0, 3)?;
    fill(life, 0)?;
    life.janitor()?;
    let end = life.end_of(0);
    life.trim(0, end * 2 / 3)?;
    write(life, 0, 2)?;
    life.trim(0, life.end_of(0))?;
    write(life, 0, 2)?;
    life.reset(0, life.below(10))?;
    write(life, 0, 3)?;
    fill(life, 0)?;
    life.reset(0, 500)?;
    write(life, 0, 3)
}

/// A producer whose last batches are cut off, and another one that writes past where they were.
fn rewound(life: &mut Life) -> Result<(), String> {
    let small = |producer| Shape { records: 1, bytes: 50, producer: Some(producer) };
    life.open()?;
    life.create(0)?;
    life.append(0, &[small(100), small(100)], 1)?;
    life.append(0, &[small(102); 4], 2)?;
    fill(life, 0)?;
    life.janitor()?;
    life.truncate(0, 4)?;
    life.append(0, &[Shape { records: 10, ..small(100) }; 2], 1)?;
    write(life, 0, 2)?;
    life.append(0, &[small(102)], 1)?;
    life.truncate(0, life.end_of(0) - 1)?;
    life.close()?;
    life.open()?;
    life.append(0, &[small(102)], 1)
}

fn lives(life: &mut Life) -> Result<(), String> {
    life.open()?;
    life.create(0)?;
    life.create(1)?;
    for round in 0..3 {
        write(life, 0, 3)?;
        fill(life, round % 2)?;
        if round > 0 {
            life.janitor()?;
        }
        write(life, 1, 2)?;
        life.close()?;
        life.open()?;
        life.retry(0, 100, 0)?;
    }
    Ok(())
}

fn partitions(life: &mut Life) -> Result<(), String> {
    life.open()?;
    for partition in 0..3 {
        life.create(partition)?;
        write(life, partition, 2)?;
    }
    life.delete(1)?;
    life.create(1)?;
    write(life, 1, 2)?;
    life.delete(1)?;
    life.janitor()?;
    life.delete(0)?;
    life.create(1)?;
    write(life, 1, 2)?;
    life.close()?;
    life.open()?;
    life.delete(2)?;
    life.janitor()?;
    life.create(2)?;
    write(life, 2, 2)
}

/// Segments of keyed records, compacted again and again: alone, several into one, with tombstones whose time is over.
fn compaction(life: &mut Life) -> Result<(), String> {
    life.open()?;
    life.create_as(0, Policy::Compacted)?;
    write(life, 0, 4)?;
    life.append(0, &[Shape { records: 1, bytes: FORGOTTEN_BYTES, producer: None }], 1)?;
    fill(life, 0)?;
    compact(life)?;
    life.retry(0, 100, 0)?;
    write(life, 0, 6)?;
    fill(life, 0)?;
    compact(life)?;
    life.trim(0, life.end_of(0) / 3)?;
    life.close()?;
    life.open()?;
    fill(life, 0)?;
    life.wait(Duration::from_millis(TOMBSTONES_MS + 1));
    compact(life)?;
    write(life, 0, 2)?;
    // All of it is old enough to be rolled, and to be compacted to the last batch.
    life.wait(SEGMENT_AGE);
    compact(life)?;
    write(life, 0, 2)
}

fn compact(life: &Life) -> Result<(), String> {
    let before = life.size_of(0)?;
    life.clean("compaction")?;
    let after = life.size_of(0)?;
    if after < before { Ok(()) } else { Err(format!("{before} bytes are {after} behind a compaction")) }
}

/// What is old goes, what is much goes, and what is old and compacted goes too.
fn retention(life: &mut Life) -> Result<(), String> {
    life.open()?;
    for (partition, policy) in [Policy::Aged, Policy::Sized, Policy::CompactedAndAged].into_iter().enumerate()
    {
        life.create_as(u32::try_from(partition).unwrap_or(0), policy)?;
    }
    for partition in 0..3 {
        write(life, partition, 1)?;
        fill(life, partition)?;
    }
    life.clean("retention")?;
    // Half of the time after which records go: what is appended now stays when the others do.
    life.wait(SEGMENT_AGE / 2 + Duration::from_secs(1));
    write(life, 0, 1)?;
    write(life, 2, 1)?;
    life.clean("retention")?;
    life.wait(SEGMENT_AGE / 2);
    life.clean("retention")?;
    write(life, 0, 1)
}

fn topics(service: &mut Service) -> Result<(), String> {
    runtime()?.block_on(service.live())
}
