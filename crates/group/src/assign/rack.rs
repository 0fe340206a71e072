//! Rack: sticky, then partitions are brought to members of a rack that has a replica, without changing who holds how much by
//! more than one and without making a move possible that would level them again (with unequal subscriptions, an exchange may).
//!
//! A partition is *near* if its owner's rack holds a replica. Two kinds of change make more of them near: a partition goes to
//! a lighter member, or two members exchange one each. Each change adds at least one near partition, so there is an end;
//! comparisons are bounded besides. What was near stays where it was: nothing moves for the sake of a tie.

use std::collections::{BTreeMap, BTreeSet};

use millrace_types::TopicPartition;
use millrace_types::limits::RACK_COMPARISONS_MAX;

use super::balance::{Keep, Table};
use super::{AssignInput, Target};
use crate::ids::RackId;

pub(super) fn assign(input: &AssignInput) -> Target {
    let mut table = Table::new(input);
    table.fill(Keep::Owned);
    table.level();
    let mut members_of: BTreeMap<&RackId, Vec<usize>> = BTreeMap::new();
    for (place, (_, member)) in table.members.iter().enumerate() {
        if let Some(rack) = &member.rack {
            members_of.entry(rack).or_default().push(place);
        }
    }
    let mut search = Search { input, members_of, comparisons_left: RACK_COMPARISONS_MAX };
    while search.pass(&mut table) {}
    table.into_target()
}

struct Search<'a> {
    input: &'a AssignInput,
    members_of: BTreeMap<&'a RackId, Vec<usize>>,
    comparisons_left: usize,
}

impl Search<'_> {
    /// Looks at every far partition once; whether any came nearer.
    fn pass(&mut self, table: &mut Table<'_>) -> bool {
        let far: Vec<TopicPartition> = table
            .owners
            .iter()
            .filter(|&(&partition, &owner)| !self.near(table, partition, owner))
            .map(|(&partition, _)| partition)
            .collect();
        let mut changed = false;
        for partition in far {
            // An exchange for an earlier one may have taken it along.
            let Some(&owner) = table.owners.get(&partition) else { continue };
            if !self.near(table, partition, owner) {
                changed |= self.bring_near(table, partition, owner);
            }
        }
        changed
    }

    fn bring_near(&mut self, table: &mut Table<'_>, partition: TopicPartition, owner: usize) -> bool {
        let racks = self.racks(partition).into_iter().flatten();
        let candidates: Vec<usize> =
            racks.filter_map(|rack| self.members_of.get(rack)).flatten().copied().collect();
        for candidate in candidates {
            if self.comparisons_left == 0 {
                return false;
            }
            self.comparisons_left -= 1;
            if !table.may_own(candidate, partition) {
                continue;
            }
            if table.load(candidate) < table.load(owner) {
                table.put(partition, candidate);
                if table.is_level_around(owner, candidate) {
                    return true;
                }
                table.put(partition, owner);
                continue;
            }
            let given = table.held(candidate).find(|&given| {
                self.comparisons_left = self.comparisons_left.saturating_sub(1);
                table.may_own(owner, given)
                    && (!self.near(table, given, candidate) || self.near(table, given, owner))
            });
            if let Some(given) = given {
                table.put(partition, candidate);
                table.put(given, owner);
                if table.is_level_around(owner, candidate) {
                    return true;
                }
                table.put(given, candidate);
                table.put(partition, owner);
            }
        }
        false
    }

    fn near(&self, table: &Table<'_>, partition: TopicPartition, place: usize) -> bool {
        let Some(rack) = &table.members[place].1.rack else { return false };
        self.racks(partition).is_some_and(|racks| racks.contains(rack))
    }

    /// The racks that hold a replica.
    fn racks(&self, partition: TopicPartition) -> Option<&BTreeSet<RackId>> {
        let index = usize::try_from(partition.partition.0).ok()?;
        self.input.topics.get(&partition.topic)?.partitions.get(index)
    }
}
