//! `nbctl export`: lets other programs go where tunnels lead, over `nbctl proxy`. They log in there by themselves.

use std::path::PathBuf;

use nbtunnel_proto::{Reply, Request, SshHost};

use crate::args::Export;
use crate::daemon::{Daemon, unexpected};
use crate::exit::{CommandError, Exit};
use crate::printer::Printer;

mod hosts;
mod ide;
mod putty;
mod ssh_config;

pub(crate) async fn run(what: Export, daemon: &Daemon, printer: &Printer) -> Result<Exit, CommandError> {
    match what {
        Export::SshConfig(args) => ssh_config::run(args, daemon, printer).await,
        Export::Putty(args) => putty::run(args, daemon, printer).await,
        Export::Vscode(args) => ide::vscode(args, daemon, printer).await,
        Export::Pycharm(args) => ide::pycharm(args, daemon, printer).await,
    }
}

/// Where the tunnels lead that fit `names`.
async fn hosts(names: Vec<String>, daemon: &Daemon) -> Result<Vec<SshHost>, CommandError> {
    match daemon.ask(&Request::SshHosts { names }).await? {
        Reply::SshHosts(hosts) => Ok(hosts),
        other => Err(unexpected(&other)),
    }
}

/// Says which of them will ask somebody at each login.
fn warn(hosts: &[SshHost], printer: &Printer) {
    for host in hosts.iter().filter(|host| host.asks) {
        printer.note(&format!(
            "{} asks a person at each login, a second factor perhaps: ssh logs in by itself, so it asks once more",
            host.name
        ));
    }
}

/// The words that start `nbctl proxy` for one tunnel. By its whole path: programs of a desktop may have another PATH
/// than a shell.
fn proxy(name: &str, daemon: &Daemon) -> Result<Vec<String>, CommandError> {
    let nbctl = std::env::current_exe().map_err(|error| {
        CommandError::new(
            Exit::Failed,
            format!("nbctl does not know where it is: {error}"),
            "run it by its whole path",
        )
    })?;
    let mut words = vec![text(nbctl)?];
    if let Some(socket) = daemon.socket() {
        words.extend(["--socket".to_owned(), text(std::path::absolute(socket).unwrap_or(socket.clone()))?]);
    }
    words.extend(["proxy".to_owned(), name.to_owned()]);
    Ok(words)
}

/// A path as other programs' files can hold it.
fn text(path: PathBuf) -> Result<String, CommandError> {
    let text = path.into_os_string().into_string().ok().filter(|text| !text.contains(['\n', '\r', '"']));
    text.ok_or_else(|| {
        CommandError::new(
            Exit::Failed,
            "a path has characters that configuration files cannot hold",
            "move nbctl, or its socket, to a directory with a plainer name",
        )
    })
}
