//! One daemon with everything that it needs, in a temporary directory: configuration, home, state, socket.
//!
//! Nothing of the user's own environment reaches it, so no test touches a real `~/.ssh`. What the daemon
//! logged is printed when the world ends; the test runner shows that only for tests that failed.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::child::{Running, Signal};
use crate::programs::Programs;
use crate::told::tell;
use crate::{Sshd, TunnelFile, net, wait};

pub use crate::told::Told;

/// A world for one daemon at a time.
#[derive(Debug)]
pub struct World {
    dir: TempDir,
    programs: Programs,
    environment: Vec<(String, String)>,
    filter: String,
    daemon: Option<Running>,
    quiet: bool,
    #[cfg(unix)]
    uid: Option<u32>,
}

impl World {
    /// An empty world: no tunnel, no daemon yet.
    ///
    /// # Errors
    /// The programs cannot be built, or there is no temporary directory.
    pub fn new() -> Result<World> {
        let programs = Programs::find()?;
        let dir = tempfile::Builder::new().prefix("nbt-").tempdir()?;
        for name in ["config/tunnels", "home", "state", "run/nbtunnel"] {
            fs::create_dir_all(dir.path().join(name))?;
        }
        private(&dir.path().join("run"))?;
        private(&dir.path().join("run/nbtunnel"))?;
        let filter = std::env::var("NBTUNNEL_TEST_LOG").unwrap_or_else(|_| "info".into());
        Ok(World {
            dir,
            programs,
            environment: Vec::new(),
            filter,
            daemon: None,
            quiet: false,
            #[cfg(unix)]
            uid: None,
        })
    }

    /// A world with one tunnel named `alice` to `sshd`, whose forward leads to 127.0.0.1:`remote`; with the
    /// daemon started and the tunnel up. Says the local port.
    ///
    /// # Errors
    /// It does not come up.
    pub fn with_alice(sshd: &Sshd, remote: u16) -> Result<(World, u16)> {
        let mut world = World::new()?;
        let local = net::free_port()?;
        world.write("alice", &sshd.tunnel().forward(local, remote))?;
        world.start()?;
        world.wait_for("alice", "up")?;
        Ok((world, local))
    }

    /// What the daemons that are started from now on log, as `--log` takes it.
    pub fn log_filter(&mut self, filter: &str) {
        filter.clone_into(&mut self.filter);
    }

    /// Daemons that are started from now on log what nbtunnel.toml says.
    pub fn log_as_the_file_says(&mut self) {
        self.filter.clear();
    }

    /// Prints no log at the end.
    pub fn quiet(&mut self) {
        self.quiet = true;
    }

    /// Gives this world to another user, with programs of its own that this user can read: its daemon and its
    /// nbctl run as that user from now on.
    ///
    /// # Errors
    /// We are not root, or a file cannot be given away.
    #[cfg(unix)]
    pub fn give_to(&mut self, uid: u32) -> Result<()> {
        let bin = self.path("bin");
        fs::create_dir(&bin)?;
        for program in [&mut self.programs.nbtunneld, &mut self.programs.nbctl] {
            let copy = bin.join(program.file_name().context("a program has a name")?);
            // Written by another process: one that is started at the same moment by another test would inherit our
            // descriptor for writing, and the kernel runs no program that is open for that (ETXTBSY).
            let status = Command::new("cp").arg(&*program).arg(&copy).status()?;
            ensure!(status.success(), "cp {} {}: {status}", program.display(), copy.display());
            *program = copy;
        }
        give(self.dir.path(), uid).context("only root can run a daemon as another user")?;
        self.uid = Some(uid);
        Ok(())
    }

    /// Sets a variable for the programs that are started from now on.
    pub fn set_env(&mut self, name: &str, value: impl AsRef<Path>) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.as_ref().display().to_string()));
    }

    /// Writes `tunnels/NAME.toml` as editors do: beside, then renamed.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, name: &str, file: &TunnelFile) -> Result<()> {
        self.write_text(name, file.text())
    }

    /// The same with any bytes.
    ///
    /// # Errors
    /// As [`World::write`].
    pub fn write_text(&self, name: &str, text: impl AsRef<[u8]>) -> Result<()> {
        let path = self.tunnel_path(name);
        let beside = path.with_extension("toml.new~");
        fs::write(&beside, text)?;
        fs::rename(&beside, &path).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Removes `tunnels/NAME.toml`.
    ///
    /// # Errors
    /// It is not there.
    pub fn remove(&self, name: &str) -> Result<()> {
        Ok(fs::remove_file(self.tunnel_path(name))?)
    }

    /// A command for one of our programs, with the clean environment of this world.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().stdin(Stdio::null()).current_dir(self.dir.path());
        // SystemRoot and TEMP: without them no Windows program opens a socket or makes a file.
        for name in ["PATH", "SystemRoot", "TEMP"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command.env("HOME", self.path("home")).env("LANG", "C.UTF-8").env("RUST_BACKTRACE", "1");
        command.env("XDG_CONFIG_HOME", self.path("home/.config"));
        command.env("XDG_STATE_HOME", self.path("state"));
        command.env("XDG_RUNTIME_DIR", self.path("run"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        #[cfg(unix)]
        if let Some(uid) = self.uid {
            std::os::unix::process::CommandExt::uid(&mut command, uid);
            std::os::unix::process::CommandExt::gid(&mut command, uid);
        }
        command
    }

    /// The daemon's command line, for tests that start it in their own way.
    pub fn daemon_command(&self) -> Command {
        self.daemon_command_of(&self.programs.nbtunneld)
    }

    /// The same of another build.
    pub fn daemon_command_of(&self, program: &Path) -> Command {
        let mut command = self.command(program);
        command.arg("--config-dir").arg(self.config_dir()).arg("--socket").arg(self.socket());
        if !self.filter.is_empty() {
            command.arg("--log").arg(&self.filter);
        }
        command
    }

    /// Starts the daemon and waits until it answers.
    ///
    /// # Errors
    /// It runs already, or does not come up.
    pub fn start(&mut self) -> Result<()> {
        let command = self.daemon_command();
        self.start_by(command)
    }

    /// The same by a command line of the caller's, such as one that sets limits first.
    ///
    /// # Errors
    /// As [`World::start`].
    pub fn start_by(&mut self, mut command: Command) -> Result<()> {
        ensure!(self.daemon.is_none(), "the daemon runs already");
        let log = fs::File::options().create(true).append(true).open(self.path("daemon.log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut daemon = Running::spawn(&mut command)?;
        let answers = wait::until("the daemon answers", wait::SOON, || {
            daemon.ended().is_some() || self.nbctl(["status", "--json"]).is_ok_and(|told| told.code == 0)
        });
        if let Some(status) = daemon.ended() {
            bail!("the daemon ended at once with {status}:\n{}", self.log());
        }
        self.daemon = Some(daemon);
        answers.with_context(|| self.log())
    }

    /// The daemon, while it runs.
    ///
    /// # Errors
    /// It was not started, or was stopped.
    pub fn daemon(&mut self) -> Result<&mut Running> {
        self.daemon.as_mut().context("the daemon does not run")
    }

    /// Ends the daemon by `signal` and waits for its end.
    ///
    /// # Errors
    /// It does not run, or does not end.
    pub fn end(&mut self, signal: Signal) -> Result<ExitStatus> {
        let mut daemon = self.daemon.take().context("the daemon does not run")?;
        daemon.signal(signal);
        daemon.wait(wait::SOON)
    }

    /// Runs `nbctl --socket … ARGS` to its end.
    ///
    /// # Errors
    /// It cannot be run, or does not end within a minute.
    pub fn nbctl<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<Told> {
        tell(&mut self.nbctl_command(args), &[], Duration::from_secs(60))
    }

    /// The command line of `nbctl`, for tests that start it in their own way.
    pub fn nbctl_command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = self.command(&self.programs.nbctl);
        command.env("NBTUNNEL_CONFIG_DIR", self.config_dir());
        command.arg("--socket").arg(self.socket()).args(args);
        command
    }

    /// What `nbctl status --json` says.
    ///
    /// # Errors
    /// It fails, or prints no JSON.
    pub fn status(&self) -> Result<Value> {
        let told = self.nbctl(["status", "--json"])?;
        ensure!(told.code == 0, "nbctl status failed: {told:?}");
        serde_json::from_str(&told.stdout).with_context(|| format!("no JSON: {}", told.stdout))
    }

    /// The part of it about one tunnel.
    ///
    /// # Errors
    /// As [`World::status`], or there is no such tunnel.
    pub fn tunnel(&self, name: &str) -> Result<Value> {
        let status = self.status()?;
        let tunnels = status["tunnels"].as_array().context("tunnels is a list")?;
        let found = tunnels.iter().find(|tunnel| tunnel["name"] == name);
        found.cloned().with_context(|| format!("there is no tunnel {name}"))
    }

    /// Waits until a tunnel is in `state`, and says what it looks like then.
    ///
    /// # Errors
    /// It does not come to that; the error shows where it stands instead.
    pub fn wait_for(&self, name: &str, state: &str) -> Result<Value> {
        self.wait_until(name, &format!("{name} is {state}"), |tunnel| tunnel["state"] == state)
    }

    /// Waits until what `status` says of a tunnel satisfies `holds`.
    ///
    /// # Errors
    /// As [`World::wait_for`].
    pub fn wait_until(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        wait::until_some(what, wait::SOON * 3, || {
            last = self.tunnel(name).unwrap_or_else(|e| Value::from(format!("{e:#}")));
            holds(&last).then(|| last.clone())
        })
        .with_context(|| format!("instead: {last:#}"))
    }

    /// Where the tunnel files are, and `nbtunnel.toml`.
    pub fn config_dir(&self) -> PathBuf {
        self.path("config")
    }

    /// The file of one tunnel.
    pub fn tunnel_path(&self, name: &str) -> PathBuf {
        self.config_dir().join("tunnels").join(format!("{name}.toml"))
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.path("run/nbtunnel/control.sock")
    }

    /// The programs that this world uses.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// Something in the directory of this world.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What the daemon logged so far, over all its lives in this world.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.path("daemon.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for World {
    #[allow(
        clippy::print_stderr,
        reason = "the test runner shows it for failed tests, and only what is printed"
    )]
    fn drop(&mut self) {
        self.daemon = None;
        if !self.quiet {
            let log = self.log();
            let skipped = log.lines().count().saturating_sub(200);
            let tail: Vec<_> = log.lines().skip(skipped).collect();
            eprintln!("--- what the daemon logged ({skipped} lines before)\n{}\n---", tail.join("\n"));
        }
    }
}

/// Gives `path` and what is below it to `uid`, without following links.
#[cfg(unix)]
fn give(path: &Path, uid: u32) -> Result<()> {
    std::os::unix::fs::lchown(path, Some(uid), Some(uid))?;
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), uid)?;
        }
    }
    Ok(())
}

/// Mode 0700, which the daemon insists on for the directory of its socket.
fn private(dir: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    }
    let _ = dir;
    Ok(())
}
