//! From one crash point to the states that it leaves, and to what is wrong with them.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use millrace_env::OpenMode;
use millrace_env::counting::CallKind;
use millrace_env::sim::{Fault, Sim, SimRng};
use parking_lot::Mutex;

use super::life::{BROKEN, Life};
use super::points::{Cache, Notes, Point, Recorder};
use super::survivors::{Survivors, survivor_sets};
use super::{Origin, Run, Tally, Violation};

/// One crash point in so many is also harmed.
const HARMED_ONE_IN: usize = 16;
/// What the table calls a crash inside of a recovery.
const RECOVERY: &str = "recovery itself";
/// What the table calls a bit that rots, or an index that is garbled.
const HARM: &str = "rot, garbled indexes";

/// What the table calls a sync that fails in a process that lives on.
const FAILED_SYNC: &str = "failed sync, alive";
/// One sync in so many fails, beginning at one that the seed says.
const FAILED_SYNCS_STEP: u64 = 3;

pub(super) type Outcome = std::thread::Result<Result<(), String>>;

/// A state that a crash has left.
struct State<'a> {
    sim: &'a Sim,
    cache: Cache,
    left: String,
    operation: &'static str,
}

impl Run {
    pub(super) fn crash_at<L: Notes>(&mut self, origin: Origin, recorder: Recorder<L>, outcome: Outcome) {
        let (points, calls) = recorder.finish();
        if let Err(what) = flat(outcome) {
            self.violation(Violation {
                seed: origin.seed,
                workload: origin.workload,
                operation: points.last().map_or("start", |point| point.ledger.operation()),
                call: calls,
                left: "the process itself".to_owned(),
                what,
            });
        }
        self.judged.clear();
        let mut ends: Vec<u64> = points.iter().skip(1).map(|point| point.call).collect();
        ends.push(calls + 1);
        for (number, (point, next)) in points.iter().zip(ends).enumerate() {
            let tally = self.tally(point);
            tally.calls += next - point.call;
            if self.budget.call.is_some_and(|call| !(point.call..next).contains(&call)) {
                continue;
            }
            self.tally(point).points += 1;
            self.power_cuts(origin, point);
            self.kill(origin, point);
            self.failed_sync(origin, point);
            if number % HARMED_ONE_IN == 0 {
                self.harm(origin, point);
            }
            if self.report.violations.len() >= self.budget.violations_max {
                return;
            }
        }
    }

    fn power_cuts<L: Notes>(&mut self, origin: Origin, point: &Point<L>) {
        let pending = point.sim.disk().pending();
        let draw = SimRng::new(origin.seed ^ point.call.rotate_left(32));
        let operation = point.ledger.operation();
        for survivors in survivor_sets(&pending, &draw, self.budget.torn_max) {
            let sim = point.sim.fork(point.call);
            survivors.cut_power(sim.disk(), &pending);
            let digest = sim.disk().medium_digest();
            if self.media.insert(digest) {
                self.report.states += 1;
                self.tally(point).states += 1;
            }
            if self.judged.insert((digest, point.ledger.revision())) {
                let again = digest.is_multiple_of(self.budget.second_one_in).then(|| sim.fork(point.call));
                let left = survivors.to_string();
                self.judge(origin, point, &State { sim: &sim, cache: Cache::Honest, left, operation });
                if let Some(again) = again {
                    self.crash_recovery(origin, point, again, &survivors);
                }
            }
        }
    }

    /// Crashes the recovery of a state, at every call that it makes.
    fn crash_recovery<L: Notes>(&mut self, origin: Origin, point: &Point<L>, state: Sim, first: &Survivors) {
        let state = Arc::new(state);
        let recorder = Recorder::start(&state, &Arc::new(Mutex::new(point.ledger.clone())));
        // Whether it recovers was judged already.
        let _judged = catch_unwind(AssertUnwindSafe(|| point.ledger.recover(&state)));
        let (points, calls) = recorder.finish();
        let tally = self.report.operations.entry(RECOVERY).or_default();
        tally.calls += calls;
        tally.points += points.len() as u64;
        let mut seen = BTreeSet::new();
        for second in &points {
            let pending = second.sim.disk().pending();
            let draw = SimRng::new(origin.seed ^ second.call.rotate_left(32));
            for survivors in survivor_sets(&pending, &draw, self.budget.torn_max.min(2)) {
                let sim = second.sim.fork(second.call);
                survivors.cut_power(sim.disk(), &pending);
                let digest = sim.disk().medium_digest();
                if self.media.insert(digest) {
                    self.report.states += 1;
                    self.report.operations.entry(RECOVERY).or_default().states += 1;
                }
                if seen.insert(digest) {
                    let left = format!(
                        "{first}, then recovery crashed before its call {}, left {survivors}",
                        second.call
                    );
                    let state = State { sim: &sim, cache: Cache::Honest, left, operation: RECOVERY };
                    self.judge(origin, point, &state);
                }
            }
        }
    }

    /// S12: runs the workload with one sync that fails, for one in some of its syncs. The process lives on, and must not
    /// acknowledge anything; the next one finds what was acknowledged before.
    pub(super) fn fail_syncs(&mut self, origin: Origin, live: fn(&mut Life) -> Result<(), String>) {
        for sync in
            (origin.seed % FAILED_SYNCS_STEP..).step_by(usize::try_from(FAILED_SYNCS_STEP).unwrap_or(1))
        {
            let mut life = Life::new(origin.seed);
            life.sim.disk().inject(Fault::io(CallKind::SyncData).after(sync));
            let outcome = catch_unwind(AssertUnwindSafe(|| fail_sync(&mut life, live)));
            if life.sim.calls().tally(CallKind::SyncData).failed == 0 {
                return;
            }
            self.report.operations.entry(FAILED_SYNC).or_default().points += 1;
            self.report.operations.entry(FAILED_SYNC).or_default().recoveries += 1;
            if let Err(what) = flat(outcome) {
                // One is enough: the others are the same bug.
                return self.violation(Violation {
                    seed: origin.seed,
                    workload: origin.workload,
                    operation: FAILED_SYNC,
                    call: life.sim.calls().total(),
                    left: format!("sync number {sync} fails, the process lives on"),
                    what,
                });
            }
        }
    }

    /// Bits that rot below the synced mark, indexes that are garbled.
    fn harm<L: Notes>(&mut self, origin: Origin, point: &Point<L>) {
        let draw = SimRng::new(origin.seed ^ point.call.rotate_left(16));
        let outcome = catch_unwind(AssertUnwindSafe(|| point.ledger.check_harmed(&point.sim, &draw)));
        let tally = self.report.operations.entry(HARM).or_default();
        tally.points += 1;
        if let Err(what) = flat(outcome) {
            self.violation(Violation {
                seed: origin.seed,
                workload: origin.workload,
                operation: HARM,
                call: point.call,
                left: "everything".to_owned(),
                what,
            });
        }
    }

    fn kill<L: Notes>(&mut self, origin: Origin, point: &Point<L>) {
        let sim = point.sim.fork(point.call);
        sim.kill();
        let (left, operation) = ("what a kill leaves".to_owned(), point.ledger.operation());
        self.judge(origin, point, &State { sim: &sim, cache: Cache::Honest, left, operation });
    }

    /// The sync fails, its pages count as clean, and the process ends as it must. The next one must not believe the cache.
    fn failed_sync<L: Notes>(&mut self, origin: Origin, point: &Point<L>) {
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
        let (left, operation) = ("what a failed sync and a kill leave".to_owned(), point.ledger.operation());
        self.judge(origin, point, &State { sim: &sim, cache: Cache::Lies, left, operation });
    }

    fn judge<L: Notes>(&mut self, origin: Origin, point: &Point<L>, state: &State<'_>) {
        let State { sim, cache, left, operation } = state;
        self.report.operations.entry(operation).or_default().recoveries += 1;
        if let Err(what) = flat(catch_unwind(AssertUnwindSafe(|| point.ledger.check(sim, *cache)))) {
            self.violation(Violation {
                seed: origin.seed,
                workload: origin.workload,
                operation,
                call: point.call,
                left: left.clone(),
                what,
            });
        }
    }

    fn tally<L: Notes>(&mut self, point: &Point<L>) -> &mut Tally {
        self.report.operations.entry(point.ledger.operation()).or_default()
    }

    fn violation(&mut self, violation: Violation) {
        self.report.operations.entry(violation.operation).or_default().violations += 1;
        if self.report.violations.len() < self.budget.violations_max {
            self.report.violations.push(violation);
        }
    }
}

/// A panic of the examined code is a broken promise like any other.
fn flat(outcome: Outcome) -> Result<(), String> {
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("panicked: {}", text.unwrap_or("without a message")))
    })
}

fn fail_sync(life: &mut Life, live: fn(&mut Life) -> Result<(), String>) -> Result<(), String> {
    let lived = live(life);
    if life.sim.calls().tally(CallKind::SyncData).failed == 0 {
        return lived;
    }
    match (lived, life.is_refused()) {
        (Err(what), _) | (_, Err(what)) if what.contains(BROKEN) => return Err(what),
        _ => {}
    }
    life.end();
    life.sim.kill();
    let ledger = life.ledger.lock().clone();
    ledger.check(&life.sim, Cache::Lies)
}
