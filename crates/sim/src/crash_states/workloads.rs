//! What the processes do before they crash. Every choice comes from the seed.

use std::time::Duration;

use super::life::{Life, Shape};
use super::topics::{Service, runtime};

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

pub(super) const WORKLOADS: [Workload; 6] = [
    Workload { name: "appends", process: Process::Logs(appends) },
    Workload { name: "cuts", process: Process::Logs(cuts) },
    Workload { name: "rewound", process: Process::Logs(rewound) },
    Workload { name: "lives", process: Process::Logs(lives) },
    Workload { name: "partitions", process: Process::Logs(partitions) },
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

fn topics(service: &mut Service) -> Result<(), String> {
    runtime()?.block_on(service.live())
}
