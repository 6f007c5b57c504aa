//! Stands in for the Unix file elsewhere: there are no process groups; ssh itself is ended by tokio.

use std::path::Path;

use tokio::process::Command;

/// The name of the program.
pub(super) const SSH: &str = "ssh.exe";

/// There is nothing to prepare.
pub(super) fn lead_a_group(_command: &mut Command) {}

/// The child is ended when it is dropped (`kill_on_drop`).
pub(super) fn end_group(_leader: u32) {}

/// Whether it is there.
pub(super) fn is_program(path: &Path) -> bool {
    path.is_file()
}
