//! Every state that a crash can leave, as far as a budget goes: recovered by the real code, held against a ledger.
//!
//! The fault model is that of `millrace_env::sim`: what a sync moved is on the medium; of the rest any subset may be.
//! In the order of the ALICE study: run a workload once; stop at *every* call that it makes of the file system; at each
//! stop cut the power with every subset of up to four pending changes, and with each of them torn (see `survivors`);
//! recover; judge. Beside the power cuts, at each stop the process is killed (the cache lives on), and at each sync of
//! a file the sync fails, lies about it, and the process dies. Some recoveries are crashed in turn, at every call that
//! they make, at some stops a bit rots below the synced mark, or an index is garbled, and in runs of their own a sync
//! fails and the process lives on.

mod compacted;
mod harmed;
mod judging;
mod life;
mod living_on;
mod points;
mod raw;
mod records;
mod recovered;
mod restarted;
mod survivors;
mod topics;
mod workloads;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use life::Life;
use points::Recorder;
use topics::Service;
use workloads::{Process, WORKLOADS, Workload};

/// How much is tried.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Where all choices come from. Round `n` runs with `seed + n`.
    pub seed: u64,
    /// Rounds go on until so many distinct states were judged. One round always runs to its end.
    pub states: u64,
    /// At one crash point, so many torn and mixed states are tried beside the subsets.
    pub torn_max: usize,
    /// Of the states that a power cut leaves, one in so many is crashed a second time, at every call of its recovery.
    pub second_one_in: u64,
    /// Violations after which a run gives up: one bug shows in many states.
    pub violations_max: usize,
    /// Only the workload of that name.
    pub workload: Option<String>,
    /// Only the crash point before that call.
    pub call: Option<u64>,
}

impl Default for Budget {
    /// One round that a change can wait for.
    fn default() -> Budget {
        Budget {
            seed: 0,
            states: 0,
            torn_max: 4,
            second_one_in: 300,
            violations_max: 20,
            workload: None,
            call: None,
        }
    }
}

/// What crashes at one kind of operation have shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Calls before which the process crashed.
    pub calls: u64,
    /// Crash points whose disk or ledger differs from that of the call before.
    pub points: u64,
    /// Media that no other crash has left.
    pub states: u64,
    /// Recoveries that were judged; one medium is judged again when more was acknowledged.
    pub recoveries: u64,
    /// Broken promises.
    pub violations: u64,
}

/// A broken promise, and how to see it again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The seed of the round.
    pub seed: u64,
    /// The workload.
    pub workload: &'static str,
    /// What the process was doing.
    pub operation: &'static str,
    /// The number of the call that was not made any more, from 0.
    pub call: u64,
    /// What was left: a bit for each pending change, or what else happened.
    pub left: String,
    /// What is wrong.
    pub what: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Violation { seed, workload, operation, call, left, what } = self;
        write!(
            f,
            "{workload}, {operation}, before call {call}, left {left}: {what}\n  again: MILLRACE_SEED={seed} \
             MILLRACE_WORKLOAD={workload} MILLRACE_CALL={call} cargo test --release -p millrace-sim --test \
             sim_crash_states -- --nocapture one_crash_point"
        )
    }
}

/// What a run has shown.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// By operation.
    pub operations: BTreeMap<&'static str, Tally>,
    /// Distinct media, over all operations.
    pub states: u64,
    /// Broken promises, the first ones.
    pub violations: Vec<Violation>,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{:<24}{:>9}{:>9}{:>9}{:>12}{:>12}",
            "operation", "calls", "points", "states", "recoveries", "violations"
        )?;
        for (operation, tally) in &self.operations {
            let Tally { calls, points, states, recoveries, violations } = tally;
            writeln!(f, "{operation:<24}{calls:>9}{points:>9}{states:>9}{recoveries:>12}{violations:>12}")?;
        }
        write!(f, "{} distinct states", self.states)
    }
}

/// Runs the workloads and judges what crashes leave, within `budget`. Never panics because a promise is broken.
#[must_use]
pub fn run(budget: &Budget) -> Report {
    let mut run = Run {
        budget: budget.clone(),
        media: BTreeSet::new(),
        judged: BTreeSet::new(),
        report: Report::default(),
    };
    for round in 0.. {
        for workload in
            WORKLOADS.iter().filter(|w| budget.workload.as_ref().is_none_or(|name| w.name == name))
        {
            run.crash(workload, budget.seed.wrapping_add(round));
            if run.report.violations.len() >= budget.violations_max {
                return run.report;
            }
        }
        if run.report.states >= budget.states || budget.call.is_some() {
            break;
        }
    }
    run.report
}

struct Run {
    budget: Budget,
    /// Digests of media that were seen.
    media: BTreeSet<u64>,
    /// Media with what was known when they were judged.
    judged: BTreeSet<(u64, u64)>,
    report: Report,
}

/// Where a state comes from.
#[derive(Clone, Copy)]
struct Origin {
    workload: &'static str,
    seed: u64,
}

impl Run {
    fn crash(&mut self, workload: &Workload, seed: u64) {
        let origin = Origin { workload: workload.name, seed };
        match workload.process {
            Process::Logs(live) => {
                if self.budget.call.is_none() {
                    self.fail_syncs(origin, live);
                }
                let mut life = Life::new(seed);
                let recorder = Recorder::start(&life.sim, &life.ledger);
                let outcome = catch_unwind(AssertUnwindSafe(|| live(&mut life)));
                life.end();
                self.crash_at(origin, recorder, outcome);
            }
            Process::Broker(live) => {
                let mut service = Service::new(seed);
                let recorder = Recorder::start(&service.sim, &service.told);
                let outcome = catch_unwind(AssertUnwindSafe(|| live(&mut service)));
                service.end();
                self.crash_at(origin, recorder, outcome);
            }
        }
    }
}
