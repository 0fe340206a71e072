//! What must hold, seen from outside.
//!
//! - A generation is in the log before anybody hears of it, and each that is heard of for the first time is above all before.
//! - One member leads it. Whoever is given something in it was given it by that member, for that generation, and nobody else has it.
//! - A commit that is taken stands in the log behind its own generation and before the next; one that arrives when somebody has
//!   heard of a later generation, or when its member has left or was replaced, is not taken.

use std::collections::{BTreeMap, BTreeSet};

use millrace_group::classic::{ClassicAnswer, ClassicState, Role};
use millrace_group::{GroupRecord, InstanceId, MemberId};

use super::coordinator::Entry;
use super::{Ask, Letter, RequestNo, Told, read_share};

type Verdict = Result<(), String>;

#[derive(Default)]
pub(super) struct Watch {
    /// The highest generation that somebody was told.
    told: i32,
    leaders: BTreeMap<i32, MemberId>,
    /// By generation and partition: whose it is.
    owners: BTreeMap<(i32, u32), String>,
    /// The lives of static members, the newest of each.
    lives: BTreeMap<InstanceId, MemberId>,
    /// Who was replaced by a newer life.
    replaced: BTreeSet<MemberId>,
    /// Who has left. That alone is not written down: until the next generation is, a coordinator that takes over still knows it.
    left: BTreeSet<MemberId>,
    /// Commits that must not be taken.
    late: BTreeSet<RequestNo>,
    seen: BTreeSet<RequestNo>,
}

fn generations(log: &[Entry]) -> impl Iterator<Item = &ClassicState> {
    let records = log.iter().flat_map(|entry| match entry {
        Entry::Group(records) => records.as_slice(),
        Entry::Commit { .. } => &[],
    });
    records.filter_map(|record| match record {
        GroupRecord::Classic(Some(state)) => Some(state),
        _ => None,
    })
}

/// What stays the same when a static member comes back.
fn seat(state: &ClassicState, id: &MemberId) -> String {
    let instance = state.members.get(id).and_then(|member| member.instance.as_ref());
    instance.map_or_else(|| id.to_string(), ToString::to_string)
}

impl Watch {
    /// The coordinator knows what its log says, and nothing else.
    pub(super) fn read_again(&mut self) {
        self.left.clear();
    }

    /// A request has arrived.
    pub(super) fn arrives(&mut self, request: RequestNo, ask: &Ask) {
        if let Ask::Commit(who) = ask
            && self.seen.insert(request)
        {
            let stale = who.epoch.is_none_or(|epoch| epoch.0 < self.told);
            let gone = |member| self.replaced.contains(member) || self.left.contains(member);
            if stale || who.member.as_ref().is_none_or(gone) {
                self.late.insert(request);
            }
        }
    }

    /// A letter leaves; `log` is what is committed by then.
    pub(super) fn leaves(&mut self, letter: &Letter, ask: &Ask, log: &[Entry]) -> Verdict {
        match &letter.told {
            Told::Committed if self.late.contains(&letter.request) => {
                Err(format!("a commit that came too late was taken: {ask:?}"))
            }
            Told::Of(answer) => match &**answer {
                Ok(ClassicAnswer::Joined { member, generation, role, .. }) => {
                    if let Ask::Join { instance: Some(instance), .. } = ask
                        && let Some(before) = self.lives.insert(instance.clone(), member.clone())
                        && before != *member
                    {
                        self.replaced.insert(before);
                    }
                    self.joined(generation.0, member, role, log)
                }
                Ok(ClassicAnswer::Synced { assignment, .. }) => match ask {
                    Ask::Sync { who, .. } => {
                        let (Some(member), Some(epoch)) = (&who.member, who.epoch) else { return Ok(()) };
                        self.synced(member, epoch.0, assignment, log)
                    }
                    _ => Err(format!("an assignment answers {ask:?}")),
                },
                Ok(ClassicAnswer::Done) => {
                    if let Ask::Leave(who) = ask {
                        self.left.extend(who.member.clone());
                    }
                    Ok(())
                }
                Err(_) => Ok(()),
            },
            Told::Committed | Told::Refused(_) | Told::Loading => Ok(()),
        }
    }

    fn joined(&mut self, generation: i32, member: &MemberId, role: &Role, log: &[Entry]) -> Verdict {
        if !generations(log).any(|state| state.generation.0 == generation) {
            return Err(format!("{member} is told of generation {generation}, which is not in the log"));
        }
        // Several hear of the newest; an answer that was overtaken by a later one is an old one.
        let newest = generations(log).map(|state| state.generation.0).max().unwrap_or(0);
        if generation > self.told && generation < newest && self.told == newest {
            return Err(format!("generation {generation} comes after {newest}"));
        }
        self.told = self.told.max(generation);
        if let Role::Leader(_) = role
            && let Some(before) = self.leaders.insert(generation, member.clone())
            && before != *member
        {
            return Err(format!("{before} and {member} both lead generation {generation}"));
        }
        Ok(())
    }

    fn synced(
        &mut self,
        member: &MemberId,
        generation: i32,
        assignment: &bytes::Bytes,
        log: &[Entry],
    ) -> Verdict {
        if assignment.is_empty() {
            return Ok(());
        }
        let Some((given_in, leader, partitions)) = read_share(assignment) else {
            return Err(format!("{member} is given {assignment:?}"));
        };
        let leads = self.leaders.get(&generation).map(ToString::to_string);
        if given_in != generation || leads.as_deref() != Some(leader.as_str()) {
            return Err(format!(
                "{member} has in generation {generation}, led by {leads:?}, what {leader} gave in {given_in}"
            ));
        }
        let written = generations(log)
            .filter(|state| state.generation.0 == generation && state.synced)
            .find(|state| state.members.contains_key(member));
        let Some(written) = written else {
            return Err(format!("what {member} is given in generation {generation} is not in the log"));
        };
        let seat = seat(written, member);
        for partition in partitions {
            let owner = self.owners.entry((generation, partition)).or_insert_with(|| seat.clone());
            if *owner != seat {
                return Err(format!("partition {partition} of generation {generation}: {owner} and {seat}"));
            }
        }
        Ok(())
    }

    /// The whole log.
    pub(super) fn judge_log(log: &[Entry]) -> Verdict {
        let mut newest = ClassicState::default();
        for entry in log {
            match entry {
                Entry::Group(records) => {
                    for state in generations(&[Entry::Group(records.clone())]) {
                        follows(&newest, state)?;
                        newest = state.clone();
                    }
                }
                Entry::Commit { who } => {
                    let known = who.member.as_ref().is_some_and(|member| newest.members.contains_key(member));
                    if who.epoch != Some(newest.generation) || !known {
                        let generation = newest.generation;
                        return Err(format!("a commit of {who:?} is stored in generation {generation}"));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether a record may stand behind another: the number of a generation goes up, or the same generation goes on with no
/// more members, and what it was given stays.
fn follows(before: &ClassicState, state: &ClassicState) -> Verdict {
    let (was, is) = (before.generation, state.generation);
    if is > was {
        return Ok(());
    }
    let seats = |of: &ClassicState| of.members.keys().map(|id| seat(of, id)).collect::<BTreeSet<_>>();
    if is < was || !seats(state).is_subset(&seats(before)) || (before.synced && !state.synced) {
        return Err(format!("generation {is} with {:?} follows {was}", seats(state)));
    }
    for (id, member) in &state.members {
        let seat_of = seat(state, id);
        let old = before.members.iter().find(|(old, _)| seat(before, old) == seat_of);
        if before.synced && old.is_some_and(|(_, old)| old.assignment != member.assignment) {
            return Err(format!("{id} was given something else in generation {is}"));
        }
    }
    Ok(())
}
