//! The TCP stream under a session, with what the session itself does not tell: when the server's version
//! line has come, what it said instead of one, how much went over it, how it ended, and a way to cut it at
//! once.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::Stopwatch;
use super::read_ahead::ReadAhead;
use super::traffic::Traffic;

/// What comes before the version line is kept up to here; servers may say a few lines first (RFC 4253 §4.2).
const MAX_PREAMBLE: usize = 8 << 10;

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
    greeting: Vec<u8>,
    version_came: bool,
    end: Option<WireEnd>,
}

/// What the server's first bytes say so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Greeting {
    Incomplete,
    Version,
    /// A version that nobody should speak any more. The library would wait for another one for ever.
    Ancient,
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

    /// The first line that came in the place of a version line, if any did; a version line of an old
    /// protocol goes before what was said around it.
    pub(super) fn strange_greeting(&self) -> Option<String> {
        let seen = self.seen();
        if seen.version_came || seen.greeting.is_empty() {
            return None;
        }
        let mut lines = seen.greeting.split(|byte| b"\r\n".contains(byte));
        let first = lines.next().unwrap_or_default();
        let line = lines.find(|line| line.starts_with(b"SSH-")).unwrap_or(first);
        Some(String::from_utf8_lossy(line).into_owned())
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self, end: WireEnd) {
        self.seen().end.get_or_insert(end);
    }

    /// Takes in what was read before the version line was complete.
    fn greeted(&self, bytes: &[u8]) -> Greeting {
        let mut seen = self.seen();
        let room = MAX_PREAMBLE.saturating_sub(seen.greeting.len());
        seen.greeting.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let is_version = |line: &[u8]| line.starts_with(b"SSH-") && line.ends_with(b"\n");
        let version = seen.greeting.split_inclusive(|byte| *byte == b'\n').find(|line| is_version(line));
        let Some(version) = version else { return Greeting::Incomplete };
        // 1.99 means 2.0 and 1 (RFC 4253 §5.1).
        if version.starts_with(b"SSH-1.") && !version.starts_with(b"SSH-1.99-") {
            return Greeting::Ancient;
        }
        seen.version_came = true;
        Greeting::Version
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
    tcp: ReadAhead,
    tap: Arc<Tap>,
    on_version: Option<Box<dyn FnOnce() + Send>>,
}

impl Wire {
    /// `on_version` is called once, when the server's version line is complete. It must not block.
    pub(super) fn new(tcp: TcpStream, tap: Arc<Tap>, on_version: impl FnOnce() + Send + 'static) -> Wire {
        Wire { tcp: ReadAhead::new(tcp), tap, on_version: Some(Box::new(on_version)) }
    }

    fn broken(&self, error: io::Error) -> io::Error {
        self.tap.ended(WireEnd::Broken(error.kind(), error.to_string()));
        error
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        this.tap.check()?;
        match Pin::new(&mut this.tcp).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                let new = &buf.filled()[before..];
                if new.is_empty() {
                    this.tap.ended(WireEnd::Closed);
                    return Poll::Ready(Ok(()));
                }
                this.tap.traffic.came(new.len());
                let greeting = this.on_version.as_ref().map(|_| this.tap.greeted(new));
                if greeting == Some(Greeting::Ancient) {
                    return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                }
                if greeting == Some(Greeting::Version)
                    && let Some(tell) = this.on_version.take()
                {
                    tell();
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(this.broken(error))),
            Poll::Pending => {
                this.tap.reader.register(cx.waker());
                // It may have been cut just before we registered.
                this.tap.check()?;
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.tap.check()?;
        match Pin::new(&mut this.tcp).poll_write(cx, buf) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(this.broken(error))),
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
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    /// Never fails: russh tells the handler why a session ended only if this succeeds, and a connection
    /// that was reset cannot be shut down any more.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Err(error) = ready!(Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)) {
            tracing::trace!("shutdown of a dead connection: {error}");
        }
        Poll::Ready(Ok(()))
    }
}
