//! `millrace offsets`: where partitions begin and end, and which offset belongs to a time.

use millrace_client::{Client, OffsetAnswer, OffsetAt, OffsetQuery, Refusal};
use millrace_env::real;
use millrace_types::PartitionIndex;
use serde_json::{Map, Value};

use crate::args::OffsetsArgs;
use crate::exit::Usage;
use crate::position::Place;
use crate::table::{self, counted, row};

const RANGE_COLUMNS: [&str; 5] = ["topic", "partition", "log_start", "high_watermark", "records"];
const FOUND_COLUMNS: [&str; 4] = ["topic", "partition", "offset", "timestamp"];

/// Runs the verb.
///
/// # Errors
/// The broker's answer, or standard output's.
pub(super) async fn run(client: &Client, args: OffsetsArgs) -> anyhow::Result<()> {
    let partitions = chosen_partitions(client, &args.topic, &args.partitions).await?;
    let (columns, rows) = match args.at {
        None => (&RANGE_COLUMNS[..], ranges(client, &args.topic, &partitions).await?),
        Some(place) => (&FOUND_COLUMNS[..], found(client, &args.topic, &partitions, place).await?),
    };
    table::print(columns, &rows, args.format)?;
    Ok(())
}

/// The partitions named, or all of the topic's.
///
/// # Errors
/// There is no such topic or partition.
pub(super) async fn chosen_partitions(
    client: &Client,
    topic: &str,
    named: &[u32],
) -> anyhow::Result<Vec<PartitionIndex>> {
    let description = client.admin().describe_topic(topic).await?;
    let all: Vec<_> = description.partitions.iter().map(|partition| partition.partition).collect();
    if named.is_empty() {
        return Ok(all);
    }
    let mut chosen: Vec<_> = named.iter().copied().map(PartitionIndex).collect();
    chosen.sort_unstable();
    chosen.dedup();
    if let Some(absent) = chosen.iter().find(|partition| !all.contains(partition)) {
        let partitions = counted(all.len() as u64, "partition");
        anyhow::bail!("topic {topic} has {partitions}, counted from 0; there is no partition {absent}");
    }
    Ok(chosen)
}

async fn ranges(
    client: &Client,
    topic: &str,
    partitions: &[PartitionIndex],
) -> anyhow::Result<Vec<Map<String, Value>>> {
    let starts = ask(client, topic, partitions, OffsetAt::Earliest).await?;
    let ends = ask(client, topic, partitions, OffsetAt::Latest).await?;
    let mut rows = Vec::new();
    for ((partition, start), end) in partitions.iter().zip(starts).zip(ends) {
        let (start, end) = (start?.offset, end?.offset);
        rows.push(row! {
            "topic": topic,
            "partition": partition.0,
            "log_start": start.map(millrace_types::Offset::get),
            "high_watermark": end.map(millrace_types::Offset::get),
            "records": end.zip(start).map(|(end, start)| end.since(start)),
        });
    }
    Ok(rows)
}

async fn found(
    client: &Client,
    topic: &str,
    partitions: &[PartitionIndex],
    place: Place,
) -> anyhow::Result<Vec<Map<String, Value>>> {
    let at = match place.resolved(real::env().clock.wall()) {
        Place::Beginning => OffsetAt::Earliest,
        Place::End => OffsetAt::Latest,
        Place::Time(time) => OffsetAt::Time(time),
        Place::Offset(_) | Place::Ago(_) => {
            let text = "--at wants a time, `beginning` or `end`: an offset is one already";
            return Err(Usage(text.to_owned()).into());
        }
    };
    let answers = ask(client, topic, partitions, at).await?;
    let mut rows = Vec::new();
    for (partition, answer) in partitions.iter().zip(answers) {
        let answer = answer?;
        rows.push(row! {
            "topic": topic,
            "partition": partition.0,
            "offset": answer.offset.map(millrace_types::Offset::get),
            "timestamp": answer.timestamp.map(|timestamp| timestamp.0),
        });
    }
    Ok(rows)
}

/// Asks for the same point of every partition; the answers are in their order.
///
/// # Errors
/// The call as a whole failed.
pub(super) async fn ask(
    client: &Client,
    topic: &str,
    partitions: &[PartitionIndex],
    at: OffsetAt,
) -> anyhow::Result<Vec<Result<OffsetAnswer, Refusal>>> {
    let query =
        |partition: &PartitionIndex| OffsetQuery { topic: topic.to_owned(), partition: *partition, at };
    let queries: Vec<_> = partitions.iter().map(query).collect();
    Ok(client.admin().list_offsets(&queries).await?)
}
