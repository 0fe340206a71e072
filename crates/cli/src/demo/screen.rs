//! What a person sees of the demo: on a terminal bars and a small chart, elsewhere one line for each step.

use std::io::IsTerminal;
use std::sync::Arc;

use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressStyle};
use millrace_env::Clock;
use parking_lot::Mutex;

use super::chart::Chart;
use crate::exit::tell;

/// The output of the demo.
#[derive(Debug)]
pub(super) struct Screen {
    clock: Arc<dyn Clock>,
    bars: Option<Bars>,
}

#[derive(Debug)]
struct Bars {
    all: MultiProgress,
    acknowledged: ProgressBar,
    consumed: ProgressBar,
    rate: ProgressBar,
    chart: Mutex<Chart>,
}

/// How far the stream is.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Progress {
    /// Records acknowledged.
    pub(super) acknowledged: u64,
    /// Records that the live reader has read.
    pub(super) consumed: u64,
}

impl Screen {
    /// A screen for a stream of `total` records.
    pub(super) fn new(total: u64, clock: Arc<dyn Clock>) -> Screen {
        let bars = std::io::stderr().is_terminal().then(|| Bars::new(total, Chart::new(clock.monotonic())));
        Screen { clock, bars }
    }

    /// Says what happens now.
    pub(super) fn say(&self, text: &str) {
        match &self.bars {
            Some(bars) if !bars.rate.is_finished() => {
                bars.all.println(text).ok();
            }
            _ => tell!("{text}"),
        }
    }

    /// Shows how far the stream is.
    pub(super) fn show(&self, progress: Progress) {
        let Some(bars) = &self.bars else { return };
        bars.acknowledged.set_position(progress.acknowledged);
        bars.consumed.set_position(progress.consumed);
        let mut chart = bars.chart.lock();
        chart.count(self.clock.monotonic(), progress.acknowledged);
        bars.rate.set_message(format!("{} {}/s", chart.line(), HumanCount(chart.per_second())));
    }

    /// Marks the kill in the chart.
    pub(super) fn mark_kill(&self) {
        if let Some(bars) = &self.bars {
            bars.chart.lock().mark(self.clock.monotonic());
        }
    }

    /// Leaves the bars as they are; what is said from now on stands below.
    pub(super) fn finish(&self) {
        if let Some(bars) = &self.bars {
            bars.acknowledged.abandon();
            bars.consumed.abandon();
            bars.rate.abandon();
        }
    }
}

impl Bars {
    fn new(total: u64, chart: Chart) -> Bars {
        let all = MultiProgress::new();
        let style = |template: &str| {
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
        };
        let bar = |label: &'static str| {
            let bar = all.add(ProgressBar::new(total));
            bar.set_style(style("  {prefix:13} {bar:56} {human_pos:>7} of {human_len}"));
            bar.set_prefix(label);
            bar
        };
        let (acknowledged, consumed) = (bar("acknowledged"), bar("read live"));
        let rate = all.add(ProgressBar::new(total));
        rate.set_style(style("  {prefix:13} {msg}"));
        rate.set_prefix("records");
        Bars { all, acknowledged, consumed, rate, chart: Mutex::new(chart) }
    }
}
