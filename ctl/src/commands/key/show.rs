//! `nbctl key show`: prints a public key as the page of a platform takes it, and copies it where there is a clipboard.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use nbtunnel_proto::{Reply, Request};
use serde_json::{Value, json};

use super::{known, no_key, which};
use crate::args::ShowArgs;
use crate::clipboard::{self, Outcome};
use crate::daemon::{Daemon, unexpected};
use crate::exit::{CommandError, Exit};
use crate::keys::find::{self, Found};
use crate::keys::home;
use crate::keys::make::fingerprint;
use crate::printer::Printer;
use crate::text::plain;
use crate::tunnel_file;

pub(super) async fn run(args: ShowArgs, daemon: &Daemon, printer: &Printer) -> Result<Exit, CommandError> {
    let found = match &args.what {
        None => usual(printer).await?,
        Some(what) if is_file(what) => find::of_file(&home::expand(what.clone())?)?,
        Some(what) => of_tunnel(&what.to_string_lossy(), daemon, printer).await?,
    };
    if let Some(note) = &found.note {
        printer.note(note);
    }
    // A comment may be anybody's words.
    let line = plain(&found.public.to_openssh().map_err(|_| not_a_line(&found))?);
    if !printer.is_json() {
        printer.say(&format!("{}:", origin(&found)));
        printer.data(&line)?;
    }
    let copied = match wants_copy(&args, printer) {
        true => Some(clipboard::copy(&line).await),
        false => None,
    };
    let told = as_json(&found, &line, copied.as_ref());
    match copied {
        Some(Outcome::Copied(program)) => printer.say(&format!("it is in the clipboard, too (by {program})")),
        Some(Outcome::Asked) => {
            printer.say("your terminal was asked to copy it (OSC 52), which some do not do");
        }
        Some(Outcome::Nowhere) if args.copy => {
            return Err(not_copied("there is no clipboard here, or no program for it", &told));
        }
        Some(Outcome::Failed(why)) if args.copy => {
            return Err(not_copied(&format!("it was not copied: {why}"), &told));
        }
        Some(Outcome::Failed(why)) => printer.note(&format!("it was not copied: {why}")),
        Some(Outcome::Nowhere) | None => {}
    }
    if printer.is_json() {
        printer.json(&told)?;
    }
    Ok(Exit::Done)
}

/// Whether a word means a file: names of tunnels have no separators, and a file of the same name is asked for as ./NAME.
fn is_file(what: &Path) -> bool {
    let is_name = what.to_str().is_some_and(|name| tunnel_file::check_name(name).is_ok());
    !is_name || what.extension().is_some_and(|extension| extension == "pub") && what.is_file()
}

/// The first of the usual files, or what the agent holds.
async fn usual(printer: &Printer) -> Result<Found, CommandError> {
    let files: Vec<PathBuf> =
        home::usual_keys()?.into_iter().filter(|path| path.is_file() || find::has_public(path)).collect();
    let others: Vec<String> = files.iter().skip(1).map(|path| path.display().to_string()).collect();
    if let [first, ..] = files.as_slice() {
        if !others.is_empty() {
            printer.note(&format!("there is also {}: name a file to see its key", others.join(", ")));
        }
        return find::of_file(first);
    }
    let mut held = find::in_agent().await.into_iter();
    match held.next() {
        Some(found) => {
            if held.len() > 0 {
                printer.note(&format!("the agent holds {} more: see `ssh-add -L`", held.len()));
            }
            Ok(found)
        }
        None => Err(CommandError::new(
            Exit::Failed,
            format!("there is no SSH key in {} and none in an agent", home::ssh_dir()?.display()),
            "make one with `nbctl keygen`, or name a key file",
        )
        .with_code("no_credentials")),
    }
}

/// The key that the tunnel `name` offers first.
async fn of_tunnel(name: &str, daemon: &Daemon, printer: &Printer) -> Result<Found, CommandError> {
    let keys = match daemon.ask(&Request::Keys { name: name.to_owned() }).await {
        Ok(Reply::Keys(keys)) => *keys,
        Ok(other) => return Err(unexpected(&other)),
        Err(error)
            if matches!(error.exit, Exit::NoSuchTunnel | Exit::NoDaemon) && Path::new(name).exists() =>
        {
            return Err(CommandError { hint: format!("{}; a file is named ./{name}", error.hint), ..error });
        }
        Err(error) => return Err(error),
    };
    let mut known = keys.keys.iter().filter_map(|key| Some((key, known(key)?)));
    let (_, first) = known.next().ok_or_else(|| no_key(&keys))?;
    let others: Vec<String> = known.map(|(key, _)| which(key)).collect();
    if !others.is_empty() {
        printer.note(&format!("{} is also offered {}", keys.account, others.join(", ")));
    }
    Ok(first)
}

/// Which key it is, for people.
fn origin(found: &Found) -> String {
    let place = match &found.file {
        Some(file) => file.display().to_string(),
        None => "the agent".to_owned(),
    };
    format!("{place} ({})", fingerprint(&found.public))
}

fn as_json(found: &Found, line: &str, copied: Option<&Outcome>) -> Value {
    let by = match copied {
        Some(Outcome::Copied(program)) => Some(*program),
        Some(Outcome::Asked | Outcome::Nowhere | Outcome::Failed(_)) | None => None,
    };
    json!({
        "key": {
            "file": found.file, "type": found.public.algorithm().as_str(),
            "fingerprint": fingerprint(&found.public), "public": line,
        },
        "copied_by": by,
    })
}

/// To paste it is what people do next; a script does not.
fn wants_copy(args: &ShowArgs, printer: &Printer) -> bool {
    args.copy || !args.no_copy && !printer.is_json() && io::stdout().is_terminal()
}

fn not_a_line(found: &Found) -> CommandError {
    CommandError::new(
        Exit::Failed,
        format!("the public half of {} cannot be written as a line", origin(found)),
        "see `ssh-keygen -y`",
    )
}

fn not_copied(why: &str, told: &Value) -> CommandError {
    CommandError::new(Exit::Failed, why, "mark the line and copy it, or install wl-clipboard, xclip or xsel")
        .with("key", told["key"].clone())
}
