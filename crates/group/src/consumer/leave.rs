//! Going: of its own will, for now, by silence, by not letting go; and the end of the group.

use std::collections::BTreeSet;

use millrace_types::limits::MEMBER_RECONNECT_MS;

use super::{ConsumerGroup, Leaving, LostBecause};
use crate::fence::{Committer, Refusal};
use crate::ids::{MemberId, Now};
use crate::state::{GroupRecord, Standing};

impl ConsumerGroup {
    pub(super) fn leave(&mut self, who: &Committer, leaving: Leaving, now: Now) -> Result<(), Refusal> {
        let Some(member) = &who.member else { return Ok(()) };
        let current = self.state.identify(member, who.instance.as_ref(), &self.instances)?;
        if let Some(given) = who.epoch
            && given != current.epoch
            && given != current.previous_epoch
        {
            return Err(Refusal::FencedEpoch { given, current: current.epoch });
        }
        let mut next = current.clone();
        match leaving {
            Leaving::ForGood => {
                self.remove(member, LostBecause::Left);
                self.begin_epoch(now);
            }
            Leaving::ForNow => {
                if self.state.members.get(member).is_none_or(|profile| profile.instance.is_none()) {
                    return Err(Refusal::NotStatic);
                }
                self.release_all(member);
                (next.assigned, next.revoking) = (BTreeSet::new(), BTreeSet::new());
                next.standing = Standing::Departed;
                self.write_current(member, next);
                self.set_live(member, now, true);
            }
        }
        Ok(())
    }

    pub(super) fn disconnected(&mut self, member: &MemberId, now: Now) {
        let until = now.moment.after_ms(MEMBER_RECONNECT_MS);
        let here = self.state.currents.get(member).is_some_and(|c| c.standing == Standing::Here);
        if here {
            self.with_live(member, |live| live.session_until = live.session_until.min(until));
        }
    }

    /// All whose time is up go together, so that the others hear of one change.
    pub(super) fn expire(&mut self, now: Now) {
        let late = |(moment, _): &&(_, MemberId)| *moment <= now.moment;
        let late: Vec<MemberId> = self.deadlines.iter().take_while(late).map(|(_, id)| id.clone()).collect();
        for member in &late {
            let silent = self.live.get(member).is_some_and(|live| live.session_until <= now.moment);
            let because = if silent { LostBecause::SessionExpired } else { LostBecause::RevocationTimedOut };
            self.remove(member, because);
        }
        if !late.is_empty() {
            self.begin_epoch(now);
        }
    }

    pub(super) fn delete(&mut self) -> Result<(), Refusal> {
        let members = self.state.members.len();
        if members > 0 {
            return Err(Refusal::NotEmpty { members });
        }
        if !self.state.is_forgotten() {
            self.write(GroupRecord::Meta(None));
        }
        Ok(())
    }
}
