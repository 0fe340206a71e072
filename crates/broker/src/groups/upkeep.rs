//! What is forgotten in time: committed offsets that nobody reads by, groups that nobody is in, patterns that nobody has.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use millrace_env::{Env, Monotonic};
use millrace_group::{Event as OffsetsEvent, OffsetCommitKey};
use millrace_types::{GroupId, TimestampMs, TopicName};

use super::Groups;
use super::coordinated::{Coordinated, Group};
use super::partition::GroupsPartition;

/// How often it is looked for (Kafka's `offsets.retention.check.interval.ms`).
const INTERVAL: Duration = Duration::from_secs(600);
/// A wall clock that runs ahead of time by more than this between two looks was set.
const JUMP: Duration = Duration::from_secs(60);

/// When to look, and what the clock is worth.
#[derive(Debug)]
pub(crate) struct Upkeep {
    due: Monotonic,
    retention: Duration,
    looked: (Monotonic, TimestampMs),
    /// When the wall clock was last seen to have been set: nothing is older than that as far as we know.
    set_at: Option<TimestampMs>,
}

/// From when back offsets are forgotten.
#[derive(Clone, Copy, Debug)]
struct Cutoff {
    before: TimestampMs,
    set_at: Option<TimestampMs>,
}

impl Cutoff {
    fn is_over(self, from: TimestampMs) -> bool {
        self.set_at.map_or(from, |at| at.max(from)) <= self.before
    }
}

impl Upkeep {
    pub(crate) fn new(env: &Env, retention: Duration) -> Upkeep {
        let now = env.clock.monotonic();
        Upkeep { due: now.after(INTERVAL), retention, looked: (now, env.clock.wall()), set_at: None }
    }

    /// Looks at the clocks, and at the groups if it is time.
    pub(crate) async fn step(&mut self, env: &Env, groups: &Groups) {
        let (now, wall) = (env.clock.monotonic(), env.clock.wall());
        let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let expected = self.looked.1.0.saturating_add(ms(now.since(self.looked.0)));
        if wall.0.saturating_sub(expected) > ms(JUMP) {
            self.set_at = Some(wall);
        }
        self.looked = (now, wall);
        if now < self.due {
            return;
        }
        self.due = now.after(INTERVAL);
        let before = TimestampMs(wall.0.saturating_sub(ms(self.retention)));
        groups.forget_what_is_over(Cutoff { before, set_at: self.set_at }).await;
    }
}

impl Groups {
    async fn forget_what_is_over(&self, cutoff: Cutoff) {
        for partition in &self.partitions {
            partition.forget_what_is_over(cutoff).await;
        }
        self.tidy_patterns();
    }

    fn tidy_patterns(&self) {
        let wanted: BTreeSet<_> = self.partitions.iter().flat_map(|partition| partition.patterns()).collect();
        self.topics.keep(&wanted);
        for partition in &self.partitions {
            loop {
                let missing = partition.take_topics(&self.topics.newest());
                // Somebody has subscribed by it in this moment.
                let added = missing.iter().filter(|pattern| self.topics.with(pattern).is_ok()).count();
                if added == 0 {
                    break;
                }
            }
        }
    }
}

impl GroupsPartition {
    async fn forget_what_is_over(self: &Arc<Self>, cutoff: Cutoff) {
        let over: Vec<GroupId> = {
            let mut state = self.lock();
            let Ok(value) = state.value.ready() else { return };
            let value = &*value;
            let mut ids: BTreeSet<GroupId> = value.offsets.groups().cloned().collect();
            ids.extend(value.groups().map(|(id, _)| id.clone()));
            ids.into_iter().filter(|id| value.has_something_over(id, cutoff)).collect()
        };
        for id in over {
            let step = self.step(None, |value, now, draft| {
                value.catch_up(&id, draft, now);
                // Looked at again: somebody may have joined or committed since.
                let keys = value.offsets_over(&id, cutoff);
                let is_over = value.is_group_over(&id, cutoff);
                value.step_offsets(OffsetsEvent::Expired { keys }, now, draft, None);
                if is_over {
                    value.delete(&id, now, draft);
                }
                Ok(())
            });
            if let Err(error) = step.await {
                tracing::warn!(%error, group = %id, "committed offsets whose time is over are forgotten later");
                return;
            }
        }
    }
}

impl Coordinated {
    fn has_something_over(&self, id: &GroupId, cutoff: Cutoff) -> bool {
        !self.offsets_over(id, cutoff).is_empty() || self.is_group_over(id, cutoff)
    }

    fn offsets_over(&self, id: &GroupId, cutoff: Cutoff) -> Vec<OffsetCommitKey> {
        // Time that was set counts from then on.
        let before = cutoff.before;
        let counts_from = |topic: &TopicName, at: TimestampMs| {
            self.expires_from(id, topic, at).filter(|from| cutoff.is_over(*from))
        };
        self.offsets.expired(id, before, counts_from)
    }

    fn expires_from(&self, id: &GroupId, topic: &TopicName, at: TimestampMs) -> Option<TimestampMs> {
        match self.group(id) {
            None => Some(at),
            Some(Group::Stored(state)) => {
                let emptied = state.classic.as_ref().map_or(state.meta.emptied_at, |c| c.emptied_at);
                let members = self.group(id).map_or(0, Group::members);
                (members == 0).then(|| emptied.map_or(at, |emptied| emptied.max(at)))
            }
            Some(Group::Consumer(live)) => live.group().expires_from(topic, at),
            Some(Group::Classic(live)) => live.group().expires_from(at),
        }
    }

    /// Whether nobody was in the group for as long as offsets are kept, and it has none.
    fn is_group_over(&self, id: &GroupId, cutoff: Cutoff) -> bool {
        let (deserted, emptied_at) = match self.group(id) {
            Some(Group::Consumer(live)) => {
                let state = live.group().state();
                (state.members.is_empty(), state.meta.emptied_at)
            }
            Some(Group::Classic(live)) => (live.group().is_deserted(), live.group().state().emptied_at),
            Some(Group::Stored(_)) | None => return false,
        };
        let kept = self.offsets_over(id, cutoff).len() < self.offsets.of_group(id).count();
        deserted && !kept && emptied_at.is_none_or(|at| cutoff.is_over(at))
    }
}
