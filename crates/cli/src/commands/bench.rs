//! `millrace bench produce|consume|end-to-end`: a load driver and what it has measured.
//!
//! ```text
//!   pace (a thread) --due--> producers --groups--> collectors --> tally --> figures
//!                                |                                  ^
//!                              broker ------------> readers --------+
//! ```
//!
//! With `--rate` the loop is open: every record has a time at which it is due, whatever became of those before it, and
//! its latency counts from then. A broker (or a driver) that stalls for a second is seen in the latency of all records
//! that were due in that second, and not in one. Without a rate the loop is closed, which the figures say.

mod counts;
mod figures;
mod groups;
mod load;
mod pace;
mod readers;
mod sender;
mod stage;
mod tally;
mod values;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt;
use millrace_client::{Client, ClientOptions};
use millrace_env::real;
use millrace_server::stop_signals;

use self::figures::{Figures, Measure};
use self::load::{Load, Stop};
use self::readers::{Mark, Readers};
use self::stage::Stage;
use super::TOOL_PATIENCE;
use crate::args::{BenchCommand, BenchConsumeArgs, BenchEndToEndArgs, BenchLoadArgs, BenchProduceArgs};
use crate::exit::{Stopped, Usage, tell};

/// How long a run goes on if nothing says when it ends.
const DURATION_DEFAULT: Duration = Duration::from_secs(10);
/// How long readers may take to read what is left when the last record is acknowledged.
const READ_PATIENCE: Duration = Duration::from_secs(60);

/// Runs the verb.
///
/// # Errors
/// The broker's answer; records that were not acknowledged, or due and not sent.
pub(super) async fn run(servers: &[String], command: BenchCommand) -> anyhow::Result<()> {
    // Handled, so that Ctrl-C too takes the topic away.
    let mut signals = stop_signals().context("the handlers of signals cannot be installed")?;
    let client = super::connect(servers).await?;
    let (topic, record) = match &command {
        BenchCommand::Produce(args) => (&args.topic, &args.record),
        BenchCommand::Consume(args) => (&args.topic, &args.record),
        BenchCommand::EndToEnd(args) => (&args.topic, &args.record),
    };
    let is_writing = !matches!(command, BenchCommand::Consume(_));
    let stage = Stage::set(&client, topic, is_writing).await?;
    let format = topic.format;
    let mut figures = Figures::new(&stage, record);
    let measured = async {
        match &command {
            BenchCommand::Produce(args) => produce(servers, args, &stage, &mut figures).await,
            BenchCommand::Consume(args) => consume(servers, args, &stage, &mut figures).await,
            BenchCommand::EndToEnd(args) => end_to_end(servers, args, &stage, &mut figures).await,
        }
    };
    let measured = tokio::select! {
        biased;
        measured = measured => measured,
        _stop = signals.next() => Err(Stopped.into()),
    };
    let removed = stage.strike(&client).await;
    figures.print(format)?;
    measured.and(removed)
}

async fn produce(
    servers: &[String],
    args: &BenchProduceArgs,
    stage: &Stage,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    figures.plan("produce", &args.load, stop_of(&args.load));
    let clients = connections(servers, args.record.producers.get()).await?;
    let stop = stop_of(&args.load);
    let outcome = Load::new(&clients, &args.record, &args.load, (stage.topic(), stop))?.run().await?;
    figures.add(Measure::Acknowledged, &outcome.tally);
    outcome.check()
}

async fn end_to_end(
    servers: &[String],
    args: &BenchEndToEndArgs,
    stage: &Stage,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    figures.plan("end-to-end", &args.load, stop_of(&args.load));
    figures.readers(args.readers.get());
    let readers = Readers::of_new_records(connections(servers, args.readers.get()).await?, stage).await?;
    let clients = connections(servers, args.record.producers.get()).await?;
    let stop = stop_of(&args.load);
    let load = Load::new(&clients, &args.record, &args.load, (stage.topic(), stop))?;
    let (load, stamp) = load.stamped()?;
    let mark = Mark { stamp, clock: load.clock(), from: nanos(args.load.warm_up) };
    let running = readers.start(&mark)?;
    let outcome = load.run().await?;
    figures.add(Measure::Acknowledged, &outcome.tally);
    let read = running.finish(outcome.acknowledged, READ_PATIENCE).await?;
    figures.add(Measure::Read, &read);
    outcome.check()
}

async fn consume(
    servers: &[String],
    args: &BenchConsumeArgs,
    stage: &Stage,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    figures.readers(args.readers.get());
    figures.plan_reading(args);
    if stage.is_made() {
        let filling = BenchLoadArgs {
            rate: None,
            outstanding: None,
            records: Some(args.records),
            duration: None,
            warm_up: Duration::ZERO,
        };
        let stop = Stop { records: Some(args.records.get()), duration: None };
        tell!("writing {} records of {} to be read", args.records, args.record.record_size);
        let clients = connections(servers, args.record.producers.get()).await?;
        Load::new(&clients, &args.record, &filling, (stage.topic(), stop))?.run().await?.check()?;
    }
    let readers =
        Readers::of_all_records(connections(servers, args.readers.get()).await?, stage, args).await?;
    let read = readers.drain(args.records.get()).await?;
    figures.add(Measure::BatchAwaited, &read);
    Ok(())
}

/// Where a load ends.
fn stop_of(args: &BenchLoadArgs) -> Stop {
    let is_endless = args.records.is_none() && args.duration.is_none();
    Stop {
        records: args.records.map(std::num::NonZeroU64::get),
        duration: args.duration.or(is_endless.then_some(DURATION_DEFAULT)),
    }
}

/// A connection for each.
async fn connections(servers: &[String], count: u32) -> anyhow::Result<Vec<Client>> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let options = ClientOptions {
            client_id: "millrace-bench".to_owned(),
            request_timeout: TOOL_PATIENCE,
            ..ClientOptions::default()
        };
        clients.push(Client::connect(servers, options).await?);
    }
    Ok(clients)
}

/// The clock of a run: nanoseconds since it began.
#[derive(Clone, Debug)]
struct RunClock {
    clock: Arc<dyn millrace_env::Clock>,
    start: millrace_env::Monotonic,
}

impl RunClock {
    fn start() -> RunClock {
        let clock = real::env().clock;
        let start = clock.monotonic();
        RunClock { clock, start }
    }

    /// Nanoseconds since the start.
    fn now(&self) -> u64 {
        nanos(self.clock.monotonic().since(self.start))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn usage(text: impl Into<String>) -> anyhow::Error {
    Usage(text.into()).into()
}
