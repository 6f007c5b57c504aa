//! A real ssh-agent.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::child::Running;
use crate::{programs, wait};

/// An agent that runs until it is dropped.
#[derive(Debug)]
pub struct Agent {
    _process: Running,
    dir: TempDir,
}

impl Agent {
    /// Starts an agent without keys.
    ///
    /// # Errors
    /// ssh-agent is missing or does not come up.
    pub fn start() -> Result<Agent> {
        let dir = tempfile::Builder::new().prefix("nbt-agent-").tempdir()?;
        let socket = dir.path().join("agent");
        Agent::start_at(dir, &socket)
    }

    fn start_at(dir: TempDir, socket: &Path) -> Result<Agent> {
        let mut command = Command::new(programs::system("ssh-agent")?);
        command.arg("-D").arg("-a").arg(socket);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Running::spawn(&mut command)?;
        let agent = Agent { _process: process, dir };
        // The socket is there before anybody listens at it. ssh-add(1) ends with 2 when it reaches no agent.
        let listing = programs::system("ssh-add")?;
        wait::until("ssh-agent listens", wait::SOON, || {
            let mut command = Command::new(&listing);
            command.arg("-l").env("SSH_AUTH_SOCK", socket).stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.code() != Some(2))
        })?;
        Ok(agent)
    }

    /// What `SSH_AUTH_SOCK` should say.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("agent")
    }

    /// Gives it a key that has no passphrase.
    ///
    /// # Errors
    /// ssh-add fails.
    pub fn add(&self, key: &Path) -> Result<()> {
        self.ssh_add(&[key.to_str().context("the path of a key is text")?])
    }

    /// Takes all keys away.
    ///
    /// # Errors
    /// ssh-add fails.
    pub fn remove_all(&self) -> Result<()> {
        self.ssh_add(&["-D"])
    }

    /// Locks it with a password, or unlocks it again.
    ///
    /// # Errors
    /// ssh-add fails.
    #[cfg(unix)]
    pub fn lock(&self, locked: bool) -> Result<()> {
        // Without a terminal ssh-add(1) asks a program.
        let says = self.dir.path().join("askpass");
        programs::write_program(&says, "#!/bin/sh\necho throwaway\n")?;
        let mut command = Command::new(programs::system("ssh-add")?);
        command.arg(if locked { "-x" } else { "-X" }).env("SSH_AUTH_SOCK", self.socket());
        command.env("SSH_ASKPASS", &says).env("SSH_ASKPASS_REQUIRE", "force");
        let output = command.stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "ssh-add failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    fn ssh_add(&self, args: &[&str]) -> Result<()> {
        let output = Command::new(programs::system("ssh-add")?)
            .args(args)
            .env("SSH_AUTH_SOCK", self.socket())
            .stdin(Stdio::null())
            .output()?;
        ensure!(output.status.success(), "ssh-add failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}
