//! Reads the topic again: all of it, from an offset, from a time.

use anyhow::Context;
use millrace_client::{Client, Offset, PartitionIndex, Position, Reader, ReaderBuilder, Until};

use super::ledger::{Expected, Tally};
use super::{PARTITIONS, TOPIC};
use crate::position::parse_time;

/// The time from which the third replay reads.
const FROM_TIME: &str = "2013-02-15T12:00:00Z";

/// One replay: what must have come, and what came, partition by partition.
#[derive(Debug)]
pub(super) struct Replay {
    /// What was read.
    pub(super) what: String,
    /// From the CSV.
    pub(super) expected: Vec<Tally>,
    /// From the log.
    pub(super) found: Vec<Tally>,
}

/// The three replays.
///
/// # Errors
/// The broker's.
pub(super) async fn run(client: &Client, expected: &Expected<'_>) -> anyhow::Result<Vec<Replay>> {
    let everything = Replay {
        what: "everything".to_owned(),
        expected: expected.everything(),
        found: read(client.reader().topic(TOPIC)).await?,
    };

    // The middle of the fullest partition.
    let index =
        (0..usize::try_from(PARTITIONS)?).max_by_key(|index| expected.records_in(*index)).unwrap_or(0);
    let middle = expected.records_in(index) / 2;
    let partition = PartitionIndex(u32::try_from(index)?);
    let offset = Offset::from_count(middle as u64);
    let mut from_offset = vec![Tally::default(); usize::try_from(PARTITIONS)?];
    if let Some(tally) = from_offset.get_mut(index) {
        *tally = expected.replay_from_offset(index, middle);
    }
    let reader = client.reader().partition_from(TOPIC, partition, Position::Offset(offset));
    let from_offset = Replay {
        what: format!("partition {partition} from offset {offset}"),
        expected: from_offset,
        found: read(reader).await?,
    };

    let time = parse_time(FROM_TIME).context("the demo's own time")?;
    let from_time = Replay {
        what: format!("from {FROM_TIME}"),
        expected: expected.replay_from_time(time),
        found: read(client.reader().topic(TOPIC).from(Position::Time(time))).await?,
    };
    Ok(vec![everything, from_offset, from_time])
}

/// Reads to the end as it stands now.
async fn read(reader: ReaderBuilder) -> anyhow::Result<Vec<Tally>> {
    let mut reader: Reader = reader.until(Until::EndAtStart).start().await?;
    let mut tallies = vec![Tally::default(); usize::try_from(PARTITIONS)?];
    while let Some(record) = reader.next().await {
        let record = record?;
        if let Some(tally) = tallies.get_mut(usize::try_from(record.partition.0)?) {
            tally.add(record.key.as_deref(), record.value.as_deref(), record.timestamp);
        }
    }
    Ok(tallies)
}
