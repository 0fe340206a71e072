//! Thousands of groups of one member each: what one costs in memory, and what its heartbeats cost in processor time.
#![expect(clippy::print_stdout, reason = "a measurement talks to the person who called it")]

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use millrace_proto::v1;
use tokio::time::sleep;

use super::board::Sums;
use super::fleet::Fleet;
use super::large::count;
use crate::barerpc::BareRpc;
use crate::child::Broker;
use crate::load::{anonymous_kib_of, cpu_of};
use crate::rpc;

const TOPIC: &str = "single";
const PATIENCE: Duration = Duration::from_secs(300);
/// How long a server is left alone before what it holds is counted.
const SETTLE: Duration = Duration::from_secs(2);

/// How many and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Groups, each with one member.
    pub groups: usize,
    /// How long the server is watched while nothing changes.
    pub idle: Duration,
}

/// What a server with that many members has cost.
struct Cost {
    joined: Duration,
    joined_cpu: Duration,
    memory_kib: u64,
    /// Heartbeats per second.
    beats: f64,
    /// Share of a core.
    cpu: f64,
    interval: Duration,
}

/// Measures a broker on that data directory beside a bare server with as many streams.
///
/// # Errors
/// A server does not come up, or refuses.
pub async fn run(data: &Path, scale: Scale) -> Result<()> {
    println!(
        "\n## groups, many: {} groups of one member each, all of one topic with one partition",
        scale.groups
    );
    let broker = Broker::start(data)?;
    rpc::create_topic(&mut rpc::connect(&broker.grpc).await?, TOPIC, 1).await?;
    let ours = occupy(&broker.grpc, broker.process.pid(), scale, None).await?;
    println!(
        "   all have joined after {:.2} s, broker CPU {:.2} s",
        ours.joined.as_secs_f64(),
        ours.joined_cpu.as_secs_f64()
    );
    // Killed: what it knows after the next start comes out of its log.
    drop(broker);
    let begun = Instant::now();
    let again = Broker::start(data)?;
    let mut client = rpc::connect(&again.grpc).await?;
    match client.list_groups(v1::ListGroupsRequest {}).await {
        Ok(groups) => {
            let groups = groups.into_inner().groups.len();
            ensure!(groups == scale.groups, "{groups} groups after the start, not {}", scale.groups);
            println!(
                "   after kill -9 and a start: all {groups} groups are listed {:.0} ms after the process began",
                begun.elapsed().as_secs_f64() * 1e3
            );
        }
        Err(status) => println!("   not listed after a start: {}", status.message()),
    }
    drop(client);
    again.process.stop()?;
    let floor = BareRpc::start()?;
    let bare = occupy(&floor.addr, floor.process.pid(), scale, Some(ours.interval)).await?;
    println!(
        "   {:<42}{:>16}{:>14}{:>14}{:>16}",
        "", "KiB per member", "beats per s", "% of a core", "us per beat"
    );
    for (name, cost) in
        [("bare tonic, a stream that is answered", &bare), ("Millrace, a group and its member", &ours)]
    {
        println!(
            "   {name:<42}{:>16.2}{:>14.0}{:>14.2}{:>16.1}",
            count(cost.memory_kib) / count(scale.groups as u64),
            cost.beats,
            cost.cpu * 100.0,
            cost.cpu * 1e6 / cost.beats,
        );
    }
    println!(
        "   a group with its member, without what any stream costs: {:.2} KiB; its heartbeats every {} ms: {:.1} us each",
        (count(ours.memory_kib) - count(bare.memory_kib)) / count(scale.groups as u64),
        ours.interval.as_millis(),
        ours.cpu * 1e6 / ours.beats - bare.cpu * 1e6 / bare.beats,
    );
    Ok(())
}

async fn occupy(addr: &str, pid: u32, scale: Scale, interval: Option<Duration>) -> Result<Cost> {
    sleep(SETTLE).await;
    let (empty_kib, cpu, begun) = (anonymous_kib_of(pid), cpu_of(pid), Instant::now());
    let fleet = Fleet::with_interval(addr, scale.groups, interval).await?;
    for seat in 0..scale.groups {
        fleet.join(seat, &format!("group-{seat:06}"), TOPIC)?;
    }
    let everybody = Sums { members: scale.groups, owned: scale.groups, waiting: 0 };
    fleet.board().until(PATIENCE, |sums| *sums == everybody).await?;
    let (joined, joined_cpu) = (begun.elapsed(), cpu_of(pid) - cpu);
    sleep(SETTLE).await;
    let (begun, cpu, beats) = (Instant::now(), cpu_of(pid), fleet.board().traffic().heartbeats);
    sleep(scale.idle).await;
    let (wall, cpu) =
        (begun.elapsed().as_secs_f64(), (cpu_of(pid) - cpu).as_secs_f64() / begun.elapsed().as_secs_f64());
    let beats = count(fleet.board().traffic().heartbeats - beats) / wall;
    let memory_kib = anonymous_kib_of(pid).saturating_sub(empty_kib);
    let interval = fleet.board().view(0).map_or(Duration::ZERO, |view| view.interval);
    ensure!(fleet.board().sums() == everybody, "members were lost: {:?}", fleet.board().sums());
    fleet.hang_up().await?;
    Ok(Cost { joined, joined_cpu, memory_kib, beats, cpu, interval })
}
