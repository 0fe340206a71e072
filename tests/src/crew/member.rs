//! Our consumer, a member of a group.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use millrace_client::{AssignedPartition, ConsumeError, ConsumedRecord, ConsumerHandle, RebalanceCallbacks};

use super::reader::{polled, stopped};
use super::{OUR_GROUP, POLL, Shift};
use crate::history::{Event, Journal, Why, monotonic_nanos};

/// Reads and commits until the shift is over.
pub(super) async fn run(shift: Shift, journal: Journal) {
    let client = shift.client("rust-member").await;
    while !shift.is_over() {
        let told = Told { journal: journal.clone() };
        let consumer = client.consumer(OUR_GROUP).topic(shift.place.topic.as_str()).callbacks(told);
        let mut consumer = match consumer.manual_commit().start().await {
            Ok(consumer) => consumer,
            Err(error) => {
                journal.note(error);
                tokio::time::sleep(POLL).await;
                continue;
            }
        };
        while !shift.is_over() {
            let since = monotonic_nanos();
            match consumer.poll(POLL).await {
                Ok(records) => {
                    journal.write(polled(since, &records));
                    if !records.is_empty() {
                        let since = monotonic_nanos();
                        let error = consumer.commit_sync().await.err().map(|error| error.to_string());
                        journal.write(Event::Committed { since, at: ends(&records), error });
                    }
                }
                Err(error) => {
                    journal.write(match &error {
                        ConsumeError::Partition(error) => stopped(&shift.place.topic, error),
                        error => Event::Note(error.to_string()),
                    });
                    break;
                }
            }
        }
        consumer.close().await;
    }
}

fn ends(records: &[ConsumedRecord]) -> Vec<(String, i64)> {
    let end = |record: &ConsumedRecord| {
        (format!("{}-{}", record.topic, record.partition.0), record.offset.get() + 1)
    };
    records.iter().map(end).collect::<BTreeMap<_, _>>().into_iter().collect()
}

/// Writes down what the member holds.
struct Told {
    journal: Journal,
}

impl Told {
    fn note(&self, why: Why, of: &[AssignedPartition]) -> BoxFuture<'static, ()> {
        let at = of.iter().map(|partition| (format!("{}-{}", partition.topic, partition.partition.0), None));
        self.journal.write(Event::Moved { why, at: at.collect() });
        Box::pin(std::future::ready(()))
    }
}

impl RebalanceCallbacks for Told {
    fn assigned<'a>(&'a mut self, _: &'a ConsumerHandle, of: &'a [AssignedPartition]) -> BoxFuture<'a, ()> {
        self.note(Why::Assigned, of)
    }

    fn revoked<'a>(&'a mut self, _: &'a ConsumerHandle, of: &'a [AssignedPartition]) -> BoxFuture<'a, ()> {
        self.note(Why::Revoked, of)
    }

    fn lost<'a>(&'a mut self, _: &'a ConsumerHandle, of: &'a [AssignedPartition]) -> BoxFuture<'a, ()> {
        self.note(Why::Revoked, of)
    }
}
