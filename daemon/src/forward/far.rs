//! The far end of a carried connection, as the pump sees it: a reader and a writer of whole messages.
//!
//! Messages instead of a byte stream, because a stream cannot tell an end from a truncation.

use std::fmt;
use std::future::Future;

use bytes::Bytes;

/// What came from the far end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FarMessage {
    /// Bytes, in order.
    Data(Bytes),
    /// No more bytes will come.
    Eof,
    /// The peer closed the channel in order.
    Close,
    /// The session is gone without a close.
    Gone,
}

/// Reads what comes from the far end.
pub trait FarReader: Send + 'static {
    /// The next message. Cancel safe: a dropped future has taken nothing. After [`FarMessage::Close`] or
    /// [`FarMessage::Gone`] it is not called again.
    fn next(&mut self) -> impl Future<Output = FarMessage> + Send;

    /// Resolves when the session is gone, also for one who does not read. What came before can still be read.
    fn gone(&self) -> impl Future<Output = ()> + Send;

    /// Told when it is left unread for want of room (`true`), and when it is read again.
    fn unread(&mut self, is_unread: bool);
}

/// Writes to the far end.
pub trait FarWriter: Send + 'static {
    /// Sends `data`; resolves when the far end's window took it. Dropped only when nothing more is to be sent.
    ///
    /// # Errors
    /// [`FarGone`] if the channel is closed or the session is gone; the reader says which.
    fn write(&mut self, data: Bytes) -> impl Future<Output = Result<(), FarGone>> + Send;

    /// Says that no more bytes will come.
    ///
    /// # Errors
    /// [`FarGone`], as in [`FarWriter::write`].
    fn eof(&mut self) -> impl Future<Output = Result<(), FarGone>> + Send;

    /// Closes the channel. Called exactly once on every path, also after the peer's own close.
    fn close(&mut self) -> impl Future<Output = ()> + Send;
}

/// The channel takes no more bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FarGone;

impl fmt::Display for FarGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the channel takes no more bytes")
    }
}

impl std::error::Error for FarGone {}
