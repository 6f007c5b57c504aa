//! A desktop without a screen: a session bus of our own, with somebody on it who takes notifications.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Result;
use tempfile::TempDir;

use crate::child::Running;
use crate::told::tell;
use crate::{programs, wait};

const NAME: &str = "org.freedesktop.Notifications";
const PATH: &str = "/org/freedesktop/Notifications";

/// The bus and whoever takes notifications, until they are dropped.
#[derive(Debug)]
pub struct Desktop {
    dir: TempDir,
    // In the order in which they end.
    _taker: Option<Running>,
    _bus: Running,
}

impl Desktop {
    /// Starts both.
    ///
    /// # Errors
    /// A program is missing, or nobody answers.
    pub fn start() -> Result<Desktop> {
        let dir = tempfile::Builder::new().prefix("nbt-desktop-").tempdir()?;
        let at = |name: &str| dir.path().join(name);
        let text = fs::read_to_string(programs::repository().join("tests/fixtures/system_bus.conf"))?;
        fs::write(at("bus.conf"), text.replace("@SOCKET@", &at("bus").to_string_lossy()))?;
        let mut bus = Command::new(programs::system("dbus-daemon")?);
        bus.args(["--nofork", "--nopidfile"]).arg(format!("--config-file={}", at("bus.conf").display()));
        bus.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let bus = Running::spawn(&mut bus)?;
        let mut desktop = Desktop { dir, _taker: None, _bus: bus };
        wait::until("the bus is there", wait::SOON, || desktop.at("bus").exists())?;
        // The system's own Python, for which Debian packages the mock.
        let mut taker = Command::new("/usr/bin/python3");
        taker.args(["-m", "dbusmock", "--session", "--template", "notification_daemon"]);
        taker.env("DBUS_SESSION_BUS_ADDRESS", desktop.address());
        let log = fs::File::create(desktop.at("log"))?;
        taker.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        desktop._taker = Some(Running::spawn(&mut taker)?);
        wait::until("somebody takes notifications", wait::SOON, || {
            let mut ping = Command::new("busctl");
            ping.arg(format!("--address={}", desktop.address()));
            ping.args(["call", NAME, PATH, "org.freedesktop.DBus.Peer", "Ping"]);
            tell(&mut ping, &[], wait::SOON).is_ok_and(|told| told.code == 0)
        })?;
        Ok(desktop)
    }

    /// What `$DBUS_SESSION_BUS_ADDRESS` is to be.
    pub fn address(&self) -> String {
        format!("unix:path={}", self.at("bus").display())
    }

    /// What was shown so far, a line each.
    pub fn shown(&self) -> Vec<String> {
        let log = fs::read_to_string(self.at("log")).unwrap_or_default();
        log.lines().filter(|line| line.contains(" Notify ")).map(str::to_owned).collect()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}
