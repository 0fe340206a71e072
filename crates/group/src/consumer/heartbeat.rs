//! Heartbeats, and the driver's question on behalf of a member.

use std::collections::BTreeSet;

use millrace_types::TopicPartition;
use millrace_types::limits::PARTITIONS_PER_REQUEST_MAX;

use super::join::check_profile;
use super::{Assignment, ConsumerGroup, Heartbeat};
use crate::fence::{Refusal, Stranger};
use crate::ids::{GroupEpoch, MemberId, Now};
use crate::state::{Current, GroupRecord, Profile, Standing};

impl ConsumerGroup {
    pub(super) fn heartbeat(&mut self, heartbeat: Heartbeat, now: Now) -> Result<Assignment, Refusal> {
        let Heartbeat { member, instance, epoch, heard, owned, profile } = heartbeat;
        let current = self.state.identify(&member, instance.as_ref(), &self.instances)?;
        check_epoch(current, epoch, owned.as_ref())?;
        if let Some(list) = &owned
            && list.len() > PARTITIONS_PER_REQUEST_MAX
        {
            return Err(Refusal::TooManyOwned { partitions: list.len() });
        }
        // Who comes with the epoch before has certainly not heard the newest.
        let up_to_date = heard.map_or(epoch == current.epoch, |heard| heard == current.revision);
        #[cfg(feature = "teeth")]
        let up_to_date = millrace_types::planted!(StaleListAcknowledges, true, else up_to_date);
        if let Some(profile) = &profile {
            check_profile(profile)?;
        }
        let session_until = now.moment.after_ms(self.config.session_timeout_ms);
        self.with_live(&member, |live| {
            live.session_until = session_until;
            live.confirmed = true;
        });
        if let Some(profile) = profile {
            self.change_profile(&member, profile, now);
        }
        if let Some(owned) = owned.filter(|_| up_to_date) {
            self.acknowledge(&member, &owned);
        }
        self.reconcile(&member, now)
    }

    pub(super) fn poll(&mut self, member: &MemberId, now: Now) -> Result<Assignment, Refusal> {
        let current = self.state.identify(member, None, &self.instances)?;
        if current.standing == Standing::Departed {
            return Err(Stranger::Unknown { member: member.clone() }.into());
        }
        self.reconcile(member, now)
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
    let may_own = |p: &TopicPartition| current.assigned.contains(p) || current.revoking.contains(p);
    let missed_an_answer =
        given == current.previous_epoch && owned.is_some_and(|owned| owned.iter().all(may_own));
    if current.standing == Standing::Here && (given == current.epoch || missed_an_answer) {
        Ok(())
    } else {
        Err(Refusal::FencedEpoch { given, current: current.epoch })
    }
}
