//! `millrace repair metadata`.

use millrace_env::real;
use millrace_server::repair::{
    Apply, IfIntact, MetadataState, Origin, Orphan, Orphans, RepairReport, RepairRequest, RepairedTopic,
    repair_metadata,
};
use millrace_types::PartitionIndex;
use serde_json::{Map, Value};

use crate::args::{OrphanChoice, RepairMetadataArgs};
use crate::exit::tell;
use crate::table::{self, counted, row};

const COLUMNS: [&str; 8] =
    ["topic", "id", "partitions", "replication_factor", "missing_partitions", "configs", "entered", "note"];

/// Surveys, tells, and writes if asked to.
///
/// # Errors
/// The directory is being served, has no identity, or needs no repair.
pub(super) fn metadata(args: &RepairMetadataArgs) -> anyhow::Result<()> {
    let request = RepairRequest {
        data_dir: args.data_dir.clone(),
        apply: if args.write { Apply::Write } else { Apply::DryRun },
        if_intact: if args.force { IfIntact::Rebuild } else { IfIntact::Keep },
        orphans: match args.orphans {
            OrphanChoice::Leave => Orphans::Leave,
            OrphanChoice::Adopt => Orphans::Adopt,
            OrphanChoice::SetAside => Orphans::SetAside,
        },
    };
    let report = repair_metadata(&real::env(), &request)?;
    let mut rows: Vec<Map<String, Value>> = report.topics.iter().map(topic_row).collect();
    rows.extend(report.orphans.iter().map(orphan_row));
    table::print(&COLUMNS, &rows, args.format)?;
    say(&report, args);
    Ok(())
}

fn numbers(partitions: &[PartitionIndex]) -> Vec<u32> {
    partitions.iter().map(|partition| partition.0).collect()
}

fn topic_row(topic: &RepairedTopic) -> Map<String, Value> {
    row! {
        "topic": topic.name.as_str(),
        "id": topic.id.to_string(),
        "partitions": topic.partitions,
        "replication_factor": topic.replication_factor,
        "missing_partitions": numbers(&topic.missing),
        "configs": match topic.origin {
            Origin::Metadata => "kept",
            Origin::Guessed => "lost, defaults",
        },
        "entered": true,
        "note": Value::Null,
    }
}

fn orphan_row(orphan: &Orphan) -> Map<String, Value> {
    row! {
        "topic": orphan.name.as_str(),
        "id": orphan.id.to_string(),
        "partitions": orphan.partitions.len(),
        "replication_factor": Value::Null,
        "missing_partitions": Vec::<u32>::new(),
        "configs": Value::Null,
        "entered": false,
        "note": orphan.why.as_str(),
    }
}

fn say(report: &RepairReport, args: &RepairMetadataArgs) {
    match &report.state {
        MetadataState::Intact => tell!("the metadata log is intact"),
        MetadataState::Missing => tell!("there is no metadata log"),
        MetadataState::Damaged(what) => tell!("the metadata log is damaged: {what}"),
    }
    if let Some(id) = report.next_producer_id {
        tell!("producer ids go on at {}", id.0);
    }
    for topic in report.topics.iter().filter(|topic| !topic.missing.is_empty()) {
        tell!("{}: no log of partition {:?}", topic.name, numbers(&topic.missing));
    }
    for path in &report.unreadable {
        tell!("{} does not say which partition it holds; it is left alone", path.display());
    }
    if !report.orphans.is_empty() && args.orphans == OrphanChoice::Leave {
        tell!(
            "{} not in the metadata: --orphans adopt or set-aside decides",
            counted(report.orphans.len() as u64, "topic")
        );
    }
    for path in &report.set_aside {
        tell!("renamed to {}", path.display());
    }
    if report.written {
        tell!("done; the next `millrace serve` recovers every log");
    } else if args.write {
        tell!("nothing was changed");
    } else {
        tell!("nothing was changed; --write does it");
    }
}
