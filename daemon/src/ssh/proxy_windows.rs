//! Windows: the command goes to `cmd.exe` as it is. Without process groups, what it began ends by its closed
//! standard streams.

use std::os::windows::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use tokio::process::Child;

/// What runs `command`; `/s` keeps the quotes in it as they are.
pub(super) fn shell(command: &str) -> Command {
    let mut run = Command::new(std::env::var_os("ComSpec").unwrap_or_else(|| "cmd.exe".into()));
    run.raw_arg(format!("/d /s /c \"{command}\""));
    run
}

/// A command; it is ended by its own handle.
pub(super) struct Group;

impl Group {
    pub(super) fn led_by(_: &Child) -> Group {
        Group
    }

    /// There is no asking here.
    pub(super) fn terminate(&self) {}

    /// The caller ends it by its handle.
    pub(super) fn kill(&self) {}

    /// Nothing asked it to end.
    pub(super) async fn until_leader_ends(&self, _: Duration) {}
}
