//! Start to first acknowledgement, memory and processor time at rest, memory after a load; a new process each time.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::load::{self, Look};
use crate::peers::brokers::{Kind, Peer, Running};
use crate::peers::durability::Durability;
use crate::peers::kafka_jars::KafkaJars;
use crate::peers::resp;
use crate::peers::results::{Column, Figures, SideResult};
use crate::peers::stage::{Bench, Contest, Job, Stage};

/// The contest's id.
const ID: &str = "start";
/// How long a broker is left alone before it counts as idle, and then how long it is watched.
const SETTLE: Duration = Duration::from_secs(3);
const WATCH: Duration = Duration::from_secs(3);
/// What "loaded" means: written, and read once.
const LOAD: Job = Job { durability: Durability::Buffered, records: 300_000, size: 1000, batch: 64 * 1024 };

/// What is done with a broker that has acknowledged its first record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Then {
    Stop,
    WatchIt,
}

/// Starts each broker in turn.
///
/// # Errors
/// The machine's; what a broker does wrong goes into the report.
pub fn measure(stage: &mut Stage, jars: &KafkaJars, peers: &[Peer]) -> Result<()> {
    if !stage.wants(ID) {
        return Ok(());
    }
    let side = |peer: &Peer| SideResult { label: peer.label(), rounds: Vec::new(), failed: None };
    let mut sides: Vec<SideResult> = peers.iter().map(side).collect();
    for counted in 0..=stage.rounds {
        for (peer, side) in peers.iter().zip(&mut sides).filter(|(_, side)| side.failed.is_none()) {
            stage.gate.pass();
            let look = Look::now();
            let then = if counted > 0 { Then::WatchIt } else { Then::Stop };
            match start_once(stage, jars, *peer, then) {
                Ok(mut figures) if counted > 0 => {
                    figures.insert("others_percent", look.others_since() * 100.0);
                    side.rounds.push(figures);
                }
                Ok(_) => {}
                Err(error) => side.failed = Some(format!("{error:#}")),
            }
        }
    }
    let columns = [
        ("accepted_ms", "accepts, ms"),
        ("acked_ms", "first ack, ms"),
        ("idle_mib", "idle RSS MiB"),
        ("idle_anon_mib", "idle RssAnon MiB"),
        ("idle_cpu_percent", "idle CPU %"),
        ("loaded_mib", "loaded RSS MiB"),
        ("loaded_anon_mib", "loaded RssAnon MiB"),
        ("others_percent", "others %"),
    ];
    let contest = Contest {
        id: ID.to_owned(),
        title: format!(
            "start to first acknowledged record of 100 B in a new topic, empty directory; idle for {} s; loaded: 300 MB written and read",
            (SETTLE + WATCH).as_secs()
        ),
        columns: columns.map(|(key, head)| Column { key, head }).to_vec(),
        with_redis: true,
    };
    stage.conclude(contest, sides);
    Ok(())
}

fn start_once(stage: &mut Stage, jars: &KafkaJars, peer: Peer, then: Then) -> Result<Figures> {
    let prepared = peer.prepare(jars, &stage.folder)?;
    let address = prepared.address();
    let mut figures = Figures::new();
    let ms = |nanos: f64| nanos / 1e6;
    let running = if peer.kind == Kind::Redis {
        let start = Instant::now();
        let running = prepared.start()?;
        figures.insert("accepted_ms", start.elapsed().as_secs_f64() * 1e3);
        resp::add_one(&address, "first")?;
        figures.insert("acked_ms", start.elapsed().as_secs_f64() * 1e3);
        running
    } else {
        // The client waits before the broker is started, so that its own start does not count.
        stage.client.begin(&format!("first {address} first"))?;
        stage.client.line()?;
        let running = prepared.start();
        let answer = stage.client.answer();
        let (running, answer) = (running?, answer?);
        figures.insert("accepted_ms", ms(answer.figure("accepted_nanos")?));
        figures.insert("acked_ms", ms(answer.figure("acked_nanos")?));
        running
    };
    if then == Then::WatchIt {
        watch(stage, &running, &mut figures)?;
    }
    running.stop()?;
    Ok(figures)
}

fn watch(stage: &mut Stage, running: &Running, figures: &mut Figures) -> Result<()> {
    std::thread::sleep(SETTLE);
    let before = load::cpu_of(running.process.pid());
    std::thread::sleep(WATCH);
    let spent = load::cpu_of(running.process.pid()).saturating_sub(before);
    let [idle, idle_anon, _] = running.memory_mib()?;
    figures.insert("idle_mib", idle);
    figures.insert("idle_anon_mib", idle_anon);
    figures.insert("idle_cpu_percent", spent.as_secs_f64() / WATCH.as_secs_f64() * 100.0);
    running.make_topic(&mut stage.client, "load", LOAD.durability)?;
    let mut bench = Bench { broker: running, client: &mut stage.client, topic: "load".to_owned() };
    bench.produce(LOAD)?;
    bench.read(LOAD, 1)?;
    let [loaded, loaded_anon, most] = running.memory_mib()?;
    figures.insert("loaded_mib", loaded);
    figures.insert("loaded_anon_mib", loaded_anon);
    figures.insert("most_mib", most);
    Ok(())
}
