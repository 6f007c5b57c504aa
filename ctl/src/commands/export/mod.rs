//! `nbctl export`: lets other programs go where tunnels lead, over `nbctl proxy`. They log in there by themselves.

use std::path::PathBuf;

use nbtunnel_proto::{Reply, Request, SshHost};

use crate::args::Export;
use crate::daemon::{Daemon, unexpected};
use crate::exit::{CommandError, Exit};
use crate::printer::Printer;

mod hosts;
mod ide;
mod included;
mod putty;
mod rules;
mod ssh_config;
mod taken;

pub(crate) async fn run(what: Export, daemon: &Daemon, printer: &Printer) -> Result<Exit, CommandError> {
    match what {
        Export::SshConfig(args) => ssh_config::run(args, daemon, printer).await,
        Export::Putty(args) => putty::run(args, daemon, printer).await,
        Export::Vscode(args) => ide::vscode(args, daemon, printer).await,
        Export::Pycharm(args) => ide::pycharm(args, daemon, printer).await,
    }
}

/// Where tunnels lead.
struct Found {
    /// Those that were asked for.
    hosts: Vec<SshHost>,
    /// Those of which that cannot be said now.
    unknown: Vec<String>,
    /// What ssh calls the machines on the way of any tunnel.
    on_the_way: Vec<String>,
}

/// Where the tunnels lead that fit `names`. Tells of those that cannot be exported, and of those that will ask somebody
/// at each login.
async fn find(names: Vec<String>, daemon: &Daemon, printer: &Printer) -> Result<Found, CommandError> {
    let (hosts, unknown, on_the_way) = match daemon.ask(&Request::SshHosts { names }).await? {
        Reply::SshHosts { hosts, unknown, on_the_way } => (hosts, unknown, on_the_way),
        other => return Err(unexpected(&other)),
    };
    if let Some((name, why)) = unknown.first().filter(|_| hosts.is_empty()) {
        let hint = format!("see `nbctl doctor {name}`");
        return Err(CommandError::new(Exit::Failed, format!("where {name} leads is not clear: {why}"), hint));
    }
    for (name, why) in &unknown {
        printer.note(&format!("{name} stays as it was, since it is not clear where it leads: {why}"));
    }
    for host in hosts.iter().filter(|host| host.asks) {
        printer.note(&format!(
            "{} asks a person at each login, a second factor perhaps: ssh logs in by itself, so it asks once more",
            host.name
        ));
    }
    let unknown = unknown.into_iter().map(|(name, _)| name).collect();
    Ok(Found { hosts, unknown, on_the_way })
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
