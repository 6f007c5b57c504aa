//! A channel as a stream: under another session, for a channel of a jump host's, or for whatever the daemon itself
//! asks at the far end.
//!
//! The channel is always read, whether or not anybody reads the stream: a channel that is left unread would stall
//! whatever else goes over the same session. What waits is bounded: for a session by the windows of the inner one,
//! which grants none while it does not read.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard, PollSender};

use super::channel::Far;
use super::count::One;
use crate::forward::far::{FarMessage, FarReader, FarWriter};

/// For a session, more than the windows of a dozen channels at once: whoever sends more than that unasked does not
/// follow the protocol, and its session ends.
pub(super) const SESSIONS_UNREAD: usize = 512 << 20;

/// So many pieces of at most [`PIECE`] may wait to be sent.
const UNSENT: usize = 8;

/// How much is sent at a time: as much as a channel's packet holds, or a little more.
const PIECE: usize = 64 << 10;

/// How long what is left to be sent may take when nobody uses the stream any more.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The stream. When it is dropped, the channel is closed.
pub(super) struct ChannelStream {
    inbox: Arc<Inbox>,
    /// What of the inbox is being read.
    chunk: Bytes,
    outbox: PollSender<Bytes>,
    _dropped: DropGuard,
}

struct Inbox {
    /// So many bytes may wait.
    most: usize,
    queue: Mutex<Queue>,
    reader: AtomicWaker,
}

#[derive(Default)]
struct Queue {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    end: Option<End>,
}

/// What comes after the last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    InOrder,
    Broken(io::ErrorKind),
}

impl ChannelStream {
    /// A stream over `far`, which is counted by `one` until it is closed, and broken once more than `most` bytes
    /// wait. When the session under it is gone, `cause` finds out why and tells, before the stream breaks.
    pub(super) fn new(
        far: Far,
        one: One,
        most: usize,
        runtime: &Handle,
        cause: impl Future<Output = ()> + Send + 'static,
    ) -> ChannelStream {
        let Far { reader, mut writer } = far;
        let inbox = Arc::new(Inbox { most, queue: Mutex::default(), reader: AtomicWaker::new() });
        let (outbox, unsent) = mpsc::channel(UNSENT);
        let dropped = CancellationToken::new();
        let reading = read(reader, Arc::clone(&inbox), dropped.clone(), cause);
        let stop = dropped.clone();
        runtime.spawn(async move {
            tokio::join!(reading, write(&mut writer, unsent, stop));
            // The library forgets a channel that we close, with the peer's last word in it.
            writer.close().await;
            drop(one);
        });
        ChannelStream {
            inbox,
            chunk: Bytes::new(),
            outbox: PollSender::new(outbox),
            _dropped: dropped.drop_guard(),
        }
    }
}

async fn read(
    mut reader: impl FarReader,
    inbox: Arc<Inbox>,
    dropped: CancellationToken,
    cause: impl Future<Output = ()>,
) {
    loop {
        let message = tokio::select! {
            message = reader.next() => message,
            () = dropped.cancelled() => break,
        };
        match message {
            FarMessage::Data(data) => {
                if !inbox.came(data) {
                    // Whoever holds the stream may not look at it for long: the channel goes now.
                    dropped.cancel();
                    break;
                }
            }
            // The other half of the channel ends with the session over it.
            FarMessage::Eof => inbox.ended(End::InOrder),
            // Without an end before it, something is missing.
            FarMessage::Close => return inbox.ended(End::Broken(io::ErrorKind::ConnectionReset)),
            FarMessage::Gone => {
                cause.await;
                return inbox.ended(End::Broken(io::ErrorKind::ConnectionReset));
            }
        }
    }
    // The peer closes it once it has passed on all that it got. A session that ends before that takes it along.
    let closed = async { while !matches!(reader.next().await, FarMessage::Close | FarMessage::Gone) {} };
    let _ = timeout(LAST_WORDS, closed).await;
}

async fn write(writer: &mut impl FarWriter, mut unsent: mpsc::Receiver<Bytes>, dropped: CancellationToken) {
    let sending = async {
        while let Some(piece) = unsent.recv().await {
            if writer.write(piece).await.is_err() {
                return;
            }
        }
        let _ = writer.eof().await;
    };
    tokio::select! {
        () = sending => {}
        () = async { dropped.cancelled().await; sleep(LAST_WORDS).await } => {}
    }
}

impl Inbox {
    /// Returns whether there was room for it.
    fn came(&self, data: Bytes) -> bool {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.bytes += data.len();
        queue.chunks.push_back(data);
        let fits = queue.bytes <= self.most;
        if !fits {
            queue.end = Some(End::Broken(io::ErrorKind::OutOfMemory));
        }
        drop(queue);
        self.reader.wake();
        fits
    }

    fn ended(&self, end: End) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).end.get_or_insert(end);
        self.reader.wake();
    }

    /// The next bytes; none at an end in order.
    fn poll_next(&self, cx: &Context<'_>) -> Poll<io::Result<Bytes>> {
        self.reader.register(cx.waker());
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        match (queue.chunks.pop_front(), queue.end) {
            (Some(chunk), _) => {
                queue.bytes -= chunk.len();
                Poll::Ready(Ok(chunk))
            }
            (None, None) => Poll::Pending,
            (None, Some(End::InOrder)) => Poll::Ready(Ok(Bytes::new())),
            (None, Some(End::Broken(kind))) => Poll::Ready(Err(kind.into())),
        }
    }
}

impl AsyncRead for ChannelStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.chunk.is_empty() {
            this.chunk = ready!(this.inbox.poll_next(cx))?;
        }
        // As much as fits: many small packets are one read.
        while !this.chunk.is_empty() && buf.remaining() > 0 {
            let piece = this.chunk.split_to(this.chunk.len().min(buf.remaining()));
            buf.put_slice(&piece);
            if this.chunk.is_empty()
                && let Poll::Ready(Ok(next)) = this.inbox.poll_next(cx)
            {
                this.chunk = next;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ChannelStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        ready!(this.outbox.poll_reserve(cx)).map_err(gone)?;
        let piece = &buf[..buf.len().min(PIECE)];
        this.outbox.send_item(Bytes::copy_from_slice(piece)).map_err(gone)?;
        Poll::Ready(Ok(piece.len()))
    }

    /// What was written is on its way by itself.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().outbox.close();
        Poll::Ready(Ok(()))
    }
}
