//! `nbctl export ssh-config`: keeps the Hosts of tunnels in a file of ours, and one line in the user's that includes
//! it. Whatever else stands there stays byte for byte.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nbtunnel_proto::SshHost;
use serde_json::json;

use super::hosts::{self, Block};
use super::included::{diff, excluded, included};
use super::rules::Rules;
use super::taken::Meanings;
use super::{Found, find, proxy, text};
use crate::args::ExportSshArgs;
use crate::daemon::Daemon;
use crate::exit::{CommandError, Exit};
use crate::keys::home;
use crate::printer::Printer;
use crate::tunnel_file::Draft;

/// A file and what is to stand in it.
struct Change {
    path: PathBuf,
    /// Where it is, if `path` is a link.
    place: PathBuf,
    before: Option<Vec<u8>>,
    after: Option<Vec<u8>>,
}

impl Change {
    /// What becomes of it, line by line.
    fn shown(&self) -> String {
        let [before, after] = [&self.before, &self.after].map(|text| text.as_deref().unwrap_or_default());
        diff(&self.path.display().to_string(), before, after)
    }
}

pub(super) async fn run(
    args: ExportSshArgs,
    daemon: &Daemon,
    printer: &Printer,
) -> Result<Exit, CommandError> {
    let into = args.into.map_or_else(usual, Ok)?;
    let ours = ours(daemon).await?;
    let home = std::env::home_dir().and_then(|home| home.into_os_string().into_string().ok());
    let line = Rules::HERE.include(&text(ours.clone())?, home.as_deref());
    let places = [followed(&ours)?, followed(&into)?];
    let (config, before) = (read(&into)?, read(&ours)?);
    let old = before.as_deref().map(hosts::read).unwrap_or_default();
    let user = config.clone().unwrap_or_default();
    let new = if args.remove {
        let stays = |block: &Block| !args.names.is_empty() && !args.names.contains(&block.tunnel);
        old.into_iter().filter(stays).collect()
    } else {
        let found = find(args.names.clone(), daemon, printer).await?;
        let theirs = excluded(&user, &line).unwrap_or_else(|| user.clone());
        let known = Meanings::of(&theirs).await.map_err(|error| {
            let why = format!("what ssh knows already cannot be looked up: {error}");
            CommandError::new(
                Exit::Failed,
                why,
                "mend it (a `Match exec` that hangs, a full temporary directory) and try again",
            )
        })?;
        blocks(&found, old, !args.names.is_empty(), &known, daemon, printer).await?
    };
    let goes = new.is_empty();
    let after = (!goes).then(|| hosts::file(&new).into_bytes());
    let including = if goes { excluded(&user, &line) } else { included(&user, &line) };
    // A file with nothing but our line in it was made for that.
    let user_after = match including {
        Some(after) if after.is_empty() && goes => None,
        Some(after) => Some(after),
        None => config.clone(),
    };
    let [our_place, place] = places;
    let changes = [
        Change { path: ours, place: our_place, before, after },
        Change { path: into, place, before: config, after: user_after },
    ];
    let changes: Vec<Change> = changes.into_iter().filter(|change| change.before != change.after).collect();
    let names: Vec<&str> = new.iter().map(|block| block.host.as_str()).collect();
    if changes.is_empty() {
        return done("nothing changes", &names, false, "", printer);
    }
    let shown: Vec<String> = changes.iter().map(Change::shown).collect();
    let shown = shown.join("\n");
    if args.dry_run && !printer.is_json() {
        printer.data(&shown)?;
    } else if !args.dry_run && !args.yes && printer.can_ask() {
        printer.ask_about(&shown);
    } else {
        printer.say(&shown);
    }
    if args.dry_run {
        return done("nothing was changed", &names, false, &shown, printer);
    }
    let agreed = args.yes || printer.can_ask() && printer.confirm("Write this?");
    if !agreed {
        return Err(CommandError::new(
            Exit::NeedsYou,
            "nothing was written",
            "look at it with --dry-run, and say --yes",
        ));
    }
    // Our file first: the line must never lead to nothing, nor a file be left that nobody includes.
    if goes {
        changes.iter().rev().try_for_each(write)?;
    } else {
        changes.iter().try_for_each(write)?;
    }
    let said = if goes {
        "ssh knows no tunnel by our doing any more".to_owned()
    } else {
        format!("ssh, scp, rsync and editors know: {}", names.join(", "))
    };
    done(&said, &names, true, &shown, printer)
}

/// The Hosts that there are to be: those that were found, and of the `old` ones those of other tunnels if only `some`
/// were asked for.
async fn blocks(
    found: &Found,
    old: Vec<Block>,
    some: bool,
    known: &Meanings,
    daemon: &Daemon,
    printer: &Printer,
) -> Result<Vec<Block>, CommandError> {
    let is_new = |block: &Block| found.hosts.iter().any(|to| to.name == block.tunnel);
    let (old, mut blocks): (Vec<Block>, Vec<Block>) = old.into_iter().partition(is_new);
    blocks.retain(|block| some || found.unknown.contains(&block.tunnel));
    for to in &found.hosts {
        let kept = old.iter().find(|block| block.tunnel == to.name).map(|block| block.host.as_str());
        let mut host = to.name.clone();
        for another in hosts::other_names(&to.name) {
            let is_ours = blocks.iter().any(|block| block.host.eq_ignore_ascii_case(&host))
                || found.hosts.iter().any(|other| other.name == host && host != to.name);
            if !is_ours && !is_taken(&host, to, kept, &found.on_the_way, known).await {
                break;
            }
            host = another;
        }
        if host != to.name {
            let name = &to.name;
            printer.note(&format!("{name} means something to ssh already: this one is `ssh {host}`"));
        }
        blocks.push(Block::new(&host, to, &proxy(&to.name, daemon)?, Rules::HERE));
    }
    blocks.sort_by(|a, b| a.host.cmp(&b.host));
    Ok(blocks)
}

/// Whether a Host of this name would take something away, or lead `to` into itself. Where we gave the name before, what
/// goes over it means us.
async fn is_taken(
    host: &str,
    to: &SshHost,
    kept: Option<&str>,
    on_the_way: &[String],
    known: &Meanings,
) -> bool {
    let names = |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case(host));
    let is_led_over = names(on_the_way) || known.leads_over(host);
    names(&to.on_the_way) || is_led_over && kept != Some(host) || known.knows(host).await
}

fn done(
    said: &str,
    hosts: &[&str],
    changed: bool,
    diff: &str,
    printer: &Printer,
) -> Result<Exit, CommandError> {
    if printer.is_json() {
        printer.json(&json!({"exported": {"hosts": hosts, "changed": changed, "diff": diff}}))?;
    }
    printer.say(said);
    Ok(Exit::Done)
}

/// Our file.
pub(super) async fn ours(daemon: &Daemon) -> Result<PathBuf, CommandError> {
    let dir = daemon.config_dir().await?;
    Ok(std::path::absolute(&dir).unwrap_or(dir).join("ssh_config"))
}

fn usual() -> Result<PathBuf, CommandError> {
    // Where ssh looks, whatever $HOME says.
    Ok(home::ssh_dir()?.join("config"))
}

/// What stands in a file; nothing if there is none.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, CommandError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CommandError::file("read", path, &error)),
    }
}

/// Where a file is that may be a link. One that leads to nothing is nothing to write to: what it leads to may be on a
/// disk that is not there at the moment, or in a checkout that was moved.
fn followed(path: &Path) -> Result<PathBuf, CommandError> {
    match path.canonicalize() {
        Ok(place) => Ok(place),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::read_link(path) {
            Err(_) => Ok(path.to_owned()),
            Ok(leads_to) => Err(CommandError::new(
                Exit::Failed,
                format!("{} is a link to {}, which is not there", path.display(), leads_to.display()),
                "bring that back, or remove the link, and run it again; nothing was written",
            )),
        },
        Err(error) => Err(CommandError::file("read", path, &error)),
    }
}

/// Puts what is new in the place of what was read, in one step; a link stays a link, and a mode a mode.
fn write(change: &Change) -> Result<(), CommandError> {
    let failed = |error: io::Error| CommandError::file("written", &change.path, &error);
    if read(&change.place)? != change.before {
        return Err(CommandError::new(
            Exit::Failed,
            format!("{} was changed by somebody else meanwhile", change.place.display()),
            "run it again",
        ));
    }
    let Some(after) = &change.after else { return fs::remove_file(&change.place).map_err(failed) };
    if let Some(dir) = change.place.parent().filter(|dir| !dir.exists()) {
        make_private(dir).map_err(failed)?;
    }
    let draft = Draft::write(&change.place, after)?;
    if let Ok(meta) = fs::metadata(&change.place) {
        fs::set_permissions(draft.path(), meta.permissions()).map_err(failed)?;
    }
    draft.place_over(&change.place).map_err(failed)
}

fn make_private(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}
