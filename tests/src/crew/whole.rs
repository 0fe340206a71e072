//! Our reader, which reads each partition whole once.

use millrace_client::{Client, PartitionIndex, ReadError, Until};

use super::reader::{poll, polled};
use super::{POLL, Shift};
use crate::history::{Chain, Event, Journal, Why, monotonic_nanos, value_of};

/// Reads each partition from its beginning to the end that it has when its reading begins.
pub(super) async fn run(shift: Shift, journal: Journal) {
    let client = shift.client("rust-whole").await;
    for partition in 0..shift.place.partitions {
        while let Err(error) = read(&shift, &client, &journal, partition).await {
            journal.note(format!("partition {partition}, again: {error}"));
            tokio::time::sleep(POLL).await;
        }
    }
}

async fn read(shift: &Shift, client: &Client, journal: &Journal, partition: u32) -> Result<(), ReadError> {
    let (since, topic, at) = (monotonic_nanos(), shift.place.topic.as_str(), shift.name_of(partition));
    let builder = client.reader().partition(topic, PartitionIndex(partition)).until(Until::EndAtStart);
    let mut reader = builder.wait_max(POLL).start().await?;
    let progress = reader.progress();
    let progress = progress.first().expect("one partition");
    let (from, to) = (progress.position.get(), progress.end.expect("a bound").get());
    journal.write(Event::Moved { why: Why::Assign, at: vec![(at.clone(), Some(from))] });
    let mut chain = Chain::default();
    let mut next = from;
    while next < to {
        let since = monotonic_nanos();
        let (records, error) = poll(&mut reader).await;
        journal.write(polled(since, &records));
        for record in &records {
            chain.add(record.offset.get(), record.value.as_deref().and_then(value_of));
            next = record.offset.get() + 1;
        }
        if let Some(error) = error {
            return Err(error);
        }
    }
    journal.write(Event::Whole { since, at, from, to, hash: chain.hash() });
    Ok(())
}
