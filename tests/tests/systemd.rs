//! The units as shipped, installed by their own line, under a real `systemd --user` of an ordinary user.

#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::child::{Running, Signal, signal_pid};
use nbtunnel_tests::programs::{repository, system};
use nbtunnel_tests::told::{Told, tell};
use nbtunnel_tests::tunnel_file::paths;
use nbtunnel_tests::{Server, Sshd, World, net, wait};

/// Debian's nobody: a uid without any right.
const NOBODY: u32 = 65534;
/// A hung daemon is to be seen soon, and a busy machine is not to be taken for one.
const WATCHDOG: Duration = Duration::from_secs(3);

/// A service manager with a tunnel `alice` in the home of its user.
struct Manager {
    _running: Running,
    inside: u32,
    world: World,
    _sshd: Sshd,
    _echo: Server,
    local: u16,
}

impl Manager {
    fn start() -> Result<Manager> {
        let (sshd, echo) = (Sshd::start()?, Server::echo()?);
        let (mut world, local) = (World::new()?, net::free_port()?);
        let (key, known_hosts) = (world.path("key"), world.path("known_hosts"));
        std::fs::copy(sshd.user_key(), &key)?;
        std::fs::copy(sshd.known_hosts(), &known_hosts)?;
        let file = sshd.tunnel().forward(local, echo.port());
        let file = file.set("identity_file", paths(&[&key])).set("known_hosts", paths(&[&known_hosts]));
        world.write("alice", &file)?;
        // Everything is where an ordinary user has it: no option and no variable names a place.
        std::fs::create_dir(world.path("home/.config"))?;
        symlink(world.config_dir(), world.path("home/.config/nbtunnel"))?;
        let drop_in = world.path("home/.config/systemd/user/nbtunneld.service.d");
        std::fs::create_dir_all(&drop_in)?;
        let log = world.path("daemon.log");
        let watchdog = WATCHDOG.as_secs();
        std::fs::write(
            drop_in.join("test.conf"),
            format!("[Service]\nWatchdogSec={watchdog}s\nStandardError=append:{}\n", log.display()),
        )?;
        world.give_to(NOBODY)?;

        let said = std::fs::File::create(world.path("manager.log"))?;
        let mut command = Command::new(system("bash")?);
        command.arg(repository().join("tests/fixtures/user_manager.sh"));
        command.arg(NOBODY.to_string()).arg(world.path("home"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(said);
        let mut running = Running::spawn(&mut command)?;
        let stdout = running.pipes().stdout.take().context("it has a standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let said = || std::fs::read_to_string(world.path("manager.log")).unwrap_or_default();
        let inside = line.trim().parse().with_context(|| format!("no service manager: {}", said()))?;
        let manager = Manager { _running: running, inside, world, _sshd: sshd, _echo: echo, local };
        wait::until("the service manager answers", wait::SOON, || {
            manager.systemctl(&["show", "--property=Version"]).is_ok()
        })
        .with_context(|| std::fs::read_to_string(manager.world.path("manager.log")).unwrap_or_default())?;
        Ok(manager)
    }

    /// The same with the units installed, active, and the tunnel up.
    fn installed() -> Result<Manager> {
        let manager = Manager::start()?;
        let template = std::fs::read_to_string(repository().join("systemd/nbtunneld.service"))?;
        let line = template.lines().find(|line| line.contains("mkdir -p ~/")).context("it says how")?;
        let line = format!("cd \"$1\" && {}", line.trim_start_matches(['#', ' ']));
        let mut command = manager.command("sh")?;
        command.args(["-c", &line, "install"]).arg(manager.project()?);
        let told = tell(&mut command, &[], wait::SOON)?;
        ensure!(told.code == 0, "the units cannot be installed: {told:?}");
        manager.carries()?;
        Ok(manager)
    }

    /// What the installing line needs of the project, where its user may read it.
    fn project(&self) -> Result<PathBuf> {
        let units = self.world.path("project/systemd");
        std::fs::create_dir_all(&units)?;
        for name in ["nbtunneld.service", "nbtunneld.socket"] {
            std::fs::copy(repository().join("systemd").join(name), units.join(name))?;
        }
        Ok(self.world.path("project"))
    }

    /// A program, as the user runs it in a terminal of this session.
    fn command(&self, program: &str) -> Result<Command> {
        let mut command = Command::new(system("nsenter")?);
        command.args(["--target", &self.inside.to_string(), "--mount", "--pid", "--"]);
        command.arg(system("setpriv")?);
        command.args([
            "--reuid",
            &NOBODY.to_string(),
            "--regid",
            &NOBODY.to_string(),
            "--clear-groups",
            "--",
        ]);
        command.arg(program).env_clear().env("HOME", self.world.path("home"));
        command.env("XDG_RUNTIME_DIR", format!("/run/user/{NOBODY}")).env("LANG", "C.UTF-8");
        command.env("PATH", format!("{}:/usr/bin:/bin", self.world.path("bin").display()));
        Ok(command)
    }

    fn systemctl(&self, args: &[&str]) -> Result<Told> {
        let told = tell(self.command("systemctl")?.arg("--user").args(args), &[], wait::SOON)?;
        ensure!(told.code == 0, "systemctl --user {}: {told:?}", args.join(" "));
        Ok(told)
    }

    fn nbctl(&self, args: &[&str]) -> Result<Told> {
        tell(self.command("nbctl")?.args(args), &[], wait::SOON)
    }

    /// A property of the service.
    fn property(&self, name: &str) -> Result<String> {
        let told = self.systemctl(&["show", "--value", "--property", name, "nbtunneld.service"])?;
        Ok(told.stdout.trim().to_owned())
    }

    fn wait_for(&self, name: &str, value: &str) -> Result<()> {
        let mut last = String::new();
        let becomes = || {
            last = self.property(name).unwrap_or_else(|e| format!("{e:#}"));
            last == value
        };
        wait::until(&format!("{name} is {value}"), wait::SOON, becomes)
            .with_context(|| format!("it is {last}"))
    }

    /// Waits until nbctl, without any option, shows the tunnel as up, and something goes through it.
    fn carries(&self) -> Result<()> {
        let mut last = None;
        let up = || {
            last = Some(self.nbctl(&["status", "alice", "--json"]));
            let Some(Ok(told)) = &last else { return false };
            let status = serde_json::from_str::<serde_json::Value>(&told.stdout).unwrap_or_default();
            status["tunnels"][0]["state"] == "up"
        };
        wait::until("the tunnel is up", wait::SOON, up).with_context(|| format!("{last:?}"))?;
        wait::until("it carries", wait::SOON, || net::echoes(self.local, wait::SOON))?;
        self.wait_for("ActiveState", "active")
    }

    /// The directory of the control socket, as seen from outside.
    fn runtime_dir(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root/run/user/{NOBODY}/nbtunnel", self.inside))
    }

    /// Which file the control socket is.
    fn socket(&self) -> Result<u64> {
        let path = self.runtime_dir().join("control.sock");
        let meta = std::fs::symlink_metadata(path).context("the control socket is gone")?;
        ensure!(meta.mode() & 0o777 == 0o600 && meta.uid() == NOBODY, "it is open to others: {meta:?}");
        Ok(meta.ino())
    }

    /// The process id, as known outside, of the only daemon inside.
    fn daemon(&self) -> Result<u32> {
        let is_it = |pid: &u32| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            name == "nbtunneld\n" && self.is_inside(*pid)
        };
        let processes = std::fs::read_dir("/proc")?
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let found: Vec<u32> = processes.filter(is_it).collect();
        ensure!(found.len() == 1, "not one daemon but {found:?}");
        Ok(found[0])
    }

    fn is_inside(&self, pid: u32) -> bool {
        let namespace = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        namespace(pid).is_some_and(|its| Some(its) == namespace(self.inside))
    }
}

#[test]
fn the_socket_starts_the_daemon_and_outlives_it() -> Result<()> {
    let manager = Manager::installed()?;
    let socket = manager.socket()?;
    for round in ["the first", "the second"] {
        let began = Instant::now();
        manager.systemctl(&["stop", "nbtunneld.service"])?;
        let took = began.elapsed();
        ensure!(took < Duration::from_secs(2), "{round} stop took {took:?}");
        manager.wait_for("ActiveState", "inactive")?;
        ensure!(manager.property("Result")? == "success", "{round} stop was not clean");
        ensure!(net::connect(manager.local, wait::SOON).is_err(), "the port is still open");
        ensure!(manager.socket()? == socket, "the socket is another one after {round} stop");
        // The first nbctl is what starts it, and is answered.
        let told = manager.nbctl(&["status"])?;
        ensure!(told.code == 0, "{round}: {told:?}");
        manager.carries()?;
    }
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
    let manager = Manager::installed()?;
    let (daemon, socket) = (manager.daemon()?, manager.socket()?);
    wait::throughout("a daemon that works is left alone", WATCHDOG * 2, || {
        manager.property("NRestarts").is_ok_and(|count| count == "0")
    })?;
    ensure!(manager.daemon()? == daemon);

    signal_pid(daemon, Signal::Stop)?;
    manager.wait_for("NRestarts", "1")?;
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
