//! A power cut before every single call of the file system, in a history that does everything to a log.
//!
//! The cut strikes inside the operation, which then meets errors only. What the next process finds is held against
//! what was acknowledged, and against what the operation that was under way might have changed.

use std::sync::Arc;

use millrace_env::sim::{Sim, Survival};
use millrace_log::{DirError, Log, LogConfig, LogDir};

use crate::world::{batch, meta, offset, options, partition, small, values};

/// What the log must hold: one record for each offset.
#[derive(Debug, Default)]
struct Ledger {
    /// Values from `first` on, as written.
    written: Vec<Vec<u8>>,
    first: u64,
    /// Records below it are safe.
    acked: u64,
    log_start: u64,
    under_way: UnderWay,
}

/// An operation that may or may not have taken effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum UnderWay {
    #[default]
    Nothing,
    Truncation(u64),
    Trim(u64),
    Reset(u64),
}

impl Ledger {
    fn end(&self) -> u64 {
        self.first + self.written.len() as u64
    }

    fn check(&self, log: &Log) {
        let offsets = log.offsets();
        let (start, end) = (offsets.log_start.get().cast_unsigned(), offsets.end.get().cast_unsigned());
        if let UnderWay::Reset(to) = self.under_way
            && start == to
            && end == to
        {
            return;
        }
        let least = match self.under_way {
            UnderWay::Nothing | UnderWay::Trim(_) => self.acked,
            UnderWay::Truncation(to) => to.min(self.acked),
            UnderWay::Reset(_) => self.first.min(self.acked),
        };
        assert!(least <= end && end <= self.end(), "{least} to {} were due, {end} is the end", self.end());
        match self.under_way {
            UnderWay::Trim(to) => assert!(start == self.log_start || start == to, "{start}"),
            _ => assert_eq!(start, self.log_start.min(end)),
        }
        let expected: Vec<(i64, Vec<u8>)> = (self.first..end)
            .zip(&self.written)
            .skip_while(|(at, _)| *at < start)
            .map(|(at, value)| (at.cast_signed(), value.clone()))
            .collect();
        let found = values(log);
        let differ = found.iter().zip(&expected).position(|(one, other)| one != other);
        let (found, due) = (found.len(), expected.len());
        assert!(
            differ.is_none() && found == due,
            "{found} records, {due} were due, number {differ:?} differs; {:?} from {start} to {end}, {} acknowledged",
            self.under_way,
            self.acked
        );
    }
}

/// What is done to the machine, and what the log was told about syncs. The weaker modes are such that no thread of the
/// flusher has anything to do: the same calls in every run.
#[derive(Clone, Copy, Debug)]
struct Plan {
    mode: &'static str,
    survival: Survival,
}

impl Plan {
    fn config(self) -> LogConfig {
        LogConfig { sync_mode: self.mode.parse().unwrap(), ..small() }
    }

    /// Up to where the log is safe after an acknowledgement.
    fn safe_end(self, log: &Log, acked: u64) -> u64 {
        match self.survival {
            Survival::Everything => acked,
            _ if self.mode == "always" => acked,
            _ => log.offsets().synced_end.get().cast_unsigned(),
        }
    }
}

/// One history. Stops at the first error, which the cut has caused.
fn live(sim: &Sim, plan: Plan, ledger: &mut Ledger) -> Result<(), DirError> {
    let write = |log: &Arc<Log>, ledger: &mut Ledger, count| write(plan, log, ledger, count);
    let dir = LogDir::open(&sim.env(), options(0))?.dir;
    let log = dir.create(meta(0), plan.config())?;
    ledger.first = 0;
    write(&log, ledger, 30)?;
    dir.janitor_step();
    write(&log, ledger, 30)?;
    change(ledger, UnderWay::Truncation(55), || log.truncate_to(offset(55)))?;
    write(&log, ledger, 3)?;
    change(ledger, UnderWay::Truncation(20), || log.truncate_to(offset(20)))?;
    write(&log, ledger, 40)?;
    dir.janitor_step();
    change(ledger, UnderWay::Trim(45), || log.trim_to(offset(45)))?;
    write(&log, ledger, 5)?;
    dir.close()?;
    drop((dir, log));
    let dir = LogDir::open(&sim.env(), options(0))?.dir;
    let log = dir.open_log(partition(0), plan.config())?;
    write(&log, ledger, 5)?;
    change(ledger, UnderWay::Reset(10), || log.reset_to(offset(10)))?;
    write(&log, ledger, 25)?;
    change(ledger, UnderWay::Reset(500), || log.reset_to(offset(500)))?;
    write(&log, ledger, 25)?;
    dir.janitor_step();
    dir.close()
}

/// Appends; every third batch is left without a wait until the next one.
fn write(plan: Plan, log: &Arc<Log>, ledger: &mut Ledger, count: usize) -> Result<(), DirError> {
    for number in 0..count {
        let value = vec![u8::try_from(ledger.end() % 250).unwrap() + 1; 3000];
        let failed = |e: millrace_log::AppendError| DirError::Failed(e.to_string());
        let ticket = log.append(batch(&[&value])).map_err(failed)?;
        ledger.written.push(value);
        if number % 3 != 0 || number + 1 == count {
            ticket.wait().map_err(failed)?;
            ledger.acked = ledger.acked.max(plan.safe_end(log, ledger.end()));
        }
    }
    Ok(())
}

fn change(
    ledger: &mut Ledger,
    under_way: UnderWay,
    operation: impl FnOnce() -> Result<(), DirError>,
) -> Result<(), DirError> {
    ledger.under_way = under_way;
    operation()?;
    match under_way {
        UnderWay::Nothing => {}
        UnderWay::Truncation(to) => {
            ledger.written.truncate(usize::try_from(to - ledger.first).unwrap());
            ledger.acked = to;
        }
        UnderWay::Trim(to) => ledger.log_start = to,
        UnderWay::Reset(to) => {
            *ledger = Ledger { first: to, acked: to, log_start: to, ..Ledger::default() };
        }
    }
    ledger.under_way = UnderWay::Nothing;
    Ok(())
}

/// Runs the history with a cut before call number `at`, and the start after it with another one. Answers whether the
/// history went that far.
fn cut_before(at: u64, round: u64, plan: Plan) -> bool {
    let survival = plan.survival;
    let sim = Sim::new(at + (round << 32));
    let cut = sim.plan_cut(at, survival);
    let mut ledger = Ledger::default();
    let outcome = live(&sim, plan, &mut ledger);
    if !cut.happened() {
        outcome.unwrap();
        return false;
    }
    drop(cut);
    let cut = sim.plan_cut(at % 41, survival);
    if let Ok(opened) = LogDir::open(&sim.env(), options(0)) {
        let _cut_again = opened.dir.open_log(partition(0), plan.config());
    }
    drop(cut);
    sim.power_cut(survival);
    let opened = LogDir::open(&sim.env(), options(0)).unwrap();
    if opened.found.is_empty() {
        assert_eq!(ledger.acked, 0, "the partition is gone");
        return true;
    }
    let log = opened.dir.open_log(partition(0), plan.config()).unwrap();
    assert_eq!(opened.dir.start_report().damaged, Vec::<String>::new());
    ledger.check(&log);
    let end = log.offsets().end;
    assert_eq!(crate::world::append(&log, b"life goes on").unwrap().base_offset, end);
    opened.dir.janitor_step();
    opened.dir.close().unwrap();
    true
}

fn cut_everywhere(survival: Survival) {
    cut_everywhere_in(Plan { mode: "always", survival }, 3);
}

/// `CUT_ROUNDS=n` draws what survives n times, `CUT_BEFORE=n` begins with that call, `CUT_STRIDE=1` leaves out none.
fn cut_everywhere_in(plan: Plan, stride: u64) {
    let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse::<u64>().ok());
    let stride = number("CUT_STRIDE").unwrap_or(stride);
    for round in 0..number("CUT_ROUNDS").unwrap_or(1) {
        let mut at = number("CUT_BEFORE").unwrap_or(0);
        loop {
            let outcome = std::panic::catch_unwind(|| cut_before(at, round, plan));
            assert!(
                outcome.is_ok(),
                "a cut before call {at} in round {round} with {plan:?} breaks a promise"
            );
            if !outcome.unwrap_or(false) {
                break;
            }
            at += stride;
        }
        assert!(at > 300, "the history makes {at} calls only");
    }
}

#[test]
fn a_cut_before_any_call_that_takes_all_that_was_not_synced_breaks_no_promise() {
    cut_everywhere(Survival::Nothing);
}

#[test]
fn a_cut_before_any_call_that_takes_a_part_of_what_was_not_synced_breaks_no_promise() {
    cut_everywhere(Survival::Random);
}

#[test]
fn a_kill_before_any_call_breaks_no_promise() {
    cut_everywhere(Survival::Everything);
}

#[test]
fn a_cut_before_any_call_takes_a_suffix_of_what_was_not_synced_in_the_weaker_modes() {
    for mode in ["interval=3600000,16777216", "os"] {
        for survival in [Survival::Nothing, Survival::Random, Survival::Everything] {
            cut_everywhere_in(Plan { mode, survival }, 7);
        }
    }
}
