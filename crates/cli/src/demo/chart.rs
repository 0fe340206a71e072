//! A small chart of a rate over time, one column for each slice of it.

use std::time::Duration;

use millrace_env::Monotonic;

/// Columns that are shown; at the demo's pace the whole stream fits.
const COLUMNS_MAX: usize = 56;
/// The time of one column.
const COLUMN: Duration = Duration::from_millis(COLUMN_MS);
const COLUMN_MS: u64 = 125;
/// Columns whose mean is the rate now.
const RATE_COLUMNS: usize = 4;
const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// How a count has grown.
#[derive(Debug)]
pub(super) struct Chart {
    begun: Monotonic,
    total: u64,
    columns: Vec<Column>,
}

#[derive(Clone, Copy, Default, Debug)]
struct Column {
    grown: u64,
    is_marked: bool,
}

impl Chart {
    /// An empty chart that begins at `now`.
    pub(super) fn new(now: Monotonic) -> Chart {
        Chart { begun: now, total: 0, columns: Vec::new() }
    }

    /// Says how large the count is at `now`.
    pub(super) fn count(&mut self, now: Monotonic, total: u64) {
        let grown = total.saturating_sub(self.total);
        self.total = total;
        self.column(now).grown += grown;
    }

    /// Marks this moment with a cross.
    pub(super) fn mark(&mut self, now: Monotonic) {
        self.column(now).is_marked = true;
    }

    /// The mean over the last whole columns.
    pub(super) fn per_second(&self) -> u64 {
        let whole = self.columns.len().saturating_sub(1);
        let last = self.columns.iter().take(whole).rev().take(RATE_COLUMNS);
        let (sum, columns) = last.fold((0, 0), |(sum, columns), column| (sum + column.grown, columns + 1));
        let columns_per_second = 1000 / COLUMN_MS;
        (sum * columns_per_second).checked_div(columns).unwrap_or(0)
    }

    /// The columns as one line, the tallest full.
    pub(super) fn line(&self) -> String {
        let shown = self.columns.get(self.columns.len().saturating_sub(COLUMNS_MAX)..).unwrap_or_default();
        let top = shown.iter().map(|column| column.grown).max().unwrap_or(0).max(1);
        let sign = |column: &Column| {
            if column.is_marked {
                return '✗';
            }
            // Anything at all is worth the lowest bar.
            let step = (column.grown * (LEVELS.len() as u64 - 1)).div_ceil(top);
            usize::try_from(step).ok().and_then(|step| LEVELS.get(step)).copied().unwrap_or(' ')
        };
        shown.iter().map(sign).collect()
    }

    fn column(&mut self, now: Monotonic) -> &mut Column {
        let index = now.since(self.begun).as_millis() / COLUMN.as_millis();
        let index = usize::try_from(index).unwrap_or(usize::MAX).min(COLUMNS_MAX * 100);
        if self.columns.len() <= index {
            self.columns.resize(index + 1, Column::default());
        }
        &mut self.columns[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(columns: u32) -> Monotonic {
        Monotonic(COLUMN * columns)
    }

    #[test]
    fn a_column_is_as_tall_as_its_growth_beside_the_tallest() {
        let mut chart = Chart::new(at(0));
        for (column, total) in [(0, 4), (1, 4), (2, 12), (2, 12), (3, 13)] {
            chart.count(at(column), total);
        }
        assert_eq!(chart.line(), "▄ █▁");
        chart.mark(at(5));
        assert_eq!(chart.line(), "▄ █▁ ✗");
    }

    #[test]
    fn the_rate_is_that_of_the_last_whole_columns() {
        let mut chart = Chart::new(at(0));
        assert_eq!(chart.per_second(), 0);
        for column in 0..10 {
            chart.count(at(column), u64::from(column) * 125);
        }
        assert_eq!(chart.per_second(), 1000);
    }

    #[test]
    fn a_long_stream_shows_its_end() {
        let mut chart = Chart::new(at(0));
        chart.count(at(500), 1);
        assert_eq!(chart.line().chars().count(), COLUMNS_MAX);
        assert!(chart.line().ends_with('█'));
    }
}
