//! Heartbeats, and the driver's question on behalf of a member.

use std::collections::BTreeSet;

use millrace_types::TopicPartition;

use super::join::check_profile;
use super::{Assignment, ConsumerGroup, Heartbeat};
use crate::fence::{Refusal, Stranger};
use crate::ids::{GroupEpoch, MemberId, Now};
use crate::state::{Current, GroupRecord, Profile, Standing};

impl ConsumerGroup {
    pub(super) fn heartbeat(&mut self, heartbeat: Heartbeat, now: Now) -> Result<Assignment, Refusal> {
        let Heartbeat { member, instance, epoch, owned, profile } = heartbeat;
        let current = self.state.identify(&member, instance.as_ref(), &self.instances)?;
        check_epoch(current, epoch, owned.as_ref())?;
        if let Some(profile) = &profile {
            check_profile(profile)?;
        }
        let session_until = now.moment.after_ms(self.config.session_timeout_ms);
        self.with_live(&member, |live| {
            live.session_until = session_until;
            live.confirmed = true;
            if owned.is_some() {
                live.owned = owned;
            }
        });
        if let Some(profile) = profile {
            self.change_profile(&member, profile, now);
        }
        self.acknowledge(&member);
        self.reconcile(&member, now)
    }

    pub(super) fn poll(&mut self, member: &MemberId, now: Now) -> Result<Assignment, Refusal> {
        let current = self.state.identify(member, None, &self.instances)?;
        if current.standing == Standing::Departed {
            return Err(Stranger::Unknown { member: member.clone() }.into());
        }
        let before = current.clone();
        let answer = self.reconcile(member, now)?;
        if self.state.currents.get(member) != Some(&before) {
            // The member does not know yet, so what it said before is no answer to this.
            self.with_live(member, |live| live.owned = None);
        }
        Ok(answer)
    }

    fn change_profile(&mut self, member: &MemberId, mut profile: Profile, now: Now) {
        let Some(before) = self.state.members.get(member) else { return };
        profile.instance.clone_from(&before.instance);
        if profile == *before {
            return;
        }
        let matters = before.subscription != profile.subscription
            || before.rack != profile.rack
            || before.assignor != profile.assignor;
        self.write(GroupRecord::Member { member: member.clone(), value: Some(profile) });
        if matters {
            self.begin_epoch(now);
        }
    }
}

/// Whether the member is where it should be: at its epoch, or at the one before if the answer that told it the new one was
/// lost. Then it must show that it owns nothing that may be another's by now.
fn check_epoch(
    current: &Current,
    given: GroupEpoch,
    owned: Option<&BTreeSet<TopicPartition>>,
) -> Result<(), Refusal> {
    let missed_an_answer = given == current.previous_epoch
        && owned.is_some_and(|owned| {
            owned.iter().all(|p| current.assigned.contains(p) || current.revoking.contains(p))
        });
    if current.standing == Standing::Here && (given == current.epoch || missed_an_answer) {
        Ok(())
    } else {
        Err(Refusal::FencedEpoch { given, current: current.epoch })
    }
}
