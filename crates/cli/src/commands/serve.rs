//! `millrace serve`: runs a broker until it is told to stop.

use std::io::{Read as _, Write};
use std::net::SocketAddr;

use anyhow::Context;
use futures::stream::select;
use futures::{Stream, StreamExt};
use millrace_env::real;
use millrace_server::{Exit, ServerInfo, start, stop_signals};
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use crate::args::ServeArgs;
use crate::table::row;
use crate::{commands, exit, logging};

/// Runs the broker and answers its exit code.
///
/// # Errors
/// The configuration is refused, or the broker does not start.
pub(super) async fn run(args: ServeArgs) -> anyhow::Result<u8> {
    let config = commands::config::read(&args)?;
    logging::install(&config.log_level, config.log_format)?;
    // Before anything is opened: the logs take their share of it.
    real::raise_files_max();
    let signals = stop_signals().context("the handlers of signals cannot be installed")?;
    let mut signals = match args.stop_with_input {
        true => select(signals, end_of_input().context("standard input")?).left_stream(),
        false => signals.right_stream(),
    };
    let is_member = config.cluster.is_some();
    let server = tokio::select! {
        biased;
        // It may wait for its cluster for ever. What is alone is soon through, and stops cleanly then.
        Some(()) = signals.next(), if is_member => {
            exit::tell!("millrace: stopped before it was one of its cluster; the next start recovers");
            return Ok(Exit::Interrupted.code());
        }
        started = start(real::env(), config) => started?,
    };
    announce(&server.info().clone()).context("standard output")?;
    Ok(server.run(signals).await.code())
}

/// Ends with standard input, and says so once. What comes before is of no meaning.
fn end_of_input() -> std::io::Result<impl Stream<Item = ()> + Send + Unpin> {
    let (sender, receiver) = oneshot::channel();
    let read = move || {
        let mut input = std::io::stdin().lock();
        let mut buffer = [0; 256];
        // An input that cannot be read has ended too.
        while input.read(&mut buffer).is_ok_and(|bytes| bytes > 0) {}
        // Nobody listens any more once the process stops.
        sender.send(()).ok();
    };
    real::env().tasks.thread("standard input", Box::new(read))?;
    Ok(futures::stream::once(receiver).filter_map(|ended| std::future::ready(ended.ok())).fuse())
}

/// Prints one JSON line: whoever started the process knows from it that the broker accepts, and where.
fn announce(info: &ServerInfo) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, &to_json(info))?;
    out.write_all(b"\n")?;
    out.flush()
}

fn to_json(info: &ServerInfo) -> Map<String, Value> {
    let mut line = row! {
        "node": info.node.0,
        "pid": info.pid,
        "grpc": first(&info.grpc),
        "kafka": first(&info.kafka),
        "http": first(&info.http),
    };
    if let Some(internal) = first(&info.internal) {
        line.insert("internal".to_owned(), internal.into());
    }
    line
}

/// The address to dial: of a door that listens on both loopbacks, the first, which is IPv4's.
fn first(addrs: &[SocketAddr]) -> Option<String> {
    addrs.first().map(SocketAddr::to_string)
}
