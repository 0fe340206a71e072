//! Joining: a new member, the same join again, a new beginning, or a new life of a static member.

use millrace_types::limits::{REBALANCE_TIMEOUT_MS_MAX, SUBSCRIBED_NAMES_MAX};

use super::{Assignment, ConsumerGroup, Join, LostBecause};
use crate::fence::Refusal;
use crate::ids::{MemberId, Now};
use crate::state::{Current, GroupRecord, Profile, Standing};

impl ConsumerGroup {
    pub(super) fn join(&mut self, join: Join, now: Now) -> Result<Assignment, Refusal> {
        check_profile(&join.profile)?;
        let Join { member, profile } = join;
        let before = profile.instance.as_ref().and_then(|instance| self.instances.get(instance)).cloned();
        if self.state.members.contains_key(&member) {
            if self.is_repeated(&member, &profile) {
                let session_until = now.moment.after_ms(self.config.session_timeout_ms);
                self.with_live(&member, |live| live.session_until = session_until);
                return self.reconcile(&member, now);
            }
            self.begin_anew(&member, profile, before, now);
        } else if let Some(before) = before {
            self.replace(&before, &member, profile, now);
        } else {
            let max = self.config.members_max;
            if self.state.members.len() >= max {
                return Err(Refusal::Full { max });
            }
            self.admit(&member, profile, now);
            self.begin_epoch(now);
        }
        self.reconcile(&member, now)
    }

    /// Whether this is the join that was answered already, by an answer that got lost.
    fn is_repeated(&self, member: &MemberId, profile: &Profile) -> bool {
        self.live.get(member).is_some_and(|live| !live.confirmed)
            && self.state.members.get(member) == Some(profile)
            && self.state.currents.get(member).is_some_and(|current| current.standing == Standing::Here)
    }

    fn admit(&mut self, member: &MemberId, profile: Profile, now: Now) {
        if let Some(instance) = &profile.instance {
            self.instances.insert(instance.clone(), member.clone());
        }
        self.write(GroupRecord::Member { member: member.clone(), value: Some(profile) });
        let revision = self.state.currents.get(member).map_or(0, |current| current.revision);
        self.write_current(member, Current { revision, ..Current::default() });
        self.set_live(member, now, false);
    }

    /// The member has forgotten what it owned. Its earlier epoch must not be believed any more, so there is a new one.
    fn begin_anew(&mut self, member: &MemberId, profile: Profile, namesake: Option<MemberId>, now: Now) {
        self.release_all(member);
        if let Some(namesake) = namesake.filter(|namesake| namesake != member) {
            self.remove(&namesake, LostBecause::Replaced);
        }
        let before = self.state.members.get(member).and_then(|profile| profile.instance.clone());
        if let Some(before) = before {
            self.instances.remove(&before);
        }
        self.draft.lost.push((member.clone(), LostBecause::JoinedAgain));
        self.admit(member, profile, now);
        self.begin_epoch(now);
    }

    /// A new life takes the place of a static member: its target goes over, nobody else hears of it.
    fn replace(&mut self, before: &MemberId, member: &MemberId, profile: Profile, now: Now) {
        let target = self.state.targets.get(before).cloned().unwrap_or_default();
        let same = self.state.members.get(before).is_some_and(|old| {
            (&old.subscription, &old.rack, old.assignor)
                == (&profile.subscription, &profile.rack, profile.assignor)
        });
        self.release_all(before);
        self.remove(before, LostBecause::Replaced);
        self.admit(member, profile, now);
        self.set_target(member, target);
        if !same {
            self.begin_epoch(now);
        }
    }

    /// Lets go of all that a member owns. Its target stays.
    pub(super) fn release_all(&mut self, member: &MemberId) {
        let held: Vec<_> =
            self.state.currents.get(member).into_iter().flat_map(|current| current.held()).collect();
        self.release(held);
    }

    /// Takes a member out. The epoch is the caller's business.
    pub(super) fn remove(&mut self, member: &MemberId, because: LostBecause) {
        self.release_all(member);
        self.untarget(member);
        self.forget_live(member);
        let profile = self.state.members.get(member);
        if let Some(instance) = profile.and_then(|profile| profile.instance.clone())
            && self.instances.get(&instance) == Some(member)
        {
            self.instances.remove(&instance);
        }
        self.write(GroupRecord::Member { member: member.clone(), value: None });
        self.write(GroupRecord::Target { member: member.clone(), value: None });
        self.write(GroupRecord::Current { member: member.clone(), value: None });
        self.draft.lost.push((member.clone(), because));
    }
}

pub(super) fn check_profile(profile: &Profile) -> Result<(), Refusal> {
    let (names, ms) = (profile.subscription.names.len(), profile.rebalance_timeout_ms);
    if names > SUBSCRIBED_NAMES_MAX {
        return Err(Refusal::TooManyNames { names });
    }
    if ms > REBALANCE_TIMEOUT_MS_MAX {
        return Err(Refusal::RebalanceTimeout { ms });
    }
    Ok(())
}
