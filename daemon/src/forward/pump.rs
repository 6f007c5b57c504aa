//! Carries one local connection over one channel.

use super::accepted::Accepted;
use super::far::{FarMessage, FarReader, FarWriter};

/// Carries `local` until the far end is over.
pub async fn pump(local: Accepted, mut reader: impl FarReader, mut writer: impl FarWriter) {
    while !matches!(reader.next().await, FarMessage::Close | FarMessage::Gone) {}
    writer.close().await;
    drop(local);
}
