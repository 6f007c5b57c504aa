//! How a browser is started on Windows.

use tokio::process::Command;

/// What stands between two commands in `$BROWSER`; paths have colons there.
pub(super) const BETWEEN: char = ';';

/// The command line stands in the memory of its process, which other users but administrators may not open.
pub(super) const COMMAND_LINES_ARE_PRIVATE: bool = true;

/// Nothing is to be done: `start` sets it apart.
pub(super) fn apart(_: &mut Command) {}
