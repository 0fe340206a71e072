//! Joining a classic group.

use millrace_types::limits::{
    CLASSIC_GROUP_BYTES_MAX, CLASSIC_METADATA_BYTES_MAX, CLASSIC_PROTOCOL_TYPE_BYTES_MAX,
    CLASSIC_PROTOCOLS_MAX, REBALANCE_TIMEOUT_MS_MAX, SESSION_TIMEOUT_MS_MAX, SESSION_TIMEOUT_MS_MIN,
};

use super::{Came, ClassicGroup, ClassicJoin, ClassicMember, ClassicRefusal, Live, Phase, RequestId};
use crate::fence::Stranger;
use crate::ids::{MemberId, Now};

impl ClassicGroup {
    pub(super) fn join(&mut self, request: RequestId, join: ClassicJoin, now: Now) {
        if let Err(refusal) = self.try_join(request, join, now) {
            self.reply(request, Err(refusal));
        }
    }

    /// Nothing has changed if it is refused, but for an id that was given out.
    fn try_join(&mut self, request: RequestId, join: ClassicJoin, now: Now) -> Result<(), ClassicRefusal> {
        join.check()?;
        let ClassicJoin { member, came, profile, protocol_type } = join;
        let holder = profile.instance.as_ref().and_then(|instance| self.instances.get(instance)).cloned();
        let of_old = match (&holder, came) {
            (Some(holder), Came::WithId) if *holder != member => {
                let fenced = |instance| Stranger::FencedInstance { instance };
                let unknown = Stranger::Unknown { member };
                return Err(profile.instance.map_or(unknown, fenced).into());
            }
            (Some(holder), Came::Fresh | Came::FreshAndReturns) => Some(holder.clone()),
            _ => None,
        };
        let namesake = of_old.as_ref().unwrap_or(&member);
        self.check_protocols(namesake, &profile, &protocol_type)?;
        self.check_room(namesake, &member, &profile)?;
        if let Some(before) = of_old {
            self.state.protocol_type = protocol_type;
            if self.replace(&before, &member, profile, now) {
                self.tell_generation(request, &member);
            } else {
                self.park_join(request, &member);
                self.begin_rebalance(now);
            }
            return Ok(());
        }
        if self.members.contains_key(&member) {
            self.state.protocol_type = protocol_type;
            self.join_again(request, &member, profile, now);
            return Ok(());
        }
        if came == Came::WithId && self.expected.remove(&member).is_none() {
            return Err(Stranger::Unknown { member }.into());
        }
        let max = self.config.members_max;
        if self.members.len() + self.expected.len() >= max {
            return Err(ClassicRefusal::Full { max });
        }
        if came == Came::FreshAndReturns && profile.instance.is_none() {
            self.expected.insert(member.clone(), now.moment.after_ms(profile.session_timeout_ms));
            return Err(ClassicRefusal::MemberIdRequired { member });
        }
        self.state.protocol_type = protocol_type;
        self.admit(&member, profile, now);
        if let Some(live) = self.members.get_mut(&member) {
            (live.join, live.knows_its_id) = (Some(request), came == Came::WithId);
        }
        self.begin_rebalance(now);
        Ok(())
    }

    /// Whether the group with this member in the place of its namesake still fits into a record.
    fn check_room(
        &self,
        namesake: &MemberId,
        member: &MemberId,
        profile: &ClassicMember,
    ) -> Result<(), ClassicRefusal> {
        let others = self.members.iter().filter(|(id, _)| *id != namesake);
        let others: usize = others.map(|(id, live)| live.profile.bytes(id)).sum();
        let bytes = others + profile.bytes(member);
        if bytes > CLASSIC_GROUP_BYTES_MAX {
            let given = u64::try_from(bytes).unwrap_or(u64::MAX);
            return Err(ClassicRefusal::OutOfRange { what: "the size of all members together", given });
        }
        Ok(())
    }

    fn check_protocols(
        &self,
        member: &MemberId,
        profile: &ClassicMember,
        protocol_type: &str,
    ) -> Result<(), ClassicRefusal> {
        let mut others = self.members.iter().filter(|(id, _)| *id != member).peekable();
        let same_type = others.peek().is_none() || self.state.protocol_type == protocol_type;
        let common = profile
            .protocols
            .iter()
            .any(|protocol| others.clone().all(|(_, live)| live.profile.knows(&protocol.name)));
        if same_type && common && !protocol_type.is_empty() {
            Ok(())
        } else {
            Err(ClassicRefusal::InconsistentProtocol)
        }
    }

    fn admit(&mut self, member: &MemberId, profile: ClassicMember, now: Now) {
        if let Some(instance) = &profile.instance {
            self.instances.insert(instance.clone(), member.clone());
        }
        let session_until = now.moment.after_ms(profile.session_timeout_ms);
        let (join, sync, has_synced, knows_its_id) = (None, None, false, false);
        let live = Live { profile, session_until, join, sync, has_synced, knows_its_id };
        self.members.insert(member.clone(), live);
    }

    /// A member comes again: it was told to, its answer was lost, or it wants something else.
    fn join_again(&mut self, request: RequestId, member: &MemberId, profile: ClassicMember, now: Now) {
        let leads = self.state.leader.as_ref() == Some(member);
        let Some(live) = self.members.get_mut(member) else { return };
        let same = live.profile.protocols == profile.protocols;
        let instance = live.profile.instance.take();
        live.profile = ClassicMember { instance, assignment: live.profile.assignment.clone(), ..profile };
        live.session_until = now.moment.after_ms(live.profile.session_timeout_ms);
        let in_generation = self.state.members.contains_key(member);
        let hears_again = match self.phase {
            Phase::Syncing { .. } => same && in_generation,
            Phase::Stable => same && in_generation && !leads,
            Phase::Empty | Phase::Joining { .. } => false,
        };
        if hears_again {
            self.tell_generation(request, member);
        } else {
            self.park_join(request, member);
            self.begin_rebalance(now);
        }
    }

    /// A new life takes the place of a static member, and the old one is fenced wherever it waits. Whether it also takes its
    /// place in the generation: that is so if the leader need not assign anew.
    fn replace(&mut self, before: &MemberId, member: &MemberId, profile: ClassicMember, now: Now) -> bool {
        let Some(old) = self.members.remove(before) else { return false };
        for request in old.join.into_iter().chain(old.sync) {
            if let Some(instance) = old.profile.instance.clone() {
                self.reply(request, Err(Stranger::FencedInstance { instance }.into()));
            }
        }
        let profile = ClassicMember { assignment: old.profile.assignment.clone(), ..profile };
        self.admit(member, profile, now);
        let Some(mut written) = self.state.members.remove(before) else { return false };
        let stays = self.phase == Phase::Stable && self.tells_the_same(&written, member);
        let led = self.state.leader.as_ref() == Some(before);
        if stays {
            let live = &self.members[member].profile;
            written.client_id.clone_from(&live.client_id);
            written.client_host.clone_from(&live.client_host);
            self.state.members.insert(member.clone(), written);
        }
        if led {
            self.state.leader = stays.then(|| member.clone());
        }
        // Also where a rebalance follows: the old life must stay fenced if another coordinator takes over before it ends.
        self.write();
        stays
    }

    /// Whether the leader would assign the new life as it did the old one.
    fn tells_the_same(&self, written: &ClassicMember, member: &MemberId) -> bool {
        let told = |m: &ClassicMember| {
            let chosen = m.protocols.iter().find(|p| Some(&p.name) == self.state.protocol.as_ref());
            chosen.map(|protocol| protocol.metadata.clone())
        };
        let live = self.members.get(member).and_then(|live| told(&live.profile));
        live.is_some() && live == told(written)
    }

    /// The join waits for the generation; one that waited before is the same client's, who has given it up.
    fn park_join(&mut self, request: RequestId, member: &MemberId) {
        let before = self.members.get_mut(member).and_then(|live| live.join.replace(request));
        if let Some(before) = before {
            self.reply(before, Err(ClassicRefusal::Rebalancing));
        }
    }
}

impl ClassicJoin {
    /// Whether all of it is within bounds.
    ///
    /// # Errors
    /// [`ClassicRefusal::OutOfRange`].
    pub fn check(&self) -> Result<(), ClassicRefusal> {
        let bytes = self.protocol_type.len();
        if bytes > CLASSIC_PROTOCOL_TYPE_BYTES_MAX {
            let given = u64::try_from(bytes).unwrap_or(u64::MAX);
            return Err(ClassicRefusal::OutOfRange { what: "a kind of protocol", given });
        }
        self.profile.check()
    }
}

impl ClassicMember {
    /// Whether all of it is within bounds.
    ///
    /// # Errors
    /// [`ClassicRefusal::OutOfRange`].
    pub fn check(&self) -> Result<(), ClassicRefusal> {
        let metadata: usize = self.protocols.iter().map(|p| p.name.len() + p.metadata.len()).sum();
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let session = self.session_timeout_ms;
        let (what, given) = if !(SESSION_TIMEOUT_MS_MIN..=SESSION_TIMEOUT_MS_MAX).contains(&session) {
            ("a session timeout", session)
        } else if self.rebalance_timeout_ms > REBALANCE_TIMEOUT_MS_MAX {
            ("a rebalance timeout", self.rebalance_timeout_ms)
        } else if self.protocols.len() > CLASSIC_PROTOCOLS_MAX {
            ("a number of protocols", count(self.protocols.len()))
        } else if metadata > CLASSIC_METADATA_BYTES_MAX {
            ("metadata", count(metadata))
        } else {
            return Ok(());
        };
        Err(ClassicRefusal::OutOfRange { what, given })
    }
}
