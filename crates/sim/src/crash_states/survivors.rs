//! Which of the changes that no sync has moved reach the medium: the sets that are tried at one crash point.
//!
//! A *unit* is what reaches the medium on its own: a page of a file, its length, its cut, one change of directory
//! entries. All subsets of up to four units are tried; where there are more, four are drawn from the seed, and the
//! others are all lost or all there. Beside each subset one unit is torn in its ways: a page into sectors of 512 B
//! (a beginning, an end, one missing, one alone), a length at every page boundary. Then come mixtures from the seed.

use std::collections::BTreeSet;

use millrace_env::sim::{FileChange, PAGE_BYTES, Pending, SimDisk, SimRng};

/// Units of which all subsets are tried.
const UNITS_MAX: usize = 4;
/// Mixtures that are drawn where nothing limits them.
const MIXTURES: usize = 24;

/// One bit for each pending change: whether it survives.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Survivors(Vec<bool>);

impl Survivors {
    fn of(len: usize, kept: impl IntoIterator<Item = usize>) -> Survivors {
        let mut bits = vec![false; len];
        for index in kept {
            if let Some(bit) = bits.get_mut(index) {
                *bit = true;
            }
        }
        Survivors(bits)
    }

    /// Cuts the power of `disk`, of which `pending` was said.
    pub(super) fn cut_power(&self, disk: &SimDisk, pending: &[Pending]) {
        // Entries may repeat (a name that was made, unlinked and made again): they are asked about in their order.
        let entries = pending.iter().position(|one| matches!(one, Pending::Entry { .. }));
        let mut entry = entries.unwrap_or(pending.len());
        disk.power_cut_with(&mut |asked| {
            let index = match asked {
                Pending::Entry { .. } => {
                    entry += 1;
                    Some(entry - 1)
                }
                Pending::File { .. } => pending.iter().position(|one| one == asked),
            };
            index.is_some_and(|index| self.0.get(index) == Some(&true))
        });
    }
}

impl std::fmt::Display for Survivors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("-");
        }
        self.0.iter().try_for_each(|kept| f.write_str(if *kept { "1" } else { "0" }))
    }
}

/// The places of a unit's parts in the list of pending changes, in their order on the medium.
type Unit = Vec<usize>;

/// The sets to try at one point. All subsets come first; of the rest there are `rest_max` at most.
pub(super) fn survivor_sets(pending: &[Pending], draw: &SimRng, rest_max: usize) -> Vec<Survivors> {
    let units = units(pending);
    let len = pending.len();
    let (chosen, others) = choose(units, draw);
    let backgrounds: Vec<Vec<usize>> =
        if others.is_empty() { vec![Vec::new()] } else { vec![Vec::new(), others.concat()] };
    let mut sets = BTreeSet::new();
    let mut rest = BTreeSet::new();
    for background in &backgrounds {
        for subset in 0..1_usize << chosen.len() {
            let member = |unit: usize| subset & (1 << unit) != 0;
            let kept: Vec<usize> = chosen
                .iter()
                .enumerate()
                .filter(|(number, _)| member(*number))
                .flat_map(|(_, unit)| unit.iter().copied())
                .chain(background.iter().copied())
                .collect();
            sets.insert(Survivors::of(len, kept.iter().copied()));
            let torn_ones = chosen.iter().enumerate().filter(|(number, _)| !member(*number));
            for (_, unit) in torn_ones {
                for torn in tearings(unit, &pending_kind(pending, unit)) {
                    rest.insert(Survivors::of(len, kept.iter().copied().chain(torn)));
                }
            }
        }
    }
    let all: Vec<Unit> = chosen.into_iter().chain(others).collect();
    for _ in 0..if all.is_empty() { 0 } else { MIXTURES } {
        rest.insert(mixture(len, &all, pending, draw));
    }
    let mut rest: Vec<Survivors> = rest.into_iter().filter(|set| !sets.contains(set)).collect();
    while rest.len() > rest_max {
        rest.swap_remove(draw.index(rest.len()));
    }
    sets.into_iter().chain(rest).collect()
}

/// Up to four units, and the others.
fn choose(mut units: Vec<Unit>, draw: &SimRng) -> (Vec<Unit>, Vec<Unit>) {
    let mut chosen = Vec::new();
    while chosen.len() < UNITS_MAX && !units.is_empty() {
        let next = if units.len() + chosen.len() > UNITS_MAX { draw.index(units.len()) } else { 0 };
        chosen.push(units.remove(next));
    }
    (chosen, units)
}

fn units(pending: &[Pending]) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    let mut last = None;
    for (index, one) in pending.iter().enumerate() {
        let key = match one {
            Pending::Entry { .. } | Pending::File { change: FileChange::Cut { .. }, .. } => None,
            Pending::File { file, change: FileChange::Length { .. } } => Some((*file, None)),
            Pending::File { file, change: FileChange::Sector { position } } => {
                Some((*file, Some(position / PAGE_BYTES as u64)))
            }
        };
        match units.last_mut().filter(|_| key.is_some() && key == last) {
            Some(unit) => unit.push(index),
            None => units.push(vec![index]),
        }
        last = key;
    }
    units
}

/// How a unit tears.
enum Tears {
    /// Not at all.
    Never,
    /// After any part.
    AtBoundaries,
    /// Any part may be missing.
    Anywhere,
}

fn pending_kind(pending: &[Pending], unit: &Unit) -> Tears {
    match unit.first().and_then(|first| pending.get(*first)) {
        Some(Pending::File { change: FileChange::Length { .. }, .. }) => Tears::AtBoundaries,
        Some(Pending::File { change: FileChange::Sector { .. }, .. }) => Tears::Anywhere,
        _ => Tears::Never,
    }
}

/// What may be left of a torn unit: neither all of it nor nothing.
fn tearings(unit: &Unit, tears: &Tears) -> Vec<Vec<usize>> {
    let beginnings = (1..unit.len()).filter_map(|len| unit.get(..len).map(<[usize]>::to_vec));
    match tears {
        Tears::Never => Vec::new(),
        Tears::AtBoundaries => beginnings.collect(),
        Tears::Anywhere => {
            let ends = (1..unit.len()).filter_map(|from| unit.get(from..).map(<[usize]>::to_vec));
            let alone = unit.iter().map(|one| vec![*one]).filter(|_| unit.len() > 1);
            let missing = unit.iter().filter(|_| unit.len() > 2);
            let missing =
                missing.map(|gone| unit.iter().copied().filter(|one| one != gone).collect::<Vec<_>>());
            beginnings.chain(ends).chain(alone).chain(missing).collect()
        }
    }
}

/// Every unit with a fate of its own.
fn mixture(len: usize, units: &[Unit], pending: &[Pending], draw: &SimRng) -> Survivors {
    let mut kept = Vec::new();
    for unit in units {
        let torn = tearings(unit, &pending_kind(pending, unit));
        match draw.below(3) {
            0 => {}
            1 => kept.extend(unit.iter().copied()),
            _ if torn.is_empty() => {}
            _ => kept.extend(draw.pick(&torn).into_iter().flatten().copied()),
        }
    }
    Survivors::of(len, kept)
}
