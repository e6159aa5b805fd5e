//! Bytes: a connection that can be reset, and a body that can end too early.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Sleep;

/// One connection: its number, and the way to reset it.
pub(crate) struct Connection {
    pub(crate) number: u64,
    armed: Arc<AtomicBool>,
    reset: Notify,
}

impl Connection {
    pub(crate) fn new(number: u64) -> Self {
        Self {
            number,
            armed: Arc::new(AtomicBool::new(false)),
            reset: Notify::new(),
        }
    }

    /// Ends the connection with a TCP reset, now.
    pub(crate) fn reset(&self) {
        self.armed.store(true, Ordering::SeqCst);
        self.reset.notify_one();
    }

    pub(crate) async fn wait_for_reset(&self) {
        self.reset.notified().await;
    }

    pub(crate) fn wire(&self, stream: TcpStream) -> Wire {
        Wire {
            stream,
            armed: Arc::clone(&self.armed),
        }
    }
}

/// A TCP stream that says RST instead of FIN where it was armed.
pub(crate) struct Wire {
    stream: TcpStream,
    armed: Arc<AtomicBool>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.armed.load(Ordering::SeqCst) {
            // Where it fails, the client sees an end of stream, which is no answer either.
            drop(self.stream.set_zero_linger());
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// How long the first bytes of a cut body get to leave before the cut.
const BEFORE_THE_CUT: Duration = Duration::from_millis(30);

/// A body: whole, or announced whole and cut.
pub(crate) struct Payload {
    bytes: Option<Bytes>,
    announced: u64,
    cut: Option<Pin<Box<Sleep>>>,
}

impl Payload {
    pub(crate) fn whole(bytes: Vec<u8>) -> Self {
        let announced = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Self {
            bytes: (!bytes.is_empty()).then(|| Bytes::from(bytes)),
            announced,
            cut: None,
        }
    }

    /// Announces all of it and gives `length` bytes. Needs a runtime.
    pub(crate) fn cut(mut bytes: Vec<u8>, length: usize) -> Self {
        let announced = u64::try_from(bytes.len()).unwrap_or(u64::MAX).max(1);
        bytes.truncate(length.min(bytes.len().saturating_sub(1)));
        let cut = Some(Box::pin(tokio::time::sleep(BEFORE_THE_CUT)));
        Self {
            bytes: (!bytes.is_empty()).then(|| Bytes::from(bytes)),
            announced,
            cut,
        }
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(bytes) = self.bytes.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let Some(cut) = self.cut.as_mut() else {
            return Poll::Ready(None);
        };
        ready!(cut.as_mut().poll(cx));
        self.cut = None;
        Poll::Ready(Some(Err(io::Error::new(
            io::ErrorKind::ConnectionReset,
            "cut by a script",
        ))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none() && self.cut.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.announced)
    }
}
