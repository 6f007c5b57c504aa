//! Systems on which no terminal is known.

use std::io;

use nbtunnel_proto::Secret;

use super::NoAnswer;

pub(super) fn is_there() -> bool {
    false
}

/// There are none unless their user asks for one.
pub(super) fn forbid_images() {}

pub(super) fn show(_: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(super) async fn ask(_: &str, _: bool) -> Result<Secret, NoAnswer> {
    Err(NoAnswer)
}
