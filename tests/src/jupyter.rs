//! A real Jupyter server, and a client that runs code in its kernels through any port.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::child::Running;
use crate::programs::{repository, system};
use crate::told::tell;
use crate::{http, net, wait};

/// A server on 127.0.0.1 until it is dropped.
#[derive(Debug)]
pub struct Jupyter {
    _process: Running,
    dir: TempDir,
    port: u16,
    token: String,
    python: PathBuf,
}

impl Jupyter {
    /// Starts the server that `tests/run` installs under `target/jupyter`, else the one on `$PATH`.
    ///
    /// # Errors
    /// There is none, or it does not come up.
    pub fn start() -> Result<Jupyter> {
        let own = repository().join("target/jupyter/bin");
        if own.join("jupyter").is_file() {
            return Jupyter::run(&own.join("jupyter"), own.join("python"));
        }
        Jupyter::from_path()
    }

    /// Starts the one on `$PATH`.
    ///
    /// # Errors
    /// As [`Jupyter::start`].
    pub fn from_path() -> Result<Jupyter> {
        Jupyter::run(&system("jupyter")?, system("python3")?)
    }

    fn run(jupyter: &Path, python: PathBuf) -> Result<Jupyter> {
        let dir = tempfile::Builder::new().prefix("nbt-jupyter-").tempdir()?;
        let (port, token) = (net::free_port()?, random_token());
        let config = dir.path().join("server_config.py");
        fs::create_dir(dir.path().join("work"))?;
        fs::write(
            &config,
            format!(
                "c.ServerApp.ip = '127.0.0.1'\nc.ServerApp.port = {port}\nc.ServerApp.port_retries = 0\n\
                 c.ServerApp.allow_root = True\nc.ServerApp.open_browser = False\n\
                 c.ServerApp.root_dir = {:?}\nc.IdentityProvider.token = '{token}'\n",
                dir.path().join("work")
            ),
        )?;
        let log = fs::File::create(dir.path().join("log"))?;
        let mut command = Command::new(jupyter);
        command.arg("server").arg("--config").arg(&config);
        for (name, below) in [
            ("HOME", "home"),
            ("IPYTHONDIR", "ipython"),
            ("JUPYTER_CONFIG_DIR", "config"),
            ("JUPYTER_DATA_DIR", "data"),
            ("JUPYTER_RUNTIME_DIR", "runtime"),
        ] {
            fs::create_dir(dir.path().join(below))?;
            command.env(name, dir.path().join(below));
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = Running::spawn(&mut command)?;
        let server = Jupyter { _process: process, dir, port, token, python };
        let answers =
            || http::get(port, &server.status_path(), &[], wait::SOON).is_ok_and(|a| a.status == 200);
        wait::until("jupyter answers", Duration::from_secs(60), answers).with_context(|| server.log())?;
        Ok(server)
    }

    /// Its port on 127.0.0.1, at the far end.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The token that lets one in.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// A path that answers only to those with the token.
    pub fn status_path(&self) -> String {
        format!("/api/status?token={}", self.token)
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
        let kernel = self.ask(port, &["start"])?;
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
        command.arg(format!("127.0.0.1:{port}")).arg(&self.token).args(args);
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

fn random_token() -> String {
    // The standard library seeds each RandomState from the system's randomness; enough for a server that
    // lives for seconds on loopback.
    format!("{:016x}{:016x}", RandomState::new().hash_one(0), RandomState::new().hash_one(1))
}
