//! Accepts connections, whatever happens to single ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millrace_broker::ConnectionId;
use millrace_env::{Listener, NetStream};
use millrace_types::limits::CONNECTIONS_MAX;
use tokio_util::task::TaskTracker;

use crate::connection::Connections;

/// How long an accept loop rests after an error: long enough not to spin while the process is out of file
/// descriptors, short enough not to be noticed.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// The accept loops of a door.
#[derive(Clone, Debug)]
pub(crate) struct Accepting {
    pub(crate) connections: Connections,
    /// Counts the connections that are served.
    pub(crate) served: TaskTracker,
    pub(crate) next_id: Arc<AtomicU64>,
}

impl Accepting {
    /// Accepts until the broker drains. No error of `accept` ends it.
    pub(crate) async fn run(self, listener: Box<dyn Listener>) {
        let draining = self.connections.api.draining.clone();
        loop {
            let accepted = tokio::select! {
                biased;
                () = draining.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok(stream) => self.take(stream),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    self.connections.api.env.clock.sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }

    fn take(&self, stream: Box<dyn NetStream>) {
        if self.served.len() >= CONNECTIONS_MAX {
            tracing::warn!(max = CONNECTIONS_MAX, "too many connections: one was closed");
            return;
        }
        let id = ConnectionId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let serving = self.connections.clone().serve(id, stream);
        let tracked = self.served.track_future(serving);
        let _runs_on = self.connections.api.env.tasks.spawn("kafka connection", Box::pin(tracked));
    }
}
