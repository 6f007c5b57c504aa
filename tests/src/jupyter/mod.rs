//! A real Jupyter server, and a client that runs code in its kernels through any port.

mod hub;
mod recipe;
mod stranger;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

pub use hub::Hub;
pub use recipe::{Edition, Recipe, self_signed};
pub use stranger::Stranger;

use crate::child::{Running, Signal};
use crate::programs::repository;
use crate::told::tell;
use crate::wait;

/// A server on 127.0.0.1 until it is dropped. [`Recipe`] makes those of every sort.
#[derive(Debug)]
pub struct Jupyter {
    process: Running,
    dir: TempDir,
    port: u16,
    token: String,
    base_url: String,
    https: bool,
    runtime_dir: PathBuf,
    python: PathBuf,
}

impl Jupyter {
    /// Starts the server that `tests/run` installs under `target/jupyter`, else the one on `$PATH`.
    ///
    /// # Errors
    /// There is none, or it does not come up.
    pub fn start() -> Result<Jupyter> {
        Recipe::new().start()
    }

    /// Starts the one on `$PATH`.
    ///
    /// # Errors
    /// As [`Jupyter::start`].
    pub fn from_path() -> Result<Jupyter> {
        Recipe::new().from_path().start()
    }

    /// Its port on 127.0.0.1, at the far end.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The token that lets one in.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Where its pages begin, with a slash at both ends.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// A path that answers only to those with the token.
    pub fn status_path(&self) -> String {
        format!("{}api/status?token={}", self.base_url, self.token)
    }

    /// Its home directory.
    pub fn home(&self) -> std::path::PathBuf {
        self.dir.path().join("home")
    }

    /// Where it writes down that it runs.
    pub fn runtime_dir(&self) -> &Path {
        &self.runtime_dir
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends `signal` to it alone.
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Ends it at once, so that it cannot tidy up behind itself.
    ///
    /// # Errors
    /// It does not end.
    pub fn kill(&mut self) -> Result<()> {
        self.process.signal(Signal::Kill);
        self.process.wait(wait::SOON).map(drop)
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Starts a kernel, reached at `port` of 127.0.0.1; says its id.
    ///
    /// # Errors
    /// The client fails.
    pub fn start_kernel(&self, port: u16) -> Result<String> {
        self.start_kernel_named(port, "python3")
    }

    /// The same, of another sort than Python's.
    ///
    /// # Errors
    /// As [`Jupyter::start_kernel`].
    pub fn start_kernel_named(&self, port: u16, name: &str) -> Result<String> {
        let kernel = self.ask(port, &["start", name])?;
        Ok(kernel["kernel"].as_str().context("a kernel has an id")?.to_owned())
    }

    /// Runs `code` in a kernel over a websocket of its own, and says what it printed.
    ///
    /// # Errors
    /// The client fails, or the code does.
    pub fn run_code(&self, port: u16, kernel: &str, code: &str) -> Result<String> {
        let told = self.ask(port, &["run", kernel, code])?;
        ensure!(told["status"] == "ok", "the kernel says {told}");
        Ok(told["printed"].as_str().unwrap_or_default().to_owned())
    }

    /// Begins to run `code` in a kernel; whoever asked for it waits until the value is dropped.
    ///
    /// # Errors
    /// The client cannot be run.
    pub fn begin_code(&self, port: u16, kernel: &str, code: &str) -> Result<Running> {
        let mut command = self.client(port, &["run", kernel, code]);
        Running::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
    }

    /// Opens a websocket to a kernel and keeps it open; returns once it is.
    ///
    /// # Errors
    /// It does not open.
    pub fn hold_websocket(&self, port: u16, kernel: &str) -> Result<HeldWebsocket> {
        let mut command = self.client(port, &["hold", kernel]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Running::spawn(&mut command)?;
        let pipe = process.pipes().stdout.take().context("it has a standard output")?;
        let mut line = String::new();
        BufReader::new(pipe).read_line(&mut line)?;
        ensure!(line.contains("open"), "the websocket did not open: {line:?}\n{}", self.log());
        Ok(HeldWebsocket { process })
    }

    fn client(&self, port: u16, args: &[&str]) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(repository().join("tests/fixtures/kernel_client.py"));
        let scheme = if self.https { "https" } else { "http" };
        command.arg(format!("{scheme}://127.0.0.1:{port}{}", self.base_url)).arg(&self.token).args(args);
        command
    }

    fn ask(&self, port: u16, args: &[&str]) -> Result<Value> {
        let told = tell(&mut self.client(port, args), &[], Duration::from_secs(90))?;
        ensure!(told.code == 0, "the kernel client failed: {}\n{}", told.stderr, self.log());
        serde_json::from_str(&told.stdout).with_context(|| told.stdout.clone())
    }
}

/// An open websocket to a kernel.
#[derive(Debug)]
pub struct HeldWebsocket {
    process: Running,
}

impl HeldWebsocket {
    /// Waits until the websocket noticed that it was cut.
    ///
    /// # Errors
    /// It still believes to be open after `patience`.
    pub fn wait_cut(&mut self, patience: Duration) -> Result<()> {
        self.process.wait(patience).map(drop)
    }

    /// Whether it was cut already.
    pub fn is_cut(&mut self) -> bool {
        self.process.ended().is_some()
    }
}
