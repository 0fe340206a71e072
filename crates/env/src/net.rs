//! Sockets.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::BoxFuture;

/// A connected byte stream. Real ones have `TCP_NODELAY` set.
pub trait NetStream: AsyncRead + AsyncWrite + Send + Unpin + Debug {
    /// The address of this end.
    ///
    /// # Errors
    /// The operating system's, for a socket that is gone.
    fn local_addr(&self) -> io::Result<SocketAddr>;
    /// The address of the other end.
    ///
    /// # Errors
    /// The operating system's, for a socket that is gone.
    fn peer_addr(&self) -> io::Result<SocketAddr>;
}

/// Accepts connections.
pub trait Listener: Send + Sync + Debug {
    /// Waits for the next connection. An error concerns one connection or is passing (EMFILE): callers go on.
    fn accept(&self) -> BoxFuture<io::Result<Box<dyn NetStream>>>;
    /// The address that is listened on, with the port that was picked for port 0.
    ///
    /// # Errors
    /// The operating system's.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// Opens sockets.
pub trait Net: Send + Sync + Debug {
    /// Listens on `addr`. An IPv6 listener takes IPv6 connections only.
    fn listen(&self, addr: SocketAddr) -> BoxFuture<io::Result<Box<dyn Listener>>>;
    /// Connects to `addr`.
    fn dial(&self, addr: SocketAddr) -> BoxFuture<io::Result<Box<dyn NetStream>>>;

    /// The addresses of `server` (`host:port`), to be dialled in turn. A world without a name service knows addresses
    /// alone, `127.0.0.1:7070` or `[::1]:7070`.
    fn resolve(&self, server: String) -> BoxFuture<io::Result<Vec<SocketAddr>>> {
        let literal = server.parse::<SocketAddr>();
        Box::pin(async move {
            match literal {
                Ok(addr) => Ok(vec![addr]),
                Err(_) => {
                    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{server:?} is no address")))
                }
            }
        })
    }
}
