//! Runs the ssh program: where it is, for how long at most, and how much of what it says is read.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::system;

/// It takes 5 ms. Canonical names ask DNS, and a `Match exec` takes as long as it likes.
const DEADLINE: Duration = Duration::from_secs(5);
/// It prints 5 KiB; with every file that Include can name a little more.
const MOST_OUTPUT: u64 = 4 << 20;
/// Names the program, for tests and odd installations; an absolute path.
const OVERRIDE: &str = "NBTUNNEL_SSH";

/// A program that was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Program {
    path: PathBuf,
    /// Which one it is: an upgrade may have other defaults.
    modified: Option<SystemTime>,
    len: u64,
}

/// What it said.
pub(super) struct Said {
    pub(super) good: bool,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Why it said nothing.
pub(super) enum Silent {
    /// The system would not run it.
    NotRun(io::Error),
    /// It took too long, and was ended.
    Late,
}

impl Program {
    /// The ssh of this machine: what `$NBTUNNEL_SSH` names, else the first on the PATH.
    pub(super) fn find() -> Option<Program> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let path = match set(OVERRIDE) {
            Some(named) => {
                Some(PathBuf::from(named)).filter(|path| path.is_absolute() && system::is_program(path))
            }
            None => std::env::split_paths(&set("PATH")?)
                .filter(|dir| dir.is_absolute())
                .map(|dir| dir.join(system::SSH))
                .find(|path| system::is_program(path)),
        }?;
        Program::at(path)
    }

    /// Where it is.
    pub(super) fn into_path(self) -> PathBuf {
        self.path
    }

    /// The program at `path`, if it is one.
    pub(super) fn at(path: PathBuf) -> Option<Program> {
        let metadata = path.metadata().ok()?;
        Some(Program { path, modified: metadata.modified().ok(), len: metadata.len() })
    }

    /// Runs it with `args` and nothing on its standard input.
    pub(super) async fn run(&self, args: &[OsString]) -> Result<Said, Silent> {
        let mut command = Command::new(&self.path);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        system::lead_a_group(&mut command);
        let mut run = Run { child: command.spawn().map_err(Silent::NotRun)? };
        let (stdout, stderr) = (run.child.stdout.take(), run.child.stderr.take());
        let said = timeout(DEADLINE, async {
            let (stdout, stderr) = tokio::join!(read(stdout), read(stderr));
            // Only now: a group whose leader was waited for cannot be ended safely.
            let good = run.child.wait().await.is_ok_and(|status| status.success());
            Said { good, stdout, stderr }
        });
        said.await.map_err(|_| Silent::Late)
    }
}

/// A run that ends with all that it began when nobody waits for it any more.
struct Run {
    child: Child,
}

impl Drop for Run {
    fn drop(&mut self) {
        // None once it was waited for.
        if let Some(leader) = self.child.id() {
            system::end_group(leader);
        }
    }
}

async fn read(from: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        // What was read before an error is all that there is.
        let _ = from.take(MOST_OUTPUT).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
