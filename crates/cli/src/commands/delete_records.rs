//! `millrace delete-records`: moves the start of partitions forward.

use millrace_client::{Client, OffsetAt, RecordsToDelete};
use millrace_env::real;
use millrace_types::{Offset, PartitionIndex};

use super::offsets::{ask, chosen_partitions};
use crate::args::DeleteRecordsArgs;
use crate::exit::Usage;
use crate::position::Place;
use crate::table::{self, row};

/// Runs the verb: what was deleted is printed also if another partition was refused.
///
/// # Errors
/// The broker's answer, or standard output's.
pub(super) async fn run(client: &Client, args: DeleteRecordsArgs) -> anyhow::Result<()> {
    let partitions = chosen_partitions(client, &args.topic, &args.partitions).await?;
    let before = places(client, &args.topic, &partitions, args.before).await?;
    let wanted = partitions.iter().zip(before).map(|(partition, before)| RecordsToDelete {
        topic: args.topic.clone(),
        partition: *partition,
        before,
    });
    let wanted: Vec<_> = wanted.collect();
    let (mut rows, mut refused) = (Vec::new(), None);
    for (wanted, answer) in wanted.iter().zip(client.admin().delete_records(&wanted).await?) {
        match answer {
            Ok(log_start) => rows.push(row! {
                "topic": args.topic.as_str(),
                "partition": wanted.partition.0,
                "log_start": log_start.get(),
            }),
            Err(refusal) => {
                let partition = wanted.partition;
                let error =
                    anyhow::Error::new(refusal).context(format!("{} partition {partition}", args.topic));
                refused = refused.or(Some(error));
            }
        }
    }
    table::print(&["topic", "partition", "log_start"], &rows, args.format)?;
    refused.map_or(Ok(()), Err)
}

/// The first offset that stays of each partition; `None` if none does.
async fn places(
    client: &Client,
    topic: &str,
    partitions: &[PartitionIndex],
    before: Place,
) -> anyhow::Result<Vec<Option<Offset>>> {
    match before.resolved(real::env().clock.wall()) {
        Place::Offset(offset) => Ok(vec![Some(offset); partitions.len()]),
        Place::End => Ok(vec![None; partitions.len()]),
        Place::Time(time) => {
            // Where nothing is as young as that, the end as it stands now: what comes meanwhile stays.
            let ends = ask(client, topic, partitions, OffsetAt::Latest).await?;
            let found = ask(client, topic, partitions, OffsetAt::Time(time)).await?;
            let both = found.into_iter().zip(ends);
            both.map(|(found, end)| Ok(found?.offset.or(end?.offset))).collect()
        }
        Place::Beginning | Place::Ago(_) => Err(Usage(
            "--before wants an offset, a time or `end`: nothing lies before the beginning".to_owned(),
        )
        .into()),
    }
}
