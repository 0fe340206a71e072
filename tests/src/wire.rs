//! What a client says on the wire, as bytes to be said again by somebody without manners; and waiting for what comes by
//! itself.

use std::io::Read as _;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use millrace_proto::v1::millrace_client::MillraceClient;
use tonic::transport::{Channel, Endpoint};

/// A safety net for what a broker does by itself.
const PATIENCE: Duration = Duration::from_secs(120);
/// A client that says nothing for so long waits for an answer.
const SILENCE: Duration = Duration::from_millis(500);

/// The bytes of a connection that makes one call.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// From the preface on.
    pub bytes: Vec<u8>,
}

impl Recorded {
    /// As a real client sends them to a server that says nothing.
    ///
    /// # Panics
    /// When there is no loopback.
    pub async fn call<F, Fut>(call: F) -> Recorded
    where
        F: FnOnce(MillraceClient<Channel>) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let reading = tokio::task::spawn_blocking(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            stream.set_read_timeout(Some(SILENCE)).expect("a timeout");
            let mut bytes = Vec::new();
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = stream.read(&mut buffer) {
                bytes.extend_from_slice(&buffer[..read]);
            }
            bytes
        });
        let channel = Endpoint::from_shared(format!("http://{address}")).expect("an address").connect_lazy();
        let calling = tokio::spawn(call(MillraceClient::new(channel)));
        let bytes = reading.await.expect("bytes");
        calling.abort();
        Recorded { bytes }
    }
}

/// Waits for what a broker does by itself.
///
/// # Panics
/// When it does not.
pub async fn wait_until(condition: impl Fn() -> bool, what: &str) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "{what}: it does not happen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
