//! `nbctl export vscode` and `pycharm`: what these take to open a directory behind a tunnel. They go by the Host that
//! `nbctl export ssh-config` wrote.

use std::process::{Command, Stdio};

use super::hosts::{self as texts, Block};
use super::{find, ssh_config};
use crate::args::ExportDirArgs;
use crate::daemon::Daemon;
use crate::exit::{CommandError, Exit};
use crate::printer::Printer;

pub(super) async fn vscode(
    args: ExportDirArgs,
    daemon: &Daemon,
    printer: &Printer,
) -> Result<Exit, CommandError> {
    let block = exported(&args.name, daemon).await?;
    let mut words = vec!["code".to_owned(), "--remote".to_owned(), format!("ssh-remote+{}", block.host)];
    words.extend(args.dir);
    printer.data(&shell_words::join(&words))?;
    printer.say("it takes the extension Remote - SSH, and asks where the server runs: Linux");
    if !args.open {
        return Ok(Exit::Done);
    }
    if cfg!(windows) {
        // It is a batch file there, which is not found by its bare name.
        words[0] = "code.cmd".to_owned();
    }
    start(&words)
}

pub(super) async fn pycharm(
    args: ExportDirArgs,
    daemon: &Daemon,
    printer: &Printer,
) -> Result<Exit, CommandError> {
    let block = exported(&args.name, daemon).await?;
    let found = find(vec![args.name.clone()], daemon, printer).await?.hosts;
    let user = found.first().map(|to| to.user.as_str()).unwrap_or_default();
    let mut link = format!("jetbrains-gateway://connect#type=ssh&host={}&port=22", encoded(&block.host));
    if !user.is_empty() {
        link.push_str(&format!("&user={}", encoded(user)));
    }
    if let Some(dir) = &args.dir {
        link.push_str(&format!("&projectPath={}", encoded(dir)));
    }
    printer.data(&link)?;
    printer.say("in Gateway, let the connection read ~/.ssh/config; the port is what that says");
    match (args.open, cfg!(target_os = "macos"), cfg!(windows)) {
        (false, _, _) => Ok(Exit::Done),
        (true, true, _) => start(&["open".to_owned(), link]),
        (true, _, true) => start(&["rundll32".to_owned(), "url.dll,FileProtocolHandler".to_owned(), link]),
        (true, false, false) => start(&["xdg-open".to_owned(), link]),
    }
}

/// The Host of a tunnel in our file.
async fn exported(name: &str, daemon: &Daemon) -> Result<Block, CommandError> {
    let ours = ssh_config::read(&ssh_config::ours(daemon).await?)?;
    let blocks = ours.as_deref().map(texts::read).unwrap_or_default();
    blocks.into_iter().find(|block| block.tunnel == name).ok_or_else(|| {
        CommandError::new(
            Exit::Failed,
            format!("ssh does not know {name} yet"),
            format!("run `nbctl export ssh-config {name}` first"),
        )
    })
}

fn start(words: &[String]) -> Result<Exit, CommandError> {
    let [program, arguments @ ..] = words else { return Ok(Exit::Done) };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    match command.status() {
        Ok(status) if status.success() => Ok(Exit::Done),
        Ok(status) => Err(failed(program, &format!("ended with {status}"))),
        Err(error) => Err(failed(program, &format!("cannot be run: {error}"))),
    }
}

fn failed(program: &str, why: &str) -> CommandError {
    CommandError::new(Exit::Failed, format!("{program} {why}"), "open what was printed by hand")
}

/// As in a link (RFC 3986 §2.1).
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let mut encoded = String::new();
    for byte in text.bytes() {
        if plain(byte) {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
