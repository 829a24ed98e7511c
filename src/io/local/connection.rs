//! One connection: the socket under it, what it is doing, and the limits on a peer that is too slow.
//!
//! hyper's own limit on reading a head also runs while a kept-alive connection is idle. A game that beats every ten seconds
//! would then lose its connection just as it uses it, so the limit on a head is kept here, from the head's first byte.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::server::Limits;
use crate::clock;

/// A connected socket of either kind.
#[derive(Debug)]
pub(super) enum Socket {
    /// Through the file system.
    Unix(UnixStream),
    /// Over the network, mostly loopback.
    Tcp(TcpStream),
}

/// What a connection is doing, for the choice of the one that has to go.
#[derive(Debug)]
pub(super) struct Meter {
    base: Instant,
    /// Milliseconds after `base` at which something last happened.
    touched: AtomicU64,
    /// Requests in progress: 0 or 1.
    running: AtomicUsize,
    /// Requests so far.
    begun: AtomicU64,
}

impl Meter {
    pub(super) fn new() -> Arc<Self> {
        let base = clock::now();
        Arc::new(Self { base, touched: AtomicU64::new(0), running: AtomicUsize::new(0), begun: AtomicU64::new(0) })
    }

    /// Notes that a request has come; it is over when what is returned is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.running.fetch_add(1, Ordering::Relaxed);
        self.touch();
        Busy(Arc::clone(self))
    }

    /// The order in which connections go: those without a request first, and of these the longest idle one; then the one
    /// on which nothing has moved for longest.
    pub(super) fn rank(&self) -> (bool, Instant) {
        (self.is_busy(), self.base + Duration::from_millis(self.touched.load(Ordering::Relaxed)))
    }

    fn is_busy(&self) -> bool {
        self.running.load(Ordering::Relaxed) > 0
    }

    fn touch(&self) {
        let since = clock::now().saturating_duration_since(self.base).as_millis();
        self.touched.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// A request in progress, until its answer is written or given up.
#[derive(Debug)]
pub(super) struct Busy(Arc<Meter>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
        self.0.touch();
    }
}

/// The body of an answer; the request is over when it is.
#[derive(Debug)]
pub(super) struct Counted {
    body: Body,
    _busy: Busy,
}

impl Counted {
    pub(super) fn new(body: Body, busy: Busy) -> Self {
        Self { body, _busy: busy }
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Runs out at a moment; made only once somebody really has to wait for it.
type Timer = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A socket that notes what happens on it, and fails once its peer is too slow with a head or with reading an answer.
pub(super) struct Watched {
    socket: Socket,
    meter: Arc<Meter>,
    limits: Limits,
    /// Whether bytes outside of a request begin a head; in HTTP/2 they may be anything.
    heads: bool,
    /// A head that has begun: how many requests there were before it, and when it must be complete.
    head: Option<(u64, Instant)>,
    head_timer: Option<Timer>,
    stall_timer: Option<Timer>,
}

impl Watched {
    pub(super) fn new(socket: Socket, meter: Arc<Meter>, limits: Limits) -> Self {
        Self { socket, meter, limits, heads: true, head: None, head_timer: None, stall_timer: None }
    }

    /// For HTTP/2, where a head has no place of its own in the stream of bytes.
    pub(super) fn without_heads(mut self) -> Self {
        self.heads = false;
        self
    }

    fn begun(&self) -> u64 {
        self.meter.begun.load(Ordering::Relaxed)
    }

    /// Bytes came: outside of a request they begin a head, or go on with one.
    fn note_read(&mut self) {
        self.meter.touch();
        let begun = self.begun();
        if self.heads && !self.meter.is_busy() && self.head.is_none_or(|(before, _)| before != begun) {
            self.head = Some((begun, clock::now() + self.limits.head));
            self.head_timer = None;
        }
    }

    /// Nothing came: if a head has begun and its request has not, its time runs.
    fn poll_head_limit(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let begun = self.begun();
        let Some((_, deadline)) = self.head.filter(|(before, _)| *before == begun) else {
            self.head = None;
            self.head_timer = None;
            return Poll::Pending;
        };
        let timer = self.head_timer.get_or_insert_with(|| Box::pin(clock::sleep_until(Some(deadline))));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the request's head took too long"))
    }

    /// Watches one attempt to write: it may wait, but not for ever.
    fn watch_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        attempt: impl FnOnce(&mut Socket, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let attempted = attempt(&mut self.socket, cx);
        if attempted.is_ready() {
            self.stall_timer = None;
            self.meter.touch();
            return attempted;
        }
        let limit = self.limits.stall;
        let timer = self.stall_timer.get_or_insert_with(|| Box::pin(clock::sleep(limit)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the answer was not read")))
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = match &mut self.socket {
            Socket::Unix(socket) => Pin::new(socket).poll_read(cx, buf),
            Socket::Tcp(socket) => Pin::new(socket).poll_read(cx, buf),
        };
        match polled {
            Poll::Ready(read) => {
                if buf.filled().len() > before {
                    self.note_read();
                }
                Poll::Ready(read)
            }
            Poll::Pending => self.poll_head_limit(cx).map(Err),
        }
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.watch_write(cx, |socket, cx| match socket {
            Socket::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
            Socket::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
        })
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.watch_write(cx, |socket, cx| match socket {
            Socket::Unix(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            Socket::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Unix(socket) => Pin::new(socket).poll_flush(cx),
            Socket::Tcp(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
            Socket::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}
