//! `millrace consume`: prints records, from a place to a place.

mod shared;

use std::io::{self, BufWriter, Write};

use futures::FutureExt;
use futures::stream::{SelectAll, StreamExt, select_all};
use indicatif::ProgressBar;
use millrace_client::{Client, ConsumedRecord, Offset, OffsetAt, PartitionIndex, Position, Reader, Until};
use millrace_env::real;

use super::TOOL_PATIENCE;
use super::offsets::{ask, chosen_partitions};
use crate::args::{ConsumeArgs, RecordFormat};
use crate::exit::tell;
use crate::position::Place;
use crate::record_text::{self, Printed};
use crate::table::counted;
use crate::watching;

/// Runs the verb.
///
/// # Errors
/// The broker's answer, or standard output's.
pub(super) async fn run(client: &Client, args: ConsumeArgs) -> anyhow::Result<()> {
    if let Some(group) = &args.group {
        return shared::run(client, &args, group).await;
    }
    let mut records = open(client, &args).await?;
    let mut out = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    record_text::write_head(&mut out, args.format)?;
    let mut left = args.count.map_or(u64::MAX, std::num::NonZeroU64::get);
    let mut printed = 0_u64;
    let progress =
        if watching::is_output_a_file() { watching::counter("read") } else { ProgressBar::hidden() };
    while left > 0 {
        // Whoever reads our output gets what there is before we wait for more.
        let next = match records.next().now_or_never() {
            Some(next) => next,
            None => {
                out.flush()?;
                records.next().await
            }
        };
        let Some(record) = next else { break };
        print(&mut out, &record?, args.format)?;
        left -= 1;
        printed += 1;
        progress.set_position(printed);
    }
    out.flush()?;
    if !progress.is_hidden() {
        progress.finish_and_clear();
        tell!("{}", counted(printed, "record"));
    }
    Ok(())
}

fn print(out: &mut impl Write, record: &ConsumedRecord, format: RecordFormat) -> io::Result<()> {
    let headers = record.headers.iter().map(|header| (&header.key[..], header.value.as_ref()));
    let printed = Printed {
        topic: record.topic.as_str(),
        partition: record.partition.0,
        offset: record.offset.get(),
        timestamp: record.timestamp.0,
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: headers.collect(),
    };
    record_text::write(out, &printed, format)
}

/// Where `--from` says to begin.
fn begin_at(args: &ConsumeArgs) -> Position {
    match args.from.resolved(real::env().clock.wall()) {
        Place::Beginning | Place::Ago(_) => Position::Beginning,
        Place::End => Position::End,
        Place::Offset(offset) => Position::Offset(offset),
        Place::Time(time) => Position::Time(time),
    }
}

/// Readers of all partitions together, each group of partitions with a bound that it can reach.
async fn open(client: &Client, args: &ConsumeArgs) -> anyhow::Result<SelectAll<Reader>> {
    let now = real::env().clock.wall();
    let from = begin_at(args);
    let partitions = chosen_partitions(client, &args.topic, &args.partitions).await?;
    let bounded = match args.to.map(|to| to.resolved(now)) {
        _ if args.follow => vec![(partitions, Until::Forever)],
        None | Some(Place::End | Place::Ago(_)) => vec![(partitions, Until::EndAtStart)],
        Some(Place::Beginning) => Vec::new(),
        Some(Place::Time(time)) => vec![(partitions, Until::Time(time))],
        Some(Place::Offset(to)) => split_at_offset(client, &args.topic, partitions, to).await?,
    };
    let mut readers = Vec::new();
    for (partitions, until) in bounded {
        let mut reader = client.reader().from(from).until(until);
        reader = if args.follow { reader.subscribe() } else { reader.give_up_after(TOOL_PATIENCE) };
        for partition in partitions {
            reader = reader.partition(args.topic.as_str(), partition);
        }
        readers.push(reader.start().await?);
    }
    Ok(select_all(readers))
}

/// Partitions that hold the offset `to` are read up to it, the others to their end as it stands now: a bound that is
/// yet to come would be waited for.
async fn split_at_offset(
    client: &Client,
    topic: &str,
    partitions: Vec<PartitionIndex>,
    to: Offset,
) -> anyhow::Result<Vec<(Vec<PartitionIndex>, Until)>> {
    let ends = ask(client, topic, &partitions, OffsetAt::Latest).await?;
    let (mut long, mut short) = (Vec::new(), Vec::new());
    for (partition, end) in partitions.into_iter().zip(ends) {
        let reaches = end?.offset.is_some_and(|end| end >= to);
        if reaches { long.push(partition) } else { short.push(partition) }
    }
    let groups = [(long, Until::Offset(to)), (short, Until::EndAtStart)];
    Ok(groups.into_iter().filter(|(partitions, _)| !partitions.is_empty()).collect())
}
