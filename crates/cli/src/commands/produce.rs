//! `millrace produce`: lines, CSV rows or JSON objects become records; ends when every one is acknowledged.

use std::io::{BufReader, IsTerminal, Read};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use indicatif::ProgressBar;
use millrace_client::{
    Client, Compression, Delivery, Durability, PartitionIndex, ProduceError, Producer, ProducerRecord,
};
use millrace_env::real;
use tokio::sync::mpsc;

use crate::args::{CompressionArg, DurabilityArg, ProduceArgs};
use crate::exit::{Usage, tell};
use crate::input::{CsvColumns, CsvRows, InputError, InputRecord, JsonLines, Lines};
use crate::table::counted;
use crate::watching;

/// Records that were read and not yet sent.
const READ_AHEAD_MAX: usize = 1024;
/// Records that were sent and whose acknowledgement was not looked at yet; beyond it reading waits.
const OUTSTANDING_MAX: usize = 100_000;

/// Runs the verb.
///
/// # Errors
/// The input cannot be read, or a record was not acknowledged.
pub(super) async fn run(client: &Client, args: ProduceArgs) -> anyhow::Result<()> {
    // Fails at once, and not after the first line was typed, if there is no such topic.
    client.admin().describe_topic(&args.topic).await?;
    let producer = client
        .producer()
        .linger(args.linger)
        .batch_bytes(usize::try_from(args.batch_size.as_u64()).unwrap_or(usize::MAX))
        .compression(compression(args.compression))
        .durability(durability(args.durability))
        .delivery_timeout(args.timeout)
        .build()?;
    let mut input = open_input(&args)?;
    let progress = progress();
    let (deliveries, outstanding) = mpsc::channel(OUTSTANDING_MAX);
    let collecting = collect(outstanding, progress.clone());
    let sending = send(&producer, &args, &mut input, deliveries);
    let (sent, (acknowledged, failure)) = tokio::join!(sending, collecting);
    let closed = producer.close().await;
    progress.finish_and_clear();
    let not_acknowledged = failure.map(|error| {
        // Acknowledgements are looked at in the order of the input.
        anyhow::Error::new(error).context(format!("record {} was not acknowledged", acknowledged + 1))
    });
    let result = not_acknowledged.map_or(Ok(()), Err).and(sent).and(closed.map_err(Into::into));
    match result {
        Ok(()) if std::io::stderr().is_terminal() => {
            tell!("{} acknowledged", counted(acknowledged, "record"));
        }
        Ok(()) => {}
        Err(_) => tell!("{} acknowledged before the first that failed", counted(acknowledged, "record")),
    }
    result
}

type Input = mpsc::Receiver<Result<InputRecord, InputError>>;

/// Sends what is read, until the input ends.
async fn send(
    producer: &Producer,
    args: &ProduceArgs,
    input: &mut Input,
    deliveries: mpsc::Sender<Delivery>,
) -> anyhow::Result<()> {
    let topic: Arc<str> = args.topic.as_str().into();
    let mut number = 0_u64;
    while let Some(record) = input.recv().await {
        number += 1;
        let InputRecord { key, value, timestamp, headers } = record?;
        let record = ProducerRecord {
            topic: Arc::clone(&topic),
            partition: args.partition.map(PartitionIndex),
            key,
            value,
            headers: headers.into_iter().chain(args.headers.iter().cloned()).collect(),
            timestamp,
        };
        let delivery = producer.send(record).await.with_context(|| format!("record {number}"))?;
        if deliveries.send(delivery).await.is_err() {
            // The collector stopped at a failure, which is reported instead.
            return Ok(());
        }
    }
    Ok(())
}

/// Waits for acknowledgements; stops at the first failure.
async fn collect(mut outstanding: mpsc::Receiver<Delivery>, bar: ProgressBar) -> (u64, Option<ProduceError>) {
    let mut acknowledged = 0;
    while let Some(delivery) = outstanding.recv().await {
        match delivery.await {
            Ok(_) => acknowledged += 1,
            Err(error) => return (acknowledged, Some(error)),
        }
        bar.set_position(acknowledged);
    }
    (acknowledged, None)
}

/// Reads on a thread of its own, because standard input blocks.
fn open_input(args: &ProduceArgs) -> anyhow::Result<Input> {
    let reader = open(args.file.as_deref())?;
    let columns = CsvColumns { key: args.key_column.clone(), time: args.time_column.clone() };
    let is_json = args.json;
    let is_csv = args.csv || columns != CsvColumns::default();
    let separator = args.key_separator.clone();
    if separator.as_deref() == Some("") {
        return Err(Usage("--key-separator is empty".to_owned()).into());
    }
    let (sender, receiver) = mpsc::channel(READ_AHEAD_MAX);
    let read = move || {
        let reader = BufReader::with_capacity(256 * 1024, reader);
        let done = if is_json {
            Ok(JsonLines::new(reader).try_for_each(|object| forward(&sender, object)))
        } else if is_csv {
            CsvRows::new(reader, &columns).map(|mut rows| rows.try_for_each(|row| forward(&sender, row)))
        } else {
            let mut lines = Lines::new(reader, separator);
            Ok(lines.try_for_each(|line| forward(&sender, line)))
        };
        if let Err(error) = done {
            // If nobody listens any more there is nobody to tell.
            sender.blocking_send(Err(error)).ok();
        }
    };
    real::env().tasks.thread("input", Box::new(read)).context("the reader does not start")?;
    Ok(receiver)
}

/// Hands a record on; `None` ends the reading: after an error, or because nobody listens.
fn forward(
    sender: &mpsc::Sender<Result<InputRecord, InputError>>,
    record: Result<InputRecord, InputError>,
) -> Option<()> {
    let is_error = record.is_err();
    sender.blocking_send(record).ok()?;
    (!is_error).then_some(())
}

fn open(path: Option<&Path>) -> anyhow::Result<Box<dyn Read + Send>> {
    match path {
        None => Ok(Box::new(std::io::stdin())),
        Some(path) if path == Path::new("-") => Ok(Box::new(std::io::stdin())),
        Some(path) => {
            #[expect(clippy::disallowed_methods, reason = "the user's file, not one of the log's")]
            let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
            Ok(Box::new(file))
        }
    }
}

fn progress() -> ProgressBar {
    // A person who types lines wants no bar between them.
    if std::io::stdin().is_terminal() { ProgressBar::hidden() } else { watching::counter("acknowledged") }
}

/// The client's word for it.
pub(super) fn compression(arg: CompressionArg) -> Compression {
    match arg {
        CompressionArg::None => Compression::None,
        CompressionArg::Gzip => Compression::Gzip,
        CompressionArg::Snappy => Compression::Snappy,
        CompressionArg::Lz4 => Compression::Lz4,
        CompressionArg::Zstd => Compression::Zstd,
    }
}

/// The client's word for it.
pub(super) fn durability(arg: DurabilityArg) -> Durability {
    match arg {
        DurabilityArg::Committed => Durability::Committed,
        DurabilityArg::Leader => Durability::Leader,
    }
}
