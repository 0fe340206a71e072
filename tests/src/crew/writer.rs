//! Our producer.

use std::sync::atomic::Ordering;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use millrace_client::{Outcome, PartitionIndex, ProduceError, ProducerRecord, RecordMetadata};
use tokio::time::{Duration, Instant};

use super::{DELIVERY, Shift};
use crate::history::{Event, Journal, payload};

/// Records that wait for their outcome, at most.
const WAITING_MAX: usize = 5_000;

/// Sends records until the shift is over, and then waits for all outcomes.
pub(super) async fn run(shift: Shift, journal: Journal, first: u64) {
    let client = shift.client("rust-writer").await;
    let producer = client.producer().delivery_timeout(DELIVERY).build().expect("a producer");
    let each = Duration::from_secs(1) / shift.place.pace;
    let mut due = Instant::now();
    let mut waiting = FuturesUnordered::new();
    let mut number = 0;
    while !shift.is_over() {
        tokio::select! {
            biased;
            Some((value, outcome)) = waiting.next() => told(&shift, &journal, value, outcome),
            () = tokio::time::sleep_until(due), if waiting.len() < WAITING_MAX => {
                due += each;
                let (value, partition) = (first + number, number % u64::from(shift.place.partitions));
                number += 1;
                let partition = u32::try_from(partition).unwrap_or(0);
                let record = ProducerRecord::new(shift.place.topic.as_str(), payload(value));
                journal.write(Event::Send { value, at: shift.name_of(partition) });
                match producer.send(record.partition(PartitionIndex(partition))).await {
                    Ok(delivery) => waiting.push(async move { (value, delivery.await) }),
                    Err(error) => told(&shift, &journal, value, Err(error)),
                }
            }
        }
    }
    while let Some((value, outcome)) = waiting.next().await {
        told(&shift, &journal, value, outcome);
    }
    // Each delivery has told the same.
    let _outcome = producer.close().await;
}

fn told(shift: &Shift, journal: &Journal, value: u64, outcome: Result<RecordMetadata, ProduceError>) {
    match outcome {
        Ok(RecordMetadata { offset: Some(offset), .. }) => {
            journal.write(Event::Acked { value, offset: Some(offset.get()) });
            shift.acked.fetch_add(1, Ordering::SeqCst);
        }
        Ok(stored) => panic!("acknowledged without an offset: {stored:?}"),
        Err(error) => {
            let why = error.to_string();
            journal.write(match error.outcome() {
                Outcome::Definite => Event::Failed { value, why },
                Outcome::Indefinite => Event::Unknown { value, why },
            });
        }
    }
}
