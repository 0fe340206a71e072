//! Crash states by the thousand: no promise is broken in any of them.
//!
//! `MILLRACE_SEED=n` repeats a run.
#![expect(clippy::print_stdout, reason = "a suite reports what it has tried")]

use millrace_sim::crash_states::{Budget, Report, run};

const SEED: u64 = 20_260;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn budget(states: u64, torn_max: usize, second_one_in: u64) -> Budget {
    Budget {
        seed: number("MILLRACE_SEED").unwrap_or(SEED),
        states,
        torn_max,
        second_one_in,
        ..Budget::default()
    }
}

fn judge(report: &Report) {
    println!("{report}");
    for violation in &report.violations {
        println!("{violation}");
    }
    assert!(report.violations.is_empty(), "{} broken promises", report.violations.len());
}

#[test]
fn two_thousand_crash_states_break_no_promise() {
    let report = run(&budget(2_000, 4, 300));
    judge(&report);
    assert!(report.states >= 2_000, "{} states", report.states);
}

/// What a longer run adds: more seeds, and every way to tear.
#[test]
#[ignore = "minutes: cargo xtask soak"]
fn twenty_thousand_crash_states_break_no_promise() {
    let report = run(&budget(20_000, usize::MAX, 300));
    judge(&report);
    assert!(report.states >= 20_000, "{} states", report.states);
}

/// The command that a violation prints runs this one: one workload, one crash point, everything that can be left there.
/// Without `MILLRACE_CALL` it is one round of that workload.
#[test]
fn one_crash_point() {
    let (workload, call) = (std::env::var("MILLRACE_WORKLOAD").ok(), number("MILLRACE_CALL"));
    if call.is_some() {
        judge(&run(&Budget { workload, call, ..budget(0, usize::MAX, 50) }));
    } else if workload.is_some() {
        judge(&run(&Budget { workload, ..budget(0, 4, 300) }));
    }
}

#[test]
fn the_same_seed_finds_the_same_states() {
    let budget = Budget { workload: Some("partitions".to_owned()), ..budget(0, 2, 50) };
    assert_eq!(run(&budget), run(&budget));
}
