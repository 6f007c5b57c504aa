//! A home directory at a far end that is this machine, and what runs there.

use std::fs;
use std::future::Future;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result};
use nbtunnel_core::{Failure, Name, SlurmSpec};
use nbtunnel_tests::child::{Signal, signal_pid};
use nbtunnel_tests::here::Here;
use nbtunnel_tests::programs::{repository, write_program};
use nbtunnel_tests::wait;
use nbtunneld::launch::{Batch, Begun, Launch, ended, start};
use tempfile::TempDir;

/// What is called `sh` on one system or another.
pub(super) const SHELLS: [&[&str]; 6] =
    [&["dash"], &["bash", "--posix"], &["mksh"], &["ksh93"], &["busybox", "sh"], &["zsh", "--emulate", "sh"]];

/// A home directory; what was started from it ends with it.
pub(super) struct Yard {
    dir: TempDir,
    /// Among which its servers look for theirs. Each yard has its own: between the look and the server's own bind a
    /// server of another test could take it.
    pub(super) ports: (u16, u16),
}

static YARDS: AtomicU16 = AtomicU16::new(0);

/// What a server says of itself.
pub(super) struct Said {
    pub(super) pid: u32,
    pub(super) dir: PathBuf,
    pub(super) seen: String,
    pub(super) words: Vec<String>,
}

impl Yard {
    pub(super) fn new() -> Result<Yard> {
        // Below those that the system gives to others, and not those of the other tests' servers.
        let first = 9000 + YARDS.fetch_add(1, Relaxed) % 145 * 20;
        Ok(Yard { dir: tempfile::Builder::new().prefix("nbt-yard-").tempdir()?, ports: (first, first + 19) })
    }

    pub(super) fn home(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn here(&self) -> Here {
        Here::new(self.home())
    }

    pub(super) fn far(&self) -> Arc<Here> {
        Arc::new(self.here())
    }

    pub(super) fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.home().join(path);
        fs::create_dir_all(path.parent().context("it is in a directory")?)?;
        fs::write(path, text)?;
        Ok(())
    }

    /// A program that stands for one of the system's.
    pub(super) fn stand_in(&self, name: &str, text: &str) -> Result<()> {
        let bin = self.home().join("bin");
        fs::create_dir_all(&bin)?;
        write_program(&bin.join(name), &format!("#!/bin/sh\n{text}\n"))
    }

    /// A launch of that command.
    pub(super) fn launch(&self, command: impl Into<String>) -> Launch {
        Launch {
            name: Name::parse("alice").unwrap_or_else(|why| panic!("{why}")),
            command: command.into(),
            dir: None,
            port: None,
            ports: Some(self.ports),
        }
    }

    /// A job that does nothing.
    pub(super) fn batch(&self) -> Batch {
        let launch = self.launch("true");
        Batch {
            name: launch.name,
            spec: SlurmSpec::default(),
            command: Some(launch.command),
            dir: None,
            port: None,
            ports: None,
        }
    }

    /// The command of a small server that says `words`, which are the shell's.
    pub(super) fn small(&self, words: &str) -> String {
        let server = repository().join("tests/fixtures/small_server.py");
        format!("/usr/bin/python3 {} {{port}} {} {words}", server.display(), self.home().display())
    }

    /// Processes of small servers of this yard.
    pub(super) fn servers(&self) -> Vec<u32> {
        let home = self.home().display().to_string();
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let line = String::from_utf8_lossy(&line).into_owned();
                line.starts_with("/usr/bin/python3") && line.split('\0').any(|word| word == home)
            })
            .collect()
    }

    /// The directory of its one notebook.
    pub(super) fn state(&self) -> Result<PathBuf> {
        let mut all = fs::read_dir(self.home().join(".local/state/nbtunnel"))?;
        Ok(all.next().context("nothing was ever started")??.path())
    }

    /// What the last claim says.
    pub(super) fn claim(&self) -> Option<String> {
        let links = fs::read_dir(self.state().ok()?).ok()?.flatten();
        let numbered = links.filter_map(|link| {
            let number: u32 = link.file_name().to_str()?.strip_prefix("claim.")?.parse().ok()?;
            Some((number, fs::read_link(link.path()).ok()?))
        });
        Some(numbered.max()?.1.to_string_lossy().into_owned())
    }

    /// The process that has it.
    pub(super) fn claimant(&self) -> Option<u32> {
        self.claim()?.split(' ').nth(1)?.parse().ok()
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        // First who started them, so that nobody starts another one; a claim that a test wrote may name anybody.
        let home = self.home().display().to_string();
        let ours = |pid: &u32| {
            fs::read(format!("/proc/{pid}/environ")).is_ok_and(|env| {
                String::from_utf8_lossy(&env).split('\0').any(|v| v == format!("HOME={home}"))
            })
        };
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        let all = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        for pid in all.filter(ours) {
            let _ = signal_pid(pid, Signal::Kill);
        }
        let _ = wait::until("everything of a yard is gone", wait::SOON, || self.servers().is_empty());
    }
}

/// Asks the server at `port` who it is.
pub(super) fn ask(port: u16) -> Result<Said> {
    let said = wait::until_some("a small server answers", wait::SOON, || try_ask(port).ok())?;
    let mut words = said.split('\0').map(str::to_owned);
    let mut next = || words.next().context("too few words");
    let (pid, dir, seen) = (next()?.parse()?, next()?.into(), next()?);
    Ok(Said { pid, dir, seen, words: words.collect() })
}

fn try_ask(port: u16) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said.split_once("\r\n\r\n").context("no answer")?.1.to_owned())
}

/// Does it on a runtime of its own.
pub(super) fn on_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap_or_else(|why| panic!("no runtime: {why}")).block_on(work)
}

/// The same for what should not fail.
pub(super) fn did<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T> {
    on_runtime(work).map_err(|why| anyhow::anyhow!("{why}"))
}

/// Who has it, if it is ours.
pub(super) fn ours(begun: &Begun) -> Result<(u32, u16)> {
    match begun {
        Begun::Ours { pid, port, .. } => Ok((*pid, *port)),
        Begun::Running { .. } => anyhow::bail!("somebody else has it: {begun:?}"),
    }
}

/// Whether that process is there, and no zombie.
pub(super) fn lives(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
}

/// The name of this machine.
pub(super) fn host() -> Result<String> {
    Ok(String::from_utf8(Command::new("uname").arg("-n").output()?.stdout)?.trim().to_owned())
}

/// Why a line that ends by itself did: told at once, or where its shell took its time, a moment later.
pub(super) fn ends(yard: &Yard, launch: &Launch) -> Result<Failure> {
    match on_runtime(start(yard.far(), launch)) {
        Err(why) => Ok(why),
        Ok(_) => wait::until_some("its end is told", wait::SOON, || on_runtime(ended(yard.far(), launch))),
    }
}
