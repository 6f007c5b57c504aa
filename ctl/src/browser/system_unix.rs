//! How a browser is started on Unix.

use tokio::process::Command;

/// What stands between two commands in `$BROWSER`.
pub(super) const BETWEEN: char = ':';

/// Everybody on this machine can list the command lines of all programs.
pub(super) const COMMAND_LINES_ARE_PRIVATE: bool = false;

/// In a process group of its own, so that Ctrl-C in our terminal is not for it.
pub(super) fn apart(command: &mut Command) {
    command.process_group(0);
}
