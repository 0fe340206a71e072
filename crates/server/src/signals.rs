//! The signals that stop a broker.

use std::io;

use futures::Stream;
use futures::stream::{StreamExt, select};
use tokio::signal::unix::{SignalKind, signal};

/// SIGTERM and SIGINT as they come. From now on neither kills the process by itself.
///
/// # Errors
/// If a handler cannot be installed.
pub fn stop_signals() -> io::Result<impl Stream<Item = ()> + Send + Unpin> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let terminate = futures::stream::poll_fn(move |cx| terminate.poll_recv(cx));
    let interrupt = futures::stream::poll_fn(move |cx| interrupt.poll_recv(cx));
    Ok(select(terminate, interrupt).fuse())
}
