//! Prints a topic from its beginning, and then what comes: `cargo run -p millrace-client --example consume`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use millrace_client::{Client, ClientOptions, Position};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::connect(["127.0.0.1:7070"], ClientOptions::default()).await?;
    let mut reader = client.reader().topic("flights").from(Position::Beginning).start().await?;

    while let Some(batch) = reader.next_batch().await {
        // An error concerns one partition; the others would go on.
        for record in batch?.records()? {
            let record = record?;
            let value = record.value.unwrap_or_default();
            println!("{}@{} {}", record.partition, record.offset, String::from_utf8_lossy(&value));
        }
        // What this group has read, so that the next run could begin there.
        client.admin().commit_offsets("printer", &reader.positions()).await?;
    }
    Ok(())
}
