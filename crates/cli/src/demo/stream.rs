//! Streams the flights, and kills the broker in the middle.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::future::try_join_all;
use millrace_client::{Client, Compression, Delivery, Producer, ProducerRecord};
use millrace_env::{Clock, Monotonic, real};
use millrace_record::partition_for_key;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::child::BrokerChild;
use super::live::LiveReader;
use super::screen::{Progress, Screen};
use super::{PARTITIONS, TOPIC};
use crate::input::InputRecord;

/// Between two portions of records.
const TICK: Duration = Duration::from_millis(25);
/// How many portions there are: the stream is slow enough to be watched.
const PORTIONS: usize = 240;
/// Between two portions of the burst: the rate is five times as high, so that the kill finds much in flight.
const BURST_TICK: Duration = Duration::from_millis(5);
/// From here on the stream is a burst, until the kill.
const BURST_FROM_PERCENT: u64 = 45;
/// From here on the broker is killed as soon as acknowledgements come in while others are still out.
const KILL_FROM_PERCENT: u64 = 55;
/// By here it is killed whatever is in flight.
const KILL_BY_PERCENT: u64 = 68;

/// What happened while streaming.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Streamed {
    /// Records sent.
    pub(super) sent: u64,
    /// Records acknowledged.
    pub(super) acknowledged: u64,
    /// Acknowledgements that named another offset than the record's place in its partition.
    pub(super) misplaced: u64,
    /// What the kill met.
    pub(super) kill: Option<Kill>,
    /// From the kill to the first acknowledgement after it.
    pub(super) resumed_in: Option<Duration>,
}

/// What the kill met.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kill {
    at: Monotonic,
    acknowledged: u64,
    /// Records sent by then.
    pub(super) sent: u64,
    /// How many of them had no acknowledgement.
    pub(super) unacknowledged: u64,
    /// From starting the new process to the moment it accepted.
    pub(super) restarted_in: Duration,
}

/// What sender and collectors both know.
#[derive(Debug)]
struct Board {
    clock: Arc<dyn Clock>,
    so_far: Mutex<Streamed>,
}

/// Sends everything; kills and restarts the broker on the way.
///
/// # Errors
/// A record was given up, or the broker does not come back.
pub(super) async fn run(
    client: &Client,
    flights: &[InputRecord],
    broker: &mut BrokerChild,
    live: &LiveReader,
    screen: &Screen,
) -> anyhow::Result<Streamed> {
    let producer = client
        .producer()
        .compression(Compression::Lz4)
        .delivery_timeout(Duration::from_secs(20))
        .build()
        .context("the producer")?;
    let board = Board { clock: real::env().clock, so_far: Mutex::default() };
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..PARTITIONS).map(|_| mpsc::channel(flights.len().max(1))).unzip();
    let collecting = try_join_all(receivers.into_iter().map(|receiver| collect(receiver, &board)));
    let sending = Sender { producer: &producer, senders, board: &board, live, screen }.send(flights, broker);
    tokio::try_join!(sending, collecting)?;
    producer.close().await?;
    let streamed = *board.so_far.lock();
    Ok(streamed)
}

/// Waits for the acknowledgements of one partition, which come in the order of its records.
async fn collect(mut deliveries: mpsc::Receiver<Delivery>, board: &Board) -> anyhow::Result<()> {
    let mut place = 0;
    while let Some(delivery) = deliveries.recv().await {
        let metadata = delivery.await.context("a record was given up")?;
        let mut so_far = board.so_far.lock();
        so_far.acknowledged += 1;
        so_far.misplaced += u64::from(metadata.offset.map(millrace_types::Offset::get) != Some(place));
        place += 1;
        if let Some(kill) = so_far.kill
            && so_far.resumed_in.is_none()
            && so_far.acknowledged > kill.acknowledged
        {
            so_far.resumed_in = Some(board.clock.monotonic().since(kill.at));
        }
    }
    Ok(())
}

struct Sender<'a> {
    producer: &'a Producer,
    senders: Vec<mpsc::Sender<Delivery>>,
    board: &'a Board,
    live: &'a LiveReader,
    screen: &'a Screen,
}

impl Sender<'_> {
    async fn send(self, flights: &[InputRecord], broker: &mut BrokerChild) -> anyhow::Result<()> {
        let total = flights.len() as u64;
        let mut last_acknowledged = 0;
        for portion in flights.chunks(flights.len().div_ceil(PORTIONS).max(1)) {
            for flight in portion {
                self.send_one(flight).await?;
            }
            let so_far = self.show();
            let percent = so_far.sent * 100 / total;
            let is_flowing = so_far.acknowledged > last_acknowledged && so_far.acknowledged < so_far.sent;
            last_acknowledged = so_far.acknowledged;
            if so_far.kill.is_some() || percent < BURST_FROM_PERCENT {
                self.board.clock.sleep(TICK).await;
            } else if (is_flowing && percent >= KILL_FROM_PERCENT) || percent >= KILL_BY_PERCENT {
                self.kill(broker).await?;
            } else {
                self.board.clock.sleep(BURST_TICK).await;
            }
        }
        // The last acknowledgements are still to come, and are to be seen too.
        while self.show().acknowledged < total || self.live.is_behind(total) {
            self.board.clock.sleep(TICK).await;
        }
        Ok(())
    }

    async fn send_one(&self, flight: &InputRecord) -> anyhow::Result<()> {
        let partition = partition_for_key(flight.key.as_deref().unwrap_or_default(), PARTITIONS);
        let record = ProducerRecord {
            key: flight.key.clone(),
            timestamp: flight.timestamp,
            value: flight.value.clone(),
            ..ProducerRecord::new(TOPIC, "")
        };
        let delivery = self.producer.send(record).await?;
        self.board.so_far.lock().sent += 1;
        let collector = usize::try_from(partition.0).ok().and_then(|index| self.senders.get(index));
        collector.context("a partition without a collector")?.send(delivery).await?;
        Ok(())
    }

    async fn kill(&self, broker: &mut BrokerChild) -> anyhow::Result<()> {
        let at = self.board.clock.monotonic();
        let pid = broker.pid();
        broker.kill_hard()?;
        self.screen.mark_kill();
        let met = *self.board.so_far.lock();
        let unacknowledged = met.sent - met.acknowledged;
        self.screen.say(&format!(
            "kill -9 {pid} after {} of the records, {unacknowledged} of them unacknowledged",
            met.sent
        ));
        broker.start_again().await?;
        let restarted_in = broker.started_in();
        let acknowledged = met.acknowledged;
        let kill = Kill { at, acknowledged, sent: met.sent, unacknowledged, restarted_in };
        self.board.so_far.lock().kill = Some(kill);
        self.screen.say(&format!(
            "broker up again in {} ms: process {}; the stream goes on",
            restarted_in.as_millis(),
            broker.pid()
        ));
        Ok(())
    }

    fn show(&self) -> Streamed {
        let so_far = *self.board.so_far.lock();
        self.screen.show(Progress { acknowledged: so_far.acknowledged, consumed: self.live.records() });
        so_far
    }
}
