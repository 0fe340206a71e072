//! What was measured: rounds of figures by name, and the same as JSON.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::contest::median;

/// The figures of one round by name.
pub type Figures = BTreeMap<&'static str, f64>;

/// A figure and how it is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Column {
    /// Its name in the figures and in the JSON.
    pub key: &'static str,
    /// Its head in the table.
    pub head: &'static str,
}

/// One broker in one contest.
#[derive(Clone, Debug)]
pub struct SideResult {
    /// Its name.
    pub label: String,
    /// Round by round.
    pub rounds: Vec<Figures>,
    /// Why there are no more rounds.
    pub failed: Option<String>,
}

impl SideResult {
    /// Each round's value of a figure.
    #[must_use]
    pub fn values(&self, key: &str) -> Vec<f64> {
        self.rounds.iter().filter_map(|round| round.get(key).copied()).collect()
    }

    /// The middle one, where there is one.
    #[must_use]
    pub fn median(&self, key: &str) -> Option<f64> {
        let values = self.values(key);
        (!values.is_empty()).then(|| median(&values))
    }

    /// A figure compared with another side's, round by round; nothing where the other one's is zero.
    #[must_use]
    pub fn ratios(&self, other: &SideResult, key: &str) -> Vec<f64> {
        let pairs = self.rounds.iter().zip(&other.rounds);
        let ratios = pairs.filter_map(|(ours, theirs)| Some(ours.get(key)? / theirs.get(key)?));
        ratios.filter(|ratio| ratio.is_finite()).collect()
    }
}

/// The same job for several brokers.
#[derive(Clone, Debug)]
pub struct ContestResult {
    /// A name for programs.
    pub id: String,
    /// A name for people.
    pub title: String,
    /// What is shown of it.
    pub columns: Vec<Column>,
    /// The brokers.
    pub sides: Vec<SideResult>,
}

impl ContestResult {
    /// The side of this name.
    #[must_use]
    pub fn side(&self, label: &str) -> Option<&SideResult> {
        self.sides.iter().find(|side| side.label == label)
    }
}

/// Everything.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Lines about the machine, the versions and the way of measuring.
    pub head: Vec<String>,
    /// The contests in their order.
    pub contests: Vec<ContestResult>,
}

impl Report {
    /// The contest of this id.
    #[must_use]
    pub fn contest(&self, id: &str) -> Option<&ContestResult> {
        self.contests.iter().find(|contest| contest.id == id)
    }

    /// Every figure of every round.
    #[must_use]
    pub fn json(&self) -> Value {
        let contests: Vec<Value> = self.contests.iter().map(contest_json).collect();
        json!({ "head": self.head, "contests": contests })
    }
}

fn contest_json(contest: &ContestResult) -> Value {
    let sides: Vec<Value> = contest
        .sides
        .iter()
        .map(|side| json!({ "broker": side.label, "rounds": side.rounds, "failed": side.failed }))
        .collect();
    json!({ "id": contest.id, "title": contest.title, "sides": sides })
}
