//! `millrace cluster status|brokers|add|remove`.

use anyhow::bail;
use millrace_client::{Admin, BrokerChange, BrokerState, BrokerStatus, Client, ClusterStatus, PartitionMove};
use millrace_types::NodeId;
use serde_json::{Map, Value, json};

use super::moving;
use crate::args::{ClusterChangeArgs, ClusterCommand};
use crate::exit::{self, tell};
use crate::table::{self, ListFormat, counted, row};

const STATUS_COLUMNS: [&str; 12] = [
    "cluster_id",
    "controller",
    "feature_level",
    "brokers",
    "brokers_active",
    "voters",
    "partitions",
    "without_leader",
    "under_replicated",
    "below_min_insync",
    "moving",
    "well",
];
const BROKER_COLUMNS: [&str; 8] =
    ["node", "state", "grpc", "kafka", "internal", "leads", "replicas", "voter"];
const MOVE_COLUMNS: [&str; 4] = ["topic", "partition", "from", "to"];
/// So many partitions begin to move at once: more would take the network from each other and from clients.
const WAVE: usize = 32;

/// Runs the verb and answers the exit code.
///
/// # Errors
/// The broker's answer, or standard output's.
pub(super) async fn run(client: &Client, command: ClusterCommand) -> anyhow::Result<u8> {
    let admin = client.admin();
    match command {
        ClusterCommand::Status { format } => {
            let status = admin.cluster_status().await?;
            print_status(&status, format)?;
            return Ok(if status.is_well() { exit::SUCCESS } else { exit::UNWELL });
        }
        ClusterCommand::Brokers { format } => {
            let rows: Vec<_> = admin.cluster_status().await?.brokers.iter().map(broker_row).collect();
            table::print(&BROKER_COLUMNS, &rows, format)?;
        }
        ClusterCommand::Add(args) => add(&admin, args).await?,
        ClusterCommand::Remove(args) => remove(&admin, args).await?,
    }
    Ok(exit::SUCCESS)
}

async fn add(admin: &Admin, args: ClusterChangeArgs) -> anyhow::Result<()> {
    let change = BrokerChange::Add(args.node);
    if args.dry_run {
        return print_moves(&admin.plan_moves(change).await?, args.format);
    }
    let moved = carry_out(admin, change).await?;
    tell!("node {} has its share: {} moved", args.node, counted(moved, "partition"));
    Ok(())
}

async fn remove(admin: &Admin, args: ClusterChangeArgs) -> anyhow::Result<()> {
    let node = args.node;
    let change = BrokerChange::Remove(node);
    if args.dry_run {
        return print_moves(&admin.plan_moves(change).await?, args.format);
    }
    let moved = carry_out(admin, change).await?;
    tell!("node {node} holds nothing any more: {} moved", counted(moved, "partition"));
    let state = broker(&admin.cluster_status().await?, node)?.state;
    if state != BrokerState::Fenced {
        bail!(
            "node {node} is {}, so it stays a broker of the cluster: stop it, and run this again",
            said(state)
        );
    }
    admin.remove_broker(node).await?;
    tell!("node {node} is no broker of the cluster any more; its directory can go");
    Ok(())
}

/// Moves what is planned until nothing is; answers how many partitions that were.
async fn carry_out(admin: &Admin, change: BrokerChange) -> anyhow::Result<u64> {
    let mut moved = 0;
    loop {
        // What is under way, perhaps from an earlier attempt, is not planned again.
        moving::wait_for_all(admin).await?;
        let mut plan = admin.plan_moves(change).await?;
        if plan.is_empty() {
            return Ok(moved);
        }
        tell!("{} to move", counted(plan.len() as u64, "partition"));
        plan.truncate(WAVE);
        for (planned, begun) in plan.iter().zip(admin.reassign(&plan).await?) {
            if let Err(refusal) = begun {
                bail!("{} partition {}: {refusal}", planned.topic, planned.partition);
            }
            moved += 1;
        }
    }
}

fn broker(status: &ClusterStatus, node: NodeId) -> anyhow::Result<&BrokerStatus> {
    let found = status.brokers.iter().find(|broker| broker.node == node);
    found.ok_or_else(|| anyhow::anyhow!("node {node} is no broker of the cluster"))
}

fn print_status(status: &ClusterStatus, format: ListFormat) -> anyhow::Result<()> {
    let is_active = |broker: &&BrokerStatus| broker.state == BrokerState::Active;
    let active = status.brokers.iter().filter(is_active).count();
    let voters: Vec<_> = status.voters.iter().map(|node| node.0).collect();
    let row = row! {
        "cluster_id": status.id.to_string(),
        "controller": status.controller.map(|node| node.0),
        "feature_level": status.feature_level,
        "brokers": status.brokers.len(),
        "brokers_active": active,
        "voters": voters,
        "partitions": status.partitions,
        "without_leader": status.without_leader,
        "under_replicated": status.under_replicated,
        "below_min_insync": status.below_min_insync,
        "moving": status.moving,
        "well": status.is_well(),
    };
    if format != ListFormat::Table {
        table::print(&STATUS_COLUMNS, &[row], format)?;
        return Ok(());
    }
    let line = |what: &str, value: Value| row! { "cluster": what, "status": value };
    let mut rows = vec![
        line("id", json!(status.id.to_string())),
        line("controller", json!(status.controller.map(|node| node.0))),
        line("feature level", json!(status.feature_level)),
        line("brokers active", json!(format!("{active} of {}", status.brokers.len()))),
    ];
    let inactive = status.brokers.iter().filter(|broker| !is_active(broker));
    rows.extend(inactive.map(|broker| line(&format!("node {}", broker.node), json!(said(broker.state)))));
    rows.extend([
        line("quorum voters", json!(voters)),
        line("partitions", json!(status.partitions)),
        line("without a leader", json!(status.without_leader)),
        line("fewer in sync than replicas", json!(status.under_replicated)),
        line("below min.insync.replicas", json!(status.below_min_insync)),
        line("moving", json!(status.moving)),
    ]);
    table::print(&["cluster", "status"], &rows, format)?;
    tell!("{}", if status.is_well() { "all is well" } else { "not all is well" });
    Ok(())
}

fn broker_row(broker: &BrokerStatus) -> Map<String, Value> {
    row! {
        "node": broker.node.0,
        "state": said(broker.state),
        "grpc": broker.grpc.as_str(),
        "kafka": broker.kafka.as_deref(),
        "internal": broker.internal.as_deref(),
        "leads": broker.leads,
        "replicas": broker.replicas,
        "voter": broker.is_voter,
    }
}

fn print_moves(plan: &[PartitionMove], format: ListFormat) -> anyhow::Result<()> {
    let nodes = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<_>>();
    let row = |planned: &PartitionMove| {
        row! {
            "topic": planned.topic.as_str(),
            "partition": planned.partition.get(),
            "from": nodes(&planned.from),
            "to": nodes(&planned.to),
        }
    };
    table::print(&MOVE_COLUMNS, &plan.iter().map(row).collect::<Vec<_>>(), format)?;
    if plan.is_empty() && format == ListFormat::Table {
        tell!("nothing would move");
    }
    Ok(())
}

fn said(state: BrokerState) -> &'static str {
    match state {
        BrokerState::Active => "active",
        BrokerState::Draining => "draining",
        BrokerState::Fenced => "fenced",
        BrokerState::Unknown => "unknown",
    }
}
