//! The two halves of an open channel: read and written message by message, and closed on every path. A channel
//! that is merely dropped would stay open at the server.

use std::time::Duration;

use bytes::Bytes;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Error};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::count::{Count, One};
use crate::forward::far::{FarGone, FarMessage, FarReader, FarWriter};

/// How long a close may wait for its turn in a session that does not write.
const CLOSE_DEADLINE: Duration = Duration::from_secs(60);

/// An open channel that nobody reads or writes yet.
pub(super) struct Far {
    pub(super) reader: ChannelReader,
    pub(super) writer: ChannelWriter,
}

impl Far {
    /// Ends with its session, which is over when `gone` says so, or when `given_up` says that nobody wants it; counts in `all_unread` while it is left unread.
    pub(super) fn new(
        channel: Channel<Msg>,
        gone: &CancellationToken,
        given_up: &CancellationToken,
        all_unread: &Count,
        runtime: &Handle,
    ) -> Far {
        let (reader, writer) = channel.split();
        let over = gone.child_token();
        let lease = (gone.clone(), given_up.clone());
        let (all_unread, runtime) = (all_unread.clone(), runtime.clone());
        Far {
            reader: ChannelReader { half: reader, over: over.clone(), lease, all_unread, unread: None },
            writer: ChannelWriter { half: Some(writer), over, runtime },
        }
    }
}

/// The receiving half of a channel.
pub(super) struct ChannelReader {
    half: ChannelReadHalf,
    over: CancellationToken,
    /// The session is over; whoever carries over it is, while others may go on.
    lease: (CancellationToken, CancellationToken),
    all_unread: Count,
    unread: Option<One>,
}

impl ChannelReader {
    /// The next message of any kind; none when the session is gone, or given up.
    pub(super) async fn message(&mut self) -> Option<ChannelMsg> {
        let (gone, given_up) = &self.lease;
        let message = tokio::select! {
            biased;
            // A session that is gone is read to its end.
            () = given_up.cancelled(), if !gone.is_cancelled() => return None,
            message = self.half.wait() => message,
        };
        if matches!(message, Some(ChannelMsg::Close) | None) {
            self.over.cancel();
        }
        message
    }
}

impl FarReader for ChannelReader {
    async fn next(&mut self) -> FarMessage {
        loop {
            match self.message().await {
                Some(ChannelMsg::Data { data }) => return FarMessage::Data(data),
                Some(ChannelMsg::Eof) => return FarMessage::Eof,
                Some(ChannelMsg::Close) => return FarMessage::Close,
                None => return FarMessage::Gone,
                // Window adjustments, and what only channels with a program have.
                Some(_) => {}
            }
        }
    }

    async fn gone(&self) {
        tokio::select! {
            () = self.over.cancelled() => {}
            () = self.lease.1.cancelled() => {}
        }
    }

    fn unread(&mut self, is_unread: bool) {
        self.unread = is_unread.then(|| self.all_unread.one()).flatten();
    }
}

/// The sending half of a channel. Closes it when it is dropped.
pub(super) struct ChannelWriter {
    half: Option<ChannelWriteHalf<Msg>>,
    /// The channel, or the session, is over: a write that waits for the peer's window would wait for ever.
    over: CancellationToken,
    runtime: Handle,
}

impl ChannelWriter {
    async fn unless_over<T>(&self, sent: impl Future<Output = Result<T, Error>>) -> Result<T, FarGone> {
        tokio::select! {
            biased;
            () = self.over.cancelled() => Err(FarGone),
            sent = sent => sent.map_err(|_| FarGone),
        }
    }
}

impl ChannelWriter {
    /// Asks for a program to be run; whether it is, the reader learns.
    pub(super) async fn exec(&mut self, command: &str) -> Result<(), FarGone> {
        let half = self.half.as_ref().ok_or(FarGone)?;
        self.unless_over(half.exec(true, command)).await
    }
}

impl FarWriter for ChannelWriter {
    async fn write(&mut self, data: Bytes) -> Result<(), FarGone> {
        let half = self.half.as_ref().ok_or(FarGone)?;
        self.unless_over(half.data_bytes(data)).await
    }

    async fn eof(&mut self) -> Result<(), FarGone> {
        let half = self.half.as_ref().ok_or(FarGone)?;
        self.unless_over(half.eof()).await
    }

    async fn close(&mut self) {
        if let Some(half) = &self.half {
            let _ = timeout(CLOSE_DEADLINE, self.unless_over(half.close())).await;
        }
        self.half = None;
    }
}

impl Drop for ChannelWriter {
    fn drop(&mut self) {
        if let Some(half) = self.half.take()
            && !self.over.is_cancelled()
        {
            let over = self.over.clone();
            self.runtime.spawn(async move {
                tokio::select! {
                    () = over.cancelled() => {}
                    _ = timeout(CLOSE_DEADLINE, half.close()) => {}
                }
            });
        }
    }
}
