//! Histories in short: a line is `TIME CLIENT WHAT ..`.
//!
//! ```text
//! 10 a send VALUE PARTITION        20 a acked VALUE [OFFSET]   20 a failed VALUE      20 a unknown VALUE
//! 30 r assign p0@0 p1@5            (or assigned, revoked, seek; without @ the place is not known)
//! 40 r polled SINCE p0: 0=1 1=2 ; p1: 0=?      (? for bytes that nobody sends)
//! 45 r thrown PARTITION
//! 50 r whole SINCE p0 0..2         (or with a chain of its own: 0..2 chain=5)
//! ```

use std::collections::BTreeMap;

use super::super::super::{Chain, Event, History, Line, Verdict, Why};

/// The checker's word on a history.
pub(super) fn judge(script: &str) -> Verdict {
    let mut history = History::default();
    // What each client was handed since it was moved, for the chain of a whole reading.
    let mut handed: BTreeMap<(String, String), Chain> = BTreeMap::new();
    for text in script.lines().map(str::trim).filter(|text| !text.is_empty()) {
        let line = line(text, &mut handed);
        history.take(line).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
    super::super::check(&history)
}

fn number<T: std::str::FromStr>(word: &str) -> T {
    word.parse().unwrap_or_else(|_| panic!("{word} is no number"))
}

fn line(text: &str, handed: &mut BTreeMap<(String, String), Chain>) -> Line {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [t, p, verb, rest @ ..] = words.as_slice() else { panic!("{text}: too short") };
    let p = (*p).to_owned();
    let e = match (*verb, rest) {
        ("send", [value, at]) => Event::Send { value: number(value), at: (*at).to_owned() },
        ("acked", [value]) => Event::Acked { value: number(value), offset: None },
        ("acked", [value, offset]) => Event::Acked { value: number(value), offset: Some(number(offset)) },
        ("failed", [value]) => Event::Failed { value: number(value), why: String::new() },
        ("unknown", [value]) => Event::Unknown { value: number(value), why: String::new() },
        ("thrown", [at]) => Event::ThrownOut { at: (*at).to_owned(), why: String::new() },
        ("polled", [since, records @ ..]) => {
            let records = records_of(records);
            for (name, records) in &records {
                let chain = handed.entry((p.clone(), name.clone())).or_default();
                records.iter().for_each(|(offset, value)| chain.add(*offset, *value));
            }
            Event::Polled { since: number(since), records }
        }
        ("whole", [since, at, range, chain @ ..]) => {
            let (from, to) = range.split_once("..").expect("a range");
            let own = handed.get(&(p.clone(), (*at).to_owned())).copied().unwrap_or_default().hash();
            let hash = chain.first().map_or(own, |chain| number(chain.strip_prefix("chain=").unwrap()));
            let (since, at) = (number(since), (*at).to_owned());
            Event::Whole { since, at, from: number(from), to: number(to), hash }
        }
        (verb, places) => {
            let place = |place: &&str| match place.split_once('@') {
                Some((name, next)) => (name.to_owned(), Some(number(next))),
                None => ((*place).to_owned(), None),
            };
            let at: Vec<(String, Option<i64>)> = places.iter().map(place).collect();
            handed.retain(|(client, name), _| *client != p || at.iter().all(|(moved, _)| moved != name));
            let why = match verb {
                "assign" => Why::Assign,
                "seek" => Why::Seek,
                "assigned" => Why::Assigned,
                "revoked" => Why::Revoked,
                _ => panic!("{text}: what is {verb}?"),
            };
            Event::Moved { why, at }
        }
    };
    Line { t: number(t), p, e }
}

fn records_of(words: &[&str]) -> BTreeMap<String, Vec<(i64, Option<u64>)>> {
    let mut records: BTreeMap<String, Vec<(i64, Option<u64>)>> = BTreeMap::new();
    let mut name = String::new();
    for word in words.iter().filter(|word| **word != ";") {
        if let Some(partition) = word.strip_suffix(':') {
            partition.clone_into(&mut name);
            continue;
        }
        let (offset, value) = word.split_once('=').expect("OFFSET=VALUE");
        let value = (value != "?").then(|| number(value));
        records.entry(name.clone()).or_default().push((number(offset), value));
    }
    records
}
