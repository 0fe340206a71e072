//! TCP.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::io::{Errno, retry_on_intr};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::net::poll_copy;
use crate::{BoxFuture, File, Listener, Net, NetStream};

/// Connections that the kernel completes for us while we are not accepting.
const LISTEN_BACKLOG: u32 = 1024;

/// TCP by way of tokio.
#[derive(Clone, Copy, Debug)]
pub struct RealNet;

#[derive(Debug)]
struct RealListener {
    inner: Arc<TcpListener>,
}

impl Net for RealNet {
    fn listen(&self, addr: SocketAddr) -> BoxFuture<io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let inner = Arc::new(bind(addr)?);
            Ok(Box::new(RealListener { inner }) as Box<dyn Listener>)
        })
    }

    fn dial(&self, addr: SocketAddr) -> BoxFuture<io::Result<Box<dyn NetStream>>> {
        Box::pin(async move {
            let stream = connect(addr).await?;
            Ok(Box::new(stream) as Box<dyn NetStream>)
        })
    }

    fn resolve(&self, server: String) -> BoxFuture<io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host(server).await?.collect()) })
    }
}

fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restarted broker takes its port back while connections of the last one are in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    if addr.is_ipv6() {
        // Otherwise [::]:9092 would also take 0.0.0.0:9092, depending on a sysctl.
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
    }
    socket.bind(addr)?;
    socket.listen(LISTEN_BACKLOG)
}

async fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Listener for RealListener {
    fn accept(&self) -> BoxFuture<io::Result<Box<dyn NetStream>>> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let stream = accept(&inner).await?;
            Ok(Box::new(stream) as Box<dyn NetStream>)
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

impl NetStream for TcpStream {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        TcpStream::local_addr(self)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        TcpStream::peer_addr(self)
    }

    fn poll_send_file(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        file: &dyn File,
        range: Range<u64>,
    ) -> Poll<io::Result<usize>> {
        let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        let Some(descriptor) = file.descriptor().filter(|_| length > 0) else {
            return poll_copy(self, context, file, range);
        };
        loop {
            ready!(self.poll_write_ready(context))?;
            let send = || {
                let mut position = range.start;
                Ok(retry_on_intr(|| rustix::fs::sendfile(&*self, descriptor, Some(&mut position), length))?)
            };
            return match self.try_io(Interest::WRITABLE, send) {
                Ok(0) => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                // Readiness is cleared by that: the next turn waits.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                // A file system that cannot give its pages away.
                Err(error) if is_refusal(&error) => poll_copy(self, context, file, range),
                answer => Poll::Ready(answer),
            };
        }
    }
}

fn is_refusal(error: &io::Error) -> bool {
    let refusals = [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| refusals.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_ipv6_listener_takes_ipv6_only() {
        match bind("[::1]:0".parse().unwrap()) {
            Ok(listener) => assert!(rustix::net::sockopt::ipv6_v6only(&listener).unwrap()),
            // A machine without IPv6.
            Err(e) => assert!(matches!(e.raw_os_error(), Some(97 | 99)), "{e}"),
        }
    }

    #[tokio::test]
    async fn names_and_addresses_resolve() {
        let addr = "127.0.0.1:7070".parse().unwrap();
        assert_eq!(RealNet.resolve("127.0.0.1:7070".to_owned()).await.unwrap(), [addr]);
        assert!(RealNet.resolve("localhost:7070".to_owned()).await.unwrap().contains(&addr));
        assert!(RealNet.resolve("no port".to_owned()).await.is_err());
    }

    #[tokio::test]
    async fn two_listeners_on_one_port_are_refused() {
        let first = RealNet.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let again = RealNet.listen(first.local_addr().unwrap()).await;
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn nagle_is_off_at_both_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dialed = connect(listener.local_addr().unwrap()).await.unwrap();
        let accepted = accept(&listener).await.unwrap();
        assert_eq!(accepted.peer_addr().unwrap(), dialed.local_addr().unwrap());
        assert!(dialed.nodelay().unwrap() && accepted.nodelay().unwrap());
    }
}
