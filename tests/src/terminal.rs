//! A program at a terminal, and a person in front of it: what is shown can be waited for, and keys be typed.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::child::{Running, Signal, signal_pid};
use crate::sshd::descendants;
use crate::told::{Told, tell};
use crate::wait;

/// What no program writes.
const LAST: &str = "\u{1}nothing more\u{1}";

/// A program that belongs to a terminal of its own.
#[derive(Debug)]
pub struct Typist {
    master: File,
    slave: File,
    running: Running,
    shown: Arc<Mutex<String>>,
    read: usize,
}

impl Typist {
    /// Runs `command` at a new terminal.
    ///
    /// # Errors
    /// There is no terminal to be had, or it cannot be run.
    pub fn run(command: &Command) -> Result<Typist> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let path = ptsname(&master, Vec::new())?;
        let noctty = i32::try_from(OpenptFlags::NOCTTY.bits())?;
        let slave = File::options().read(true).write(true).custom_flags(noctty).open(path.to_str()?)?;
        // Makes it the terminal that the program belongs to, which no Command of ours can.
        // As a shell does: whoever runs us in the background may ignore Ctrl-C, which programs inherit.
        let mut at_terminal = Command::new("env");
        at_terminal
            .args(["--default-signal", "setsid", "--ctty", "--wait"])
            .arg(command.get_program())
            .args(command.get_args());
        as_in(command, &mut at_terminal)?;
        for set in [Command::stdin, Command::stdout, Command::stderr] {
            set(&mut at_terminal, Stdio::from(slave.try_clone()?));
        }
        let running = Running::spawn(&mut at_terminal)?;
        let master = File::from(master);
        let shown = Arc::new(Mutex::new(String::new()));
        let (mut reading, taken) = (master.try_clone()?, Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reading.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..count]);
                taken.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
            }
        });
        Ok(Typist { master, slave, running, shown, read: 0 })
    }

    /// Runs `command` to its end where there is no terminal at all.
    ///
    /// # Errors
    /// It cannot be run, or does not end.
    pub fn without_terminal(command: &Command) -> Result<Told> {
        let mut alone = Command::new("setsid");
        alone.arg("--wait").arg(command.get_program()).args(command.get_args());
        as_in(command, &mut alone)?;
        tell(&mut alone, &[], wait::SOON)
    }

    /// Waits until `text` is shown, after what was waited for before.
    ///
    /// # Errors
    /// It is not shown; the error has what is shown instead.
    pub fn sees(&mut self, text: &str) -> Result<()> {
        let (read, shown) = (self.read, Arc::clone(&self.shown));
        let now = move || shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let found = wait::until_some(&format!("{text:?} is shown"), wait::SOON, || {
            now()[read..].find(text).map(|at| read + at + text.len())
        });
        self.read = found.with_context(|| format!("instead: {}", &self.shown()[self.read..]))?;
        Ok(())
    }

    /// Types `keys`.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn types(&mut self, keys: &str) -> Result<()> {
        Ok(self.master.write_all(keys.as_bytes())?)
    }

    /// Waits for `prompt`, then types an answer to it.
    ///
    /// # Errors
    /// As [`Typist::sees`].
    pub fn answers(&mut self, prompt: &str, answer: &str) -> Result<()> {
        self.sees(prompt)?;
        self.types(&format!("{answer}\r"))
    }

    /// Whether the terminal itself shows what is typed, and takes it line by line, as it does for a shell.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn is_as_before(&self) -> Result<bool> {
        let modes = tcgetattr(&self.slave)?.local_modes;
        Ok(modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG))
    }

    /// Everything that was shown.
    pub fn shown(&self) -> String {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The programs at the terminal.
    pub fn programs(&self) -> Vec<u32> {
        descendants(self.running.id())
    }

    /// Sends `signal` to the program, not to what gave it the terminal.
    pub fn signal(&self, signal: Signal) {
        for pid in self.programs() {
            let _ = signal_pid(pid, signal);
        }
    }

    /// Waits for its end; says its exit code.
    ///
    /// # Errors
    /// It does not end.
    pub fn ends(&mut self) -> Result<i32> {
        let status = self.running.wait(wait::SOON).with_context(|| self.shown())?;
        // What it wrote last may be on its way still; what is written now comes after it.
        self.slave.write_all(LAST.as_bytes())?;
        let shown = Arc::clone(&self.shown);
        wait::until("all that was written is shown", wait::SOON, || {
            let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
            let at = shown.find(LAST);
            at.map(|at| shown.replace_range(at..at + LAST.len(), "")).is_some()
        })?;
        Ok(status.code().unwrap_or(-1))
    }
}

impl Drop for Typist {
    fn drop(&mut self) {
        self.signal(Signal::Kill);
    }
}

/// Gives `other` the environment of `command`.
fn as_in(command: &Command, other: &mut Command) -> Result<()> {
    other.env_clear();
    other.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    other.current_dir(command.get_current_dir().context("it runs somewhere")?);
    Ok(())
}
