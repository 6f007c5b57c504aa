//! A real `systemd --user` of an ordinary user, with the units installed.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::child::Running;
use nbtunnel_tests::programs::{repository, system};
use nbtunnel_tests::told::{Told, tell};
use nbtunnel_tests::tunnel_file::paths;
use nbtunnel_tests::{Server, Sshd, TunnelFile, World, net, wait};

/// Debian's nobody: a uid without any right.
pub(super) const NOBODY: u32 = 65534;
/// Also says what is asked of the daemon.
const LOG: &str = "info,nbtunneld::control=debug";

/// A service manager with a tunnel `alice` in the home of its user.
pub(super) struct Manager {
    _running: Running,
    inside: u32,
    pub(super) world: World,
    sshd: Sshd,
    echo: Server,
    /// The port of `alice`.
    pub(super) local: u16,
}

impl Manager {
    /// `settings` are more lines for the `[Service]` of the daemon.
    fn start(settings: &str) -> Result<Manager> {
        let (sshd, echo) = (Sshd::start()?, Server::echo()?);
        let (mut world, local) = (World::new()?, net::free_port()?);
        std::fs::copy(sshd.user_key(), world.path("key"))?;
        std::fs::copy(sshd.known_hosts(), world.path("known_hosts"))?;
        world.write("alice", &tunnel(&sshd, &world).forward(local, echo.port()))?;
        // Everything is where an ordinary user has it: no option and no variable names a place.
        std::fs::create_dir(world.path("home/.config"))?;
        symlink(world.config_dir(), world.path("home/.config/nbtunnel"))?;
        let drop_in = world.path("home/.config/systemd/user/nbtunneld.service.d");
        std::fs::create_dir_all(&drop_in)?;
        let log = world.path("daemon.log");
        std::fs::write(
            drop_in.join("test.conf"),
            format!(
                "[Service]\nStandardError=append:{}\nEnvironment=NBTUNNEL_LOG={LOG}\n{settings}\n",
                log.display()
            ),
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
        let manager = Manager { _running: running, inside, world, sshd, echo, local };
        wait::until("the service manager answers", wait::SOON, || {
            manager.systemctl(&["show", "--property=Version"]).is_ok()
        })
        .with_context(|| std::fs::read_to_string(manager.world.path("manager.log")).unwrap_or_default())?;
        Ok(manager)
    }

    /// The same with the units installed, active, and the tunnel up.
    pub(super) fn installed() -> Result<Manager> {
        Manager::installed_with("")
    }

    /// The same with other settings of the service than the shipped ones.
    pub(super) fn installed_with(settings: &str) -> Result<Manager> {
        let manager = Manager::start(settings)?;
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

    /// A tunnel of the user's, without a forward yet.
    pub(super) fn tunnel(&self) -> TunnelFile {
        tunnel(&self.sshd, &self.world)
    }

    /// The port of the echo at the far end.
    pub(super) fn echo(&self) -> u16 {
        self.echo.port()
    }

    /// What the installing line needs of the project, where its user may read it.
    pub(super) fn project(&self) -> Result<PathBuf> {
        let units = self.world.path("project/systemd");
        std::fs::create_dir_all(&units)?;
        for name in ["nbtunneld.service", "nbtunneld.socket"] {
            std::fs::copy(repository().join("systemd").join(name), units.join(name))?;
        }
        Ok(self.world.path("project"))
    }

    /// A program, as the user runs it in a terminal of this session.
    pub(super) fn command(&self, program: &str) -> Result<Command> {
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

    pub(super) fn systemctl(&self, args: &[&str]) -> Result<Told> {
        let told = tell(self.command("systemctl")?.arg("--user").args(args), &[], wait::SOON)?;
        ensure!(told.code == 0, "systemctl --user {}: {told:?}", args.join(" "));
        Ok(told)
    }

    pub(super) fn nbctl(&self, args: &[&str]) -> Result<Told> {
        tell(self.command("nbctl")?.args(args), &[], wait::SOON)
    }

    /// A property of the service.
    pub(super) fn property(&self, name: &str) -> Result<String> {
        let told = self.systemctl(&["show", "--value", "--property", name, "nbtunneld.service"])?;
        Ok(told.stdout.trim().to_owned())
    }

    pub(super) fn wait_for(&self, name: &str, value: &str) -> Result<()> {
        let mut last = String::new();
        let becomes = || {
            last = self.property(name).unwrap_or_else(|e| format!("{e:#}"));
            last == value
        };
        wait::until(&format!("{name} is {value}"), wait::SOON, becomes)
            .with_context(|| format!("it is {last}"))
    }

    /// Waits until nbctl, without any option, shows the tunnel as up, and something goes through it.
    pub(super) fn carries(&self) -> Result<()> {
        self.becomes("alice", "up")?;
        wait::until("it carries", wait::SOON, || net::echoes(self.local, wait::SOON))?;
        self.wait_for("ActiveState", "active")
    }

    /// Waits until nbctl, without any option, shows a tunnel in a state.
    pub(super) fn becomes(&self, name: &str, state: &str) -> Result<()> {
        let mut last = None;
        let there = || {
            last = Some(self.nbctl(&["status", name, "--json"]));
            let Some(Ok(told)) = &last else { return false };
            let status = serde_json::from_str::<serde_json::Value>(&told.stdout).unwrap_or_default();
            status["tunnels"][0]["state"] == state
        };
        wait::until(&format!("{name} is {state}"), wait::SOON, there).with_context(|| format!("{last:?}"))
    }

    /// The directory of the control socket, as seen from outside.
    pub(super) fn runtime_dir(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root/run/user/{NOBODY}/nbtunnel", self.inside))
    }

    /// Which file the control socket is.
    pub(super) fn socket(&self) -> Result<u64> {
        let path = self.runtime_dir().join("control.sock");
        let meta = std::fs::symlink_metadata(path).context("the control socket is gone")?;
        ensure!(meta.mode() & 0o777 == 0o600 && meta.uid() == NOBODY, "it is open to others: {meta:?}");
        Ok(meta.ino())
    }

    /// The process id, as known outside, of the only daemon inside.
    pub(super) fn daemon(&self) -> Result<u32> {
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

    pub(super) fn is_inside(&self, pid: u32) -> bool {
        let namespace = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        namespace(pid).is_some_and(|its| Some(its) == namespace(self.inside))
    }
}

/// A tunnel with a key and known hosts that the user of `world` can read.
fn tunnel(sshd: &Sshd, world: &World) -> TunnelFile {
    let (key, known_hosts) = (world.path("key"), world.path("known_hosts"));
    let file = sshd.tunnel().set("identity_file", paths(&[&key])).set("known_hosts", paths(&[&known_hosts]));
    // The test itself is root, and to that user's daemon a stranger.
    file.set("owner_only", false)
}
