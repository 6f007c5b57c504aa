//! Connections that are no protocol any more, on Unix: the sockets that they are.

use nbtunnel_proto::server::Raw;

use crate::forward::RawStream;

/// The socket.
#[allow(clippy::unnecessary_wraps, reason = "elsewhere it takes more")]
pub(super) fn stream(raw: Raw) -> Result<RawStream, String> {
    Ok(raw)
}
