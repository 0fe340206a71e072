//! A worker of a group: start it in several terminals, and they share the topic: `cargo run -p millrace-client --example group`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::time::Duration;

use futures::future::BoxFuture;
use millrace_client::{AssignedPartition, Client, ClientOptions, ConsumerHandle, RebalanceCallbacks};

/// Says what comes and goes.
struct Loud;

impl RebalanceCallbacks for Loud {
    fn assigned<'a>(&'a mut self, _: &'a ConsumerHandle, of: &'a [AssignedPartition]) -> BoxFuture<'a, ()> {
        of.iter().for_each(|partition| println!("here comes {partition}"));
        Box::pin(std::future::ready(()))
    }

    fn revoked<'a>(&'a mut self, _: &'a ConsumerHandle, of: &'a [AssignedPartition]) -> BoxFuture<'a, ()> {
        of.iter().for_each(|partition| println!("there goes {partition}"));
        Box::pin(std::future::ready(()))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::connect(["127.0.0.1:7070"], ClientOptions::default()).await?;
    let mut consumer = client.consumer("tower").topic("flights").callbacks(Loud).start().await?;

    // Ends when nothing has come for half a minute.
    loop {
        let records = consumer.poll(Duration::from_secs(30)).await?;
        if records.is_empty() {
            break;
        }
        for record in records {
            let value = record.value.unwrap_or_default();
            println!("{}@{} {}", record.partition, record.offset, String::from_utf8_lossy(&value));
        }
    }
    // What was handed out is committed, and the others take over.
    consumer.close().await;
    Ok(())
}
