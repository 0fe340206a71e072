//! What one round of one side has measured.

use std::iter::Sum;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::load;

/// Latencies in nanoseconds, to three digits.
pub type Latencies = Histogram<u64>;

/// An empty histogram of latencies.
///
/// # Errors
/// Never: the precision is a legal one.
pub fn latencies() -> Result<Latencies> {
    Ok(Histogram::new(3)?)
}

/// Nanoseconds since `start`.
#[must_use]
pub fn nanos_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// One round.
#[derive(Clone, Debug)]
pub struct Sample {
    /// How long it took.
    pub wall: Duration,
    /// Processor time of the process that is measured.
    pub cpu: Duration,
    /// Bytes that went through.
    pub bytes: u64,
    /// Operations (batches, requests or records: the title says which).
    pub operations: u64,
    /// The latency of each, where it was taken.
    pub latencies: Option<Latencies>,
}

/// What to read from a sample.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Column {
    /// 10^9 bytes per second.
    GbPerSecond,
    /// Processor seconds per 10^9 bytes.
    CpuPerGb,
    /// Operations per second.
    PerSecond,
    /// Processor time in microseconds per operation.
    CpuMicros,
    /// Half of the operations took at most so many microseconds.
    P50,
    /// 99 of 100 did.
    P99,
    /// 999 of 1,000 did.
    P999,
    /// All did.
    Max,
    /// Milliseconds from the beginning to the end of the round.
    WallMs,
}

impl Column {
    /// Its head in a table.
    #[must_use]
    pub fn head(self) -> &'static str {
        match self {
            Column::GbPerSecond => "GB/s",
            Column::CpuPerGb => "CPU s/GB",
            Column::PerSecond => "per s",
            Column::CpuMicros => "CPU us each",
            Column::P50 => "p50 us",
            Column::P99 => "p99 us",
            Column::P999 => "p99.9 us",
            Column::Max => "max us",
            Column::WallMs => "ms",
        }
    }

    /// The figure.
    #[must_use]
    pub fn of(self, sample: &Sample) -> f64 {
        let quantile =
            |q: f64| sample.latencies.as_ref().map_or(0.0, |all| as_f64(all.value_at_quantile(q)) / 1e3);
        let (wall, cpu) = (sample.wall.as_secs_f64(), sample.cpu.as_secs_f64());
        let gigabytes = as_f64(sample.bytes) / 1e9;
        let operations = as_f64(sample.operations);
        match self {
            Column::GbPerSecond => gigabytes / wall,
            Column::CpuPerGb => cpu / gigabytes,
            Column::PerSecond => operations / wall,
            Column::CpuMicros => cpu * 1e6 / operations,
            Column::P50 => quantile(0.5),
            Column::P99 => quantile(0.99),
            Column::P999 => quantile(0.999),
            Column::Max => quantile(1.0),
            Column::WallMs => wall * 1e3,
        }
    }
}

fn as_f64(number: u64) -> f64 {
    // Exact up to 2^53, which no count here reaches.
    let high = u32::try_from(number >> 32).unwrap_or(u32::MAX);
    let low = u32::try_from(number & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    f64::from(high) * 4_294_967_296.0 + f64::from(low)
}

/// Whose processor time counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whose {
    /// This process'.
    Ours,
    /// That of the process with this id.
    Process(u32),
}

impl Whose {
    fn cpu(self) -> Duration {
        match self {
            Whose::Ours => load::own_cpu(),
            Whose::Process(pid) => load::cpu_of(pid),
        }
    }
}

/// What a round did.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// Bytes that went through.
    pub bytes: u64,
    /// Operations.
    pub operations: u64,
    /// The latency of each, where it was taken.
    pub latencies: Option<Latencies>,
}

impl Sum for Done {
    /// What was done side by side; latencies are not added up.
    fn sum<I: Iterator<Item = Done>>(all: I) -> Done {
        all.fold(Done::default(), |sum, done| Done {
            bytes: sum.bytes + done.bytes,
            operations: sum.operations + done.operations,
            latencies: None,
        })
    }
}

/// Measures `work`.
///
/// # Errors
/// What `work` says.
pub fn measure(whose: Whose, work: impl FnOnce() -> Result<Done>) -> Result<Sample> {
    let (cpu, start) = (whose.cpu(), Instant::now());
    let Done { bytes, operations, latencies } = work()?;
    let wall = start.elapsed();
    Ok(Sample { wall, cpu: whose.cpu().saturating_sub(cpu), bytes, operations, latencies })
}
