//! The closing table: how long each step took, and how the hour was shared.

use std::time::Duration;

use super::steps::{Share, Step};

/// How a step ended.
pub(super) struct Outcome {
    pub(super) step: &'static Step,
    pub(super) took: Duration,
    pub(super) error: Option<String>,
}

/// Prints once more what failed and what it said, near the end, where a reader looks first.
pub(super) fn print_errors(outcomes: &[Outcome]) {
    for Outcome { step, error, .. } in outcomes {
        if let Some(error) = error {
            println!("{} FAILED: {error}", step.name);
        }
    }
}

/// Prints the steps, then the shares; a share that is overdrawn is a warning.
pub(super) fn print(outcomes: &[Outcome], total: Duration) {
    for Outcome { step, took, error } in outcomes {
        let verdict = if error.is_some() { "FAILED" } else { "passed" };
        println!("{:<22} {:>8}  {verdict}", step.name, clock(*took));
    }
    println!();
    for (share, spent) in shares(outcomes) {
        let warning = if spent > share.limit() { "  WARNING: over its share" } else { "" };
        println!("{:<22} {:>8} of {}{warning}", share.name(), clock(spent), clock(share.limit()));
    }
    println!("{:<22} {:>8}\n", "total", clock(total));
}

fn shares(outcomes: &[Outcome]) -> Vec<(Share, Duration)> {
    let spent = |share: Share| {
        outcomes.iter().filter(|outcome| outcome.step.share == share).map(|outcome| outcome.took).sum()
    };
    Share::ALL.into_iter().map(|share| (share, spent(share))).collect()
}

/// Minutes and seconds.
pub(super) fn clock(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use super::super::steps::STEPS;
    use super::*;

    #[test]
    fn steps_of_one_share_add_up() {
        let build: Vec<&'static Step> =
            STEPS.iter().filter(|step| step.share == Share::Build).take(2).collect();
        let outcome = |step| Outcome { step, took: Duration::from_secs(30), error: None };
        let shares = shares(&[outcome(build[0]), outcome(build[1])]);
        assert_eq!(shares[0], (Share::Build, Duration::from_secs(60)));
        assert_eq!(shares[1].1, Duration::ZERO);
    }

    #[test]
    fn the_shares_fit_into_the_hour() {
        let all: Duration = Share::ALL.into_iter().map(Share::limit).sum();
        assert!(all <= super::super::TOTAL_MAX);
        assert_eq!(clock(all), "56:00");
    }
}
