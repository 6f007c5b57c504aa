//! A real OpenSSH server, on loopback unless another address is named, with throwaway keys in a temporary directory.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::child::{Running, Signal};
use crate::{TunnelFile, net, programs, wait};

/// A server that runs until it is stopped or dropped. Its keys and its port outlive a stop.
#[derive(Debug)]
pub struct Sshd {
    dir: TempDir,
    /// The program, which uses the PAM service of its own name (sshd(8)).
    program: PathBuf,
    host: IpAddr,
    port: u16,
    user: String,
    settings: Vec<String>,
    environment: Vec<(String, PathBuf)>,
    #[cfg(target_os = "linux")]
    mounts: Option<String>,
    listener: Option<Running>,
}

impl Sshd {
    /// Starts one that allows everything a tunnel needs.
    ///
    /// # Errors
    /// sshd or ssh-keygen is missing, or the server does not come up.
    pub fn start() -> Result<Sshd> {
        Sshd::with(&[])
    }

    /// Starts one whose sshd_config(5) begins with these lines; the first word on a matter counts.
    ///
    /// # Errors
    /// As [`Sshd::start`].
    pub fn with(settings: &[&str]) -> Result<Sshd> {
        Sshd::at(Ipv4Addr::LOCALHOST.into(), settings)
    }

    /// The same at an address of the network where the calling thread is.
    ///
    /// # Errors
    /// As [`Sshd::start`].
    pub fn at(host: IpAddr, settings: &[&str]) -> Result<Sshd> {
        Sshd::called(&programs::system("sshd")?, host, settings)
    }

    /// The same by a program of another name.
    ///
    /// # Errors
    /// As [`Sshd::start`].
    pub fn called(program: &Path, host: IpAddr, settings: &[&str]) -> Result<Sshd> {
        let dir = tempfile::Builder::new().prefix("nbt-sshd-").tempdir()?;
        let mut sshd = Sshd {
            program: program.to_owned(),
            host,
            port: net::free_port()?,
            user: local_user()?,
            settings: settings.iter().map(|&line| line.to_owned()).collect(),
            environment: Vec::new(),
            #[cfg(target_os = "linux")]
            mounts: None,
            listener: None,
            dir,
        };
        keygen(&sshd.path("host_key"), "")?;
        keygen(&sshd.user_key(), "")?;
        fs::copy(sshd.path("user_key.pub"), sshd.path("authorized_keys"))?;
        sshd.write_known_hosts()?;
        sshd.start_again()?;
        Ok(sshd)
    }

    /// Sets a variable of its environment, for the next start.
    pub fn set_env(&mut self, name: &str, value: impl Into<PathBuf>) {
        self.environment.push((name.to_owned(), value.into()));
    }

    /// Runs this script in a mount namespace of its own before each start.
    #[cfg(target_os = "linux")]
    pub fn mount(&mut self, script: &str) {
        self.mounts = Some(script.to_owned());
    }

    /// Starts it on the port that it had.
    ///
    /// # Errors
    /// It runs already, or does not come up.
    pub fn start_again(&mut self) -> Result<()> {
        ensure!(self.listener.is_none(), "sshd runs already");
        let config = self.path("sshd_config");
        fs::write(&config, self.config())?;
        // sshd of Debian wants this directory when root runs it (sshd(8), FILES).
        if Path::new("/run").is_dir() && self.user == "root" {
            fs::create_dir_all("/run/sshd").context("cannot make /run/sshd")?;
        }
        let mut command = Command::new(&self.program);
        command.arg("-D").arg("-f").arg(&config).arg("-E").arg(self.path("log"));
        #[cfg(target_os = "linux")]
        if let Some(script) = &self.mounts {
            command = crate::child::with_mounts(script, &command);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let message = format!("Server listening on {} ", self.host);
        let listening = self.count_log(&message);
        let mut listener = Running::spawn(&mut command)?;
        wait::until("sshd listens", wait::SOON, || {
            listener.ended().is_some() || self.count_log(&message) > listening
        })?;
        ensure!(listener.ended().is_none(), "sshd did not start:\n{}", self.log());
        self.listener = Some(listener);
        Ok(())
    }

    /// Stops it, and every session with it.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut listener) = self.listener.take() else { return Ok(()) };
        // The listener first, frozen, so that it starts no session while its sessions are being killed.
        listener.signal(Signal::Stop);
        for pid in descendants(listener.id()) {
            let _ = crate::child::signal_pid(pid, Signal::Kill);
        }
        listener.signal(Signal::Kill);
        listener.wait(wait::SOON)?;
        Ok(())
    }

    /// Kills the processes of its sessions, as when the machine lost them; the server goes on. Says how many.
    pub fn kill_sessions(&self) -> usize {
        let pids = self.sessions();
        for &pid in &pids {
            let _ = crate::child::signal_pid(pid, Signal::Kill);
        }
        pids.len()
    }

    /// The process ids of its sessions.
    pub fn sessions(&self) -> Vec<u32> {
        self.listener.as_ref().map(|listener| descendants(listener.id())).unwrap_or_default()
    }

    /// Freezes the sessions' processes, or lets them go on: a server that does not answer.
    pub fn freeze_sessions(&self, frozen: bool) {
        for pid in self.sessions() {
            let _ = crate::child::signal_pid(pid, if frozen { Signal::Stop } else { Signal::Cont });
        }
    }

    /// Freezes all of it, or lets it go on: the kernel takes connections, and nobody serves them.
    pub fn freeze(&mut self, frozen: bool) {
        if let Some(listener) = &mut self.listener {
            listener.signal(if frozen { Signal::Stop } else { Signal::Cont });
        }
        self.freeze_sessions(frozen);
    }

    /// Gives it another host key; `known_hosts` keeps the old one. Stops every session.
    ///
    /// # Errors
    /// ssh-keygen fails, or the server does not come up again.
    pub fn change_host_key(&mut self) -> Result<()> {
        self.stop()?;
        fs::remove_file(self.path("host_key"))?;
        fs::remove_file(self.path("host_key.pub"))?;
        keygen(&self.path("host_key"), "")?;
        self.start_again()
    }

    /// Replaces the lines of [`Sshd::with`]; they count from the next start.
    pub fn set(&mut self, settings: &[&str]) {
        self.settings = settings.iter().map(|&line| line.to_owned()).collect();
    }

    /// The address that it listens on.
    pub fn host(&self) -> IpAddr {
        self.host
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Who may log in.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The private key that it accepts.
    pub fn user_key(&self) -> PathBuf {
        self.path("user_key")
    }

    /// A known_hosts file with its key as it was at the first start.
    pub fn known_hosts(&self) -> PathBuf {
        self.path("known_hosts")
    }

    /// The line for known_hosts, of the key that it has now.
    ///
    /// # Errors
    /// The public key cannot be read.
    pub fn known_hosts_line(&self) -> Result<String> {
        let key = fs::read_to_string(self.path("host_key.pub"))?;
        let mut words = key.split_whitespace();
        let (kind, blob) = words.next().zip(words.next()).context("a public key has two words")?;
        Ok(format!("[{}]:{} {kind} {blob}\n", self.host, self.port))
    }

    /// The fingerprint of the key that it has now, `SHA256:…`.
    ///
    /// # Errors
    /// ssh-keygen fails.
    pub fn fingerprint(&self) -> Result<String> {
        let output = Command::new(programs::system("ssh-keygen")?)
            .arg("-lf")
            .arg(self.path("host_key.pub"))
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.split_whitespace().nth(1).context("ssh-keygen -l prints a fingerprint")?.to_owned())
    }

    /// A file of its own directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read(self.path("log"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// How many lines of its log contain `needle`.
    pub fn count_log(&self, needle: &str) -> usize {
        self.log().lines().filter(|line| line.contains(needle)).count()
    }

    /// Whether so `many` logins by `method` were let in, no more and no fewer. It tells a client before it writes that down.
    ///
    /// # Errors
    /// It was another number.
    pub fn has_let_in(&self, method: &str, many: usize) -> Result<()> {
        let accepted = || self.count_log(&format!("Accepted {method} for "));
        wait::until("every login is written down", wait::SOON, || accepted() >= many)?;
        ensure!(accepted() == many, "{} logins instead of {many}:\n{}", accepted(), self.log());
        Ok(())
    }

    /// A tunnel file that leads here; see [`TunnelFile::to`].
    pub fn tunnel(&self) -> TunnelFile {
        TunnelFile::to(self)
    }

    fn write_known_hosts(&self) -> Result<()> {
        Ok(fs::write(self.known_hosts(), self.known_hosts_line()?)?)
    }

    fn config(&self) -> String {
        let file = |name: &str| self.path(name).display().to_string();
        let mut text = self.settings.join("\n");
        text.push_str(&format!(
            "\nPort {}\nListenAddress {}\nHostKey {}\nPidFile none\nAuthorizedKeysFile {}\n\
             StrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nMaxStartups 100:30:200\nMaxSessions 2000\nLogLevel VERBOSE\n",
            self.port,
            self.host,
            file("host_key"),
            file("authorized_keys")
        ));
        text
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// Makes an ed25519 key pair at `path`; an empty passphrase means none.
///
/// # Errors
/// ssh-keygen is missing or fails.
pub fn keygen(path: &Path, passphrase: &str) -> Result<()> {
    let status = Command::new(programs::system("ssh-keygen")?)
        .args(["-q", "-t", "ed25519", "-C", "throwaway", "-N", passphrase, "-f"])
        .arg(path)
        .stdin(Stdio::null())
        .status()?;
    ensure!(status.success(), "ssh-keygen failed");
    Ok(())
}

pub(crate) fn local_user() -> Result<String> {
    let output = Command::new("id").arg("-un").output().context("cannot run id")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The processes that `pid` started, and those that they started (proc(5), `/proc/PID/stat`).
pub(crate) fn descendants(pid: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let parents: Vec<(u32, u32)> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|child| Some((child, parent_of(child)?)))
        .collect();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&of) = found.get(next) {
        found.extend(parents.iter().filter(|(_, parent)| *parent == of).map(|(child, _)| *child));
        next += 1;
    }
    found.split_off(1)
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command may contain blanks and brackets: the parent stands second after the last bracket.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
