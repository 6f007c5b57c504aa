//! An SSH server of another kind, in Python: it takes a password, and then wants a new one before it lets anybody in.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::TunnelFile;
use crate::child::Running;
use crate::programs::{repository, system};
use crate::wait;

/// The password that is right.
pub const PASSWORD: &str = "correct horse";

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct NewPassword {
    _process: Running,
    dir: TempDir,
    port: u16,
}

impl NewPassword {
    /// One that wants a new password; or one that is only slow to let people in, if `slow`.
    ///
    /// # Errors
    /// What `tests/run` installs under `target/jupyter` is missing, or it does not come up.
    pub fn start(slow: bool) -> Result<NewPassword> {
        let dir = tempfile::Builder::new().prefix("nbt-new-password-").tempdir()?;
        let own = repository().join("target/jupyter/bin/python");
        let mut command = Command::new(if own.is_file() { own } else { system("python3")? });
        command.arg(repository().join("tests/fixtures/new_password.py"));
        command.args([if slow { "slow" } else { "change" }, PASSWORD]).stdin(Stdio::null());
        let at = |name: &str| -> PathBuf { dir.path().join(name) };
        command.stdout(fs::File::create(at("said"))?).stderr(fs::File::create(at("log"))?);
        let process = Running::spawn(&mut command)?;
        let first = || BufReader::new(fs::File::open(at("said")).ok()?).lines().next()?.ok();
        let line = wait::until_some("it listens", wait::SOON, || first().filter(|line| line.contains(" AA")))
            .with_context(|| fs::read_to_string(at("log")).unwrap_or_default())?;
        let (port, key) = line.split_once(' ').context("it says its port and its key")?;
        ensure!(key.starts_with("ssh-ed25519 "), "{line}");
        fs::write(at("known_hosts"), format!("[127.0.0.1]:{port} {key}\n"))?;
        Ok(NewPassword { port: port.parse()?, _process: process, dir })
    }

    /// A tunnel file that leads here.
    pub fn tunnel(&self) -> TunnelFile {
        TunnelFile::without_key(self.port, self.dir.path())
    }

    /// How many passwords came.
    pub fn passwords(&self) -> usize {
        let said = fs::read_to_string(self.dir.path().join("said")).unwrap_or_default();
        said.lines().filter(|line| *line == "password").count()
    }
}
