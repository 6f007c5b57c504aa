//! Plays a sleep of the machine to one daemon, by a library that is preloaded into it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use tempfile::NamedTempFile;

use crate::{World, programs, wait};

/// What the daemon says when it found that the machine slept.
const SLEPT: &str = "the machine slept for";

/// The sleep of one daemon.
#[derive(Debug)]
pub struct Shim {
    library: PathBuf,
    /// Holds the seconds that the machine has slept in all.
    slept: PathBuf,
    seconds: u64,
}

impl Shim {
    /// A shim for the daemon of `world`, which has not slept yet.
    ///
    /// # Errors
    /// The library cannot be compiled.
    pub fn new(world: &World) -> Result<Shim> {
        let shim = Shim { library: library()?, slept: world.path("slept"), seconds: 0 };
        shim.write()?;
        Ok(shim)
    }

    /// The daemon's command line, with the shim in it.
    pub fn daemon_command(&self, world: &World) -> Command {
        let mut command = world.daemon_command();
        command.env("LD_PRELOAD", &self.library).env("NBTUNNEL_TEST_SLEPT", &self.slept);
        command
    }

    /// Lets the machine sleep, without waiting for the daemon to see it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn sleep_unseen(&mut self, time: Duration) -> Result<()> {
        self.seconds += time.as_secs();
        self.write()
    }

    /// Lets the machine sleep, and waits until the daemon says so.
    ///
    /// # Errors
    /// It does not see it: then no test of a wake proves anything.
    pub fn sleep(&mut self, world: &World, time: Duration) -> Result<()> {
        let before = sleeps(world).len();
        self.sleep_unseen(time)?;
        wait::until("the daemon sees that the machine slept", wait::SOON, || sleeps(world).len() > before)
    }

    /// Never half-written: time would go back for a moment.
    fn write(&self) -> Result<()> {
        let beside = self.slept.with_extension("new");
        std::fs::write(&beside, self.seconds.to_string())?;
        Ok(std::fs::rename(&beside, &self.slept)?)
    }
}

/// For how long the machine slept, as the daemon of `world` told, each time that it did.
pub fn sleeps(world: &World) -> Vec<String> {
    let log = world.log();
    let told = log.lines().filter_map(|line| line.split_once(SLEPT));
    told.map(|(_, rest)| rest.trim().to_owned()).collect()
}

/// The library, compiled once by each process and put beside its programs.
fn library() -> Result<PathBuf> {
    static LIBRARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    LIBRARY.get_or_init(|| compile().map_err(|e| format!("{e:#}"))).clone().map_err(|e| anyhow!(e))
}

fn compile() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let dir = program.parent().unwrap_or(Path::new("."));
    // Compiled beside and renamed, since another process may be using the one that is there.
    let beside = NamedTempFile::new_in(dir)?.into_temp_path();
    let output = Command::new(programs::system("cc")?)
        .args(["-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o"])
        .arg(&beside)
        .arg(programs::repository().join("tests/fixtures/suspend_shim.c"))
        .arg("-ldl")
        .output()?;
    ensure!(output.status.success(), "cc fails: {}", String::from_utf8_lossy(&output.stderr));
    let library = dir.join("suspend_shim.so");
    beside.persist(&library).with_context(|| format!("cannot write {}", library.display()))?;
    Ok(library)
}
