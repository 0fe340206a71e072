//! What a person sees of the demo: on a terminal bars and a small chart, elsewhere one line for each step.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

const CHART_COLUMNS: usize = 40;
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The output of the demo.
#[derive(Debug)]
pub(super) struct Screen {
    bars: Option<Bars>,
}

#[derive(Debug)]
struct Bars {
    all: MultiProgress,
    acknowledged: ProgressBar,
    consumed: ProgressBar,
    chart: ProgressBar,
}

/// How far the stream is.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Progress {
    /// Records acknowledged.
    pub(super) acknowledged: u64,
    /// Records that the live consumer has read.
    pub(super) consumed: u64,
}

impl Screen {
    /// A screen for a stream of `total` records.
    pub(super) fn new(total: u64) -> Screen {
        Screen { bars: std::io::stderr().is_terminal().then(|| Bars::new(total)) }
    }

    /// Says what happens now.
    pub(super) fn say(&self, text: &str) {
        match &self.bars {
            Some(bars) => {
                bars.all.println(text).ok();
            }
            None => eprintln!("{text}"),
        }
    }

    /// Shows how far the stream is; `chart` holds the acknowledged records of each past tick.
    pub(super) fn show(&self, progress: Progress, chart: &[u64], tick: Duration) {
        let Some(bars) = &self.bars else { return };
        bars.acknowledged.set_position(progress.acknowledged);
        bars.consumed.set_position(progress.consumed);
        let now = chart.last().copied().unwrap_or_default();
        let per_second = now * 1000 / u64::try_from(tick.as_millis()).unwrap_or(u64::MAX).max(1);
        bars.chart.set_message(format!("{} {per_second} records/s", sparkline(chart)));
    }

    /// Takes the bars away, so that the verdict stands below what was said.
    pub(super) fn finish(&self) {
        if let Some(bars) = &self.bars {
            bars.acknowledged.abandon();
            bars.consumed.abandon();
            bars.chart.abandon();
        }
    }
}

impl Bars {
    fn new(total: u64) -> Bars {
        let all = MultiProgress::new();
        let style = |template: &str| {
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
        };
        let bar = |label: &'static str| {
            let bar = all.add(ProgressBar::new(total));
            bar.set_style(style("  {prefix:13} {wide_bar} {pos:>6}/{len}"));
            bar.set_prefix(label);
            bar
        };
        let (acknowledged, consumed) = (bar("acknowledged"), bar("consumed"));
        let chart = all.add(ProgressBar::new(total));
        chart.set_style(style("  {prefix:13} {msg}"));
        chart.set_prefix("rate");
        Bars { all, acknowledged, consumed, chart }
    }
}

/// The last values as a line of small bars, the tallest full.
fn sparkline(values: &[u64]) -> String {
    let shown = &values[values.len().saturating_sub(CHART_COLUMNS)..];
    let top = shown.iter().copied().max().unwrap_or(0).max(1);
    let level = |value: &u64| {
        let step = usize::try_from(value * (LEVELS.len() as u64 - 1) / top).unwrap_or(0);
        LEVELS.get(step).copied().unwrap_or(' ')
    };
    shown.iter().map(level).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chart_scales_to_its_tallest_value() {
        assert_eq!(sparkline(&[0, 7, 14]), "▁▄█");
        assert_eq!(sparkline(&[]), "");
        assert_eq!(sparkline(&[3; 100]).chars().count(), CHART_COLUMNS);
    }
}
