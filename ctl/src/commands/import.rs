//! `nbctl import`: makes tunnel files from the Hosts of ssh_config that have LocalForward. The forwards stay there, and
//! are followed.

use std::path::{Path, PathBuf};

use serde_json::json;
use toml_edit::{DocumentMut, value};

use crate::args::ImportArgs;
use crate::checker::{self, Host};
use crate::daemon::Daemon;
use crate::exit::{CommandError, Exit};
use crate::printer::Printer;
use crate::tunnel_file::{self, Draft};

/// What became of one Host.
enum Fate {
    Made {
        name: String,
        place: PathBuf,
        forwards: Vec<String>,
    },
    /// There is a tunnel of that name, very likely from an import before this one.
    Known {
        name: String,
        forwards: Vec<String>,
    },
    Skipped(String),
}

pub(crate) async fn run(args: &ImportArgs, daemon: &Daemon, printer: &Printer) -> Result<Exit, CommandError> {
    let config_dir = daemon.config_dir().await?;
    let file = args.file.as_ref().map(|file| std::path::absolute(file).unwrap_or_else(|_| file.clone()));
    if let Some(file) = file.as_ref().filter(|file| !file.is_file()) {
        let message = format!("there is no file {}", file.display());
        return Err(CommandError::new(
            Exit::Failed,
            message,
            "name an ssh_config, or none for the usual ones",
        ));
    }
    let hosts = checker::hosts(file.as_deref())?;
    let mut taken = tunnel_file::names(&config_dir)?;
    let mut fates = Vec::new();
    for host in &hosts {
        let twin = fates.iter().find_map(|(_, fate)| match fate {
            Fate::Made { name, forwards, .. } | Fate::Known { name, forwards }
                if *forwards == host.forwards && !forwards.is_empty() =>
            {
                Some(name)
            }
            _ => None,
        });
        if let Some(twin) = twin {
            let why = format!("it has the same forwards as {twin}, and one port cannot be listened on twice");
            fates.push((host.host.as_str(), Fate::Skipped(why)));
            continue;
        }
        let fate = one(host, file.as_deref(), &config_dir, &taken, args.dry_run)?;
        if let Fate::Made { name, .. } = &fate {
            taken.push(name.clone());
        }
        fates.push((host.host.as_str(), fate));
    }
    tell(&fates, args.dry_run, printer)?;
    let made = fates.iter().any(|(_, fate)| matches!(fate, Fate::Made { .. }));
    if made
        && !args.dry_run
        && let Err(error) = daemon.reload(&config_dir, printer).await
    {
        printer.note(&format!("the running daemon was not told: {}", error.message));
    }
    Ok(Exit::Done)
}

fn one(
    host: &Host,
    file: Option<&Path>,
    config_dir: &Path,
    taken: &[String],
    dry_run: bool,
) -> Result<Fate, CommandError> {
    let skipped = |why: &str| Ok(Fate::Skipped(why.to_owned()));
    if let Some(problem) = &host.problem {
        return skipped(problem);
    }
    if host.forwards.is_empty() {
        return skipped("it has no LocalForward of its own");
    }
    let name = match tunnel_file::check_name(&host.host) {
        Ok(()) => host.host.clone(),
        Err(_) => tunnel_file::name_from_host(&host.host),
    };
    if let Some(other) = tunnel_file::clash(taken, &name) {
        return Ok(Fate::Known { name: other.clone(), forwards: host.forwards.clone() });
    }
    let place = tunnel_file::path_of(config_dir, &name);
    let made = Fate::Made { name, place: place.clone(), forwards: host.forwards.clone() };
    if dry_run {
        return Ok(made);
    }
    tunnel_file::make_dir(config_dir)?;
    let draft = Draft::write(&place, toml(&host.host, file).as_bytes())?;
    if let Some(problem) = checker::check_draft(&draft, &place, config_dir)?.problems.first() {
        return skipped(&problem.message);
    }
    match draft.place_new(&place) {
        Ok(()) => Ok(made),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => skipped("somebody was faster"),
        Err(error) => Err(CommandError::file("written", &place, &error)),
    }
}

fn toml(host: &str, file: Option<&Path>) -> String {
    let mut doc = DocumentMut::new();
    doc["host"] = value(host);
    if let Some(file) = file {
        doc["ssh_config"] = value(file.to_string_lossy().into_owned());
    }
    doc.to_string()
}

fn tell(fates: &[(&str, Fate)], dry_run: bool, printer: &Printer) -> Result<(), CommandError> {
    let (verb, none) = match dry_run {
        true => ("would make", "nothing would be made"),
        false => ("made", "nothing was made"),
    };
    let (mut made, mut skipped) = (Vec::new(), Vec::new());
    for (host, fate) in fates {
        match fate {
            Fate::Known { name, .. } => {
                let why = format!("there is a tunnel {name} already");
                printer.say(&format!("skipped {host}: {why}"));
                skipped.push(json!({"host": host, "why": why}));
            }
            Fate::Made { name, place, forwards } => {
                printer.say(&format!("{verb} {} for {host}: {}", place.display(), forwards.join(", ")));
                made.push(json!({"name": name, "host": host, "file": place, "forwards": forwards}));
            }
            Fate::Skipped(why) => {
                printer.say(&format!("skipped {host}: {why}"));
                skipped.push(json!({"host": host, "why": why}));
            }
        }
    }
    if made.is_empty() {
        printer.say(&format!("{none}: no Host has a LocalForward that is not a tunnel yet"));
    }
    match printer.is_json() {
        true => printer.json(&json!({"made": made, "skipped": skipped, "dry_run": dry_run})),
        false => Ok(()),
    }
}
