//! Process groups and signals, where there are any.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use anyhow::{Context, Result};
use rustix::process::{Pid, kill_process, kill_process_group};

use super::Signal;
use crate::wait;

pub(super) fn own_group(command: &mut Command) {
    command.process_group(0);
}

pub(super) fn signal(child: &mut Child, signal: Signal) {
    // It was seen running and is not reaped yet, so the id is still its own.
    let _ = signal_pid(child.id(), signal);
}

pub(super) fn kill_group(child: &mut Child) {
    if let Ok(pid) = pid(child.id()) {
        let _ = kill_process_group(pid, rustix::process::Signal::KILL);
    }
}

pub(super) fn signal_pid(id: u32, signal: Signal) -> Result<()> {
    let number = match signal {
        Signal::Term => rustix::process::Signal::TERM,
        Signal::Kill => rustix::process::Signal::KILL,
        Signal::Hup => rustix::process::Signal::HUP,
        Signal::Stop => rustix::process::Signal::STOP,
        Signal::Cont => rustix::process::Signal::CONT,
        Signal::Quit => rustix::process::Signal::QUIT,
    };
    kill_process(pid(id)?, number).with_context(|| format!("cannot signal process {id}"))?;
    if signal == Signal::Stop {
        wait::until(&format!("process {id} stands still"), wait::SOON, || is_frozen(id))?;
    }
    Ok(())
}

/// Whether no thread of it runs any more: the signal is on its way when kill(2) returns, and each thread stops for
/// itself. Where threads cannot be seen (proc(5)), it is believed.
fn is_frozen(id: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{id}/task")) else { return true };
    threads.flatten().all(|thread| {
        let Ok(stat) = std::fs::read_to_string(thread.path().join("stat")) else { return true };
        // The state comes after the name, which may hold anything, parentheses too.
        stat.rsplit_once(") ").is_none_or(|(_, rest)| !rest.starts_with(['R', 'S', 'D']))
    })
}

fn pid(id: u32) -> Result<Pid> {
    let id = i32::try_from(id).context("a process id does not fit")?;
    Pid::from_raw(id).context("there is no process 0")
}
