//! Forming a generation: who waits, when it is formed, who leads; and those who go.

use std::collections::BTreeMap;

use super::{ClassicAnswer, ClassicGroup, ClassicMember, ClassicRefusal, Phase, RequestId, Role};
use crate::fence::Committer;
use crate::ids::{MemberId, Now};

impl ClassicGroup {
    /// Begins to form a generation, or goes on with it.
    pub(super) fn begin_rebalance(&mut self, now: Now) {
        let timeout = self.rebalance_timeout_ms();
        match self.phase {
            Phase::Empty => {
                let hold = now.moment.after_ms(self.config.initial_delay_ms.min(timeout));
                self.phase = Phase::Joining { until: now.moment.after_ms(timeout), hold: Some(hold) };
            }
            Phase::Joining { until, hold: Some(_) } => {
                // Somebody more has come: there may be more to come.
                let hold = now.moment.after_ms(self.config.initial_delay_ms).min(until);
                self.phase = Phase::Joining { until, hold: Some(hold) };
            }
            Phase::Joining { hold: None, .. } => {}
            Phase::Syncing { .. } | Phase::Stable => {
                let syncs: Vec<RequestId> =
                    self.members.values_mut().filter_map(|live| live.sync.take()).collect();
                for request in syncs {
                    self.reply(request, Err(ClassicRefusal::Rebalancing));
                }
                self.phase = Phase::Joining { until: now.moment.after_ms(timeout), hold: None };
            }
        }
        self.form_if_complete(now);
    }

    /// Forms the generation if nobody is waited for any more.
    pub(super) fn form_if_complete(&mut self, now: Now) {
        let Phase::Joining { until, hold } = self.phase else { return };
        let all = self.members.values().all(|live| live.join.is_some());
        let held = hold.is_some_and(|hold| now.moment < hold);
        if (all && !held) || now.moment >= until || self.members.is_empty() {
            self.form(now);
        }
    }

    fn form(&mut self, now: Now) {
        // Who has not come is out; a static member has until its session ends.
        let late: Vec<MemberId> = self
            .members
            .iter()
            .filter(|(_, live)| live.join.is_none() && live.profile.instance.is_none())
            .map(|(id, _)| id.clone())
            .collect();
        late.iter().for_each(|id| self.forget(id));
        let joined =
            |group: &ClassicGroup, id: &MemberId| group.members.get(id).is_some_and(|m| m.join.is_some());
        let leader = self.state.leader.clone().filter(|id| joined(self, id));
        let leader = leader.or_else(|| self.members.keys().find(|id| joined(self, id)).cloned());
        if leader.is_none() && !self.members.is_empty() {
            // Only static members that are away: nobody could lead.
            let until = now.moment.after_ms(self.rebalance_timeout_ms().max(1));
            self.phase = Phase::Joining { until, hold: None };
            return;
        }
        let next = self.state.generation.next();
        #[cfg(feature = "teeth")]
        let next = millrace_types::planted!(GenerationAgain, self.state.generation, else next);
        self.state.generation = next;
        self.state.protocol = self.elect_protocol();
        self.state.leader = leader;
        self.state.members =
            self.members.iter().map(|(id, live)| (id.clone(), unassigned(&live.profile))).collect();
        self.state.synced = false;
        self.state.emptied_at = self.members.is_empty().then_some(now.wall);
        self.write();
        if self.members.is_empty() {
            self.phase = Phase::Empty;
            return;
        }
        self.phase = Phase::Syncing { until: now.moment.after_ms(self.rebalance_timeout_ms().max(1)) };
        let mut waiting = Vec::new();
        for (id, live) in &mut self.members {
            live.profile.assignment = bytes::Bytes::new();
            live.has_synced = false;
            if let Some(request) = live.join.take() {
                live.session_until = now.moment.after_ms(live.profile.session_timeout_ms);
                waiting.push((request, id.clone()));
            }
        }
        waiting.into_iter().for_each(|(request, id)| self.tell_generation(request, &id));
    }

    /// Every member votes for the first of its protocols that all know.
    fn elect_protocol(&self) -> Option<String> {
        let common = self.common_protocols();
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for live in self.members.values() {
            let mut known = live.profile.protocols.iter().map(|protocol| protocol.name.as_str());
            if let Some(name) = known.find(|name| common.contains(*name)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max();
        votes.into_iter().find(|(_, count)| Some(*count) == most).map(|(name, _)| name.to_owned())
    }

    /// Answers a join with the generation that there is.
    pub(super) fn tell_generation(&mut self, request: RequestId, member: &MemberId) {
        let (Some(protocol), Some(leader)) = (self.state.protocol.clone(), self.state.leader.clone()) else {
            return self.reply(request, Err(ClassicRefusal::Rebalancing));
        };
        if let Some(live) = self.members.get_mut(member) {
            live.knows_its_id = true;
        }
        let told = || {
            let metadata = |m: &ClassicMember| {
                let found = m.protocols.iter().find(|known| known.name == protocol);
                found.map(|known| known.metadata.clone()).unwrap_or_default()
            };
            self.state.members.iter().map(|(id, m)| (id.clone(), m.instance.clone(), metadata(m))).collect()
        };
        let role = match (leader == *member, self.state.synced) {
            (false, _) => Role::Follower,
            (true, false) => Role::Leader(told()),
            (true, true) => Role::ReturnedLeader(told()),
        };
        let generation = self.state.generation;
        let (member, protocol_type) = (member.clone(), self.state.protocol_type.clone());
        let answer = ClassicAnswer::Joined { member, generation, protocol_type, protocol, leader, role };
        self.reply(request, Ok(answer));
    }

    pub(super) fn leave(&mut self, who: &Committer, now: Now) -> Result<(), ClassicRefusal> {
        if let Some(member) = &who.member
            && self.expected.remove(member).is_some()
        {
            return Ok(());
        }
        let member = self.identify(who)?;
        self.forget(&member);
        self.begin_rebalance(now);
        Ok(())
    }

    /// Nobody waits for that any more. The member has its session to come back in; one that cannot, because it was never told
    /// who it is, is out with the next deadline, which is now.
    pub(super) fn hung_up(&mut self, request: RequestId, now: Now) {
        for live in self.members.values_mut() {
            if live.join == Some(request) {
                live.join = None;
                let comes_back = live.knows_its_id || live.profile.instance.is_some();
                let session_ms = if comes_back { live.profile.session_timeout_ms } else { 0 };
                live.session_until = now.moment.after_ms(session_ms);
            } else if live.sync == Some(request) {
                live.sync = None;
            }
        }
    }

    /// The member is none any more; if it waits, it hears so.
    fn forget(&mut self, member: &MemberId) {
        let Some(live) = self.members.remove(member) else { return };
        if let Some(instance) = &live.profile.instance {
            self.instances.remove(instance);
        }
        for request in live.join.into_iter().chain(live.sync) {
            let unknown = crate::fence::Stranger::Unknown { member: member.clone() };
            self.reply(request, Err(unknown.into()));
        }
    }

    pub(super) fn expire(&mut self, now: Now) {
        self.expected.retain(|_, until| *until > now.moment);
        let syncing_is_over = matches!(self.phase, Phase::Syncing { until } if until <= now.moment);
        let silent: Vec<MemberId> = self
            .members
            .iter()
            .filter(|(_, live)| {
                let late = syncing_is_over && !live.has_synced && live.sync.is_none();
                late || (self.counts(live) && live.session_until <= now.moment)
            })
            .map(|(id, _)| id.clone())
            .collect();
        silent.iter().for_each(|id| self.forget(id));
        if !silent.is_empty() || syncing_is_over {
            self.begin_rebalance(now);
        } else if let Phase::Joining { until, hold } = self.phase {
            if hold.is_some_and(|hold| hold <= now.moment) {
                self.phase = Phase::Joining { until, hold: None };
            }
            self.form_if_complete(now);
        }
    }
}

fn unassigned(profile: &ClassicMember) -> ClassicMember {
    ClassicMember { assignment: bytes::Bytes::new(), ..profile.clone() }
}
