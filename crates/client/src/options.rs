//! What a client may be told about itself and its patience.

use std::time::Duration;

use millrace_env::Env;
use millrace_types::limits::CLIENT_ID_BYTES_MAX;
use tonic::metadata::{Ascii, MetadataValue};

use crate::ClientError;

/// The name under which [`ClientOptions::client_id`] travels in the metadata of every call.
pub const CLIENT_ID_KEY: &str = "millrace-client-id";

/// How a [`crate::Client`] behaves. All fields have defaults: change what you need.
///
/// ```
/// # use millrace_client::ClientOptions;
/// let options = ClientOptions { client_id: "loader".to_owned(), ..ClientOptions::default() };
/// ```
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Clock, randomness, sockets and tasks. The real machine by default.
    pub env: Env,
    /// Who is calling, for the broker's logs and quotas: visible ASCII, 255 bytes at most.
    pub client_id: String,
    /// How long one attempt to connect may take, before another broker is tried. 1 s.
    pub connect_timeout: Duration,
    /// How long a call may take, retries included. 30 s.
    pub request_timeout: Duration,
    /// The pause before the first retry; it doubles with each, and half of it is random. 20 ms.
    pub backoff_min: Duration,
    /// The longest pause between two attempts. 1 s.
    pub backoff_max: Duration,
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        ClientOptions {
            env: millrace_env::real::env(),
            client_id: "millrace-rust".to_owned(),
            connect_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_secs(30),
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_secs(1),
        }
    }
}

impl ClientOptions {
    /// The client id as a header.
    pub(crate) fn client_id_header(&self) -> Result<MetadataValue<Ascii>, ClientError> {
        let refuse = |reason: &str| ClientError::Config {
            what: format!("client id {:?}", self.client_id),
            reason: reason.to_owned(),
        };
        if self.client_id.len() > CLIENT_ID_BYTES_MAX {
            return Err(refuse("longer than 255 bytes"));
        }
        self.client_id.parse().map_err(|_| refuse("not visible ASCII"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_that_no_header_can_carry_is_refused() {
        let with = |id: &str| ClientOptions { client_id: id.to_owned(), ..ClientOptions::default() };
        assert!(with("loader-7").client_id_header().is_ok());
        assert!(with("a\nb").client_id_header().is_err());
        assert!(with(&"x".repeat(256)).client_id_header().is_err());
    }
}
