//! Whether clients come back to the address that they are told (the trap of advertised listeners).
//!
//! A client asks who serves, is told an address, and connects to that. If it cannot, because an address was translated on the
//! way, it hangs, and nothing here shows why. So the door looks for clients that have asked who serves, have asked nothing else
//! on that connection, keep it open, and from whose address no later connection has come; the first one is written into the
//! log, once. It is a hint: a client with nothing to do looks the same. Who came over loopback can come again.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millrace_broker::ConnectionId;
use millrace_env::Clock;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::door::Endpoint;

/// How long a client may take to come back.
const PATIENCE: Duration = Duration::from_secs(60);
/// Client addresses that are remembered. When there are more all are forgotten, and nothing is said of those.
const ADDRESSES_MAX: usize = 4096;

/// What is known of where connections have come from.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    warned: AtomicBool,
    /// The latest connection from each address.
    latest: Mutex<BTreeMap<IpAddr, ConnectionId>>,
}

/// What a client has asked on one connection.
#[derive(Debug, Default)]
pub(crate) struct Visit {
    /// It was told who serves.
    told: Notify,
    /// It has asked for something else.
    used: AtomicBool,
}

impl Visit {
    pub(crate) fn told(&self) {
        self.told.notify_one();
    }

    pub(crate) fn used(&self) {
        self.used.store(true, Ordering::Relaxed);
    }
}

impl Reach {
    /// A connection has come.
    pub(crate) fn arrived(&self, from: IpAddr, id: ConnectionId) {
        if self.warned.load(Ordering::Relaxed) {
            return;
        }
        let mut latest = self.latest.lock();
        if latest.len() >= ADDRESSES_MAX && !latest.contains_key(&from) {
            latest.clear();
        }
        latest.insert(from, id);
    }

    /// Whether a client seems not to reach the address that it was told.
    fn is_missed(&self, from: IpAddr, id: ConnectionId, visit: &Visit) -> bool {
        let is_latest = self.latest.lock().get(&from) == Some(&id);
        is_latest && !visit.used.load(Ordering::Relaxed) && !from.to_canonical().is_loopback()
    }

    /// Watches one connection and never completes.
    pub(crate) async fn watch(
        &self,
        clock: &dyn Clock,
        (from, id): (IpAddr, ConnectionId),
        told: &Endpoint,
        visit: &Visit,
    ) {
        visit.told.notified().await;
        clock.sleep(PATIENCE).await;
        if self.is_missed(from, id, visit) && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                client = %from,
                address = %told,
                "a client of Kafka was told to connect to this address and has not come back; if clients hang, set \
                 kafka_advertised to an address that they can reach (this is said once)"
            );
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const NEAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn missed(from: IpAddr, after: impl FnOnce(&Reach, &Visit)) -> bool {
        let (reach, visit) = (Reach::default(), Visit::default());
        reach.arrived(from, ConnectionId(1));
        after(&reach, &visit);
        reach.is_missed(from, ConnectionId(1), &visit)
    }

    #[test]
    fn who_stays_away_is_missed_and_who_comes_back_is_not() {
        assert!(missed(FAR, |_, _| {}));
        assert!(!missed(FAR, |reach, _| reach.arrived(FAR, ConnectionId(2))));
        assert!(!missed(FAR, |_, visit| visit.used()));
        assert!(!missed(NEAR, |_, _| {}));
        assert!(missed(FAR, |reach, _| reach.arrived(NEAR, ConnectionId(2))));
    }

    #[test]
    fn of_addresses_that_were_forgotten_nothing_is_said() {
        let crowd = |reach: &Reach, _: &Visit| {
            for number in 0..u32::try_from(ADDRESSES_MAX).unwrap() {
                reach.arrived(IpAddr::V4((0x0a00_0000 + number).into()), ConnectionId(2));
            }
            assert!(reach.latest.lock().len() <= ADDRESSES_MAX);
        };
        assert!(!missed(FAR, crowd));
    }
}
