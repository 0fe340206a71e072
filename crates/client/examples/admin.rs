//! Creates a topic, describes it, and deletes it: `cargo run -p millrace-client --example admin`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use millrace_client::{Client, ClientOptions, ErrorCode, NewTopic};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::connect(["127.0.0.1:7070"], ClientOptions::default()).await?;
    let admin = client.admin();
    println!("cluster {}", admin.describe_cluster().await?.id);

    match admin.create_topic(NewTopic::new("example").partitions(4)).await {
        Ok(topic) => println!("created {} ({})", topic.name, topic.id),
        Err(error) if error.code() == Some(ErrorCode::TopicAlreadyExists) => println!("it exists"),
        Err(error) => return Err(error.into()),
    }
    for partition in admin.describe_topic("example").await?.partitions {
        println!("{}: {} to {}", partition.partition, partition.log_start, partition.high_watermark);
    }
    admin.delete_topic("example").await?;
    Ok(())
}
