//! The world of a seed: it begins, things go wrong, and it comes to rest.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use millrace_env::Clock;
use millrace_env::sim::{SimClock, SimRng};
use millrace_types::{LeaderEpoch, NodeId, TopicPartition};
use parking_lot::Mutex;

use super::clients::{Client, FIRST, Shared, State, create};
use super::line::{Line, WORLD};
use super::machine::{Machine, Seen};
use super::weather::Plan;
use super::wire::Switch;

/// The brokers.
pub(super) const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];
/// Time that passes between two looks at everything.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Time within which a cluster must have formed.
const FORMED_WITHIN: Duration = Duration::from_secs(60);

pub(super) struct World {
    pub(super) clock: Arc<SimClock>,
    pub(super) rng: Arc<SimRng>,
    pub(super) line: Arc<Line>,
    pub(super) switch: Arc<Switch>,
    pub(super) machines: Vec<Machine>,
    pub(super) shared: Arc<Shared>,
    pub(super) plan: Plan,
    pub(super) epochs: BTreeSet<(TopicPartition, LeaderEpoch)>,
    seed: u64,
    clients: u64,
}

impl World {
    pub(super) fn new(seed: u64, plan: Plan, told: bool) -> World {
        let clock = Arc::new(SimClock::new());
        let line = Arc::<Line>::default();
        let switch = Switch::new(&clock, Arc::new(SimRng::new(seed ^ 0x11ce)), &line);
        let machine = |node| Machine::new((node, seed), &line, &clock, &switch);
        let machines = NODES.map(machine).into();
        let mut state = State::default();
        state.truth.story = told.then(Vec::new);
        let shared = Arc::new(Shared {
            clock: Arc::clone(&clock),
            switch: Arc::clone(&switch),
            nodes: NODES.into(),
            state: Mutex::new(state),
        });
        let rng = Arc::new(SimRng::new(seed));
        World { clock, rng, line, switch, machines, shared, plan, epochs: BTreeSet::new(), seed, clients: 0 }
    }

    pub(super) fn play(&mut self) -> Result<(), String> {
        self.form()?;
        for number in 0..self.plan.producers {
            let client = self.client(format!("producer-{number}"));
            let (think_ms, disk_us) = (self.plan.think_ms, self.plan.disk_ms * 1000);
            let _runs_on = self.line.spawn(WORLD, Box::pin(client.produce(think_ms, disk_us)));
        }
        for number in 0..self.plan.readers {
            let client = self.client(format!("reader-{number}"));
            let _runs_on = self.line.spawn(WORLD, Box::pin(client.read()));
        }
        for number in 0..self.plan.groups {
            let client = self.client(format!("group-{number}"));
            let _runs_on = self.line.spawn(WORLD, Box::pin(client.commit()));
        }
        if self.plan.administered {
            let client = self.client("admin".to_owned());
            let _runs_on = self.line.spawn(WORLD, Box::pin(client.administer(self.plan.minimum)));
        }
        self.switch.set_weather(self.plan.weather);
        let end = self.clock.monotonic().after(Duration::from_millis(self.plan.lasts_ms));
        while self.clock.monotonic() < end {
            self.act();
            let pause = self.rng.below(2 * self.plan.act_every_ms);
            self.pass(Duration::from_millis(pause))?;
        }
        self.come_to_rest()
    }

    /// Three brokers become a cluster, and it has a topic.
    fn form(&mut self) -> Result<(), String> {
        for index in 0..self.machines.len() {
            let join: &[NodeId] = if index == 0 { &[] } else { &NODES[..1] };
            if let Some(machine) = self.machines.get_mut(index) {
                machine.start(join);
            }
            self.pass(Duration::from_secs(2))?;
        }
        let client = self.client("founder".to_owned());
        let wanted = super::clients::Wanted {
            name: FIRST.to_owned(),
            partitions: self.plan.partitions,
            minimum: self.plan.minimum,
        };
        let making = async move {
            create(&client, wanted).await;
        };
        let _runs_on = self.line.spawn(WORLD, Box::pin(making));
        let end = self.clock.monotonic().after(FORMED_WITHIN);
        while self.shared.state.lock().busy > 0 {
            if self.clock.monotonic() > end {
                return Err("no cluster has formed".to_owned());
            }
            self.pass(Duration::from_millis(200))?;
        }
        Ok(())
    }

    fn client(&mut self, name: String) -> Client {
        self.clients += 1;
        Client::new(&self.shared, self.seed.wrapping_mul(31).wrapping_add(self.clients), name)
    }

    /// Lets everything run and time go on.
    pub(super) fn pass(&mut self, time: Duration) -> Result<(), String> {
        let end = self.clock.monotonic().after(time);
        let mut look_at = self.clock.monotonic().after(LOOK_EVERY);
        loop {
            self.line.run()?;
            self.look()?;
            let now = self.clock.monotonic();
            if now >= look_at {
                look_at = now.after(LOOK_EVERY);
                self.observe()?;
            }
            if !self.clock.advance_towards(end) {
                return Ok(());
            }
        }
    }

    /// Takes note of what has become of processes, and of broken promises.
    fn look(&mut self) -> Result<(), String> {
        for machine in &mut self.machines {
            let node = machine.node;
            match machine.look()? {
                Seen::Nothing => {}
                Seen::LostPower => {
                    self.switch.mark(|marks| marks.power_cuts_in_work += 1);
                    let now = self.clock.monotonic().0;
                    self.shared.state.lock().truth.tell(now, || format!("{node} loses power in its work"));
                }
                Seen::Stopped => {
                    self.switch.mark(|marks| marks.clean_stops += 1);
                    let now = self.clock.monotonic().0;
                    self.shared.state.lock().truth.tell(now, || format!("{node} has stopped"));
                }
            }
        }
        self.shared.state.lock().truth.broken().map_or(Ok(()), Err)
    }

    /// Whom a broker that starts asks for its cluster.
    pub(super) fn others(node: NodeId) -> Vec<NodeId> {
        NODES.into_iter().filter(|other| *other != node).collect()
    }

    pub(super) fn tell(&self, what: impl FnOnce() -> String) {
        let now = self.clock.monotonic().0;
        self.shared.state.lock().truth.tell(now, what);
    }
}
