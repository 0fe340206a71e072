//! `millrace group list|describe|lag|reset|delete`.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use millrace_client::{
    Client, ClientError, ErrorCode, GroupDescription, GroupKind, GroupListing, GroupMemberDescription,
    GroupReset, GroupStage, Offset, OffsetReset, PartitionLag, PartitionsOfTopic, Refusal, ResetTo,
};
use millrace_env::real;
use serde_json::{Map, Value, json};

use crate::args::{GroupCommand, GroupResetArgs, ResetToArgs, WatchArgs};
use crate::exit::{Usage, tell};
use crate::position::Place;
use crate::table::{self, ListFormat, counted, row};
use crate::watching;

const GROUP_COLUMNS: [&str; 4] = ["group", "kind", "stage", "members"];
const MEMBER_COLUMNS: [&str; 8] =
    ["group", "member", "instance", "client_id", "host", "epoch", "owned", "target"];
const LAG_COLUMNS: [&str; 9] = [
    "group",
    "topic",
    "partition",
    "member",
    "committed",
    "high_watermark",
    "lag",
    "lag_seconds",
    "caught_up_seconds",
];
const RESET_COLUMNS: [&str; 6] = ["group", "topic", "partition", "before", "after", "moved"];

/// Runs the verb.
///
/// # Errors
/// The broker's answer, or standard output's.
pub(super) async fn run(client: &Client, command: GroupCommand) -> anyhow::Result<()> {
    match command {
        GroupCommand::List { watch, format } => again(watch, format, || list(client, format)).await,
        GroupCommand::Describe { group, watch, format } => {
            again(watch, format, || describe(client, &group, format)).await
        }
        GroupCommand::Lag { group, watch, format } => {
            again(watch, format, || lag(client, &group, format)).await
        }
        GroupCommand::Reset(args) => reset(client, args).await,
        GroupCommand::Delete { group } => {
            client.admin().delete_group(&group).await?;
            tell!("deleted group {group}");
            Ok(())
        }
    }
}

/// Once, or until Ctrl-C. What fails while somebody watches is told, and looked at again: a broker that restarts
/// comes back.
async fn again<F>(watch: WatchArgs, format: ListFormat, mut show: impl FnMut() -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let Some(interval) = watch.watch else { return show().await };
    loop {
        if format == ListFormat::Table {
            watching::clear()?;
        }
        match show().await {
            Err(error) if error.downcast_ref::<ClientError>().is_some_and(ClientError::is_retriable) => {
                tell!("millrace: {error:#}");
            }
            shown => shown?,
        }
        real::env().clock.sleep(interval).await;
    }
}

async fn list(client: &Client, format: ListFormat) -> anyhow::Result<()> {
    let groups = client.admin().list_groups().await?;
    let rows: Vec<_> = groups.iter().map(listing_row).collect();
    table::print(&GROUP_COLUMNS, &rows, format)?;
    if rows.is_empty() && format == ListFormat::Table {
        tell!("there is no group yet; `millrace consume TOPIC --group NAME` makes one");
    }
    Ok(())
}

fn listing_row(group: &GroupListing) -> Map<String, Value> {
    row! {
        "group": group.group.as_str(),
        "kind": kind(group.kind),
        "stage": stage(group.stage),
        "members": group.members,
    }
}

fn kind(kind: GroupKind) -> &'static str {
    match kind {
        GroupKind::Offsets => "offsets",
        GroupKind::Consumer => "consumer",
        GroupKind::Classic => "classic",
        _ => "unknown",
    }
}

fn stage(stage: GroupStage) -> &'static str {
    match stage {
        GroupStage::Empty => "empty",
        GroupStage::Reconciling => "reconciling",
        GroupStage::Stable => "stable",
        _ => "unknown",
    }
}

async fn describe(client: &Client, group: &str, format: ListFormat) -> anyhow::Result<()> {
    let described = client.admin().describe_group(group).await?;
    let rows: Vec<_> =
        described.members.iter().map(|member| member_row(&described, member, format)).collect();
    table::print(&MEMBER_COLUMNS, &rows, format)?;
    if format == ListFormat::Table {
        let GroupListing { kind: of, stage: at, members, .. } = described.listing;
        let members = counted(members.into(), "member");
        let by = match described.assignor.as_str() {
            "" => String::new(),
            assignor => format!(", assigned by {assignor}"),
        };
        tell!("group {group}: {} ({}), {members}, epoch {}{by}", stage(at), kind(of), described.epoch);
    }
    Ok(())
}

fn member_row(
    group: &GroupDescription,
    member: &GroupMemberDescription,
    format: ListFormat,
) -> Map<String, Value> {
    let partitions = |topics: &[PartitionsOfTopic]| match format {
        ListFormat::Json => all_partitions(topics),
        ListFormat::Table | ListFormat::Csv => ranges(topics).into(),
    };
    row! {
        "group": group.listing.group.as_str(),
        "kind": kind(group.listing.kind),
        "stage": stage(group.listing.stage),
        "group_epoch": group.epoch,
        "assignor": group.assignor.as_str(),
        "member": member.member.as_str(),
        "instance": member.instance,
        "rack": member.rack,
        "client_id": member.client_id.as_str(),
        "host": member.client_host.as_str(),
        "epoch": member.epoch,
        "topics": member.topics,
        "pattern": member.pattern,
        "owned": partitions(&member.owned),
        "revoking": partitions(&member.revoking),
        "target": partitions(&member.target),
    }
}

/// For programs: one object for each partition.
fn all_partitions(topics: &[PartitionsOfTopic]) -> Value {
    let of_topic = |topic: &PartitionsOfTopic| {
        let name = topic.topic.clone();
        topic
            .partitions
            .iter()
            .map(move |partition| json!({ "topic": name.as_str(), "partition": partition.0 }))
            .collect::<Vec<_>>()
    };
    topics.iter().flat_map(of_topic).collect()
}

/// For people: `orders:0-3,7 returns:1`.
fn ranges(topics: &[PartitionsOfTopic]) -> String {
    let mut text = String::new();
    for topic in topics {
        let mut partitions: Vec<u32> = topic.partitions.iter().map(|partition| partition.0).collect();
        partitions.sort_unstable();
        let separator = if text.is_empty() { "" } else { " " };
        write!(text, "{separator}{}:", topic.topic).ok();
        let runs = partitions.chunk_by(|one, next| one + 1 == *next);
        for (index, run) in runs.enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match run {
                [first, .., last] => write!(text, "{comma}{first}-{last}").ok(),
                [only] => write!(text, "{comma}{only}").ok(),
                [] => None,
            };
        }
    }
    text
}

async fn lag(client: &Client, group: &str, format: ListFormat) -> anyhow::Result<()> {
    let lags = client.admin().group_lag(group).await?;
    let rows: Vec<_> = lags.iter().map(|lag| lag_row(group, lag)).collect();
    table::print(&LAG_COLUMNS, &rows, format)?;
    if format == ListFormat::Table {
        let behind: u64 = lags.iter().map(|lag| lag.lag).sum();
        let partitions = counted(lags.len() as u64, "partition");
        tell!("group {group}: {} behind in {partitions}", counted(behind, "record"));
    }
    first_refusal(lags.into_iter().map(|lag| (lag.topic, lag.partition, lag.refusal)))
}

fn lag_row(group: &str, lag: &PartitionLag) -> Map<String, Value> {
    // Of a partition that cannot be asked nothing is known, not even that there is no lag.
    let known = lag.refusal.is_none();
    row! {
        "group": group,
        "topic": lag.topic.as_str(),
        "partition": lag.partition.0,
        "member": lag.member,
        "client_id": lag.client_id,
        "committed": lag.committed.map(Offset::get),
        "log_start": known.then(|| lag.log_start.get()),
        "high_watermark": known.then(|| lag.high_watermark.get()),
        "lag": known.then_some(lag.lag),
        "lag_seconds": known.then(|| seconds(lag.lag_time)),
        "caught_up_seconds": lag.caught_up_in.map(seconds),
        "error": lag.refusal.as_ref().map(|refusal| refusal.name.as_str()),
    }
}

/// To the millisecond.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e3).round() / 1e3
}

async fn reset(client: &Client, args: GroupResetArgs) -> anyhow::Result<()> {
    let mut reset = GroupReset::new(args.group.as_str(), reset_to(&args.to)?);
    for chosen in args.topics {
        reset = reset.partitions(chosen.topic, chosen.partitions);
    }
    if args.dry_run {
        reset = reset.dry_run();
    }
    if args.force {
        reset = reset.force();
    }
    let outcome = client.admin().reset_group(reset).await;
    let is_occupied = matches!(&outcome, Err(error) if error.code() == Some(ErrorCode::GroupNotEmpty));
    let offsets = match outcome {
        Err(error) if is_occupied => {
            return Err(error).context("stop the group's members first, or say --force");
        }
        outcome => outcome?,
    };
    let rows: Vec<_> = offsets.iter().map(|reset| reset_row(&args.group, reset)).collect();
    table::print(&RESET_COLUMNS, &rows, args.format)?;
    if args.format == ListFormat::Table {
        let moved = offsets.iter().filter(|reset| reset.refusal.is_none()).count() as u64;
        match args.dry_run {
            true => tell!("{} would be reset; nothing was changed", counted(moved, "partition")),
            false => tell!("reset {} of group {}", counted(moved, "partition"), args.group),
        }
    }
    first_refusal(offsets.into_iter().map(|reset| (reset.topic, reset.partition, reset.refusal)))
}

fn reset_to(to: &ResetToArgs) -> anyhow::Result<ResetTo> {
    if to.to_earliest {
        return Ok(ResetTo::Earliest);
    }
    if to.to_latest {
        return Ok(ResetTo::Latest);
    }
    if let Some(records) = to.shift {
        return Ok(ResetTo::Shift(records));
    }
    match to.to.map(|place| place.resolved(real::env().clock.wall())) {
        Some(Place::Offset(offset)) => Ok(ResetTo::Offset(offset)),
        Some(Place::Time(time)) => Ok(ResetTo::Time(time)),
        Some(Place::Beginning) => Ok(ResetTo::Earliest),
        Some(Place::End) => Ok(ResetTo::Latest),
        Some(Place::Ago(_)) | None => Err(Usage("--to wants an offset or a time".to_owned()).into()),
    }
}

fn reset_row(group: &str, reset: &OffsetReset) -> Map<String, Value> {
    let moved = reset.after.zip(reset.before).map(|(after, before)| after.get() - before.get());
    row! {
        "group": group,
        "topic": reset.topic.as_str(),
        "partition": reset.partition.0,
        "before": reset.before.map(Offset::get),
        "after": reset.after.map(Offset::get),
        "moved": moved,
        "error": reset.refusal.as_ref().map(|refusal| refusal.name.as_str()),
    }
}

/// What is known of the other partitions has been printed.
fn first_refusal(
    answers: impl IntoIterator<Item = (String, millrace_client::PartitionIndex, Option<Refusal>)>,
) -> anyhow::Result<()> {
    for (topic, partition, refusal) in answers {
        if let Some(refusal) = refusal {
            return Err(anyhow::Error::new(refusal).context(format!("{topic} partition {partition}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use millrace_client::PartitionIndex;

    use super::*;

    #[test]
    fn partitions_that_follow_each_other_are_a_range() {
        let of = |topic: &str, partitions: &[u32]| PartitionsOfTopic {
            topic: topic.to_owned(),
            partitions: partitions.iter().copied().map(PartitionIndex).collect(),
        };
        assert_eq!(ranges(&[of("a", &[3, 0, 1, 2, 7])]), "a:0-3,7");
        assert_eq!(ranges(&[of("a", &[5]), of("b", &[0, 1])]), "a:5 b:0-1");
        assert_eq!(ranges(&[]), "");
    }
}
