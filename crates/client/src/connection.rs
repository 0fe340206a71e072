//! Connections to brokers: one lazy HTTP/2 channel per address, made through the environment's sockets.

use std::io;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use millrace_env::{Env, NetStream};
use millrace_proto::v1::millrace_client::MillraceClient;
use millrace_types::limits::{BATCH_BYTES_MAX, FETCH_BYTES_MAX};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

use crate::options::CLIENT_ID_KEY;
use crate::{ClientError, ClientOptions};

/// The frames of HTTP/2's default are 16 KiB, which costs half of the throughput.
const FRAME_BYTES: u32 = 256 * 1024;
/// What one stream may have on its way, so that a long round trip does not limit it.
const STREAM_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// What a connection may have on its way.
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// A broker that vanished without a word is noticed after this and [`KEEPALIVE_TIMEOUT`].
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);
/// How long a broker has to answer a ping.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(4);
/// The largest answer: the most that a fetch answers, one batch over it, and what surrounds them.
const ANSWER_BYTES_MAX: usize = FETCH_BYTES_MAX + BATCH_BYTES_MAX + 1024 * 1024;

/// The generated client over a channel that says who is calling.
pub(crate) type Rpc = MillraceClient<InterceptedService<Channel, ClientId>>;

/// Adds the client id to every call.
#[derive(Clone, Debug)]
pub(crate) struct ClientId(MetadataValue<Ascii>);

impl Interceptor for ClientId {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        request.metadata_mut().insert(CLIENT_ID_KEY, self.0.clone());
        Ok(request)
    }
}

/// A channel to `server` (`host:port`). Nothing is dialled before its first call, and again after it broke.
pub(crate) fn open(server: &str, options: &ClientOptions) -> Result<Rpc, ClientError> {
    let endpoint = Endpoint::from_shared(format!("http://{server}"))
        .map_err(|e| ClientError::Config { what: format!("server {server:?}"), reason: e.to_string() })?
        .connect_timeout(options.connect_timeout)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    let (env, server) = (options.env.clone(), server.to_owned());
    let connector = tower::service_fn(move |_: Uri| dial(env.clone(), server.clone()));
    let channel = endpoint.connect_with_connector_lazy(connector);
    let client_id = ClientId(options.client_id_header()?);
    Ok(MillraceClient::with_interceptor(channel, client_id).max_decoding_message_size(ANSWER_BYTES_MAX))
}

/// Tries each address of `server` in turn; a name may stand for several.
async fn dial(env: Env, server: String) -> io::Result<TokioIo<Box<dyn NetStream>>> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{server} has no address"));
    for addr in env.net.resolve(server).await? {
        match env.net.dial(addr).await {
            Ok(stream) => return Ok(TokioIo::new(stream)),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// Checks the form `host:port`.
pub(crate) fn check_address(server: &str) -> Result<(), ClientError> {
    let refuse = |reason: &str| {
        Err(ClientError::Config { what: format!("server {server:?}"), reason: reason.to_owned() })
    };
    match server.rsplit_once(':') {
        Some(("", _)) => refuse("there is no host in front of the port"),
        Some((host, _)) if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) => {
            refuse("an IPv6 address stands in brackets, as in [::1]:7070")
        }
        Some((_, port)) if port.parse::<u16>().is_ok_and(|port| port > 0) => Ok(()),
        _ => refuse("not of the form host:port"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        for good in ["127.0.0.1:7070", "[::1]:7070", "broker.example:1"] {
            assert!(check_address(good).is_ok(), "{good}");
        }
        for bad in ["", "broker", ":7070", "broker:", "broker:0", "broker:70700", "::1:7070", "http://a:7070"]
        {
            assert!(check_address(bad).is_err(), "{bad}");
        }
    }
}
