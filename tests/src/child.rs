//! Programs that we started: each in a process group of its own, ended when its value is dropped.

use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::wait;

#[cfg(unix)]
#[path = "child_unix.rs"]
mod system;
#[cfg(windows)]
#[path = "child_windows.rs"]
mod system;

/// What can be asked of a running program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Stop cleanly.
    Term,
    /// Stop at once.
    Kill,
    /// Read the configuration again.
    Hup,
    /// Freeze.
    Stop,
    /// Go on after [`Signal::Stop`].
    Cont,
    /// Stop, and leave an image of the memory.
    Quit,
}

/// A program that runs until this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    name: String,
    status: Option<ExitStatus>,
}

impl Running {
    /// Starts `command` in a process group of its own, so that Ctrl-C reaches only us.
    ///
    /// # Errors
    /// The program is missing or cannot be run.
    pub fn spawn(command: &mut Command) -> Result<Running> {
        let name = command.get_program().to_string_lossy().into_owned();
        system::own_group(command);
        let child = command.spawn().with_context(|| format!("cannot run {name}"))?;
        Ok(Running { child, name, status: None })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The pipes, if there are any.
    pub fn pipes(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends `signal` to it alone. One that has ended is left alone.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            system::signal(&mut self.child, signal);
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It still runs after `patience`.
    pub fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let what = format!("{} (process {}) should end", self.name, self.id());
        wait::until_some(&what, patience, || self.ended())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::Cont);
        self.signal(Signal::Term);
        if self.wait(Duration::from_secs(4)).is_err() {
            system::kill_group(&mut self.child);
            self.status = self.child.wait().ok();
        }
    }
}

/// `command` run by a shell after `script`, which sets limits or mounts something for it alone.
#[cfg(unix)]
pub fn after(script: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{script} && exec \"$@\""), "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    shell.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(dir) = command.get_current_dir() {
        shell.current_dir(dir);
    }
    shell
}

/// The same in a mount namespace of its own, so that what is mounted is seen by it alone.
#[cfg(target_os = "linux")]
pub fn with_mounts(script: &str, command: &Command) -> Command {
    let inner = after(script, command);
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "private"]).arg(inner.get_program()).args(inner.get_args());
    unshare.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(dir) = inner.get_current_dir() {
        unshare.current_dir(dir);
    }
    unshare
}

/// Sends `signal` to the process `pid`, which must be one that we, or a program of ours, started.
///
/// # Errors
/// It is gone, or not ours.
pub fn signal_pid(pid: u32, signal: Signal) -> Result<()> {
    system::signal_pid(pid, signal)
}

/// Bytes of `pid` that are resident in memory, as `ps` tells.
///
/// # Errors
/// There is no such process, or no ps.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    let output =
        Command::new("ps").args(["-o", "rss=", "-p", &pid.to_string()]).output().context("cannot run ps")?;
    let kib: u64 = String::from_utf8_lossy(&output.stdout).trim().parse().context("ps tells no memory")?;
    Ok(kib << 10)
}
