//! Our reader, which follows every partition from its beginning.

use std::collections::BTreeMap;

use futures::FutureExt as _;
use millrace_client::{
    Client, ConsumedRecord, ErrorCode, Offset, PartitionIndex, Position, ReadError, Reader,
};

use super::{POLL, POLL_RECORDS, Shift};
use crate::history::{Event, Journal, Why, monotonic_nanos, value_of};

/// Reads until the shift is over.
pub(super) async fn run(shift: Shift, journal: Journal) {
    let client = shift.client("rust-reader").await;
    let mut places: BTreeMap<u32, i64> =
        (0..shift.place.partitions).map(|partition| (partition, 0)).collect();
    while !shift.is_over() {
        match start(&shift, &client, &places).await {
            Ok(reader) => {
                let at = places.iter().map(|(partition, next)| (shift.name_of(*partition), Some(*next)));
                journal.write(Event::Moved { why: Why::Assign, at: at.collect() });
                follow(&shift, &journal, reader, &mut places).await;
            }
            Err(error) => {
                journal.note(error);
                tokio::time::sleep(POLL).await;
            }
        }
    }
}

async fn start(shift: &Shift, client: &Client, places: &BTreeMap<u32, i64>) -> Result<Reader, ReadError> {
    let reader = client.reader().wait_max(POLL);
    let with = |reader: millrace_client::ReaderBuilder, (partition, next): (&u32, &i64)| {
        let from = Position::Offset(Offset::new(*next).expect("an offset"));
        reader.partition_from(shift.place.topic.as_str(), PartitionIndex(*partition), from)
    };
    places.iter().fold(reader, with).start().await
}

/// Reads until the shift is over or a partition is read no more.
async fn follow(shift: &Shift, journal: &Journal, mut reader: Reader, places: &mut BTreeMap<u32, i64>) {
    while !shift.is_over() {
        let since = monotonic_nanos();
        let (records, error) = poll(&mut reader).await;
        for record in &records {
            places.insert(record.partition.0, record.offset.get() + 1);
        }
        journal.write(polled(since, &records));
        if let Some(error) = error {
            // It insists: nothing that was read goes away, so its place must come again.
            journal.write(stopped(&shift.place.topic, &error));
            return;
        }
    }
}

/// What is there, or comes within a while.
pub(super) async fn poll(reader: &mut Reader) -> (Vec<ConsumedRecord>, Option<ReadError>) {
    let mut records = Vec::new();
    let mut next = tokio::time::timeout(POLL, reader.next()).await.ok().flatten();
    while let Some(record) = next {
        match record {
            Ok(record) => records.push(record),
            Err(error) => return (records, Some(error)),
        }
        if records.len() >= POLL_RECORDS {
            break;
        }
        next = reader.next().now_or_never().flatten();
    }
    (records, None)
}

/// The line about the end of a partition.
pub(super) fn stopped(topic: &str, error: &ReadError) -> Event {
    match error.code() {
        Some(ErrorCode::OffsetOutOfRange | ErrorCode::LogTruncated) => {
            Event::ThrownOut { at: topic.to_owned(), why: error.to_string() }
        }
        _ => Event::Note(error.to_string()),
    }
}

/// The line about an answer.
pub(super) fn polled(since: u64, records: &[ConsumedRecord]) -> Event {
    let mut found: BTreeMap<String, Vec<(i64, Option<u64>)>> = BTreeMap::new();
    for record in records {
        let name = format!("{}-{}", record.topic, record.partition.0);
        let value = record.value.as_deref().and_then(value_of);
        found.entry(name).or_default().push((record.offset.get(), value));
    }
    Event::Polled { since, records: found }
}
