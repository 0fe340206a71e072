//! Sends a few records and prints where they came to lie: `cargo run -p millrace-client --example produce`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use millrace_client::{Client, ClientOptions, Compression, ProducerRecord};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::connect(["127.0.0.1:7070"], ClientOptions::default()).await?;
    let producer = client.producer().compression(Compression::Zstd).build()?;

    // `send` returns once the record is buffered; its delivery resolves once the broker has it safe on disk.
    let mut deliveries = Vec::new();
    for flight in ["UA1545", "AA1141", "B6725"] {
        let record = ProducerRecord::new("flights", "departed").key(flight.to_owned());
        deliveries.push(producer.send(record).await?);
    }
    for delivery in deliveries {
        match delivery.await {
            Ok(stored) => println!("{}-{} at {:?}", stored.topic, stored.partition, stored.offset),
            // An indefinite error leaves open whether the record is stored.
            Err(error) => println!("{error} ({:?})", error.outcome()),
        }
    }
    producer.close().await?;
    Ok(())
}
