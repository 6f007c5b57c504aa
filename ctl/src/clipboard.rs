//! The clipboard of the session, by the programs that each system has for it: what such a program was given is there
//! still when nbctl is gone. On a terminal that is reached over SSH the terminal itself is asked (OSC 52 of xterm).

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use base64ct::{Base64, Encoding};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// How long a program may take. The display that it waits for may be gone.
const PATIENCE: Duration = Duration::from_secs(3);

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// This program took it.
    Copied(&'static str),
    /// The terminal was asked to; whether it did, it does not say.
    Asked,
    /// There is no clipboard here.
    Nowhere,
    /// There should be one; a sentence says why it has it not.
    Failed(String),
}

/// A program, and how to call it.
type Program = (&'static str, &'static [&'static str]);

const WAYLAND: Program = ("wl-copy", &[]);
const X11: [Program; 2] =
    [("xclip", &["-selection", "clipboard", "-in"]), ("xsel", &["--clipboard", "--input"])];
const MACOS: Program = ("pbcopy", &[]);
const WINDOWS: Program = ("clip.exe", &[]);

/// Puts `text` there.
pub(crate) async fn copy(text: &str) -> Outcome {
    let mut failed = Vec::new();
    for (program, args) in programs(&|name| std::env::var_os(name)) {
        match timeout(PATIENCE, run(program, args, text)).await {
            Ok(Ok(status)) if status.success() => return Outcome::Copied(program),
            Ok(Ok(status)) => failed.push(format!("{program} failed ({status})")),
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(Err(error)) => failed.push(format!("{program} cannot be run: {error}")),
            Err(_) => failed.push(format!("{program} did not end within {} s", PATIENCE.as_secs())),
        }
    }
    if failed.is_empty() && is_far(&|name| std::env::var_os(name)) && ask_terminal(text).is_ok() {
        return Outcome::Asked;
    }
    if failed.is_empty() { Outcome::Nowhere } else { Outcome::Failed(failed.join("; ")) }
}

/// The programs to try in this session, in order. Not found, one of them is passed over.
fn programs(env: &dyn Fn(&str) -> Option<OsString>) -> Vec<Program> {
    let set = |name: &str| env(name).is_some_and(|value| !value.is_empty());
    let mut programs = Vec::new();
    if cfg!(target_os = "macos") {
        programs.push(MACOS);
    }
    if set("WAYLAND_DISPLAY") {
        programs.push(WAYLAND);
    }
    if set("DISPLAY") && !cfg!(windows) {
        programs.extend(X11);
    }
    if cfg!(windows) || set("WSL_DISTRO_NAME") {
        programs.push(WINDOWS);
    }
    programs
}

async fn run(program: &str, args: &[&str], text: &str) -> io::Result<ExitStatus> {
    let mut command = Command::new(program);
    // What it leaves behind to serve the clipboard must not hold on to our output.
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // One that reads nothing says by its exit code what is wrong.
        let _ = input.write_all(text.as_bytes()).await;
    }
    child.wait().await
}

/// Whether the person sits at another machine, in front of a terminal that we write to.
fn is_far(env: &dyn Fn(&str) -> Option<OsString>) -> bool {
    let over_ssh = env("SSH_TTY").or_else(|| env("SSH_CONNECTION")).is_some_and(|value| !value.is_empty());
    over_ssh && env("TERM").is_some_and(|term| term != "dumb") && io::stdout().is_terminal()
}

fn ask_terminal(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(osc_52(text).as_bytes())?;
    out.flush()
}

/// "Manipulate Selection Data": `c` is the clipboard, the text is in base64.
fn osc_52(text: &str) -> String {
    format!("\x1b]52;c;{}\x07", Base64::encode_string(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(vars: &[(&str, &str)]) -> Vec<&'static str> {
        let env = |name: &str| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
        programs(&env).into_iter().map(|(program, _)| program).collect()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_session_decides_which_clipboard_it_is() {
        assert_eq!(names(&[]), [] as [&str; 0]);
        assert_eq!(names(&[("DISPLAY", "")]), [] as [&str; 0]);
        assert_eq!(names(&[("DISPLAY", ":0")]), ["xclip", "xsel"]);
        assert_eq!(names(&[("DISPLAY", ":0"), ("WAYLAND_DISPLAY", "w")]), ["wl-copy", "xclip", "xsel"]);
        assert_eq!(names(&[("WSL_DISTRO_NAME", "Debian")]), ["clip.exe"]);
    }

    #[test]
    fn what_a_terminal_is_sent_is_the_text_in_base64() {
        assert_eq!(osc_52("ssh-ed25519 A\u{ff}"), "\x1b]52;c;c3NoLWVkMjU1MTkgQcO/\x07");
    }
}
