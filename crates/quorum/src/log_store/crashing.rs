//! A power cut before every single call of the file system, in the history of a voter: votes, entries, entries that give way
//! to those of another leader, snapshots, purges, a snapshot of what the voter never had.
//!
//! What the next process finds is what was there before the step that was cut, or behind it; of entries that were being
//! added or cut away also some.

use futures::executor::block_on;
use millrace_env::sim::{Sim, Survival};
use millrace_schema::{QuorumPayload, QuorumSnapshot};
use openraft::Vote;
use openraft::storage::RaftLogStorageExt;

use super::tests::{DIR, Process, try_start};
use super::*;
use crate::raft::RaftId;
use crate::runtime::{enter, within};

/// What a voter knows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Known {
    vote: Option<u64>,
    purged: Option<u64>,
    /// Index and term of each entry.
    entries: Vec<(u64, u64)>,
}

impl Known {
    fn read(process: &Process, store: &LogStore) -> Known {
        let mut store = store.clone();
        let _within = enter(&process.env);
        let entries = block_on(store.try_get_log_entries(..)).unwrap();
        let state = block_on(store.get_log_state()).unwrap();
        let vote = block_on(store.read_vote()).unwrap();
        let known = Known {
            vote: vote.map(|vote| vote.leader_id().term),
            purged: state.last_purged_log_id.map(|last| last.index),
            entries: entries.iter().map(|entry| (entry.log_id.index, entry.log_id.leader_id.term)).collect(),
        };
        let last = known.entries.last().map(|entry| entry.0).or(known.purged);
        assert_eq!(state.last_log_id.map(|last| last.index), last);
        known
    }
}

/// One thing that openraft asks for.
#[derive(Clone, Copy, Debug)]
enum Step {
    Vote(u64),
    /// That many entries of a term.
    Append(u64, u64),
    Truncate(u64),
    /// A snapshot, and a purge up to the same entry.
    Purge(u64),
}

const HISTORY: [Step; 12] = [
    Step::Vote(1),
    Step::Append(4, 1),
    Step::Append(3, 1),
    Step::Vote(2),
    Step::Truncate(3),
    Step::Append(6, 2),
    Step::Purge(5),
    Step::Vote(3),
    Step::Append(2, 3),
    Step::Purge(10),
    Step::Purge(20),
    Step::Append(3, 4),
];

impl Step {
    /// What is known behind it.
    fn after(self, before: &Known) -> Known {
        let mut known = before.clone();
        let next = known.entries.last().map(|entry| entry.0).or(known.purged).map_or(0, |last| last + 1);
        match self {
            Step::Vote(term) => known.vote = Some(term),
            Step::Append(count, term) => {
                known.entries.extend((next..next + count).map(|index| (index, term)))
            }
            Step::Truncate(index) => known.entries.retain(|entry| entry.0 < index),
            Step::Purge(index) => {
                known.purged = Some(index);
                known.entries.retain(|entry| entry.0 > index);
            }
        }
        known
    }

    fn take(self, process: &Process, store: &mut LogStore, before: &Known) -> Result<(), String> {
        let own = store.own();
        let told = |error: &dyn std::fmt::Display| error.to_string();
        let at = |term, index| QuorumPosition { term, leader: own, index };
        let done = match self {
            Step::Vote(term) => {
                block_on(within(&process.env, store.save_vote(&Vote::new(term, RaftId(own)))))
            }
            Step::Append(..) => {
                let wanted = self.after(before).entries.split_off(before.entries.len());
                let entries = wanted.into_iter().map(|(index, term)| {
                    raft_entry_of(QuorumEntry { at: at(term, index), payload: QuorumPayload::Blank })
                });
                block_on(within(&process.env, store.blocking_append(entries.collect::<Vec<_>>())))
            }
            Step::Truncate(index) => block_on(within(&process.env, store.truncate(log_id_of(&at(2, index))))),
            Step::Purge(index) => {
                let files = QuorumFiles::new(Arc::clone(&process.env.fs), DIR.into());
                let last = Some(at(1, index));
                let snapshot = QuorumSnapshot { last, ..QuorumSnapshot::default() };
                files.write_snapshot(&snapshot.encode()).map_err(|error| told(&error))?;
                block_on(within(&process.env, store.purge(log_id_of(&at(1, index)))))
            }
        };
        done.map_err(|error| told(&error))
    }

    /// Whether a process may find this when the step was cut.
    fn allows(self, before: &Known, found: &Known) -> bool {
        let after = self.after(before);
        let between = |less: &Known, more: &Known| {
            let range = less.entries.len()..=more.entries.len();
            let is_prefix = more.entries.starts_with(&found.entries);
            (found.vote, found.purged) == (less.vote, less.purged)
                && range.contains(&found.entries.len())
                && is_prefix
        };
        match self {
            Step::Append(..) => between(before, &after),
            Step::Truncate(_) => between(&after, before),
            Step::Vote(_) | Step::Purge(_) => found == before || *found == after,
        }
    }
}

/// Lives up to the cut: what was known before the step that was cut, and that step. `None` if it began nothing. A cut that
/// a step did not notice is one behind it.
fn live(sim: &Sim, is_cut: impl Fn() -> bool) -> Result<Known, Option<(Known, Step)>> {
    let process = try_start(sim.env()).map_err(|_| None)?;
    let mut store = process.store.as_ref().map_err(|_| None)?.clone();
    let mut known = Known::default();
    for step in HISTORY {
        step.take(&process, &mut store, &known).map_err(|_| Some((known.clone(), step)))?;
        known = step.after(&known);
        if is_cut() {
            break;
        }
    }
    Ok(known)
}

/// Runs the history with a cut before call number `at`, and the start after it with another one. Answers whether the
/// history went that far.
fn cut_before(at: u64, survival: Survival) -> bool {
    let sim = Sim::new(at);
    let cut = sim.plan_cut(at, survival);
    let lived = live(&sim, || cut.happened());
    if !cut.happened() {
        assert!(lived.is_ok());
        return false;
    }
    drop(cut);
    let cut = sim.plan_cut(at % 37, survival);
    let _cut_again = try_start(sim.env());
    drop(cut);
    let process = try_start(sim.power_cut(survival)).unwrap();
    let store = process.store.as_ref().unwrap_or_else(|refusal| panic!("cut before call {at}: {refusal}"));
    let found = Known::read(&process, store);
    match lived {
        Ok(known) => assert_eq!(found, known, "cut before call {at}"),
        Err(None) => assert_eq!(found, Known::default(), "cut before call {at}"),
        Err(Some((before, step))) => {
            let is_allowed = step.allows(&before, &found);
            assert!(is_allowed, "cut before call {at}, in {step:?} of {before:?}: found {found:?}");
        }
    }
    true
}

#[test]
fn a_cut_before_any_call_takes_no_promise_back() {
    for survival in [Survival::Nothing, Survival::Random, Survival::Everything] {
        let cuts = (0..).take_while(|at| cut_before(*at, survival)).count();
        println!("{cuts} cuts, {survival:?} survives");
        assert!(cuts > 100);
    }
}
