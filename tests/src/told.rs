//! A program that is run to its end, with what it said.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::child::Running;

/// What a program said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its exit code; -1 if a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs `command` with `input` on its standard input.
///
/// # Errors
/// It cannot be run, or still runs after `patience`; then it is killed.
pub fn tell(command: &mut Command, input: &[u8], patience: Duration) -> Result<Told> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running::spawn(command)?;
    let child = running.pipes();
    let stdout = collect(child.stdout.take().context("it has a standard output")?);
    let stderr = collect(child.stderr.take().context("it has a standard error")?);
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input closes it; that is its right.
        let _ = stdin.write_all(input);
    }
    let status = running.wait(patience);
    drop(running);
    let text = |reader: JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned()
    };
    let (stdout, stderr) = (text(stdout), text(stderr));
    let status = status.with_context(|| format!("it said {stdout:?} and {stderr:?}"))?;
    Ok(Told { code: status.code().unwrap_or(-1), stdout, stderr })
}

fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        let _ = pipe.read_to_end(&mut all);
        all
    })
}
