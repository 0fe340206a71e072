//! G7 and G8: once nothing goes wrong any more the group comes to rest, within the time that the dead are waited for; then nothing
//! moves without a cause, everybody may commit, and a static member that comes back in time moves nothing.

use std::collections::{BTreeMap, BTreeSet};

use millrace_group::MemberId;
use millrace_types::TopicPartition;
use millrace_types::limits::SESSION_TIMEOUT_MS_DEFAULT;

use super::consumer::Manner;
use super::invariants::{Verdict, covers, partitions};
use super::wire::{Ask, RequestNo};
use super::world::{Happening, World};

/// What heartbeats and answers take on top.
const SLACK_MS: u64 = 6_000;
/// How long nothing may move then.
const QUIET_MS: u64 = 4_000;

/// Who owns what, as the members say, with their ids.
type Owned = BTreeMap<usize, (Option<MemberId>, BTreeSet<TopicPartition>)>;

impl World {
    /// Faults stop; what follows must.
    pub(super) fn come_to_rest(&mut self) -> Verdict {
        self.weather.clear();
        self.healing = true;
        self.later(1, Happening::Start);
        for consumer in &mut self.consumers {
            consumer.manner = Manner::Prompt;
            consumer.paused_until = consumer.paused_until.min(self.now);
        }
        for number in 0..self.consumers.len() {
            self.later(1, Happening::Reconcile(number));
        }
        let patience = SESSION_TIMEOUT_MS_DEFAULT + self.weather.rebalance_timeout_ms + SLACK_MS;
        // A heartbeat that comes late keeps the place of a dead member for one session more: the last delay is the last fault.
        let healed = self.last_arrival();
        self.run_until(healed + patience)?;
        let owned = self.is_at_rest()?;
        self.run_until(self.now + QUIET_MS)?;
        let later = self.is_at_rest()?;
        if later != owned {
            return Err(format!("the group does not stay at rest: {owned:?}, then {later:?}"));
        }
        self.marks.healed += 1;
        self.somebody_survives()?;
        self.all_may_commit()?;
        self.a_static_member_returns()
    }

    /// Everybody who runs is a member and owns what it was told; together they own all that they want, once.
    fn is_at_rest(&self) -> Result<Owned, String> {
        let mut owned = Owned::new();
        let mut all = BTreeSet::new();
        for consumer in self.consumers.iter().filter(|consumer| consumer.running) {
            let belief = consumer.belief.as_ref().filter(|_| consumer.is_member(self.now));
            let belief =
                belief.ok_or_else(|| format!("consumer {} is not in the group again", consumer.number))?;
            if belief.told != belief.owned {
                return Err(format!(
                    "consumer {} owns {:?}, not {:?}",
                    consumer.number, belief.owned, belief.told
                ));
            }
            all.extend(belief.owned.iter().copied());
            owned.insert(consumer.number, (consumer.id.clone(), belief.owned.clone()));
        }
        let wanted = self.topics.iter().filter(|topic| {
            self.consumers.iter().any(|consumer| consumer.running && covers(&consumer.wants, topic))
        });
        let wanted: BTreeSet<TopicPartition> = wanted.flat_map(partitions).collect();
        if all == wanted { Ok(owned) } else { Err(format!("{wanted:?} are wanted, {all:?} are owned")) }
    }

    /// Of those with one lasting name one runs, unless all were stopped otherwise.
    fn somebody_survives(&self) -> Verdict {
        let namesakes = |of: &super::consumer::Consumer| {
            let name = of.instance.clone();
            self.consumers.iter().filter(move |other| other.instance == name)
        };
        for consumer in self.consumers.iter().filter(|consumer| consumer.instance.is_some()) {
            let running = namesakes(consumer).filter(|other| other.running).count();
            if running > 1 {
                return Err(format!("{running} lives of {:?} survive", consumer.instance));
            }
        }
        Ok(())
    }

    /// Each member commits for all that it owns, and finds it again.
    fn all_may_commit(&mut self) -> Verdict {
        let mut commits: Vec<(usize, RequestNo, TopicPartition)> = Vec::new();
        for number in 0..self.consumers.len() {
            let Some(consumer) = self.consumers.get(number).filter(|consumer| consumer.running) else {
                continue;
            };
            let owned: Vec<_> =
                consumer.belief.iter().flat_map(|belief| belief.owned.iter().copied()).collect();
            let Some(who) = consumer.committer() else { continue };
            for partition in owned {
                let request = self.commit(number, who.clone(), partition);
                commits.extend(request.map(|request| (number, request, partition)));
            }
        }
        self.run_until(self.now + 1_000)?;
        for (number, request, partition) in commits {
            if !self.taken.contains(&request) {
                return Err(format!("consumer {number} may not commit for {partition}, which it owns"));
            }
            self.send(number, Ask::Fetch { partition });
        }
        self.run_until(self.now + 1_000)
    }

    /// A static member dies and comes back within its session: it has its place again, and nobody else hears of it.
    fn a_static_member_returns(&mut self) -> Verdict {
        let fixed = self.consumers.iter().filter(|c| c.running && c.instance.is_some()).map(|c| c.number);
        let Some(number) = self.pick(&fixed.collect::<Vec<_>>()) else { return Ok(()) };
        let before = self.is_at_rest()?;
        let heard = |world: &World| -> Vec<u64> {
            let others = world.consumers.iter().filter(|consumer| consumer.number != number);
            others.filter_map(|consumer| consumer.belief.as_ref()).map(|belief| belief.heard).collect()
        };
        let revisions = heard(self);
        self.kill(number);
        self.run_until(self.now + 1_000 + self.rng.below(2_000))?;
        self.start(number);
        self.run_until(self.now + 4_000)?;
        let after = self.is_at_rest()?;
        let owned =
            |owned: &Owned| owned.iter().map(|(n, (_, owned))| (*n, owned.clone())).collect::<Vec<_>>();
        if owned(&after) != owned(&before) || heard(self) != revisions {
            return Err(format!("a static member came back, and {before:?} became {after:?}"));
        }
        self.marks.returned += 1;
        Ok(())
    }
}
