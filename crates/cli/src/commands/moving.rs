//! `millrace topic reassign|elect`: where partitions lie and who leads them.

use std::time::Duration;

use anyhow::{Context as _, bail};
use millrace_client::{Admin, Client, PartitionDescription, PartitionIndex, PartitionMove};
use millrace_env::real;
use millrace_types::NodeId;

use crate::args::{TopicElectArgs, TopicReassignArgs};
use crate::exit::tell;
use crate::table::counted;

/// Between two looks at what is moving.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Moves a partition, and waits until it lies there.
///
/// # Errors
/// The broker's answer.
pub(super) async fn reassign(client: &Client, args: TopicReassignArgs) -> anyhow::Result<()> {
    let (admin, partition) = (client.admin(), PartitionIndex::new(args.partition).context("a partition")?);
    let before = describe(&admin, &args.topic, partition).await?;
    let wanted =
        PartitionMove { topic: args.topic.clone(), partition, from: before.replicas, to: args.nodes };
    for begun in admin.reassign(std::slice::from_ref(&wanted)).await? {
        begun?;
    }
    if !args.cancel {
        tell!(
            "{} partition {partition} moves to {}; this may be stopped, it goes on",
            args.topic,
            list(&wanted.to)
        );
    }
    loop {
        let now = describe(&admin, &args.topic, partition).await?;
        if now.adding.is_empty() && now.removing.is_empty() {
            tell!("{} partition {partition} lies on {}", args.topic, list(&now.replicas));
            return Ok(());
        }
        real::env().clock.sleep(LOOK_EVERY).await;
    }
}

/// Gives a partition another leader.
///
/// # Errors
/// The broker's answer; or what would be lost, if that was not accepted.
pub(super) async fn elect(client: &Client, args: TopicElectArgs) -> anyhow::Result<()> {
    let (admin, partition) = (client.admin(), PartitionIndex::new(args.partition).context("a partition")?);
    let topic = args.topic.as_str();
    match args.node {
        None => admin.elect_preferred_leader(topic, partition).await?,
        Some(node) => {
            let now = describe(&admin, topic, partition).await?;
            if let Some(leader) = now.leader {
                bail!("{topic} partition {partition} is led by node {leader}: nothing needs to be lost");
            }
            if !now.replicas.contains(&node) {
                bail!("node {node} holds nothing of it: its replicas are {}", list(&now.replicas));
            }
            tell!("{}", cost(topic, &now, node));
            if !args.accept_loss {
                bail!("nothing was done: --accept-loss says that what node {node} does not hold may be lost");
            }
            admin.elect_leader_accepting_loss(topic, partition, node).await?;
        }
    }
    let now = describe(&admin, topic, partition).await?;
    tell!("{topic} partition {partition} is led by {}", list(now.leader.as_slice()));
    Ok(())
}

/// What may be lost, and by whom it might be brought back.
fn cost(topic: &str, now: &PartitionDescription, node: NodeId) -> String {
    let partition = now.partition;
    let who = if now.eligible.contains(&node) {
        format!("node {node} holds all that is committed: nothing acknowledged by all is lost")
    } else if !now.eligible.is_empty() {
        format!(
            "{} hold all that is committed, and lead again once they are back: then nothing is lost",
            list(&now.eligible)
        )
    } else if !now.last_known.is_empty() {
        format!("last known to hold all that is committed: {}", list(&now.last_known))
    } else {
        "nobody is known to hold all that is committed".to_owned()
    };
    format!(
        "{topic} partition {partition} has no leader; {who}.\nIf node {node} leads, every record that it does not hold is lost, \
         acknowledged ones too. How many these are cannot be known."
    )
}

/// Waits until no partition is on its way, and tells how many there are.
///
/// # Errors
/// The broker's answer.
pub(super) async fn wait_for_all(admin: &Admin) -> anyhow::Result<()> {
    let mut said = 0;
    loop {
        let moving = admin.cluster_status().await?.moving;
        if moving == 0 {
            return Ok(());
        }
        if moving != said {
            tell!("{} on the way", counted(moving, "partition"));
            said = moving;
        }
        real::env().clock.sleep(LOOK_EVERY).await;
    }
}

async fn describe(
    admin: &Admin,
    topic: &str,
    partition: PartitionIndex,
) -> anyhow::Result<PartitionDescription> {
    let mut found = admin.describe_topic(topic).await?.partitions.into_iter();
    found
        .find(|found| found.partition == partition)
        .with_context(|| format!("{topic} has no partition {partition}"))
}

fn list(nodes: &[NodeId]) -> String {
    let numbers: Vec<_> = nodes.iter().map(|node| format!("node {node}")).collect();
    if numbers.is_empty() { "nobody".to_owned() } else { numbers.join(", ") }
}
