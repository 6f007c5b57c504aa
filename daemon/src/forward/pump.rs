//! Carries one local connection over one channel: both directions, half-close included.
//!
//! The channel is always drained: what the local program does not take waits in a queue, so that one slow
//! reader never stalls the session's other channels. A stream that was cut off ends in a reset.

use std::io::{self, IoSlice};
use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::accepted::Accepted;
use super::far::{FarMessage, FarReader, FarWriter};
use super::queue::Queue;
use super::standing::Slow;

/// How much is read from the local program at a time: what fits into one packet of SSH (RFC 4254 §5.2).
const READ: usize = 32 << 10;

/// So much is gathered before the local program is written to while the channel has more.
const BATCH: u64 = 128 << 10;

/// How many messages one write takes along.
const SLICES: usize = 32;

/// How long the peer may take for its close after both directions ended, and a close for itself.
const CLOSE_WAIT: Duration = Duration::from_secs(60);

/// How a connection ended, seen from its local side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Everything that came was handed over, up to the far end's own end.
    Whole,
    /// The far end was cut off.
    Cut,
    /// The local program is gone, or its forward was removed: the far end may still be sending.
    Left,
}

/// Carries `local` until both directions ended, either side was cut off, or its forward was removed. On every
/// path the channel is closed and the local side is told how it ended.
pub async fn pump(mut local: Accepted, reader: impl FarReader, mut writer: impl FarWriter) {
    local.standing().served();
    let early = local.opened().await;
    let mut reader = Incoming { reader, over: false, unread: false };
    let ending = converse(&local, &mut reader, &mut writer, early).await;
    match ending {
        Ending::Whole => local.finish(),
        Ending::Cut | Ending::Left => local.reset(),
    }
    // Read on while closing: a session that waits for us to take a message sends no close either.
    let _ = timeout(CLOSE_WAIT, async { tokio::join!(writer.close(), reader.until_closed()) }).await;
}

/// What comes from the far end, up to its last word.
struct Incoming<R> {
    reader: R,
    over: bool,
    unread: bool,
}

impl<R: FarReader> Incoming<R> {
    /// The next message, which waits while there is no room for it; but not when the session is gone: then
    /// nothing follows what is here, and how that ends has to be known. Cancel safe, as the reader is.
    async fn next(&mut self, has_room: bool) -> FarMessage {
        if !has_room {
            self.reader.gone().await;
        }
        let message = self.reader.next().await;
        self.over = matches!(message, FarMessage::Close | FarMessage::Gone);
        message
    }

    /// Whether it is left unread from now on.
    fn leave(&mut self, unread: bool) {
        if unread != self.unread {
            self.unread = unread;
            self.reader.unread(unread);
        }
    }

    /// Reads away whatever still comes.
    async fn until_closed(&mut self) {
        self.leave(false);
        while !self.over {
            self.next(true).await;
        }
    }
}

async fn converse(
    local: &Accepted,
    reader: &mut Incoming<impl FarReader>,
    writer: &mut impl FarWriter,
    early: Bytes,
) -> Ending {
    let sent_eof = Notify::new();
    let mut down = pin!(download(local, reader, &sent_eof));
    let mut up = pin!(upload(local, writer, early));
    let mut uploading = true;
    loop {
        tokio::select! {
            () = local.stop().cancelled() => return Ending::Left,
            // Also while the far end takes nothing, or everything was read already.
            () = local.local().failed() => return Ending::Left,
            ending = &mut down => return ending,
            uploaded = &mut up, if uploading => {
                uploading = false;
                match uploaded {
                    Uploaded::All => sent_eof.notify_one(),
                    // The reader learns in what way.
                    Uploaded::FarGone => {}
                    Uploaded::LocalGone => return Ending::Left,
                }
            }
        }
    }
}

enum Uploaded {
    /// To the end, and the far end knows.
    All,
    FarGone,
    LocalGone,
}

/// `early` came before the rest.
async fn upload(local: &Accepted, writer: &mut impl FarWriter, early: Bytes) -> Uploaded {
    if !early.is_empty() {
        local.tally().read_out(early.len());
        if writer.write(early).await.is_err() {
            return Uploaded::FarGone;
        }
    }
    let mut buffer = BytesMut::new();
    loop {
        if local.local().readable().await.is_err() {
            return Uploaded::LocalGone;
        }
        buffer.reserve(READ);
        match local.local().try_read(&mut buffer) {
            Ok(0) => {
                return if writer.eof().await.is_ok() { Uploaded::All } else { Uploaded::FarGone };
            }
            Ok(count) => {
                local.tally().read_out(count);
                if writer.write(buffer.split().freeze()).await.is_err() {
                    return Uploaded::FarGone;
                }
            }
            // Nobody sends: an idle connection keeps no buffer.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => buffer = BytesMut::new(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Uploaded::LocalGone,
        }
    }
}

/// What is known of the far end's sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Far {
    /// It may send more.
    Sends,
    /// It ended; the channel is open for the other direction.
    Ended,
    /// It ended, and the channel is closed or its session gone: all bytes are here.
    Over,
    /// The channel was closed without an end. What came before is still handed over.
    Truncated,
}

impl Far {
    fn after(self, message: &FarMessage) -> Option<Far> {
        match (self, message) {
            (_, FarMessage::Data(_)) => Some(self),
            (Far::Sends, FarMessage::Eof) => Some(Far::Ended),
            (Far::Sends, FarMessage::Close) => Some(Far::Truncated),
            // At once, whatever still waits: the local program should notice and come again.
            (Far::Sends, FarMessage::Gone) => None,
            (Far::Ended, FarMessage::Close | FarMessage::Gone) => Some(Far::Over),
            (Far::Ended | Far::Over | Far::Truncated, _) => Some(self),
        }
    }

    fn speaks(self) -> bool {
        matches!(self, Far::Sends | Far::Ended)
    }
}

async fn download(local: &Accepted, reader: &mut Incoming<impl FarReader>, sent_eof: &Notify) -> Ending {
    let mut queue = local.queue();
    let mut far = Far::Sends;
    let mut slow = None;
    while far == Far::Sends || !queue.is_empty() {
        queue.arrange();
        reader.leave(queue.is_full() && far.speaks());
        if queue.is_full() && slow.is_none() {
            slow = Some(Slow::begin(local));
        } else if !queue.spills() {
            slow = None;
        }
        let step = tokio::select! {
            biased;
            message = reader.next(queue.takes()), if far.speaks() => {
                let Some(now) = far.after(&message) else { return Ending::Cut };
                match message {
                    FarMessage::Data(bytes) if far == Far::Sends => queue.push(bytes),
                    FarMessage::Data(_) | FarMessage::Eof | FarMessage::Close | FarMessage::Gone => {}
                }
                if far == Far::Sends && now != far {
                    local.far_ended();
                }
                far = now;
                if queue.ready() >= BATCH { write_out(local, &mut queue) } else { Ok(()) }
            }
            writable = local.local().writable(), if queue.ready() > 0 => {
                writable.and_then(|()| write_out(local, &mut queue))
            }
            turned = queue.turn(), if queue.is_busy() => match turned {
                Ok(()) => Ok(()),
                Err(error) => {
                    tracing::warn!(%error, "what waited on disk for a slow local program is lost");
                    return Ending::Left;
                }
            },
            // Nothing to wait for can only mean that what waits cannot be had any more.
            else => return Ending::Left,
        };
        if step.is_err() {
            return Ending::Left;
        }
        if far == Far::Truncated && queue.is_empty() {
            return Ending::Cut;
        }
    }
    drop((queue, slow));
    if local.local().shutdown_write().is_err() {
        return Ending::Left;
    }
    if far == Far::Ended {
        // The other direction goes on; once it has ended too, the peer's close is due.
        let overdue = async {
            sent_eof.notified().await;
            sleep(CLOSE_WAIT).await;
        };
        tokio::select! {
            () = reader.until_closed() => {}
            () = overdue => {}
        }
    }
    Ending::Whole
}

/// Hands over as much as the local program takes now.
fn write_out(local: &Accepted, queue: &mut Queue) -> io::Result<()> {
    loop {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let filled = queue.front(&mut slices);
        if filled == 0 {
            return Ok(());
        }
        match local.local().try_write(&slices[..filled]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                local.tally().read_in(count);
                queue.consume(count);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
