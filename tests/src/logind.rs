//! A system bus of our own, with a logind on it that says what a test wants it to say.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::child::Running;
use crate::told::{Told, tell};
use crate::{programs, wait};

const NAME: &str = "org.freedesktop.login1";
const PATH: &str = "/org/freedesktop/login1";

/// A bus and its logind, until they are stopped or dropped. The address outlives a stop.
#[derive(Debug)]
pub struct Logind {
    dir: TempDir,
    // In the order in which they end.
    mock: Option<Running>,
    bus: Option<Running>,
}

impl Logind {
    /// Starts both.
    ///
    /// # Errors
    /// A program is missing, or logind does not answer.
    pub fn start() -> Result<Logind> {
        let dir = tempfile::Builder::new().prefix("nbt-bus-").tempdir()?;
        let mut logind = Logind { dir, mock: None, bus: None };
        logind.start_again()?;
        Ok(logind)
    }

    /// Starts both at the address that they had.
    ///
    /// # Errors
    /// As [`Logind::start`].
    pub fn start_again(&mut self) -> Result<()> {
        let config = self.dir.path().join("bus.conf");
        let text = fs::read_to_string(programs::repository().join("tests/fixtures/system_bus.conf"))?;
        fs::write(&config, text.replace("@SOCKET@", &self.socket().to_string_lossy()))?;
        let mut bus = Command::new(programs::system("dbus-daemon")?);
        bus.arg("--nofork").arg("--nopidfile").arg(format!("--config-file={}", config.display()));
        self.bus = Some(self.spawn(&mut bus)?);
        wait::until("the bus is there", wait::SOON, || self.socket().exists())?;
        // The system's own Python, for which Debian packages the mock.
        let mut mock = Command::new("/usr/bin/python3");
        mock.args(["-m", "dbusmock", "--system", "--template", "logind"]);
        mock.env("DBUS_SYSTEM_BUS_ADDRESS", self.address());
        self.mock = Some(self.spawn(&mut mock)?);
        wait::until("logind answers", wait::SOON, || {
            self.call(&["org.freedesktop.DBus.Peer", "Ping"]).is_ok_and(|told| told.code == 0)
        })
    }

    /// Ends both.
    pub fn stop(&mut self) {
        self.mock = None;
        self.bus = None;
        let _ = fs::remove_file(self.socket());
    }

    /// What `$DBUS_SYSTEM_BUS_ADDRESS` is to be.
    pub fn address(&self) -> String {
        format!("unix:path={}", self.socket().display())
    }

    /// Tells everybody that the machine is about to sleep, or that it woke.
    ///
    /// # Errors
    /// The bus is not there.
    pub fn prepare_for_sleep(&self, sleeps: bool) -> Result<()> {
        let interface = format!("{NAME}.Manager");
        let signal = ["sssav", &interface, "PrepareForSleep", "b", "1", "b", &sleeps.to_string()];
        let told = self.call(&[&["org.freedesktop.DBus.Mock", "EmitSignal"][..], &signal].concat())?;
        ensure!(told.code == 0, "logind does not say it: {told:?}");
        Ok(())
    }

    fn call(&self, call: &[&str]) -> Result<Told> {
        let mut command = Command::new(programs::system("busctl")?);
        command.arg(format!("--address={}", self.address())).args(["call", NAME, PATH]).args(call);
        tell(&mut command, &[], wait::SOON)
    }

    fn spawn(&self, command: &mut Command) -> Result<Running> {
        let log = fs::File::options().create(true).append(true).open(self.dir.path().join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Running::spawn(command)
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("bus")
    }
}
