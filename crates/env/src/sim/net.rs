//! A network inside one process: listeners by address, connections as in-memory pipes.
//!
//! Bytes arrive in order, at once and undamaged; a connection breaks only when an end is dropped. Delay, loss and
//! partitions are not modelled here.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::sync::{Mutex as AsyncMutex, mpsc};

use crate::{BoxFuture, Listener, Net, NetStream};

/// What one end may write before the other reads, in bytes and in each direction.
const PIPE_BYTES: usize = 64 * 1024;
/// Connections that wait to be accepted; further ones wait in `dial`.
const BACKLOG: usize = 128;
/// The first port that is given for port 0 and to the dialling end (RFC 6335, dynamic ports).
const DYNAMIC_PORT_MIN: u16 = 49_152;

/// The network of a simulation. Clones are the same network.
#[derive(Clone, Default, Debug)]
pub struct SimNet {
    ports: Arc<Mutex<Ports>>,
}

#[derive(Debug)]
struct Ports {
    listeners: BTreeMap<SocketAddr, mpsc::Sender<SimStream>>,
    port_next: u16,
}

#[derive(Debug)]
struct SimListener {
    addr: SocketAddr,
    incoming: Arc<AsyncMutex<mpsc::Receiver<SimStream>>>,
    ports: Arc<Mutex<Ports>>,
}

struct SimStream {
    pipe: DuplexStream,
    local: SocketAddr,
    peer: SocketAddr,
}

impl Default for Ports {
    fn default() -> Self {
        Ports { listeners: BTreeMap::new(), port_next: DYNAMIC_PORT_MIN }
    }
}

impl Ports {
    /// The next dynamic port, round and round. The caller checks that it is free.
    fn dynamic(&mut self) -> u16 {
        let port = self.port_next;
        self.port_next = port.checked_add(1).unwrap_or(DYNAMIC_PORT_MIN);
        port
    }

    fn bind(&mut self, addr: SocketAddr) -> io::Result<(SocketAddr, mpsc::Receiver<SimStream>)> {
        let mut addr = addr;
        if addr.port() == 0 {
            let tries = u16::MAX - DYNAMIC_PORT_MIN;
            let taken = (0..=tries).all(|_| {
                addr.set_port(self.dynamic());
                self.listeners.contains_key(&addr)
            });
            if taken {
                return Err(io::ErrorKind::AddrNotAvailable.into());
            }
        }
        if self.listeners.contains_key(&addr) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let (sender, incoming) = mpsc::channel(BACKLOG);
        self.listeners.insert(addr, sender);
        Ok((addr, incoming))
    }

    /// Who listens on `addr`, or on all addresses of its family.
    fn find(&self, addr: SocketAddr) -> Option<mpsc::Sender<SimStream>> {
        let any = match addr.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let any = SocketAddr::new(any, addr.port());
        self.listeners.get(&addr).or_else(|| self.listeners.get(&any)).cloned()
    }
}

impl SimNet {
    /// A network that nobody listens on.
    #[must_use]
    pub fn new() -> SimNet {
        SimNet::default()
    }
}

impl Net for SimNet {
    fn listen(&self, addr: SocketAddr) -> BoxFuture<io::Result<Box<dyn Listener>>> {
        let ports = Arc::clone(&self.ports);
        Box::pin(async move {
            let (addr, incoming) = ports.lock().bind(addr)?;
            let incoming = Arc::new(AsyncMutex::new(incoming));
            Ok(Box::new(SimListener { addr, incoming, ports }) as Box<dyn Listener>)
        })
    }

    fn dial(&self, addr: SocketAddr) -> BoxFuture<io::Result<Box<dyn NetStream>>> {
        let ports = Arc::clone(&self.ports);
        Box::pin(async move {
            let (listener, local) = {
                let mut ports = ports.lock();
                let listener = ports.find(addr).ok_or(io::ErrorKind::ConnectionRefused)?;
                (listener, SocketAddr::new(addr.ip(), ports.dynamic()))
            };
            let (near, far) = duplex(PIPE_BYTES);
            let far = SimStream { pipe: far, local: addr, peer: local };
            listener.send(far).await.map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok(Box::new(SimStream { pipe: near, local, peer: addr }) as Box<dyn NetStream>)
        })
    }
}

impl Listener for SimListener {
    fn accept(&self) -> BoxFuture<io::Result<Box<dyn NetStream>>> {
        let incoming = Arc::clone(&self.incoming);
        Box::pin(async move {
            let stream = incoming.lock().await.recv().await.ok_or(io::ErrorKind::NotConnected)?;
            Ok(Box::new(stream) as Box<dyn NetStream>)
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.addr)
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.ports.lock().listeners.remove(&self.addr);
    }
}

impl fmt::Debug for SimStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimStream({} to {})", self.local, self.peer)
    }
}

impl NetStream for SimStream {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}

impl AsyncRead for SimStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_read(context, buffer)
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(context)
    }
}
