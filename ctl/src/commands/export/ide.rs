//! `nbctl export vscode` and `pycharm`: what these take to open a directory behind a tunnel. They go by the Host that
//! `nbctl export ssh-config` wrote.

use std::process::{Command, Stdio};

use serde_json::json;

use super::hosts::{self as texts, Block};
use super::{find, ssh_config};
use crate::args::ExportDirArgs;
use crate::daemon::Daemon;
use crate::exit::{CommandError, Exit};
use crate::opener::Session;
use crate::printer::Printer;

pub(super) async fn vscode(
    args: ExportDirArgs,
    daemon: &Daemon,
    printer: &Printer,
) -> Result<Exit, CommandError> {
    let block = exported(&args.name, daemon).await?;
    let mut words = vec!["code".to_owned(), "--remote".to_owned(), format!("ssh-remote+{}", block.host)];
    words.extend(args.dir);
    if printer.is_json() {
        printer.json(&json!({"exported": {"host": block.host, "command": words}}))?;
    } else {
        printer.data(&shell_words::join(&words))?;
    }
    printer.say("it takes the extension Remote - SSH, and asks where the server runs: Linux");
    if !args.open {
        return Ok(Exit::Done);
    }
    Session::here().vscode().clone_into(&mut words[0]);
    start(vec![words])
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
    if printer.is_json() {
        printer.json(&json!({"exported": {"host": block.host, "link": link}}))?;
    } else {
        printer.data(&link)?;
    }
    printer.say("in Gateway, let the connection read ~/.ssh/config; the port is what that says");
    if !args.open {
        return Ok(Exit::Done);
    }
    let mut commands = Session::here().for_link();
    commands.iter_mut().for_each(|words| words.push(link.clone()));
    start(commands)
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

/// Runs these until one works.
fn start(commands: Vec<Vec<String>>) -> Result<Exit, CommandError> {
    let mut whys = Vec::new();
    for words in commands {
        let [program, arguments @ ..] = words.as_slice() else { continue };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        match command.status() {
            Ok(status) if status.success() => return Ok(Exit::Done),
            Ok(status) => whys.push(format!("{program} ended with {status}")),
            Err(error) => whys.push(format!("{program} cannot be run: {error}")),
        }
    }
    let why =
        if whys.is_empty() { "there is no desktop here to open it on".to_owned() } else { whys.join("; ") };
    Err(CommandError::new(Exit::Failed, why, "open what was printed by hand"))
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
