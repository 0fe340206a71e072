//! Sockets.

use std::fmt::Debug;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::{BoxFuture, File};

/// Bytes that one step of a copy from a file to a socket takes.
const COPY_STEP_BYTES: u64 = 64 * 1024;

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

    /// Sends some bytes of `file`, from the beginning of `range` on, and tells how many: at least one, if the range is not
    /// empty. Real streams have the kernel send them (`sendfile`), others copy. Blocks while a page is read that is not
    /// in memory: [`File::is_resident`], [`File::populate`] first. The bytes must not change any more.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before the range begins, else those of reading and of writing.
    fn poll_send_file(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        file: &dyn File,
        range: Range<u64>,
    ) -> Poll<io::Result<usize>> {
        poll_copy(self, context, file, range)
    }
}

impl dyn NetStream {
    /// Sends all of `range` of `file`, as [`NetStream::poll_send_file`] does. Dropped before it has ended, it has sent some of it.
    ///
    /// # Errors
    /// As [`NetStream::poll_send_file`].
    pub async fn send_file(&mut self, file: &dyn File, range: Range<u64>) -> io::Result<()> {
        let mut rest = range;
        while !rest.is_empty() {
            let sent =
                poll_fn(|context| Pin::new(&mut *self).poll_send_file(context, file, rest.clone())).await?;
            rest.start += sent as u64;
        }
        Ok(())
    }
}

/// Reads a step of `range` and writes what the stream takes of it.
pub(crate) fn poll_copy<S: AsyncWrite + ?Sized>(
    stream: Pin<&mut S>,
    context: &mut Context<'_>,
    file: &dyn File,
    range: Range<u64>,
) -> Poll<io::Result<usize>> {
    let step = range.end.saturating_sub(range.start).min(COPY_STEP_BYTES);
    let mut buffer = vec![0; usize::try_from(step).unwrap_or(0)];
    if buffer.is_empty() {
        return Poll::Ready(Ok(0));
    }
    match file.read_at(&mut buffer, range.start) {
        Ok(0) => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
        Ok(read) => {
            buffer.truncate(read);
            stream.poll_write(context, &buffer)
        }
        Err(error) => Poll::Ready(Err(error)),
    }
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
