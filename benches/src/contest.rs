//! Sides that do the same job, measured in turn: A B A B, so that whatever the machine does happens to all of them.
#![expect(clippy::print_stdout, reason = "a measurement talks to the person who called it")]

use std::fmt;

use anyhow::{Context as _, Result};

use crate::load::{Gate, Look};
use crate::options::Options;
use crate::sample::{Column, Sample};

/// One way to do the job.
pub struct Side<'a> {
    name: String,
    round: Box<dyn FnMut() -> Result<Sample> + 'a>,
}

impl fmt::Debug for Side<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Side").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<'a> Side<'a> {
    /// A side; `round` does the job once and measures it.
    pub fn new(name: impl Into<String>, round: impl FnMut() -> Result<Sample> + 'a) -> Side<'a> {
        Side { name: name.into(), round: Box::new(round) }
    }
}

/// Runs contests and prints their tables.
#[derive(Debug)]
pub struct Arena {
    rounds: usize,
    only: Vec<String>,
    gate: Gate,
}

impl Arena {
    /// As the command line says.
    #[must_use]
    pub fn new(options: &Options) -> Arena {
        Arena { rounds: options.rounds, only: options.only.clone(), gate: Gate::new(options.patience()) }
    }

    /// Whether the command line asks for the contest of this title.
    #[must_use]
    pub fn wants(&self, title: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| title.contains(part.as_str()))
    }

    /// Measures every side `rounds` times in turn, after one round each that does not count. The first side is the
    /// ceiling: the others are compared with it, round by round.
    ///
    /// # Errors
    /// What a side says.
    pub fn contest(&mut self, title: &str, columns: &[Column], mut sides: Vec<Side<'_>>) -> Result<()> {
        if !self.wants(title) {
            return Ok(());
        }
        println!("\n## {title}");
        for side in &mut sides {
            (side.round)().with_context(|| format!("{title}: {}", side.name))?;
        }
        let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); sides.len()];
        let mut others = Vec::new();
        for _ in 0..self.rounds {
            for (side, samples) in sides.iter_mut().zip(&mut samples) {
                self.gate.pass();
                let before = Look::now();
                samples.push((side.round)().with_context(|| format!("{title}: {}", side.name))?);
                others.push(before.others_since() * 100.0);
            }
        }
        let names: Vec<&str> = sides.iter().map(|side| side.name.as_str()).collect();
        print!("{}", table(columns, &names, &samples));
        println!("   {} rounds; others used {} % of the machine", self.rounds, spread(&others, 0));
        Ok(())
    }
}

/// Rows of medians with their extremes, and below each side but the first its ratios to the first.
fn table(columns: &[Column], names: &[&str], samples: &[Vec<Sample>]) -> String {
    let width = names.iter().map(|name| name.len()).max().unwrap_or(0).max(16) + 3;
    let mut text = format!("{:width$}", "");
    for column in columns {
        text.push_str(&format!("{:>26}", column.head()));
    }
    text.push('\n');
    let ceiling = samples.first().map_or(&[][..], Vec::as_slice);
    for (index, (name, samples)) in names.iter().zip(samples).enumerate() {
        text.push_str(&format!("   {name:<w$}", w = width - 3));
        for column in columns {
            let values: Vec<f64> = samples.iter().map(|sample| column.of(sample)).collect();
            text.push_str(&format!("{:>26}", spread(&values, digits(median(&values)))));
        }
        text.push('\n');
        if index > 0 {
            text.push_str(&format!("   {:<w$}", "  to the ceiling", w = width - 3));
            for column in columns {
                let pairs = samples.iter().zip(ceiling);
                let ratios: Vec<f64> =
                    pairs.map(|(ours, floor)| column.of(ours) / column.of(floor)).collect();
                text.push_str(&format!("{:>26}", spread(&ratios, 2)));
            }
            text.push('\n');
        }
    }
    text
}

fn digits(value: f64) -> usize {
    match value {
        value if value >= 1000.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 0.1 => 2,
        _ => 3,
    }
}

/// The middle value.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle), middle.checked_sub(1).and_then(|below| sorted.get(below))) {
        (Some(upper), Some(lower)) if sorted.len().is_multiple_of(2) => f64::midpoint(*lower, *upper),
        (Some(upper), _) => *upper,
        (None, _) => f64::NAN,
    }
}

/// `median (smallest-largest)`.
#[must_use]
pub fn spread(values: &[f64], digits: usize) -> String {
    let smallest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{:.digits$} ({smallest:.digits$}-{largest:.digits$})", median(values))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn took(ms: u64) -> Sample {
        let wall = Duration::from_millis(ms);
        Sample { wall, cpu: wall / 2, bytes: 1_000_000_000, operations: 1000, latencies: None }
    }

    #[test]
    fn a_median_is_the_middle_or_between_the_two_middles() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn ratios_are_of_rounds_and_not_of_medians() {
        let floor = vec![took(100), took(1000), took(200)];
        let ours = vec![took(200), took(1000), took(400)];
        let text = table(&[Column::WallMs, Column::CpuPerGb], &["floor", "ours"], &[floor, ours]);
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows.len(), 4, "{text}");
        assert!(rows[1].contains("200.0 (100.0-1000.0)"), "{text}");
        assert!(rows[3].contains("2.00 (1.00-2.00)"), "{text}");
    }
}
