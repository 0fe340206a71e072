//! Who calls, as the headers of a call tell it.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use millrace_broker::{ConnectionId, Context, ListenerName, Principal};
use millrace_env::Monotonic;
use millrace_types::limits::CLIENT_ID_BYTES_MAX;

use crate::pace::Pace;
use crate::permits::CallPermits;

/// The header in which a client says what it calls itself.
const CLIENT_ID_HEADER: &str = "millrace-client-id";
/// gRPC's own header for how long a client waits.
const TIMEOUT_HEADER: &str = "grpc-timeout";

/// The other end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) connection: ConnectionId,
    /// Its address without the port; empty if the operating system does not say.
    pub(crate) host: Arc<str>,
}

/// Travels with a request to its handler.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) context: Context,
    /// The address from which the connection came, for people.
    pub(crate) host: Arc<str>,
    pub(crate) permits: Arc<CallPermits>,
    /// Of a stream that goes on and on: how far its client is behind.
    pub(crate) pace: Option<Arc<Pace>>,
}

impl Caller {
    /// The caller of a request that came in at `now`.
    pub(crate) fn of(headers: &HeaderMap, peer: &Peer, now: Monotonic) -> Caller {
        let client_id = headers.get(CLIENT_ID_HEADER).and_then(|value| value.to_str().ok()).unwrap_or("");
        // Header text is ASCII, so that any cut is at a character.
        let client_id = client_id.get(..client_id.len().min(CLIENT_ID_BYTES_MAX)).unwrap_or("");
        let timeout = headers.get(TIMEOUT_HEADER).and_then(|value| value.to_str().ok()).and_then(timeout);
        let context = Context {
            principal: Principal::Anonymous,
            client_id: client_id.into(),
            listener: ListenerName::Grpc,
            connection: peer.connection,
            deadline: timeout.map(|timeout| now.after(timeout)),
        };
        Caller { context, host: Arc::clone(&peer.host), permits: Arc::default(), pace: None }
    }

    /// With the pace of its client.
    pub(crate) fn paced(self, pace: Option<Arc<Pace>>) -> Caller {
        Caller { pace, ..self }
    }
}

/// Reads `grpc-timeout`: at most eight digits and a unit. What is malformed counts as absent, as in other servers.
fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        assert_eq!(timeout("10S"), Some(Duration::from_secs(10)));
        assert_eq!(timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(timeout("250m"), Some(Duration::from_millis(250)));
        for bad in ["", "S", "1", "-1S", "1s", "123456789S", "1 S", "é", "1é"] {
            assert_eq!(timeout(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_long_client_id_is_cut() {
        let mut headers = HeaderMap::new();
        headers.insert(CLIENT_ID_HEADER, "x".repeat(1000).parse().unwrap());
        let peer = Peer { connection: ConnectionId(1), host: "".into() };
        let caller = Caller::of(&headers, &peer, Monotonic::default());
        assert_eq!(caller.context.client_id.len(), CLIENT_ID_BYTES_MAX);
    }
}
