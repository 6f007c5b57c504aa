//! The SOCKS handshake with one client, over whatever brings its bytes. In bounds and in time, or it ends.

use std::future::Future;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::time::timeout;

use super::far::{FarMessage, FarReader, FarWriter};
use super::local::Local;
use super::socks::{Handshake, Request, Turn};

/// A client says what it wants within this time.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// How long a client that was refused may take to see it: what it still sends would otherwise turn our close
/// into a reset, which takes the answer along.
const LAST_WORD: Duration = Duration::from_secs(1);

/// How much is read at a time.
const READ: usize = 1 << 10;

/// What a client wants, and what it sent after that already.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) early: Bytes,
}

/// What brings the bytes of a client.
pub(super) trait Line: Send {
    /// Adds what comes next; false at the end.
    fn read(&mut self, into: &mut BytesMut) -> impl Future<Output = bool> + Send;

    /// Sends all of it; false if that is impossible.
    fn write(&mut self, bytes: &'static [u8]) -> impl Future<Output = bool> + Send;
}

/// Why nothing was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unasked {
    /// It was told, and the connection ends in order.
    Refused,
    /// It is gone, or says nothing.
    Gone,
}

/// Listens to a client until it has said what it wants.
pub(super) async fn hear(line: &mut impl Line) -> Result<Asked, Unasked> {
    timeout(HANDSHAKE, listen(line)).await.unwrap_or(Err(Unasked::Gone))
}

async fn listen(line: &mut impl Line) -> Result<Asked, Unasked> {
    let (mut handshake, mut bytes) = (Handshake::default(), BytesMut::new());
    loop {
        match handshake.next(&bytes) {
            Turn::More => {
                if !line.read(&mut bytes).await {
                    return Err(Unasked::Gone);
                }
            }
            Turn::Answer { consumed, reply } => {
                bytes.advance(consumed);
                if !line.write(reply).await {
                    return Err(Unasked::Gone);
                }
            }
            Turn::Ask { consumed, request } => {
                bytes.advance(consumed);
                return Ok(Asked { request, early: bytes.freeze() });
            }
            Turn::Refuse(reply) => {
                line.write(reply).await;
                return Err(Unasked::Refused);
            }
        }
    }
}

/// A client that connected here.
pub(super) struct Here<'a>(pub(super) &'a Local);

impl Here<'_> {
    /// Ends the connection so that the client sees what was said last.
    pub(super) async fn end(mut self) {
        if self.0.shutdown_write().is_ok() {
            let _ = timeout(LAST_WORD, async { while self.read(&mut BytesMut::new()).await {} }).await;
        }
    }
}

impl Line for Here<'_> {
    async fn read(&mut self, into: &mut BytesMut) -> bool {
        loop {
            into.reserve(READ);
            match self.0.readable().await.and_then(|()| self.0.try_read(into)) {
                Ok(count) => return count > 0,
                Err(error) if is_passing(&error) => {}
                Err(_) => return false,
            }
        }
    }

    async fn write(&mut self, mut bytes: &'static [u8]) -> bool {
        while !bytes.is_empty() {
            let written =
                self.0.writable().await.and_then(|()| self.0.try_write(&[std::io::IoSlice::new(bytes)]));
            match written {
                Ok(0) => return false,
                Ok(count) => bytes = &bytes[count..],
                Err(error) if is_passing(&error) => {}
                Err(_) => return false,
            }
        }
        true
    }
}

fn is_passing(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted)
}

/// A client that connected at the far end.
pub(super) struct There<'a, R, W> {
    pub(super) reader: &'a mut R,
    pub(super) writer: &'a mut W,
}

impl<R: FarReader, W: FarWriter> Line for There<'_, R, W> {
    async fn read(&mut self, into: &mut BytesMut) -> bool {
        match self.reader.next().await {
            FarMessage::Data(bytes) => {
                into.extend_from_slice(&bytes);
                true
            }
            FarMessage::Eof | FarMessage::Close | FarMessage::Gone => false,
        }
    }

    async fn write(&mut self, bytes: &'static [u8]) -> bool {
        bytes.is_empty() || self.writer.write(Bytes::from_static(bytes)).await.is_ok()
    }
}
