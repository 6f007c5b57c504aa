//! The two units: who starts whom, what stops, what is left alone.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nbtunnel_tests::child::{Running, Signal, signal_pid};
use nbtunnel_tests::told::tell;
use nbtunnel_tests::{net, wait};

use super::manager::{Manager, NOBODY};

/// A hung daemon is to be seen soon, and a busy machine is not to be taken for one.
const WATCHDOG: Duration = Duration::from_secs(10);

/// Two seconds are the daemon's; a machine that is busy with something else may be slow at one stop, not at each.
#[test]
fn the_socket_starts_the_daemon_and_outlives_it() -> Result<()> {
    let manager = Manager::installed()?;
    let socket = manager.socket()?;
    let mut quickest = Duration::MAX;
    for round in ["the first", "the second", "the third"] {
        let began = Instant::now();
        manager.systemctl(&["stop", "nbtunneld.service"])?;
        quickest = quickest.min(began.elapsed());
        manager.wait_for("ActiveState", "inactive")?;
        ensure!(manager.property("Result")? == "success", "{round} stop was not clean");
        // The manager closes its copies in its own time.
        let is_closed = || net::connect(manager.local, wait::SOON).is_err();
        wait::until("the port is closed", wait::SOON, is_closed)?;
        ensure!(manager.socket()? == socket, "the socket is another one after {round} stop");
        // The first nbctl is what starts it, and is answered.
        let told = manager.nbctl(&["status"])?;
        ensure!(told.code == 0, "{round}: {told:?}");
        manager.carries()?;
    }
    ensure!(quickest < Duration::from_secs(2), "each stop took {quickest:?} or more");
    manager.systemctl(&["restart", "nbtunneld.service"])?;
    manager.carries()?;
    ensure!(manager.socket()? == socket, "the socket is another one after a restart");

    manager.systemctl(&["stop", "nbtunneld.socket", "nbtunneld.service"])?;
    ensure!(manager.socket().is_err(), "the socket unit was stopped and its socket is still there");
    let told = manager.nbctl(&["status"])?;
    ensure!(told.code == 5, "no daemon is exit code 5: {told:?}");
    Ok(())
}

#[test]
fn a_reload_is_read_while_everything_stays_up() -> Result<()> {
    let manager = Manager::installed()?;
    let daemon = manager.daemon()?;
    let mut open = net::connect(manager.local, wait::SOON)?;
    for _ in 0..3 {
        manager.systemctl(&["reload", "nbtunneld.service"])?;
        manager.wait_for("SubState", "running")?;
    }
    ensure!(manager.world.log().contains("asked to read the configuration again"));
    net::echo(&mut open, b"through all of it")?;
    ensure!(manager.daemon()? == daemon && manager.property("NRestarts")? == "0");
    ensure!(manager.property("StatusText")? == "1 tunnel", "{:?}", manager.property("StatusText"));
    Ok(())
}

#[test]
fn a_hung_daemon_is_killed_and_its_tunnels_come_back() -> Result<()> {
    let manager = Manager::installed_with(&format!("WatchdogSec={}s", WATCHDOG.as_secs()))?;
    let (daemon, socket) = (manager.daemon()?, manager.socket()?);
    let restarts = || -> Result<u32> { Ok(manager.property("NRestarts")?.parse()?) };
    let before = restarts()?;
    wait::throughout("a daemon that works is left alone", WATCHDOG * 3 / 2, || {
        restarts().is_ok_and(|count| count == before)
    })?;
    ensure!(manager.daemon()? == daemon);

    let told = manager.nbctl(&["debug-hang"])?;
    ensure!(told.code == 0, "it does not hang: {told:?}");
    wait::until("it is started again", WATCHDOG * 6, || restarts().is_ok_and(|count| count > before))?;
    manager.carries()?;
    ensure!(manager.daemon()? != daemon && manager.socket()? == socket);
    Ok(())
}

#[test]
fn where_another_daemon_runs_it_is_not_tried_again() -> Result<()> {
    let manager = Manager::installed()?;
    manager.systemctl(&["stop", "nbtunneld.service"])?;
    let other_socket = manager.runtime_dir().join("other.sock");
    let path = format!("/run/user/{NOBODY}/nbtunnel/other.sock");
    let log = std::fs::File::options().append(true).open(manager.world.path("daemon.log"))?;
    let mut command = manager.command("nbtunneld")?;
    let _other = Running::spawn(command.args(["--socket", &path]).stdin(Stdio::null()).stderr(log))?;
    wait::until("the other one is there", wait::SOON, || other_socket.exists())?;

    ensure!(manager.systemctl(&["start", "nbtunneld.service"]).is_err(), "two daemons on one directory");
    manager.wait_for("ActiveState", "failed")?;
    ensure!(manager.property("ExecMainStatus")? == "10" && manager.property("Result")? == "exit-code");
    // It would be tried again after a second.
    wait::throughout("it is left alone", Duration::from_secs(3), || {
        manager.property("ActiveState").is_ok_and(|state| state == "failed")
    })?;
    ensure!(manager.property("NRestarts")? == "0");
    let told = manager.nbctl(&["--socket", &path, "status"])?;
    ensure!(told.code == 0, "the other one is harmed: {told:?}");

    // Who comes by the socket unit is told, and does not wear the unit out.
    for _ in 0..2 {
        let told = manager.nbctl(&["status"])?;
        ensure!(told.code == 1 && told.stderr.contains("is already running (pid "), "{told:?}");
        ensure!(told.stderr.contains("hint: "), "{told:?}");
    }
    // nsenter, which we started, passes no signal on.
    let alone = wait::until_some("it is the only one", wait::SOON, || manager.daemon().ok())?;
    signal_pid(alone, Signal::Term)?;
    wait::until("the other one is gone", wait::SOON, || !other_socket.exists())?;
    ensure!(manager.nbctl(&["status"])?.code == 0, "the socket unit is worn out");
    manager.carries()
}

#[test]
fn a_daemon_in_a_terminal_leaves_the_managers_socket_alone() -> Result<()> {
    let manager = Manager::installed()?;
    let socket = manager.socket()?;
    manager.systemctl(&["stop", "nbtunneld.service"])?;
    let told = tell(&mut manager.command("nbtunneld")?, &[], wait::SOON)?;
    ensure!(told.code == 1 && told.stderr.contains("systemctl --user start nbtunneld"), "{told:?}");
    ensure!(manager.socket()? == socket, "the socket was taken away from the manager");
    ensure!(manager.nbctl(&["status"])?.code == 0);
    manager.carries()
}
