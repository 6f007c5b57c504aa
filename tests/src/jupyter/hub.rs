//! A real JupyterHub and the server that it starts for one user. Between them is no proxy: a tunnel leads to the
//! server's own port.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::recipe::{answers, path_with, random_token};
use crate::child::Running;
use crate::programs::repository;
use crate::told::tell;
use crate::{net, wait};

/// A hub that runs a server for the user `me`, until it is dropped.
#[derive(Debug)]
pub struct Hub {
    _process: Running,
    dir: TempDir,
    port: u16,
    admin: String,
    token: String,
}

impl Hub {
    /// Starts the hub that `tests/run` installs under `target/jupyter-hub`, and the server of `me`.
    ///
    /// # Errors
    /// It is not installed, or does not come up.
    pub fn start() -> Result<Hub> {
        Hub::with("1")
    }

    /// The same, with a server of the older sort: the token that it writes down opens nothing.
    ///
    /// # Errors
    /// As [`Hub::start`].
    pub fn older() -> Result<Hub> {
        Hub::with("0")
    }

    fn with(extension: &str) -> Result<Hub> {
        let bin = repository().join("target/jupyter-hub/bin");
        ensure!(bin.join("jupyterhub").is_file(), "jupyterhub is not installed; tests/run installs it");
        let dir = tempfile::Builder::new().prefix("nbt-hub-").tempdir()?;
        fs::create_dir(dir.path().join("home"))?;
        let (port, front, admin) = (net::free_port()?, net::free_port()?, random_token());
        let log = fs::File::create(dir.path().join("log"))?;
        let mut command = Command::new(bin.join("jupyterhub"));
        command.arg("-f").arg(repository().join("tests/fixtures/hub_config.py")).current_dir(dir.path());
        command.env("NBT_HUB_DIR", dir.path()).env("NBT_HUB_TOKEN", &admin);
        command.env("NBT_HUB_PORT", port.to_string()).env("NBT_HUB_FRONT", front.to_string());
        command.env("NBT_HUB_EXTENSION", extension);
        command.env("PATH", path_with(&bin)?).env_remove("JUPYTER_RUNTIME_DIR").env_remove("XDG_DATA_HOME");
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = Running::spawn(&mut command)?;
        let mut hub = Hub { _process: process, dir, port, admin, token: String::new() };
        let url = format!("http://127.0.0.1:{port}/hub/api/");
        wait::until("the hub answers", Duration::from_secs(60), || answers(&url))
            .with_context(|| hub.log())?;
        hub.ask("users/me", "POST")?;
        hub.ask("users/me/server", "POST").with_context(|| hub.log())?;
        let ready = || hub.ask("users/me", "GET").is_ok_and(|user| user["servers"][""]["ready"] == true);
        wait::until("the user's server is ready", Duration::from_secs(60), ready)
            .with_context(|| hub.log())?;
        let granted = hub.ask("users/me/tokens", "POST")?;
        hub.token = granted["token"].as_str().context("the hub grants a token")?.to_owned();
        Ok(hub)
    }

    /// A token of `me`, as the hub's page of tokens makes them.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Where the user's server writes down that it runs.
    pub fn runtime_dir(&self) -> PathBuf {
        self.home().join(".local/share/jupyter/runtime")
    }

    /// The home of `me`.
    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home/me")
    }

    /// What the hub and the server logged.
    pub fn log(&self) -> String {
        read(&self.dir.path().join("log"))
    }

    fn ask(&self, path: &str, method: &str) -> Result<Value> {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", "60", "-X", method]);
        curl.args(["-H", &format!("Authorization: token {}", self.admin)]);
        curl.arg(format!("http://127.0.0.1:{}/hub/api/{path}", self.port));
        let told = tell(&mut curl, &[], Duration::from_secs(90))?;
        ensure!(told.code == 0, "the hub refuses {method} {path}: {}", told.stderr);
        Ok(serde_json::from_str(&told.stdout).unwrap_or(Value::Null))
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
