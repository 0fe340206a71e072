//! The figures: a table with its head for people, one schema for machines (docs/bench.md).

use std::io::{self, Write as _};
use std::time::Duration;

use clap::ValueEnum;
use hdrhistogram::Histogram;
use serde_json::{Map, Value};

use super::load::Stop;
use super::stage::Stage;
use super::tally::Tally;
use crate::args::{BenchConsumeArgs, BenchLoadArgs, BenchRecordArgs};
use crate::table::{self, ListFormat, counted, row};

/// What a latency is the latency of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Measure {
    /// From due to acknowledged.
    Acknowledged,
    /// From due to read.
    Read,
    /// From a reader's asking for a batch to its having one.
    BatchAwaited,
}

impl Measure {
    fn name(self) -> &'static str {
        match self {
            Measure::Acknowledged => "acknowledged",
            Measure::Read => "read",
            Measure::BatchAwaited => "batch-awaited",
        }
    }
}

/// What the table shows; the other columns are told in its head.
const SHOWN: [&str; 9] =
    ["measure", "records", "records_per_s", "mb_per_s", "p50_us", "p90_us", "p99_us", "p99_9_us", "max_us"];

/// What is known of a run, and its rows.
#[derive(Debug)]
pub(super) struct Figures {
    plan: Map<String, Value>,
    head: Vec<String>,
    rows: Vec<Map<String, Value>>,
}

impl Figures {
    /// Of a run with such records on that topic.
    pub(super) fn new(stage: &Stage, record: &BenchRecordArgs) -> Figures {
        let compression = record.compression.to_possible_value();
        let durability = record.durability.to_possible_value();
        let name = |value: &Option<clap::builder::PossibleValue>| {
            value.as_ref().map(|value| value.get_name().to_owned()).unwrap_or_default()
        };
        let plan = row! {
            "bench": Value::Null,
            "measure": Value::Null,
            "loop": Value::Null,
            "target_rate": Value::Null,
            "producers": record.producers.get(),
            "readers": 0,
            "partitions": stage.partitions(),
            "record_bytes": record.record_size.as_u64(),
            "batch_bytes": record.batch.as_u64(),
            "linger_ms": record.linger.as_secs_f64() * 1e3,
            "outstanding": Value::Null,
            "compression": name(&compression),
            "durability": name(&durability),
            "sync_mode": stage.sync_mode(),
            "warm_up_s": 0.0,
        };
        let head = vec![
            format!(
                "{}: {}, sync.mode {}",
                stage.topic(),
                counted(u64::from(stage.partitions()), "partition"),
                stage.sync_mode()
            ),
            format!(
                "records of {} B; {}, batches up to {}, linger {}, compression {}, acknowledged when {}",
                record.record_size.as_u64(),
                counted(u64::from(record.producers.get()), "producer"),
                record.batch,
                humantime::format_duration(record.linger),
                name(&compression),
                name(&durability)
            ),
        ];
        Figures { plan, head, rows: Vec::new() }
    }

    /// The load of a run that writes.
    pub(super) fn plan(&mut self, bench: &str, load: &BenchLoadArgs, stop: Stop) {
        self.set("bench", bench.into());
        self.set("loop", if load.rate.is_some() { "open" } else { "closed" }.into());
        self.set("target_rate", load.rate.map(std::num::NonZeroU64::get).into());
        self.set("outstanding", load.outstanding.map(std::num::NonZeroUsize::get).into());
        self.set("warm_up_s", load.warm_up.as_secs_f64().into());
        let whole = |duration: Duration| humantime::format_duration(duration).to_string();
        let until = match (stop.records, stop.duration) {
            (Some(records), Some(duration)) => {
                format!("{} or {}", counted(records, "record"), whole(duration))
            }
            (Some(records), None) => counted(records, "record"),
            (None, duration) => whole(duration.unwrap_or_default()),
        };
        let warm_up = whole(load.warm_up);
        self.head.push(match load.rate {
            Some(rate) => format!(
                "open loop: {rate} records per second are due, for {until} after {warm_up} of warm-up; a latency counts \
                 from when the record was due"
            ),
            None => format!(
                "closed loop: as fast as the broker takes it, for {until} after {warm_up} of warm-up; a latency is that of \
                 a saturated system, and a stall delays only what was under way: --rate measures otherwise"
            ),
        });
    }

    /// The load of a run that only reads.
    pub(super) fn plan_reading(&mut self, args: &BenchConsumeArgs) {
        self.set("bench", "consume".into());
        self.set("loop", "closed".into());
        self.head.push(format!(
            "reads from the beginning, {} at most, fetches of {}; the times are how long a reader waited for its next batch",
            counted(args.records.get(), "record"),
            args.fetch
        ));
    }

    /// How many read.
    pub(super) fn readers(&mut self, count: u32) {
        self.set("readers", count.into());
        self.head.push(counted(u64::from(count), "reader"));
    }

    /// What was counted.
    pub(super) fn add(&mut self, measure: Measure, tally: &Tally) {
        let mut row = self.plan.clone();
        row.insert("measure".to_owned(), measure.name().into());
        let seconds = tally.seconds();
        let rate = |count: u64| if seconds > 0.0 { round(as_f64(count) / seconds) } else { 0.0 };
        let late = |quantile| match measure {
            Measure::Acknowledged if !tally.late.is_empty() => micros(&tally.late, quantile).into(),
            _ => Value::Null,
        };
        row.extend(row! {
            "seconds": round(seconds),
            "records": tally.records,
            "failed": tally.failed,
            "unsent": tally.unsent,
            "records_per_s": rate(tally.records),
            "mb_per_s": round(rate(tally.bytes) / 1e6),
            "p50_us": micros(&tally.latencies, 0.5),
            "p90_us": micros(&tally.latencies, 0.9),
            "p99_us": micros(&tally.latencies, 0.99),
            "p99_9_us": micros(&tally.latencies, 0.999),
            "max_us": micros(&tally.latencies, 1.0),
            "late_p99_us": late(0.99),
            "late_max_us": late(1.0),
        });
        self.rows.push(row);
    }

    /// Prints what there is.
    pub(super) fn print(&self, format: ListFormat) -> io::Result<()> {
        if format != ListFormat::Table || self.rows.is_empty() {
            // Every row has all of them; without a row the run has failed.
            let columns: Vec<&str> =
                self.rows.iter().take(1).flat_map(Map::keys).map(String::as_str).collect();
            return table::print(&columns, &self.rows, format);
        }
        let mut out = io::stdout().lock();
        for line in &self.head {
            writeln!(out, "{line}")?;
        }
        writeln!(out)?;
        drop(out);
        table::print(&SHOWN, &self.rows, format)?;
        let late = self
            .rows
            .iter()
            .find_map(|row| Some((row.get("late_p99_us")?.as_f64()?, row.get("late_max_us")?.as_f64()?)));
        if let Some((p99, max)) = late {
            writeln!(
                io::stdout().lock(),
                "\nof these times the driver itself was late by {p99} us (p99), {max} us (max)"
            )?;
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: Value) {
        self.plan.insert(key.to_owned(), value);
    }
}

/// A quantile in microseconds.
fn micros(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    round(as_f64(histogram.value_at_quantile(quantile)) / 1e3)
}

/// One digit behind the point.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn as_f64(number: u64) -> f64 {
    Duration::from_nanos(number).as_secs_f64() * 1e9
}
