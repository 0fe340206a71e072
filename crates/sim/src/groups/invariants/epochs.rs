//! G2: what a member is told never goes back, also over restarts: its epoch does not fall, one revision says one thing, and who comes
//! new is ahead of everything that was ever told.

use std::collections::BTreeMap;

use millrace_group::consumer::Assignment;
use millrace_group::{GroupEpoch, MemberId};

use super::{Invariant, Scene, Sent, Verdict};
use crate::groups::wire::{Ask, Letter, RequestNo, Told};

#[derive(Default)]
pub(crate) struct Epochs {
    told: BTreeMap<MemberId, Assignment>,
    /// The largest that was told when each join came.
    newest: GroupEpoch,
    at_arrival: BTreeMap<RequestNo, GroupEpoch>,
}

impl Invariant for Epochs {
    fn name(&self) -> &'static str {
        "what a member is told never goes back"
    }

    fn arrived(&mut self, _: Scene<'_>, request: RequestNo, sent: &Sent) -> Verdict {
        if matches!(sent.ask, Ask::Join { .. }) {
            self.at_arrival.insert(request, self.newest);
        }
        Ok(())
    }

    fn let_out(&mut self, _: Scene<'_>, letter: &Letter, answers: Option<(RequestNo, &Sent)>) -> Verdict {
        let Told::Assignment(assignment) = &letter.told else { return Ok(()) };
        let Assignment { member, epoch, revision, assigned, .. } = assignment;
        if let Some(before) = self.told.get(member) {
            if *epoch < before.epoch || *revision < before.revision {
                return Err(format!("{member} was told {before:?} and then {assignment:?}"));
            }
            if *revision == before.revision && (*epoch, assigned) != (before.epoch, &before.assigned) {
                return Err(format!("{member} was told {before:?} and {assignment:?} under one revision"));
            }
        }
        if let Some((request, Sent { ask: Ask::Join { profile, .. }, .. })) = answers
            && let Some(newest) = self.at_arrival.get(&request)
        {
            // A new life of a static member takes over the place, and with it the epoch.
            let risen = if profile.instance.is_some() { epoch >= newest } else { epoch > newest };
            if !risen {
                return Err(format!("{member} joins at {epoch}, {newest} was told before"));
            }
        }
        self.newest = self.newest.max(*epoch);
        self.told.insert(member.clone(), assignment.clone());
        Ok(())
    }
}
