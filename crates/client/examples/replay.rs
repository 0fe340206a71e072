//! Counts the records of the last quarter of an hour, up to the end as it stands now:
//! `cargo run -p millrace-client --example replay`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use millrace_client::{Client, ClientOptions, Position, TimestampMs, Until};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::connect(["127.0.0.1:7070"], ClientOptions::default()).await?;
    let since = TimestampMs(client.options().env.clock.wall().0 - 15 * 60 * 1000);

    // Times and ends become offsets once, at the start: the count is of a fixed range.
    let reader = client.reader().topic("flights").from(Position::Time(since)).until(Until::EndAtStart);
    let mut reader = reader.start().await?;

    // Batches are the fast way: their headers count the records, only the edges have to be opened.
    let mut count = 0;
    while let Some(batch) = reader.next_batch().await {
        count += batch?.records()?.count();
    }
    println!("{count} records since {since}");
    Ok(())
}
