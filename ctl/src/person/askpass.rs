//! A program that asks in a window and prints what was typed, as for ssh(1).

use std::ffi::{OsStr, OsString};
use std::process::Stdio;

use nbtunnel_proto::Secret;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use zeroize::Zeroizing;

use super::NoAnswer;

/// The name under which systems install one.
const USUAL: &str = "ssh-askpass";
/// No answer is longer, in bytes.
const LONGEST: u64 = 4096;

/// The program that the system has, if it has one.
pub(super) fn usual() -> Option<OsString> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|dir| dir.join(USUAL)).find(|program| program.is_file());
    found.map(OsString::from)
}

/// Asks once; the window closes when this is dropped.
pub(super) async fn ask(program: &OsStr, text: &str) -> Result<Secret, NoAnswer> {
    let mut command = Command::new(program);
    command.arg(text).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|_| NoAnswer)?;
    let out = child.stdout.take().ok_or(NoAnswer)?;
    let mut typed = Zeroizing::new(Vec::with_capacity(LONGEST as usize));
    out.take(LONGEST).read_to_end(&mut typed).await.map_err(|_| NoAnswer)?;
    if !child.wait().await.is_ok_and(|status| status.success()) {
        return Err(NoAnswer);
    }
    let line = typed.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
    let text = Zeroizing::new(std::str::from_utf8(line).map_err(|_| NoAnswer)?.to_owned());
    Ok(Secret::new(text.chars().filter(|c| !c.is_control()).collect()))
}
