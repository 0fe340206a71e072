//! What goes wrong beside lost and late messages.

use millrace_group::consumer::Leaving;

use super::consumer::Manner;
use super::coordinator::Links;
use super::invariants::Verdict;
use super::wire::{RequestNo, TopicChange};
use super::world::{Happening, World, topic_name};

/// How late a commit of a zombie comes at most.
const ZOMBIE_MS: u64 = 30_000;

impl World {
    /// Something goes wrong.
    pub(super) fn fault(&mut self) -> Verdict {
        let number = self.rng.index(self.consumers.len());
        match self.rng.below(16) {
            0..=2 => self.kill(number),
            3 | 4 => self.leave(number),
            5 | 6 => self.pause(number),
            7 => {
                if let Some(consumer) = self.consumers.get_mut(number).filter(|consumer| consumer.running) {
                    consumer.manner = Manner::Stubborn;
                    self.marks.stubborn += 1;
                }
            }
            8 => {
                if self.is_there(number) && self.weather.links == Links::Streams {
                    self.marks.broken += 1;
                    self.reconnect(number);
                }
            }
            9 | 10 => self.change_mind(number)?,
            11 => {
                if self.coordinator.is_up() {
                    self.marks.crashes += 1;
                    self.coordinator.crash();
                    let down = if self.rng.chance(1, 2) { 10 } else { self.rng.below(14_000) };
                    self.later(down, Happening::Start);
                }
            }
            12 | 13 => self.change_topics()?,
            _ => self.hold_back(number),
        }
        Ok(())
    }

    fn is_there(&self, number: usize) -> bool {
        self.consumers.get(number).is_some_and(|consumer| consumer.running && consumer.belief.is_some())
    }

    /// The process dies; nobody says so but, perhaps, its connection.
    pub(super) fn kill(&mut self, number: usize) {
        if !self.consumers.get(number).is_some_and(|consumer| consumer.running) {
            return;
        }
        self.marks.died += 1;
        self.break_stream(number);
        self.open_stream(number);
        if let Some(consumer) = self.consumers.get_mut(number) {
            consumer.running = false;
            consumer.forget();
        }
    }

    fn leave(&mut self, number: usize) {
        if !self.is_there(number) {
            return;
        }
        let fixed = self.consumers.get(number).is_some_and(|consumer| consumer.instance.is_some());
        let leaving = if fixed && self.rng.chance(1, 2) { Leaving::ForNow } else { Leaving::ForGood };
        let Some(consumer) = self.consumers.get_mut(number) else { return };
        if let Some(ask) = consumer.leave(leaving) {
            consumer.running = false;
            consumer.forget();
            self.send(number, ask);
        }
    }

    fn pause(&mut self, number: usize) {
        let until = self.now + self.rng.below(18_000);
        if let Some(consumer) = self.consumers.get_mut(number).filter(|consumer| consumer.running) {
            consumer.paused_until = until;
            self.marks.paused += 1;
        }
    }

    fn change_mind(&mut self, number: usize) -> Verdict {
        let wants = self.draw_wants()?;
        let there = self.is_there(number);
        if let Some(consumer) = self.consumers.get_mut(number).filter(|_| there)
            && consumer.wanted.is_none()
        {
            consumer.wanted = Some(std::mem::replace(&mut consumer.wants, wants));
            self.marks.changed_minds += 1;
        }
        Ok(())
    }

    fn change_topics(&mut self) -> Verdict {
        if !self.coordinator.is_up() {
            return Ok(());
        }
        let count = u32::try_from(1 + self.rng.below(4)).unwrap_or(1);
        let has = |world: &World, name: &str| world.topics.iter().any(|topic| topic.name.as_str() == name);
        let text = ["t", "u1", "u2"];
        let Some(text) = self.pick(&text) else { return Ok(()) };
        let name = topic_name(text)?;
        let change = match (has(self, text), self.rng.below(3)) {
            (false, _) => TopicChange::Create(name, count),
            (true, 0) => TopicChange::Delete(name),
            (true, _) => TopicChange::Grow(name, count + 1),
        };
        self.tell(|| format!("  {change:?}"));
        self.marks.topics += 1;
        self.coordinator.change_topic(&change)?;
        self.topics = self.coordinator.topics();
        Ok(())
    }

    /// A member commits, and what it sends comes when it may be somebody else.
    fn hold_back(&mut self, number: usize) {
        if !self.is_there(number) {
            return;
        }
        let Some(consumer) = self.consumers.get(number) else { return };
        let owned: Vec<_> = consumer.belief.iter().flat_map(|belief| belief.owned.iter().copied()).collect();
        let who = consumer.committer();
        if let (Some(partition), Some(who)) = (self.pick(&owned), who) {
            let wait = self.rng.below(ZOMBIE_MS);
            let request: Option<RequestNo> = self.write_commit(number, who, partition);
            if let Some(request) = request {
                self.marks.zombies += 1;
                self.later(wait, Happening::Arrive(request));
            }
        }
    }
}
