//! One member's next step towards its target. It only ever happens while the member is being answered.

use std::collections::BTreeSet;

use millrace_types::TopicPartition;

use super::{Assignment, ConsumerGroup};
use crate::fence::{Refusal, Stranger};
use crate::ids::{MemberId, Now};
use crate::state::Current;

impl ConsumerGroup {
    /// The member may have let go of what it was told to: then others may have it, and its epoch rises by one, so that what
    /// it committed for those partitions before is refused if it arrives later.
    pub(super) fn acknowledge(&mut self, member: &MemberId, owned: &BTreeSet<TopicPartition>) {
        let Some(current) = self.state.currents.get(member) else { return };
        if current.revoking.is_empty() || !owned.is_disjoint(&current.revoking) {
            return;
        }
        let mut next = current.clone();
        let released = std::mem::take(&mut next.revoking);
        next.previous_epoch = current.epoch;
        next.epoch = current.epoch.next();
        #[cfg(feature = "teeth")]
        millrace_types::planted!(EpochNotRaised => next.epoch = current.epoch);
        self.write_current(member, next);
        self.with_live(member, |live| live.revoke_until = None);
        self.release(released);
    }

    /// Brings the member as near to its target as it can be now, and tells where that is.
    pub(super) fn reconcile(&mut self, member: &MemberId, now: Now) -> Result<Assignment, Refusal> {
        let unknown = || Refusal::Stranger(Stranger::Unknown { member: member.clone() });
        let current = self.state.currents.get(member).ok_or_else(unknown)?;
        let target = self.state.targets.get(member).cloned().unwrap_or_default();
        if current.revoking.is_empty() {
            let too_many: Vec<TopicPartition> = current.assigned.difference(&target).copied().collect();
            let mut next = current.clone();
            if too_many.is_empty() {
                let free = target.iter().filter(|partition| !self.owners.contains_key(partition));
                next.assigned.extend(free);
                #[cfg(feature = "teeth")]
                millrace_types::planted!(TwoOwners => next.assigned.extend(&target));
                if next.epoch != self.state.meta.epoch {
                    next.previous_epoch = next.epoch;
                    next.epoch = self.state.meta.epoch;
                }
            } else {
                for partition in too_many {
                    next.assigned.remove(&partition);
                    next.revoking.insert(partition);
                }
            }
            if next != *current {
                self.advance(member, next, now);
            }
        }
        let current = self.state.currents.get(member).ok_or_else(unknown)?;
        Ok(Assignment {
            member: member.clone(),
            epoch: current.epoch,
            revision: current.revision,
            assigned: current.assigned.clone(),
            waiting: target.difference(&current.assigned).count(),
        })
    }

    fn advance(&mut self, member: &MemberId, next: Current, now: Now) {
        self.owners.extend(next.assigned.iter().map(|partition| (*partition, member.clone())));
        let revoking = !next.revoking.is_empty();
        self.write_current(member, next);
        if revoking {
            self.expect_revocation(member, now);
        }
    }

    /// These are nobody's now; who is to own them is due.
    pub(super) fn release(&mut self, partitions: impl IntoIterator<Item = TopicPartition>) {
        for partition in partitions {
            self.owners.remove(&partition);
            if let Some(next) = self.targeted.get(&partition) {
                self.draft.due.insert(next.clone());
            }
        }
    }
}
