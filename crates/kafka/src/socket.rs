//! One socket, held by the reader and the writer of a connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use millrace_broker::FileRange;
use millrace_env::NetStream;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Reader and writer live in one task, so that the lock is never waited for.
#[derive(Clone, Debug)]
pub(crate) struct Socket(Arc<Mutex<Box<dyn NetStream>>>);

impl Socket {
    pub(crate) fn new(stream: Box<dyn NetStream>) -> Socket {
        Socket(Arc::new(Mutex::new(stream)))
    }

    /// Sends some of `range` from its file.
    pub(crate) fn poll_send_file(&self, cx: &mut Context<'_>, range: &FileRange) -> Poll<io::Result<usize>> {
        Pin::new(&mut **self.0.lock()).poll_send_file(cx, &**range.file(), range.bytes())
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.lock()).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.lock()).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.lock()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.lock()).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.lock()).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.lock().is_write_vectored()
    }
}
