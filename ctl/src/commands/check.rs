//! `nbctl check`: what is wrong with the configuration, as a compiler shows it.

use crate::args::CheckArgs;
use crate::checker::{self, Report};
use crate::daemon::Daemon;
use crate::exit::{CommandError, Exit};
use crate::printer::Printer;
use crate::table;

pub(crate) async fn run(args: &CheckArgs, daemon: &Daemon, printer: &Printer) -> Result<Exit, CommandError> {
    let config_dir = daemon.named_config_dir();
    let report = checker::check(args.path.as_deref(), config_dir.as_deref())?;
    if printer.is_json() {
        printer.json(&report)?;
    } else {
        show_problems(&report, printer)?;
        printer.say(&summary(&report));
    }
    Ok(if report.problems.is_empty() { Exit::Done } else { Exit::Failed })
}

/// Prints each problem.
///
/// # Errors
/// When nobody reads it any more.
pub(crate) fn show_problems(report: &Report, printer: &Printer) -> Result<(), CommandError> {
    report.problems.iter().try_for_each(|problem| printer.data(&table::diagnosis(problem, printer.paint)))
}

fn summary(report: &Report) -> String {
    let count = |n: usize, what: &str| if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") };
    let tunnels = count(report.tunnels.len(), "tunnel");
    match report.problems.len() {
        0 => format!("{}: {tunnels}, nothing wrong", report.config_dir),
        n => format!("{}: {tunnels} right, {}", report.config_dir, count(n, "problem")),
    }
}
