//! Sync and heartbeat: only members of the newest generation are heard.

use std::collections::BTreeMap;

use millrace_types::limits::CLASSIC_ASSIGNMENTS_BYTES_MAX;

use super::{ClassicAnswer, ClassicGroup, ClassicRefusal, ClassicSync, Phase, RequestId};
use crate::fence::{Committer, Stranger};
use crate::ids::{MemberId, Now};

impl ClassicSync {
    /// Whether all of it is within bounds.
    ///
    /// # Errors
    /// [`ClassicRefusal::OutOfRange`].
    pub fn check(&self) -> Result<(), ClassicRefusal> {
        let bytes: usize = self.assignments.iter().map(|(id, share)| id.as_str().len() + share.len()).sum();
        if bytes > CLASSIC_ASSIGNMENTS_BYTES_MAX {
            let given = u64::try_from(bytes).unwrap_or(u64::MAX);
            return Err(ClassicRefusal::OutOfRange { what: "assignments", given });
        }
        Ok(())
    }
}

impl ClassicGroup {
    pub(super) fn sync(&mut self, request: RequestId, sync: ClassicSync, now: Now) {
        if let Err(refusal) = self.try_sync(request, sync, now) {
            self.reply(request, Err(refusal));
        }
    }

    fn try_sync(&mut self, request: RequestId, sync: ClassicSync, now: Now) -> Result<(), ClassicRefusal> {
        let member = self.hear(&sync.who, now)?;
        let other_type = sync.protocol_type.as_ref().is_some_and(|given| *given != self.state.protocol_type);
        if other_type || (sync.protocol.is_some() && sync.protocol != self.state.protocol) {
            return Err(ClassicRefusal::InconsistentProtocol);
        }
        sync.check()?;
        match self.phase {
            Phase::Empty | Phase::Joining { .. } => Err(ClassicRefusal::Rebalancing),
            Phase::Stable => {
                self.tell_assignment(request, &member);
                Ok(())
            }
            Phase::Syncing { .. } => {
                let before = self.members.get_mut(&member).and_then(|live| live.sync.replace(request));
                if let Some(before) = before {
                    self.reply(before, Err(ClassicRefusal::Rebalancing));
                }
                let leads = self.state.leader.as_ref() == Some(&member);
                #[cfg(feature = "teeth")]
                let leads = millrace_types::planted!(FollowerAssigns, true, else leads);
                if leads {
                    self.take_assignments(sync.assignments.into_iter().collect());
                }
                Ok(())
            }
        }
    }

    /// The leader has assigned: written down, then told to all who wait.
    fn take_assignments(&mut self, mut assignments: BTreeMap<MemberId, bytes::Bytes>) {
        for (id, written) in &mut self.state.members {
            written.assignment = assignments.remove(id).unwrap_or_default();
            if let Some(live) = self.members.get_mut(id) {
                live.profile.assignment = written.assignment.clone();
            }
        }
        self.state.synced = true;
        self.phase = Phase::Stable;
        self.write();
        let waiting: Vec<(RequestId, MemberId)> =
            self.members.iter_mut().filter_map(|(id, live)| Some((live.sync.take()?, id.clone()))).collect();
        waiting.into_iter().for_each(|(request, id)| self.tell_assignment(request, &id));
    }

    fn tell_assignment(&mut self, request: RequestId, member: &MemberId) {
        if let Some(live) = self.members.get_mut(member) {
            live.has_synced = true;
        }
        let protocol = self.state.protocol.clone().unwrap_or_default();
        let assignment = self.state.members.get(member).map(|written| written.assignment.clone());
        let (protocol_type, assignment) = (self.state.protocol_type.clone(), assignment.unwrap_or_default());
        let answer = ClassicAnswer::Synced { protocol_type, protocol, assignment };
        self.reply(request, Ok(answer));
    }

    pub(super) fn heartbeat(&mut self, who: &Committer, now: Now) -> Result<(), ClassicRefusal> {
        self.hear(who, now)?;
        match self.phase {
            Phase::Joining { .. } => Err(ClassicRefusal::Rebalancing),
            Phase::Empty | Phase::Syncing { .. } | Phase::Stable => Ok(()),
        }
    }

    /// A member of the newest generation gave a sign of life.
    fn hear(&mut self, who: &Committer, now: Now) -> Result<MemberId, ClassicRefusal> {
        if who.member.is_none() {
            return Err(Stranger::UnknownInstance { instance: who.instance.clone() }.into());
        }
        let member = self.identify(who)?;
        let current = self.state.generation;
        if who.epoch != Some(current) || !self.state.members.contains_key(&member) {
            return Err(ClassicRefusal::StaleGeneration { given: who.epoch, current });
        }
        if let Some(live) = self.members.get_mut(&member) {
            live.session_until = now.moment.after_ms(live.profile.session_timeout_ms);
        }
        Ok(member)
    }
}
