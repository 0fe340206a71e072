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
/// The same in the burst before the kill: several calls are out at any moment, and acknowledgements come in between.
const BURST_TICK: Duration = Duration::from_millis(1);
/// How many portions there are: the stream is slow enough to be watched.
const PORTIONS: usize = 240;
/// From here on records are sent as fast as they go, so that the kill finds calls in flight.
const BURST_FROM_PERCENT: u64 = 40;
/// By here the broker has been killed.
const BURST_TO_PERCENT: u64 = 68;

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
        let mut chart = Vec::new();
        let mut burst_began_at = None;
        for portion in flights.chunks(flights.len().div_ceil(PORTIONS).max(1)) {
            for flight in portion {
                self.send_one(flight).await?;
            }
            let before = self.show(&mut chart);
            if before.kill.is_some() || before.sent * 100 < total * BURST_FROM_PERCENT {
                self.board.clock.sleep(TICK).await;
                continue;
            }
            // In the burst: kill once acknowledgements arrive and others are still out.
            let began_at = *burst_began_at.get_or_insert(before.acknowledged);
            self.board.clock.sleep(BURST_TICK).await;
            let now = *self.board.so_far.lock();
            let flowing = now.acknowledged > began_at && now.acknowledged < now.sent;
            if flowing || now.sent * 100 > total * BURST_TO_PERCENT {
                self.kill(broker)?;
            }
        }
        Ok(())
    }

    async fn send_one(&self, flight: &InputRecord) -> anyhow::Result<()> {
        let partition = partition_for_key(flight.key.as_deref().unwrap_or_default(), PARTITIONS);
        let record = ProducerRecord {
            key: flight.key.clone(),
            timestamp: flight.timestamp,
            ..ProducerRecord::new(TOPIC, flight.value.clone())
        };
        let delivery = self.producer.send(record).await?;
        self.board.so_far.lock().sent += 1;
        let collector = usize::try_from(partition.0).ok().and_then(|index| self.senders.get(index));
        collector.context("a partition without a collector")?.send(delivery).await?;
        Ok(())
    }

    fn kill(&self, broker: &mut BrokerChild) -> anyhow::Result<()> {
        let at = self.board.clock.monotonic();
        let pid = broker.pid();
        broker.kill_hard()?;
        let met = *self.board.so_far.lock();
        let unacknowledged = met.sent - met.acknowledged;
        self.screen.say(&format!(
            "kill -9 {pid} after {} of the records, {unacknowledged} of them unacknowledged",
            met.sent
        ));
        broker.start_again()?;
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

    fn show(&self, chart: &mut Vec<(u64, u64)>) -> Streamed {
        let so_far = *self.board.so_far.lock();
        let last = chart.last().map_or(0, |(_, total)| *total);
        chart.push((so_far.acknowledged - last, so_far.acknowledged));
        let progress = Progress { acknowledged: so_far.acknowledged, consumed: self.live.records() };
        let rates: Vec<u64> = chart.iter().map(|(rate, _)| *rate).collect();
        self.screen.show(progress, &rates, TICK);
        so_far
    }
}
