//! A TCP proxy that breaks connections where a test says: after a number of bytes in one direction, or now; and that
//! can stop moving bytes without breaking anything.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use millrace_env::{Env, Listener, NetStream};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

/// Which bytes are counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From the client to the broker: requests are lost.
    ToBroker,
    /// From the broker to the client: answers are lost.
    ToClient,
}

/// A connection that is broken once so many bytes have passed. The bytes up to there are delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    /// Which bytes are counted.
    pub direction: Direction,
    /// How many pass.
    pub after: u64,
}

/// A proxy in front of a broker.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    env: Env,
    upstream: SocketAddr,
    /// For the next connections, in order; those behind the last one are not cut.
    cuts: Mutex<VecDeque<Cut>>,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Default, Debug)]
struct State {
    /// Connections older than the last one of these are broken.
    breaks: u64,
    is_paused: bool,
}

impl Proxy {
    /// Stands in front of `upstream`.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start(upstream: SocketAddr) -> Proxy {
        let env = millrace_env::real::env();
        let listener = env.net.listen(SocketAddr::from(([127, 0, 0, 1], 0))).await;
        let listener = listener.unwrap_or_else(|error| panic!("the proxy cannot listen: {error}"));
        let addr = listener.local_addr().unwrap_or_else(|error| panic!("no address: {error}"));
        let cuts = Mutex::new(VecDeque::new());
        let shared = Arc::new(Shared { env, upstream, cuts, state: watch::Sender::new(State::default()) });
        let _runs_on = shared.env.tasks.spawn("proxy", Box::pin(accept(listener, Arc::clone(&shared))));
        Proxy { addr, shared }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Cuts the next connections, behind those that were asked for before.
    pub fn cut_next(&self, cuts: impl IntoIterator<Item = Cut>) {
        self.shared.cuts.lock().extend(cuts);
    }

    /// Breaks every connection that there is.
    pub fn cut_all(&self) {
        self.shared.state.send_modify(|state| state.breaks += 1);
    }

    /// Moves no bytes until [`Proxy::resume`]; connections stay.
    pub fn pause(&self) {
        self.shared.state.send_modify(|state| state.is_paused = true);
    }

    /// Moves bytes again.
    pub fn resume(&self) {
        self.shared.state.send_modify(|state| state.is_paused = false);
    }

    /// How many of the cuts that were asked for are still to come.
    #[must_use]
    pub fn cuts_left(&self) -> usize {
        self.shared.cuts.lock().len()
    }
}

async fn accept(listener: Box<dyn Listener>, shared: Arc<Shared>) {
    loop {
        let Ok(client) = listener.accept().await else { continue };
        let cut = shared.cuts.lock().pop_front();
        let connection = Arc::clone(&shared);
        let serve = async move { serve(client, cut, &connection).await };
        let _runs_on = shared.env.tasks.spawn("proxied connection", Box::pin(serve));
    }
}

async fn serve(client: Box<dyn NetStream>, cut: Option<Cut>, shared: &Shared) {
    let mut state = shared.state.subscribe();
    let breaks = state.borrow().breaks;
    // Nobody upstream: the client sees the connection end, as it would without a proxy.
    let Ok(upstream) = shared.env.net.dial(shared.upstream).await else { return };
    let (client_read, client_write) = tokio::io::split(client);
    let (upstream_read, upstream_write) = tokio::io::split(upstream);
    let limit = |direction| cut.filter(|cut| cut.direction == direction).map(|cut| cut.after);
    tokio::select! {
        () = pump(client_read, upstream_write, limit(Direction::ToBroker), state.clone()) => {}
        () = pump(upstream_read, client_write, limit(Direction::ToClient), state.clone()) => {}
        _ = state.wait_for(|state| state.breaks > breaks) => {}
    }
}

/// Moves bytes until an end, an error, or the limit.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut limit: Option<u64>,
    mut state: watch::Receiver<State>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        if state.wait_for(|state| !state.is_paused).await.is_err() {
            return;
        }
        let passing = limit.map_or(read, |left| read.min(usize::try_from(left).unwrap_or(usize::MAX)));
        let Some(bytes) = buffer.get(..passing) else { return };
        if to.write_all(bytes).await.is_err() || to.flush().await.is_err() || passing < read {
            return;
        }
        if let Some(left) = &mut limit {
            *left -= passing as u64;
            if *left == 0 {
                return;
            }
        }
    }
}
