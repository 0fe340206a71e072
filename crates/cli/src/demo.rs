//! `millrace demo`: real data, a live reader, a kill in mid-stream, a replay; then three workers of a group, one of whom is killed;
//! and a verdict by count and checksum.
//!
//! ```text
//!  CSV in the binary ──► ledger: what must be in the log, worked out from the CSV alone ─────────────┐
//!        └──► producer ──► broker (a child process; killed with -9, started again) ──► live reader ──┤ verdict
//!                                                                            ├──► replays ───────────┤
//!                                                                            └──► workers ──► desk ──┘
//! ```

mod chart;
mod child;
mod data;
mod desk;
mod ledger;
mod live;
mod replay;
mod scratch;
mod screen;
mod stream;
mod verdict;
pub(crate) mod worker;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt;
use millrace_client::{Client, ClientOptions, NewTopic};
use millrace_env::real;
use millrace_server::stop_signals;

use crate::args::DemoArgs;
use crate::exit::{self, Stopped};
use child::{BrokerChild, LastWords};
use ledger::Expected;
use live::LiveReader;
use scratch::Scratch;
use screen::Screen;
use verdict::Verdict;

/// The topic of the demo.
const TOPIC: &str = "flights";
/// Its partitions.
const PARTITIONS: u32 = 6;
/// Small, so that segments are rolled and sealed while one looks.
const SEGMENT_BYTES: u32 = 1024 * 1024;
/// The demo promises to end within 30 s; whatever hangs is given up before.
const PATIENCE: Duration = Duration::from_secs(28);

/// Runs the demo and answers the exit code: failure if anything was lost, stored twice, altered or out of order.
///
/// # Errors
/// Something that is not about the records: the broker does not start, or the demo ran out of time.
pub(crate) async fn run(args: DemoArgs) -> anyhow::Result<u8> {
    let clock = real::env().clock;
    // Handled, so that Ctrl-C too takes the broker and the scratch directory away.
    let mut signals = stop_signals().context("the handlers of signals cannot be installed")?;
    let words = LastWords::default();
    let played = tokio::select! {
        biased;
        verdict = play(args, &words) => verdict,
        _stop = signals.next() => return Err(Stopped.into()),
        () = clock.sleep(PATIENCE) => {
            Err(anyhow::anyhow!("it did not end within {} s; is the machine very busy?", PATIENCE.as_secs()))
        }
    };
    let verdict = played.map_err(|error| anyhow::anyhow!("the demo failed: {error:#}{}", words.text()))?;
    verdict.print()?;
    Ok(if verdict.is_good() { exit::SUCCESS } else { exit::FAILURE })
}

async fn play(args: DemoArgs, words: &LastWords) -> anyhow::Result<Verdict> {
    let clock = real::env().clock;
    let begun = clock.monotonic();
    let flights = data::flights()?;
    let expected = Expected::new(&flights, PARTITIONS);
    let screen = Screen::new(flights.len() as u64, Arc::clone(&clock));
    screen.say(&format!("{} flights from New York City, January to March 2013", flights.len()));

    let scratch = Scratch::new(args.data_dir)?;
    let mut broker = BrokerChild::start(scratch.path(), "127.0.0.1:0", words).await?;
    screen.say(&format!(
        "broker up in {} ms: process {}, gRPC on {}",
        broker.started_in().as_millis(),
        broker.pid(),
        broker.grpc()
    ));
    let options = ClientOptions { client_id: "millrace-demo".to_owned(), ..ClientOptions::default() };
    let client = Client::connect([broker.grpc()], options).await?;
    let topic =
        NewTopic::new(TOPIC).partitions(PARTITIONS).config("segment.bytes", SEGMENT_BYTES.to_string());
    client.admin().create_topic(topic).await?;
    screen
        .say(&format!("topic {TOPIC:?}, {PARTITIONS} partitions, keyed by aeroplane; a reader follows live"));

    let live = LiveReader::start(&client, PARTITIONS).await?;
    let streamed = stream::run(&client, &flights, &mut broker, &live, &screen).await?;
    let live = live.finish(flights.len() as u64).await?;
    screen.finish();
    screen.say("replaying: everything, then from an offset, then from a time");
    let replays = replay::run(&client, &expected).await?;
    let shared = workers::run(&client, broker.grpc(), &expected, words, &screen).await?;
    let took = clock.monotonic().since(begun);
    Ok(Verdict { streamed, live, expected: expected.everything(), replays, shared, took })
}
