//! A process group of its own for ssh, so that what a `Match exec` began ends with it.

use std::path::Path;

use rustix::fs::{Access, access};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;

/// The name of the program.
pub(super) const SSH: &str = "ssh";

/// Makes `command` the leader of a group.
pub(super) fn lead_a_group(command: &mut Command) {
    command.process_group(0);
}

/// Ends the group that `leader` leads. It must not have been waited for, or its number may be another's.
pub(super) fn end_group(leader: u32) {
    if let Some(group) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        // It may be gone already, which is as good.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// Whether we may run it.
pub(super) fn is_program(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}
