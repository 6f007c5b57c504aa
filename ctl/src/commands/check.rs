//! `nbctl check`: what is wrong with the configuration, as a compiler shows it.

use std::path::{Path, PathBuf};

use nbtunnel_proto::FileProblem;

use crate::args::CheckArgs;
use crate::checker::{self, Report};
use crate::daemon::Daemon;
use crate::exit::{CommandError, Exit};
use crate::printer::Printer;
use crate::table;
use crate::tunnel_file;

pub(crate) async fn run(args: &CheckArgs, daemon: &Daemon, printer: &Printer) -> Result<Exit, CommandError> {
    let config_dir = daemon.named_config_dir()?;
    let path = args.path.as_deref().map(|path| file_of(path, &config_dir));
    let report = checker::check(path.as_deref(), Some(&config_dir))?;
    if printer.is_json() {
        printer.json(&report)?;
    } else {
        show_problems(&report, printer)?;
        for note in &report.notes {
            let note = FileProblem { message: format!("note: {}", note.message), ..note.clone() };
            printer.data(&table::diagnosis(&note, printer.paint))?;
        }
        printer.say(&summary(&report, path.as_deref()));
    }
    Ok(if report.problems.is_empty() { Exit::Done } else { Exit::Failed })
}

/// The file of the tunnel of that name, where `path` itself leads nowhere and reads like a name.
fn file_of(path: &Path, config_dir: &Path) -> PathBuf {
    let name = path.to_str().filter(|name| !path.exists() && tunnel_file::check_name(name).is_ok());
    let file = name.map(|name| tunnel_file::path_of(config_dir, name));
    file.filter(|file| file.symlink_metadata().is_ok()).unwrap_or_else(|| path.to_owned())
}

/// Prints each problem.
///
/// # Errors
/// When nobody reads it any more.
pub(crate) fn show_problems(report: &Report, printer: &Printer) -> Result<(), CommandError> {
    table::once_each(&report.problems).into_iter().try_for_each(|(problem, others)| {
        printer.data(&table::diagnosis(&table::and_others(problem, others), printer.paint))
    })
}

fn summary(report: &Report, path: Option<&Path>) -> String {
    let what = path.map_or_else(|| report.config_dir.clone(), |path| path.display().to_string());
    let count = |n: usize, what: &str| if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") };
    let tunnels = count(report.tunnels.len(), "tunnel");
    match report.problems.len() {
        0 if report.notes.is_empty() => format!("{what}: {tunnels}, nothing wrong"),
        0 => format!("{what}: {tunnels}, nothing wrong, {}", count(report.notes.len(), "note")),
        n => format!("{what}: {tunnels} right, {}", count(n, "problem")),
    }
}
