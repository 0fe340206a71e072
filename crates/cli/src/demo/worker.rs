//! A worker of the second act: a process of its own that reads as a member of the group and says what it has read.
//!
//! It writes lines: `assigned 0,3`, `revoked 3`, `lost 3`, and `read PARTITION OFFSET CHECKSUM` for each record, written before it asks
//! for more, which is what lets the record be committed. `hurry` on its standard input ends its leisure, the end of it its work.

use std::io::{self, BufRead as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use millrace_client::{AssignedPartition, Client, ConsumerHandle, RebalanceCallbacks};
use millrace_env::real;
use tokio::sync::Notify;

use super::TOPIC;
use super::ledger::Tally;
use super::workers::{GROUP, HURRY};

/// Records that it takes at a time.
const RECORDS_AT_ONCE: usize = 60;
/// How long it takes over them, so that one can watch.
const LEISURE: Duration = Duration::from_millis(20);
/// How often what it is done with is committed.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// What it has in hand beyond that: little, so that partitions that it takes over have their turn at once.
const AHEAD_BYTES: usize = 64 * 1024;
/// How long it waits for records before it looks up.
const POLL: Duration = Duration::from_millis(200);

/// Works until nobody wants it any more.
///
/// # Errors
/// It is no member any more, or its output is gone.
pub(crate) async fn run(client: &Client) -> anyhow::Result<()> {
    let orders = Arc::new(Orders::default());
    orders.listen()?;
    let mut consumer = client
        .consumer(GROUP)
        .topic(TOPIC)
        .auto_commit(COMMIT_INTERVAL)
        .poll_records_max(RECORDS_AT_ONCE)
        .fetch_bytes(AHEAD_BYTES)
        .prefetch_bytes(AHEAD_BYTES)
        .callbacks(Announcer)
        .start()
        .await?;
    loop {
        let records = tokio::select! {
            biased;
            () = orders.over.notified() => break,
            records = consumer.poll(POLL) => records?,
        };
        let mut text = String::new();
        for record in &records {
            let mut tally = Tally::default();
            tally.add(record.key.as_deref(), record.value.as_deref(), record.timestamp);
            text += &format!("read {} {} {:08x}\n", record.partition, record.offset, tally.checksum());
        }
        say(&text)?;
        if !orders.hurry.load(Ordering::Relaxed) {
            real::env().clock.sleep(LEISURE).await;
        }
    }
    consumer.close().await;
    Ok(())
}

/// All of it at once, whoever else writes.
fn say(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}

/// What it was told.
#[derive(Debug, Default)]
struct Orders {
    hurry: AtomicBool,
    over: Notify,
}

impl Orders {
    /// Listens until standard input ends.
    fn listen(self: &Arc<Orders>) -> io::Result<()> {
        let orders = Arc::clone(self);
        let listen = move || {
            for line in io::stdin().lock().lines().map_while(Result::ok) {
                if line == HURRY {
                    orders.hurry.store(true, Ordering::Relaxed);
                }
            }
            orders.over.notify_one();
        };
        real::env().tasks.thread("orders", Box::new(listen))?;
        Ok(())
    }
}

/// Says what comes and goes.
#[derive(Debug)]
struct Announcer;

impl Announcer {
    fn announce(what: &str, partitions: &[AssignedPartition]) -> BoxFuture<'static, ()> {
        let numbers: Vec<String> = partitions.iter().map(|one| one.partition.to_string()).collect();
        // If nobody listens any more, the next records will tell.
        say(&format!("{what} {}\n", numbers.join(","))).ok();
        Box::pin(std::future::ready(()))
    }
}

impl RebalanceCallbacks for Announcer {
    fn assigned<'a>(
        &'a mut self,
        _: &'a ConsumerHandle,
        partitions: &'a [AssignedPartition],
    ) -> BoxFuture<'a, ()> {
        Announcer::announce("assigned", partitions)
    }

    fn revoked<'a>(
        &'a mut self,
        _: &'a ConsumerHandle,
        partitions: &'a [AssignedPartition],
    ) -> BoxFuture<'a, ()> {
        Announcer::announce("revoked", partitions)
    }

    fn lost<'a>(
        &'a mut self,
        _: &'a ConsumerHandle,
        partitions: &'a [AssignedPartition],
    ) -> BoxFuture<'a, ()> {
        Announcer::announce("lost", partitions)
    }
}
