//! The stream under a session, with what the session itself does not tell: what the server said before it
//! or instead of it, and how soon, how much went over it, how it ended, and a way to cut it at once.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::Stopwatch;
use super::greeting::{Greeting, Heard, Said};
use super::read_ahead::ReadAhead;
use super::stream::Stream;
use super::traffic::Traffic;

/// What was seen on the wire, and the scissors.
pub(super) struct Tap {
    pub(super) traffic: Traffic,
    is_cut: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    greeting: Greeting,
    end: Option<WireEnd>,
}

/// How the stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WireEnd {
    /// The other side closed it in order.
    Closed,
    /// The system ended it.
    Broken(io::ErrorKind, String),
}

impl Tap {
    pub(super) fn new(stopwatch: Stopwatch) -> Tap {
        Tap {
            traffic: Traffic::new(stopwatch),
            is_cut: AtomicBool::new(false),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
            seen: Mutex::default(),
        }
    }

    /// Ends the stream at once: whoever reads or writes gets an error.
    pub(super) fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
        self.reader.wake();
        self.writer.wake();
    }

    /// How the stream ended, if it did so by itself.
    pub(super) fn end(&self) -> Option<WireEnd> {
        self.seen().end.clone()
    }

    /// The server's version line, once it came.
    pub(super) fn version(&self) -> Option<String> {
        self.seen().greeting.version()
    }

    /// What the server said in the place of a version line, if it did.
    pub(super) fn strange_greeting(&self) -> Option<String> {
        self.seen().greeting.strange()
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self, end: WireEnd) {
        self.seen().end.get_or_insert(end);
    }

    fn broken(&self, error: io::Error) -> io::Error {
        self.ended(WireEnd::Broken(error.kind(), error.to_string()));
        error
    }

    /// Whoever reads waits, until something comes or it is cut.
    fn reading<T>(&self, cx: &Context<'_>) -> Poll<io::Result<T>> {
        self.reader.register(cx.waker());
        // It may have been cut just before we registered.
        self.check()?;
        Poll::Pending
    }

    fn check(&self) -> io::Result<()> {
        if self.is_cut.load(Ordering::Acquire) {
            Err(io::ErrorKind::ConnectionAborted.into())
        } else {
            Ok(())
        }
    }
}

/// The stream that is handed to the session.
pub(super) struct Wire {
    stream: ReadAhead,
    tap: Arc<Tap>,
    said: Said,
}

impl Wire {
    pub(super) fn new(stream: impl Into<Stream>, tap: Arc<Tap>) -> Wire {
        Wire { stream: ReadAhead::new(stream), tap, said: Said::default() }
    }

    /// Sends `line`, with which the session is going to begin, and waits for the server's version line: how
    /// long that took, or `None` when it says something else, or nothing and closes. The session then finds
    /// all of that as if it had just come, and its own first line goes nowhere.
    ///
    /// # Errors
    /// The stream's, and `InvalidData` for a version of SSH that nobody should speak any more.
    pub(super) async fn greet(&mut self, line: &'static [u8]) -> io::Result<Option<Duration>> {
        let began = self.tap.traffic.now();
        self.write_all(line).await?;
        self.said = Said::new(line);
        loop {
            match poll_fn(|cx| self.poll_hear(cx)).await? {
                Heard::Incomplete => {}
                Heard::Version => return Ok(Some(self.tap.traffic.now().saturating_sub(began))),
                Heard::Ancient => return Err(io::ErrorKind::InvalidData.into()),
                Heard::Hopeless => return Ok(None),
            }
        }
    }

    fn poll_hear(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Heard>> {
        let Wire { stream, tap, .. } = self;
        tap.check()?;
        match stream.poll_more(cx) {
            Poll::Ready(Ok([])) => Poll::Ready(Ok(Heard::Hopeless)),
            Poll::Ready(Ok(new)) => Poll::Ready(Ok(tap.seen().greeting.hear(new))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(tap.broken(error))),
            Poll::Pending => tap.reading(cx),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        this.tap.check()?;
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                let new = &buf.filled()[before..];
                if new.is_empty() {
                    this.tap.ended(WireEnd::Closed);
                    return Poll::Ready(Ok(()));
                }
                this.tap.traffic.came(new.len());
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(this.tap.broken(error))),
            Poll::Pending => this.tap.reading(cx),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.tap.check()?;
        let swallowed = this.said.swallow(buf)?;
        if swallowed > 0 {
            return Poll::Ready(Ok(swallowed));
        }
        match Pin::new(&mut this.stream).poll_write(cx, buf) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(this.tap.broken(error))),
            Poll::Ready(Ok(count)) => {
                this.tap.traffic.went(count);
                Poll::Ready(Ok(count))
            }
            Poll::Pending => {
                this.tap.writer.register(cx.waker());
                this.tap.check()?;
                Poll::Pending
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    /// Never fails: russh tells the handler why a session ended only if this succeeds, and a connection
    /// that was reset cannot be shut down any more.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Err(error) = ready!(Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)) {
            tracing::trace!("shutdown of a dead connection: {error}");
        }
        Poll::Ready(Ok(()))
    }
}
