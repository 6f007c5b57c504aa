//! The stream under a session, read in few large pieces instead of two small ones for each packet.
//!
//! While a download over TCP is under way the system wakes us only for a piece worth waking for, or after a
//! millisecond. Adds, drops and reorders nothing; ends and errors come after the bytes before them.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::socket;
use super::stream::Stream;

/// How much is read at a time in bulk.
const BULK: usize = 256 << 10;

/// A read that brought so much counts as one of bulk. Also what is read at a time after [`SMALL`] was too little.
const MUCH: usize = 32 << 10;

/// How much is read at a time while little comes. So much is kept for good, hence one page.
const SMALL: usize = 4 << 10;

/// So many reads of [`MUCH`] in a row, and bulk begins.
const STREAK: u32 = 8;

/// In bulk, fewer bytes than the mark wake us only after [`IMPATIENCE`]. It is at most so high; a peer that
/// sends less at a time, because its window is smaller, lowers it.
const HIGHEST: usize = 128 << 10;

/// How long fewer bytes than the mark may wait. A wait that lasts so long and brings little ends bulk.
const IMPATIENCE: Duration = Duration::from_millis(1);

/// A stream, with a buffer that is large only while it is used.
pub(super) struct ReadAhead {
    stream: Stream,
    buffer: Vec<u8>,
    /// What of the buffer was handed on.
    taken: usize,
    pace: Pace,
}

enum Pace {
    /// Every byte wakes us. `next` is how much is read next.
    Usual { next: usize, streak: u32 },
    /// Only so many bytes as the `mark` says do. `waits` is whether the timer runs, for a wait that has not
    /// ended.
    Bulk { mark: usize, timer: Pin<Box<Sleep>>, waits: bool },
}

/// As at the beginning, and whenever nothing comes.
const QUIET: Pace = Pace::Usual { next: SMALL, streak: 0 };

impl ReadAhead {
    pub(super) fn new(stream: impl Into<Stream>) -> ReadAhead {
        ReadAhead { stream: stream.into(), buffer: Vec::new(), taken: 0, pace: QUIET }
    }

    /// Reads a little more, keeps it with what was not taken yet, and shows what is new: nothing at the end.
    /// For the beginning, when little comes.
    pub(super) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let before = self.buffer.len();
        self.buffer.reserve(SMALL);
        ready!(pin!(self.stream.read_buf(&mut self.buffer)).poll(cx))?;
        Poll::Ready(Ok(&self.buffer[before..]))
    }

    /// Fills the buffer, all of which was taken.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.buffer.clear();
        self.taken = 0;
        self.buffer.reserve(match self.pace {
            Pace::Usual { next, .. } => next,
            Pace::Bulk { .. } => BULK,
        });
        // It reads once or not at all, so nothing is lost with the future.
        let came = pin!(self.stream.read_buf(&mut self.buffer)).poll(cx);
        let count = match came {
            Poll::Ready(count) => count?,
            Poll::Pending => ready!(self.poll_overdue(cx))?,
        };
        self.came(count);
        Poll::Ready(Ok(()))
    }

    /// Nothing woke us. In bulk there may be something nevertheless, too little for the mark: looks when it
    /// has waited long enough.
    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Pace::Bulk { timer, waits, .. } = &mut self.pace else {
            return self.rest();
        };
        if !*waits {
            // Once for each wait: we are polled for other reasons too, and these must not put it off.
            timer.set(sleep(IMPATIENCE));
            *waits = true;
        }
        ready!(timer.as_mut().poll(cx));
        // First the mark, then the look: what comes in between wakes us.
        let Some(tcp) = self.stream.tcp() else { return self.rest() };
        socket::set_low_water(tcp, 1)?;
        self.pace = QUIET;
        match socket::read_now(tcp, &mut self.buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.rest(),
            Ok(count) if count >= MUCH => {
                // All that its window allows may be here: it must go on sending while we read.
                self.set_mark(count / 2);
                Poll::Ready(Ok(count))
            }
            looked => Poll::Ready(looked),
        }
    }

    /// Nothing is there: gives a large buffer back.
    fn rest(&mut self) -> Poll<io::Result<usize>> {
        self.pace = QUIET;
        if self.buffer.capacity() > SMALL {
            self.buffer = Vec::new();
        }
        Poll::Pending
    }

    /// Notes that a read brought `count` bytes.
    fn came(&mut self, count: usize) {
        match &mut self.pace {
            Pace::Bulk { mark, waits, .. } => {
                *waits = false;
                if *mark < HIGHEST && count >= 2 * *mark {
                    let higher = 2 * *mark;
                    self.set_mark(higher);
                }
            }
            Pace::Usual { next, streak } => {
                *streak = if count >= MUCH { *streak + 1 } else { 0 };
                *next = if count >= *next { MUCH } else { *next };
                if *streak == STREAK {
                    self.set_mark(HIGHEST);
                }
            }
        }
    }

    /// Bulk begins or goes on, with another mark.
    fn set_mark(&mut self, mark: usize) {
        // What is no socket has no mark.
        let Some(tcp) = self.stream.tcp() else { return };
        let mark = mark.clamp(MUCH, HIGHEST);
        // Without a mark all is as right, only slower.
        if let Err(error) = socket::set_low_water(tcp, mark) {
            tracing::debug!(%error, "no low-water mark");
        }
        self.pace = Pace::Bulk { mark, timer: Box::pin(sleep(IMPATIENCE)), waits: false };
    }
}

impl AsyncRead for ReadAhead {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.taken == this.buffer.len() {
            ready!(this.poll_fill(cx))?;
        }
        let rest = &this.buffer[this.taken..];
        let count = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..count]);
        this.taken += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ReadAhead {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[path = "read_ahead_tests.rs"]
mod tests;
