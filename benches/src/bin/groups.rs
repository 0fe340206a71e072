//! Consumer groups at scale, against a real `millrace serve` as a child process: one group of a thousand members of whom one
//! leaves, thousands of groups of one member, and commits beside the log's own append rate.
//!
//! Processor time and memory are those of the broker alone; its clients share the cores.

use std::time::Duration;

use anyhow::Result;
use millrace_benches::child::Broker;
use millrace_benches::contest::Arena;
use millrace_benches::groups::commits::{self, Spread};
use millrace_benches::groups::{large, many};
use millrace_benches::options::Options;
use millrace_benches::role;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MEMBERS: usize = 1_000;
const GROUPS: usize = 5_000;

fn main() -> Result<()> {
    if role::play()? {
        return Ok(());
    }
    let options = Options::read("groups");
    let scratch = options.scratch()?;
    let mut arena = Arena::new(&options);
    let idle = Duration::from_secs(if options.quick { 10 } else { 30 });
    // A worker of its own: members heartbeat also while another side is measured.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    if arena.wants("groups, one large") {
        let broker = Broker::start(&scratch.path().join("large"))?;
        runtime
            .block_on(large::run(&broker, large::Scale { members: MEMBERS, rounds: options.rounds, idle }))?;
        broker.process.stop()?;
    }
    if arena.wants("groups, many") {
        runtime.block_on(many::run(&scratch.path().join("many"), many::Scale { groups: GROUPS, idle }))?;
    }
    for spread in [Spread::OneGroup, Spread::GroupEach] {
        commits::run(&mut arena, &runtime, scratch.path(), spread)?;
    }
    Ok(())
}
