//! Unix: `$SHELL -c 'exec COMMAND'`, in a process group of its own, with the limits that we were started with.

use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::process::Child;
use tokio::time::{sleep, timeout};

use crate::service::limits::Descriptors;

/// How often is looked whether a command has ended.
const LOOK: Duration = Duration::from_millis(20);

/// What runs `command`, as ssh(1) does.
pub(super) fn shell(command: &str) -> Command {
    use std::os::unix::process::CommandExt;
    let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
    let mut run = Command::new(shell.unwrap_or_else(|| "/bin/sh".into()));
    run.arg("-c").arg(format!("exec {command}")).process_group(0);
    Descriptors::restore_in_child(&mut run);
    run
}

/// A command and what it began.
pub(super) struct Group(Option<Pid>);

impl Group {
    pub(super) fn led_by(child: &Child) -> Group {
        Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    /// Asks all of it to end.
    pub(super) fn terminate(&self) {
        self.send(Signal::TERM);
    }

    /// Ends all of it. The group keeps its number for as long as there is something in it.
    pub(super) fn kill(&self) {
        self.send(Signal::KILL);
    }

    /// Waits until its leader has ended, which keeps its number until it is asked how; not longer than `most`.
    pub(super) async fn until_leader_ends(&self, most: Duration) {
        let Some(leader) = self.0 else { return };
        let how = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let ended = async {
            while matches!(waitid(WaitId::Pid(leader), how), Ok(None)) {
                sleep(LOOK).await;
            }
        };
        let _ = timeout(most, ended).await;
    }

    fn send(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // It may be gone already, which is as good.
            let _ = kill_process_group(group, signal);
        }
    }
}
