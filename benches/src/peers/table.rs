//! The report as text.

use crate::contest::spread;
use crate::peers::results::{ContestResult, Report, SideResult};
use crate::peers::verdict;

const CELL: usize = 27;

/// The whole report.
#[must_use]
pub fn report(report: &Report) -> String {
    let mut text = report.head.join("\n");
    text.push('\n');
    for contest in &report.contests {
        text.push_str(&self::contest(contest));
    }
    text.push_str(&verdict::text(report));
    text
}

/// One contest: a row for each broker, then what the first one is to each other, round by round.
#[must_use]
pub fn contest(contest: &ContestResult) -> String {
    let width = contest.sides.iter().map(|side| side.label.len()).max().unwrap_or(0).max(24) + 2;
    let mut text = format!("\n## {}\n{:width$}", contest.title, "");
    for column in &contest.columns {
        text.push_str(&format!("{:>CELL$}", column.head));
    }
    text.push('\n');
    for side in &contest.sides {
        text.push_str(&row(contest, &format!("  {}", side.label), width, |key| side.values(key)));
        if let Some(reason) = &side.failed {
            text.push_str(&format!("  {} failed: {reason}\n", side.label));
        }
    }
    if let Some((first, others)) = contest.sides.split_first() {
        for other in others {
            let name = format!("    to {}", other.label);
            text.push_str(&row(contest, &name, width, |key| paired(first, other, key)));
        }
    }
    text
}

/// How many cores others used is no matter of the brokers.
fn paired(first: &SideResult, other: &SideResult, key: &str) -> Vec<f64> {
    if key == "others_percent" { Vec::new() } else { first.ratios(other, key) }
}

fn row(contest: &ContestResult, name: &str, width: usize, values: impl Fn(&str) -> Vec<f64>) -> String {
    let mut text = format!("{name:width$}");
    for column in &contest.columns {
        let values = values(column.key);
        let cell = if values.is_empty() { "-".to_owned() } else { spread(&values, digits(&values)) };
        text.push_str(&format!("{cell:>CELL$}"));
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn digits(values: &[f64]) -> usize {
    match crate::contest::median(values) {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    }
}
