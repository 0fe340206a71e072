//! A long history.

use std::collections::BTreeMap;
use std::time::Instant;

use super::super::super::{Chain, Event, History, Line, Why, check};

const SENDS: u64 = 500_000;
const PARTITIONS: u64 = 4;
const POLL_RECORDS: u64 = 100;

#[test]
fn a_million_operations_are_read_and_judged() {
    let mut lines = Vec::new();
    let mut write = |t: u64, p: &str, e: Event| {
        lines.push(serde_json::to_string(&Line { t, p: p.to_owned(), e }).unwrap());
    };
    let name = |partition: u64| format!("ledger-{partition}");
    let all = || (0..PARTITIONS).map(|partition| (name(partition), Some(0))).collect();
    write(1, "reader", Event::Moved { why: Why::Assign, at: all() });
    let mut chains = vec![Chain::default(); 4];
    let mut polled: BTreeMap<String, Vec<(i64, Option<u64>)>> = BTreeMap::new();
    for value in 0..SENDS {
        let (partition, offset) = (value % PARTITIONS, (value / PARTITIONS).cast_signed());
        let writer = if partition == 0 { "zero" } else { "others" };
        write(10 + value * 10, writer, Event::Send { value, at: name(partition) });
        write(14 + value * 10, writer, Event::Acked { value, offset: Some(offset) });
        chains[usize::try_from(partition).unwrap()].add(offset, Some(value));
        polled.entry(name(partition)).or_default().push((offset, Some(value)));
        if (value + 1) % POLL_RECORDS == 0 {
            let records = std::mem::take(&mut polled);
            write(16 + value * 10, "reader", Event::Polled { since: 15 + value * 10, records });
        }
    }
    for (partition, chain) in (0..PARTITIONS).zip(&chains) {
        let to = (SENDS / PARTITIONS).cast_signed();
        let (since, at) = (1, name(partition));
        write(u64::MAX, "reader", Event::Whole { since, at, from: 0, to, hash: chain.hash() });
    }
    let began = Instant::now();
    let mut history = History::default();
    for line in &lines {
        history.take(serde_json::from_str(line).unwrap()).unwrap();
    }
    let read = began.elapsed();
    let verdict = check(&history);
    crate::say(&format!(
        "history: {} operations read in {read:?}, judged in {:?}",
        2 * SENDS,
        began.elapsed().saturating_sub(read)
    ));
    assert!(verdict.is_clean(), "{verdict}");
    assert_eq!((verdict.tally.acked, verdict.tally.read), (SENDS, SENDS));
}
