//! The faults end, and everything must come to rest: everybody is answered, every partition is led, all replicas are in sync, and
//! the logs of all of them are the same, byte for byte.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millrace_broker::{Broker, TopicDescription, TopicRef};
use millrace_env::sim::Survival;
use millrace_env::{Clock, FsExt};
use millrace_types::{NodeId, TopicId, TopicPartition};
use parking_lot::Mutex;

use super::clients::records_of;
use super::line::WORLD;
use super::machine::DATA;
use super::process::Moment;
use super::wire::CALM;
use super::world::World;
use crate::caller::ctx;

/// Within which clients must be answered, and then the cluster be whole.
const REST_WITHIN: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(250);
/// A segment is not larger.
const FILE_BYTES_MAX: usize = 64 << 20;

/// What brokers say of topics.
type Seen = Vec<(NodeId, Vec<TopicDescription>)>;

impl World {
    pub(super) fn come_to_rest(&mut self) -> Result<(), String> {
        self.tell(|| "peace".to_owned());
        self.switch.heal();
        self.switch.set_weather(CALM);
        for index in 0..self.machines.len() {
            self.go_on(index);
            if let Some(life) = self.machines.get(index).and_then(|machine| machine.life.as_ref()) {
                life.process.arm(0, Survival::Everything, Moment::After);
                life.process.slow_down(Duration::ZERO);
            }
        }
        self.plan.disk_ms = 0;
        self.shared.state.lock().closing = true;
        let end = self.clock.monotonic().after(REST_WITHIN);
        loop {
            // Who was about to stop comes back when it has.
            (0..self.machines.len()).for_each(|index| self.restart(index));
            self.pass(STEP)?;
            let busy = self.shared.state.lock().busy;
            if busy == 0 {
                break;
            }
            if self.clock.monotonic() > end {
                return Err(format!("{busy} clients are not answered: {}", self.standing()?));
            }
        }
        let end = self.clock.monotonic().after(REST_WITHIN);
        loop {
            (0..self.machines.len()).for_each(|index| self.restart(index));
            self.pass(STEP)?;
            let seen = self.topics_seen()?;
            let unrest = self.unrest(&seen);
            let Some(what) = unrest else { break };
            if self.clock.monotonic() > end {
                return Err(format!("no rest: {what}; {}", self.standing()?));
            }
        }
        self.switch.mark(|marks| marks.healed += 1);
        self.is_whole()
    }

    fn topics(&self) -> Vec<(TopicId, u32)> {
        let state = self.shared.state.lock();
        let living = state.truth.topics.iter().filter(|(_, known)| !known.doomed);
        living.map(|(id, known)| (*id, known.partitions)).collect()
    }

    /// What every broker that serves says of the topics.
    fn topics_seen(&self) -> Result<Seen, String> {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        for machine in &self.machines {
            let Some(broker) = machine.broker() else { continue };
            let (node, told, topics) = (machine.node, Arc::clone(&seen), self.topics());
            let asking = async move {
                let mut described = Vec::new();
                for (topic, _) in topics {
                    described.extend(broker.describe_topic(&ctx(), TopicRef::Id(topic)).await.ok());
                }
                told.lock().push((node, described));
            };
            let _done_at_once = self.line.spawn(WORLD, Box::pin(asking));
        }
        self.line.run()?;
        let seen = std::mem::take(&mut *seen.lock());
        Ok(seen)
    }

    /// Counts what is to be seen from outside.
    pub(super) fn observe(&mut self) -> Result<(), String> {
        for (_, topics) in self.topics_seen()? {
            for topic in topics {
                for part in &topic.partitions {
                    let at = TopicPartition { topic: topic.id, partition: part.partition };
                    let is_new = self.epochs.insert((at, part.leader_epoch));
                    let is_shrunk = part.isr.len() < part.replicas.len();
                    self.switch.mark(|marks| {
                        marks.led_anew += u64::from(is_new);
                        marks.shrunk += u64::from(is_shrunk);
                    });
                }
            }
        }
        Ok(())
    }

    fn standing(&self) -> Result<String, String> {
        let mut text = String::new();
        for (node, topics) in self.topics_seen()? {
            for topic in topics {
                for part in topic.partitions {
                    text += &format!(
                        "\n  {node}: {}-{} led by {:?} in {}, in sync {:?}, committed {} of {}",
                        topic.name,
                        part.partition,
                        part.leader,
                        part.leader_epoch,
                        part.isr,
                        part.high_watermark,
                        part.end_offset
                    );
                }
            }
        }
        Ok(text)
    }

    /// What is not at rest.
    fn unrest(&self, seen: &Seen) -> Option<String> {
        if seen.len() < self.machines.len() {
            return Some(format!("only {} brokers serve", seen.len()));
        }
        let topics = self.topics();
        let (_, first) = seen.first()?;
        for (node, described) in seen {
            if described.len() != topics.len() {
                return Some(format!("{node} knows {} topics of {}", described.len(), topics.len()));
            }
            for ((_, count), (topic, there)) in topics.iter().zip(described.iter().zip(first)) {
                if u32::try_from(topic.partitions.len()).ok() < Some(*count) {
                    return Some(format!("{node} knows of {} too few partitions", topic.name));
                }
                for (part, same) in topic.partitions.iter().zip(&there.partitions) {
                    let name = format!("{}-{} at {node}", topic.name, part.partition);
                    if part.leader.is_none() {
                        return Some(format!("nobody leads {name}"));
                    }
                    if part.isr.len() != part.replicas.len() || part.replicas.len() != 3 {
                        return Some(format!("{name}: in sync are {:?} of {:?}", part.isr, part.replicas));
                    }
                    if part.leader != same.leader || part.end_offset != same.end_offset {
                        return Some(format!("{name}: {part:?}, elsewhere {same:?}"));
                    }
                    if part.high_watermark != part.end_offset {
                        return Some(format!(
                            "{name}: committed is {} of {}",
                            part.high_watermark, part.end_offset
                        ));
                    }
                }
            }
        }
        None
    }

    /// The logs, read once more from the disks.
    fn is_whole(&mut self) -> Result<(), String> {
        let deleted: Vec<_> = {
            let state = self.shared.state.lock();
            let gone = state.truth.topics.iter().filter(|(_, known)| known.deleted);
            gone.map(|(id, _)| *id).collect()
        };
        for (topic, partitions) in self.topics() {
            for number in 0..partitions {
                let at = TopicPartition { topic, partition: millrace_types::PartitionIndex(number) };
                self.is_same_everywhere(at)?;
            }
        }
        for machine in &self.machines {
            let broker: Option<Arc<Broker>> = machine.broker();
            let Some(broker) = broker else { continue };
            let told = Arc::new(Mutex::new(Vec::new()));
            let (inner, ids) = (Arc::clone(&told), deleted.clone());
            let asking = async move {
                for id in ids {
                    let found = broker.describe_topic(&ctx(), TopicRef::Id(id)).await;
                    inner.lock().extend(found.ok().map(|topic| topic.name));
                }
            };
            let _done_at_once = self.line.spawn(WORLD, Box::pin(asking));
            self.line.run()?;
            if let Some(name) = told.lock().first() {
                return Err(format!("{name} was deleted, and {} knows it", machine.node));
            }
        }
        Ok(())
    }

    fn is_same_everywhere(&self, at: TopicPartition) -> Result<(), String> {
        let mut logs = Vec::new();
        for machine in &self.machines {
            let log = log_of(&*machine.sim.env().fs, at);
            logs.push(log.map_err(|error| format!("{at} of {}: {error}", machine.node))?);
        }
        let Some(first) = logs.first() else { return Ok(()) };
        for (machine, log) in self.machines.iter().zip(&logs) {
            if log != first {
                let parts = first.iter().zip(log).position(|(ours, theirs)| ours != theirs);
                let parts = parts.unwrap_or(first.len().min(log.len()));
                return Err(format!("{at}: the log of {} is another one from byte {parts} on", machine.node));
            }
        }
        let records =
            records_of(vec![Bytes::from(first.clone())]).map_err(|error| format!("{at}: {error}"))?;
        let records: Vec<_> = records.iter().map(|found| (found.offset, found.value)).collect();
        self.shared.state.lock().truth.check(at, &records)
    }
}

/// The bytes of a log: its segments, one behind the other.
fn log_of(fs: &dyn millrace_env::Fs, at: TopicPartition) -> std::io::Result<Vec<u8>> {
    let dir = Path::new(DATA).join(at.to_string());
    let mut names: Vec<String> = fs.read_dir(&dir)?.into_iter().map(|entry| entry.name).collect();
    names.retain(|name| name.ends_with(".log"));
    names.sort();
    let mut bytes = Vec::new();
    for name in names {
        bytes.extend_from_slice(&fs.read_small(&dir.join(name), FILE_BYTES_MAX)?);
    }
    Ok(bytes)
}
