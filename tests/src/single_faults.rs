//! One fault in one file of a data directory, and what a broker then answers: what it answered before, an error, or a
//! report that names the place. Anything else is silent.
//!
//! The machine is simulated, the broker is the real one. A [`World`] is made once and copied for every fault.

mod answers;
mod fault;
mod world;

use std::collections::BTreeMap;
use std::fmt::Write as _;

pub use answers::{Answers, Difference};
pub use fault::{Fault, FaultKind};
pub use world::{Stop, World};

/// What a fault came to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    /// Every answer is what it was, or an error that says so, or its place is in the report of the start.
    Detected,
    /// Every answer is what it was, and nothing was said.
    Harmless,
    /// An answer is another one, and nobody says why.
    Silent,
}

/// Verdicts by class of file and kind of fault.
#[derive(Debug, Default)]
pub struct Table {
    cells: BTreeMap<(String, FaultKind), BTreeMap<Verdict, usize>>,
}

impl Table {
    /// Counts one.
    pub fn count(&mut self, class: &str, kind: FaultKind, verdict: Verdict) {
        *self.cells.entry((class.to_owned(), kind)).or_default().entry(verdict).or_default() += 1;
    }

    /// How many faults came to this.
    #[must_use]
    pub fn total(&self, verdict: Verdict) -> usize {
        self.cells.values().filter_map(|cell| cell.get(&verdict)).sum()
    }

    /// One line for each class: for each kind of fault `detected/harmless/silent`.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{:<24}", "detected/harmless/silent");
        for kind in FaultKind::ALL {
            write!(text, "{:>12}", kind.name()).ok();
        }
        let mut classes: Vec<&str> = self.cells.keys().map(|(class, _)| class.as_str()).collect();
        classes.dedup();
        for class in classes {
            write!(text, "\n{class:<24}").ok();
            for kind in FaultKind::ALL {
                let cell = self.cells.get(&(class.to_owned(), kind));
                let count = |verdict| cell.and_then(|cell| cell.get(&verdict)).copied().unwrap_or(0);
                let [detected, harmless, silent] =
                    [Verdict::Detected, Verdict::Harmless, Verdict::Silent].map(count);
                write!(text, "{:>12}", format!("{detected}/{harmless}/{silent}")).ok();
            }
        }
        text
    }
}
