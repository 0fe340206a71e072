//! G3: a commit is refused, however late it comes, if it is of an older epoch than its member was told, of who is no member any
//! more, of an earlier life of a static member, of nobody while there are members, or for what another was told to own since.

use std::collections::BTreeMap;

use millrace_group::{Committer, GroupEpoch, InstanceId, MemberId};
use millrace_types::TopicPartition;

use super::{Invariant, Scene, Sent, Verdict};
use crate::groups::wire::{Ask, Letter, No, Position, RequestNo, Tick, Told};

#[derive(Default)]
pub(crate) struct Fencing {
    /// Who was told last to own it, and when.
    owners: BTreeMap<TopicPartition, (MemberId, Tick)>,
    /// The newest epoch that a member was told, and when first.
    epochs: BTreeMap<MemberId, (GroupEpoch, Tick)>,
    /// Since when somebody is certainly no member any more.
    gone: BTreeMap<MemberId, Tick>,
    /// The lives of static members, by when they came.
    lives: BTreeMap<InstanceId, BTreeMap<Tick, MemberId>>,
    /// Whether the group certainly had members when a commit came.
    in_company: BTreeMap<RequestNo, bool>,
}

impl Fencing {
    fn is_gone(&mut self, member: &MemberId, tick: Tick) {
        self.gone.entry(member.clone()).or_insert(tick);
    }

    fn judge(&self, request: RequestNo, arrived: Tick, who: &Committer, position: &Position) -> Verdict {
        let partition = position.partition;
        let Some(member) = &who.member else {
            return match self.in_company.get(&request) {
                Some(true) => Err(format!("nobody's commit of {partition} is taken while there are members")),
                _ => Ok(()),
            };
        };
        if self.gone.get(member).is_some_and(|since| *since < arrived) {
            return Err(format!("{member} is no member any more, and its commit of {partition} is taken"));
        }
        if let Some((owner, since)) = self.owners.get(&partition)
            && owner != member
            && *since < arrived
        {
            return Err(format!("{member}'s commit of {partition} is taken, which is {owner}'s"));
        }
        match (who.epoch, self.epochs.get(member)) {
            (Some(epoch), Some((told, since))) if epoch < *told && *since < arrived => {
                Err(format!("{member} was told {told}, its commit of {epoch} for {partition} is taken"))
            }
            (None, _) => Err(format!("{member}'s commit of no epoch for {partition} is taken")),
            _ => Ok(()),
        }
    }
}

impl Invariant for Fencing {
    fn name(&self) -> &'static str {
        "who is not to commit does not"
    }

    fn arrived(&mut self, scene: Scene<'_>, request: RequestNo, sent: &Sent) -> Verdict {
        match &sent.ask {
            Ask::Commit { who, .. } if who.member.is_none() => {
                self.in_company.insert(request, scene.has_members());
            }
            Ask::Join { member, profile } => {
                if let Some(instance) = &profile.instance {
                    self.lives.entry(instance.clone()).or_default().insert(scene.tick, member.clone());
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn let_out(&mut self, scene: Scene<'_>, letter: &Letter, answers: Option<(RequestNo, &Sent)>) -> Verdict {
        match (&letter.told, answers) {
            (Told::Done, Some((request, sent))) => match &sent.ask {
                Ask::Commit { who, position } => {
                    return self.judge(request, sent.arrived.unwrap_or_default(), who, position);
                }
                Ask::Leave { member, .. } => self.is_gone(member, scene.tick),
                _ => {}
            },
            (Told::No(No::Unknown | No::Fenced), Some((_, sent))) => {
                if let Ask::Heartbeat { member, .. } | Ask::Resume { member, .. } = &sent.ask {
                    self.is_gone(member, scene.tick);
                }
            }
            (Told::Assignment(assignment), answers) => {
                let member = &assignment.member;
                for partition in &assignment.assigned {
                    if self.owners.get(partition).is_none_or(|(owner, _)| owner != member) {
                        self.owners.insert(*partition, (member.clone(), scene.tick));
                    }
                }
                if self.epochs.get(member).is_none_or(|(epoch, _)| *epoch < assignment.epoch) {
                    self.epochs.insert(member.clone(), (assignment.epoch, scene.tick));
                }
                if let Some((_, Sent { ask: Ask::Join { profile, .. }, arrived, .. })) = answers {
                    let lives = profile.instance.as_ref().and_then(|instance| self.lives.get(instance));
                    let before =
                        lives.into_iter().flat_map(|lives| lives.range(..arrived.unwrap_or_default()));
                    let before: Vec<MemberId> = before.map(|(_, member)| member.clone()).collect();
                    before.iter().for_each(|member| self.is_gone(member, scene.tick));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
