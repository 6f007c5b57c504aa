//! Systems on which programs without a window of their own show no notifications. `nbctl events` tells the same.

use std::io;

/// Shows nothing.
///
/// # Errors
/// Always.
pub(super) async fn notify(_: &str, _: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
