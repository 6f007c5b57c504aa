//! `nbctl doctor`: every layer between here and what a tunnel leads to, a line each, and what to do about the first
//! one that breaks. The daemon looks; without one there is still the configuration to look at.

use nbtunnel_proto::{Client, FaultCode, FileProblem, Finding, Reply, Request};
use serde_json::json;

use crate::args::DoctorArgs;
use crate::checker;
use crate::daemon::{Daemon, hung_up, unexpected};
use crate::exit::{CommandError, Exit};
use crate::findings;
use crate::printer::Printer;

pub(crate) async fn run(args: DoctorArgs, daemon: &Daemon, printer: &Printer) -> Result<Exit, CommandError> {
    let mut report = Report { named: args.name.is_some(), hop: None, all: Vec::new(), printer };
    let exit = match daemon.connect().await {
        Ok(client) => {
            look(client, &args, &mut report).await?;
            findings::exit(&report.all)
        }
        Err(error) => {
            report.take(findings::broken("daemon", &error.code, &error.message, &error.hint))?;
            without_daemon(&args, daemon, &mut report)?;
            if error.exit == Exit::NoDaemon { Exit::NoDaemon } else { Exit::Failed }
        }
    };
    report.end()?;
    Ok(exit)
}

/// What was found so far. About one tunnel it is told at once, since a look may take its time.
struct Report<'a> {
    named: bool,
    /// Which machine was told about last.
    hop: Option<String>,
    all: Vec<Finding>,
    printer: &'a Printer,
}

impl Report<'_> {
    fn take(&mut self, finding: Finding) -> Result<(), CommandError> {
        if !self.printer.is_json() && (self.named || finding.tunnel.is_none()) {
            self.printer.data(&findings::line(&finding, &mut self.hop, self.printer.paint))?;
        }
        self.all.push(finding);
        Ok(())
    }

    fn end(&self) -> Result<(), CommandError> {
        if self.printer.is_json() {
            return self.printer.json(&json!({ "findings": self.all }));
        }
        if self.named {
            return Ok(());
        }
        match findings::summary(&self.all, self.printer.paint).as_str() {
            "" => Ok(()),
            text => self.printer.data(text),
        }
    }
}

/// Takes in what the daemon finds.
async fn look(mut client: Client, args: &DoctorArgs, report: &mut Report<'_>) -> Result<(), CommandError> {
    let (theirs, ours) = (client.daemon().build.clone(), env!("CARGO_PKG_VERSION"));
    if theirs != ours {
        let text = format!("this nbctl is {ours}, the daemon that runs is {theirs}");
        report.take(findings::warn(
            "daemon",
            &text,
            "restart nbtunneld, or call the nbctl of that version",
        ))?;
    }
    client.send(&Request::Doctor { name: args.name.clone() }).await?;
    loop {
        let reply = findings::next(&mut client).await?;
        match reply {
            Some(Reply::Finding(finding)) => report.take(*finding)?,
            Some(Reply::Done) => return Ok(()),
            Some(other) => return Err(unexpected(&other)),
            None => return Err(hung_up()),
        }
    }
}

/// What can be looked at without a daemon.
fn without_daemon(args: &DoctorArgs, daemon: &Daemon, report: &mut Report<'_>) -> Result<(), CommandError> {
    let config_dir = daemon.named_config_dir()?;
    let checked = match checker::check(None, Some(&config_dir)) {
        Ok(checked) => checked,
        Err(error) => {
            return report.take(findings::broken("config", &error.code, &error.message, &error.hint));
        }
    };
    let file = args.name.as_ref().map(|name| format!("tunnels/{name}.toml"));
    let is_about_it = |problem: &FileProblem| file.is_none() || problem.file == file;
    for problem in FileProblem::once_each(checked.problems.iter().filter(|problem| is_about_it(problem))) {
        report.take(findings::of_file(&problem))?;
    }
    if checked.problems.iter().any(is_about_it) {
        return Ok(());
    }
    match &args.name {
        Some(name) if !checked.tunnels.contains(name) => report.take(findings::broken(
            "config",
            FaultCode::NoSuchTunnel.word(),
            &format!("there is no tunnel {name:?} in {}", checked.config_dir),
            "see `nbctl check`, or add it with `nbctl add`",
        )),
        Some(name) => report.take(findings::ok("config", &format!("tunnels/{name}.toml is right"))),
        None => {
            let count = checked.tunnels.len();
            let tunnels = if count == 1 { "1 tunnel".to_owned() } else { format!("{count} tunnels") };
            report.take(findings::ok(
                "config",
                &format!("{} with {tunnels}, nothing wrong", checked.config_dir),
            ))
        }
    }
}
