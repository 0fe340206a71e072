//! `cargo xtask ci`: everything that must hold before a change lands, in steps with a share of the hour.
//!
//! The first thing it prints is what the machine lacks; the last is `N passed, N failed`, counting steps. A step that
//! fails makes the whole fail, but the others still run, unless the build itself failed and they need it.

mod inventory;
mod report;
mod steps;

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::test;
use crate::workspace::Metadata;
use report::Outcome;
use steps::{Context, STEPS};

/// A run that takes longer fails: what runs on every change must stay bearable.
const TOTAL_MAX: Duration = Duration::from_secs(60 * 60);
/// Then the command that still runs is killed, so that the summary is printed all the same.
const KILLED_AFTER: Duration = Duration::from_secs(80 * 60);
/// A step that takes so many times its share hangs: it is killed, so that those after it still have their say.
const SHARES_MAX: u32 = 2;

/// Runs every step. Does not come back when one failed: the closing line stays the last.
pub(crate) fn run() -> Result<()> {
    let started = Instant::now();
    let metadata = Metadata::of_workspace()?;
    inventory::print(&metadata.target_directory);
    let report = test::fresh_report(&metadata)?;
    let mut context = Context { metadata, skip_report: report.clone(), end: started + KILLED_AFTER };

    let mut outcomes: Vec<Outcome> = Vec::new();
    for step in &STEPS {
        println!("\n=== {} ===", step.name);
        let unbuilt = step.after.filter(|after| {
            outcomes.iter().any(|outcome| outcome.step.name == *after && outcome.error.is_some())
        });
        let began = Instant::now();
        context.end = (started + KILLED_AFTER).min(began + SHARES_MAX * step.share.limit());
        let result = match unbuilt {
            Some(after) => Err(anyhow::anyhow!("not run: {after} failed")),
            None => (step.run)(&context),
        };
        let error = result.err().map(|error| format!("{error:#}"));
        let outcome = Outcome { step, took: began.elapsed(), error };
        match &outcome.error {
            Some(error) => {
                println!("--- {} FAILED after {}: {error}", step.name, report::clock(outcome.took))
            }
            None => println!("--- {} passed in {}", step.name, report::clock(outcome.took)),
        }
        outcomes.push(outcome);
    }

    println!("\n=== summary ===");
    test::print_report(&report);
    report::print_errors(&outcomes);
    let total = started.elapsed();
    report::print(&outcomes, total);
    let mut failed = outcomes.iter().filter(|outcome| outcome.error.is_some()).count();
    let passed = outcomes.len() - failed;
    if total > TOTAL_MAX {
        println!("the whole took {}, more than {}: FAILED", report::clock(total), report::clock(TOTAL_MAX));
        failed += 1;
    }
    println!("{passed} passed, {failed} failed");
    std::io::stdout().flush()?;
    if failed > 0 {
        std::process::exit(1);
    }
    Ok(())
}
