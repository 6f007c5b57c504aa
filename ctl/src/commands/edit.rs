//! `nbctl edit`: opens a copy of a tunnel file in the user's editor and puts it into place once it is right.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::args::EditArgs;
use crate::checker;
use crate::commands::check::show_problems;
use crate::daemon::Daemon;
use crate::exit::{CommandError, Exit};
use crate::printer::Printer;
use crate::tunnel_file::{self, Draft};

pub(crate) async fn run(args: &EditArgs, daemon: &Daemon, printer: &Printer) -> Result<Exit, CommandError> {
    let config_dir = daemon.config_dir().await?;
    let file = tunnel_file::existing(&config_dir, &args.name)?;
    // A link stays a link: what it leads to is edited.
    let place = file.canonicalize().map_err(|error| CommandError::file("read", &file, &error))?;
    let before = fs::read(&place).map_err(|error| CommandError::file("read", &place, &error))?;
    let draft = Draft::write(&tunnel_file::path_of(&config_dir, &args.name), &before)?;
    loop {
        edit(draft.path())?;
        let after =
            fs::read(draft.path()).map_err(|error| CommandError::file("read", draft.path(), &error))?;
        if after == before {
            printer.say("nothing changed");
            return Ok(Exit::Done);
        }
        let report = checker::check_draft(&draft, &file, &config_dir)?;
        if report.problems.is_empty() {
            break;
        }
        if !printer.is_json() {
            show_problems(&report, printer)?;
        }
        if !(printer.can_ask() && printer.confirm("Edit it again?")) {
            let kept = draft.keep();
            return Err(CommandError::new(
                Exit::Failed,
                format!("{} is unchanged, since what was written is not right", place.display()),
                format!("what was written is kept in {}", kept.display()),
            )
            .with_code("config")
            .with("problems", json!(report.problems))
            .with("kept", json!(kept)));
        }
    }
    if fs::read(&place).ok().as_deref() != Some(&before) {
        let kept = draft.keep();
        return Err(CommandError::new(
            Exit::Failed,
            format!("{} was changed by somebody else meanwhile", place.display()),
            format!("what you wrote is kept in {}; compare the two", kept.display()),
        ));
    }
    draft.put(&place, false)?;
    if printer.is_json() {
        printer.json(&json!({"edited": {"name": args.name, "file": place}}))?;
    }
    printer.say(&format!("{}: changed", args.name));
    if let Err(error) = daemon.reload(&config_dir, printer).await {
        printer.note(&format!("the running daemon was not told: {}", error.message));
    }
    Ok(Exit::Done)
}

/// Runs `$VISUAL`, else `$EDITOR`, else the system's plainest editor, and waits. The variable may hold
/// arguments, as in `code --wait`.
fn edit(path: &Path) -> Result<(), CommandError> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let line = set("VISUAL").or_else(|| set("EDITOR"));
    let line = line.unwrap_or_else(|| if cfg!(windows) { "notepad" } else { "vi" }.to_owned());
    let failed = |why: String| {
        CommandError::new(
            Exit::Failed,
            format!("the editor {line:?} {why}"),
            "set VISUAL or EDITOR to one that works; the file is unchanged",
        )
    };
    let words = shell_words::split(&line).map_err(|error| failed(format!("cannot be run: {error}")))?;
    let Some((program, arguments)) = words.split_first() else {
        return Err(failed("cannot be run".to_owned()));
    };
    let status = Command::new(program)
        .args(arguments)
        .arg(path)
        .status()
        .map_err(|error| failed(format!("cannot be run: {error}")))?;
    if status.success() { Ok(()) } else { Err(failed(format!("ended with {status}"))) }
}
