//! Every state that a crash can leave, as far as a budget goes: recovered by the real code, held against a ledger.
//!
//! The fault model is that of `millrace_env::sim`: what a sync moved is on the medium; of the rest any subset may be.
//! In the order of the ALICE study: run a workload once; stop at *every* call that it makes of the file system; at each
//! stop cut the power with every subset of up to four pending changes, and with each of them torn (see `survivors`);
//! recover; judge. Beside the power cuts, at each stop the process is killed (the cache lives on), and at each sync of
//! a file the sync fails, lies about it, and the process dies.

mod life;
mod points;
mod raw;
mod recovered;
mod survivors;
mod workloads;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use millrace_env::OpenMode;
use millrace_env::counting::CallKind;
use millrace_env::sim::{Fault, Sim, SimRng};

use crate::ledger::Ledger;
use life::Life;
use points::{Point, Recorder};
use recovered::Cache;
use survivors::{Survivors, survivor_sets};
use workloads::{WORKLOADS, Workload};

/// Violations after which a run gives up: one bug shows in many states.
const VIOLATIONS_MAX: usize = 20;

/// How much is tried.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Where all choices come from. Round `n` runs with `seed + n`.
    pub seed: u64,
    /// Rounds go on until so many distinct states were judged. One round always runs to its end.
    pub states: u64,
    /// At one crash point, so many torn and mixed states are tried beside the subsets.
    pub torn_max: usize,
    /// Only the workload of that name.
    pub workload: Option<String>,
    /// Only the crash point before that call.
    pub call: Option<u64>,
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
            if run.report.violations.len() >= VIOLATIONS_MAX {
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
        let mut life = Life::new(seed);
        let recorder = Recorder::start(&life.sim, &life.ledger);
        let outcome = catch_unwind(AssertUnwindSafe(|| (workload.run)(&mut life)));
        life.end();
        let (points, calls) = recorder.finish();
        let origin = Origin { workload: workload.name, seed };
        if let Err(what) = flat(outcome) {
            let operation = life.ledger.lock().operation;
            self.violation(Violation {
                seed,
                workload: workload.name,
                operation,
                call: calls,
                left: "the process itself".to_owned(),
                what,
            });
        }
        self.judged.clear();
        let mut ends: Vec<u64> = points.iter().skip(1).map(|point| point.call).collect();
        ends.push(calls + 1);
        for (point, next) in points.iter().zip(ends) {
            let tally = self.report.operations.entry(point.ledger.operation).or_default();
            tally.calls += next - point.call;
            if self.budget.call.is_some_and(|call| !(point.call..next).contains(&call)) {
                continue;
            }
            tally.points += 1;
            self.power_cuts(origin, point);
            self.kill(origin, point);
            self.failed_sync(origin, point);
            if self.report.violations.len() >= VIOLATIONS_MAX {
                return;
            }
        }
    }

    fn power_cuts(&mut self, origin: Origin, point: &Point<Ledger>) {
        let pending = point.sim.disk().pending();
        let draw = SimRng::new(origin.seed ^ point.call.rotate_left(32));
        for survivors in survivor_sets(&pending, &draw, self.budget.torn_max) {
            let sim = point.sim.fork(point.call);
            Survivors::cut_power(&survivors, sim.disk(), &pending);
            let digest = sim.disk().medium_digest();
            if self.media.insert(digest) {
                self.report.states += 1;
                self.tally(point).states += 1;
            }
            if self.judged.insert((digest, point.ledger.revision)) {
                self.judge(origin, point, (&sim, Cache::Honest), survivors.to_string());
            }
        }
    }

    fn kill(&mut self, origin: Origin, point: &Point<Ledger>) {
        let sim = point.sim.fork(point.call);
        sim.kill();
        self.judge(origin, point, (&sim, Cache::Honest), "what a kill leaves".to_owned());
    }

    /// The sync fails, its pages count as clean, and the process ends as it must. The next one must not believe the cache.
    fn failed_sync(&mut self, origin: Origin, point: &Point<Ledger>) {
        if point.kind != Some(CallKind::SyncData) {
            return;
        }
        let sim = point.sim.fork(point.call);
        sim.disk().inject(Fault::io(CallKind::SyncData));
        let synced = sim.disk().fs().open(&point.path, OpenMode::ReadWrite).and_then(|file| file.sync_data());
        if synced.is_ok() {
            return;
        }
        sim.disk().heal();
        sim.kill();
        self.judge(origin, point, (&sim, Cache::Lies), "what a failed sync and a kill leave".to_owned());
    }

    fn judge(&mut self, origin: Origin, point: &Point<Ledger>, (sim, cache): (&Sim, Cache), left: String) {
        self.tally(point).recoveries += 1;
        if let Err(what) =
            flat(catch_unwind(AssertUnwindSafe(|| recovered::check(sim, &point.ledger, cache))))
        {
            self.violation(Violation {
                seed: origin.seed,
                workload: origin.workload,
                operation: point.ledger.operation,
                call: point.call,
                left,
                what,
            });
        }
    }

    fn tally(&mut self, point: &Point<Ledger>) -> &mut Tally {
        self.report.operations.entry(point.ledger.operation).or_default()
    }

    fn violation(&mut self, violation: Violation) {
        self.report.operations.entry(violation.operation).or_default().violations += 1;
        if self.report.violations.len() < VIOLATIONS_MAX {
            self.report.violations.push(violation);
        }
    }
}

/// A panic of the examined code is a broken promise like any other.
fn flat(outcome: std::thread::Result<Result<(), String>>) -> Result<(), String> {
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("panicked: {}", text.unwrap_or("without a message")))
    })
}
