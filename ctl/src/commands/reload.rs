//! `nbctl reload`: the daemon reads its directory again, and says what changed.

use nbtunnel_proto::{Reply, Request};
use serde_json::json;

use crate::daemon::{Daemon, unexpected};
use crate::exit::{CommandError, Exit};
use crate::printer::Printer;
use crate::table;

pub(crate) async fn run(daemon: &Daemon, printer: &Printer) -> Result<Exit, CommandError> {
    let (added, changed, removed, problems) = match daemon.ask(&Request::Reload).await? {
        Reply::Reloaded { added, changed, removed, problems } => (added, changed, removed, problems),
        other => return Err(unexpected(&other)),
    };
    let done = json!({"added": added, "changed": changed, "removed": removed, "problems": problems});
    if printer.is_json() {
        printer.json(&done)?;
    }
    if added.is_empty() && changed.is_empty() && removed.is_empty() {
        printer.say("nothing changed");
    }
    for (what, names) in [("added", &added), ("changed", &changed), ("removed", &removed)] {
        if !names.is_empty() {
            printer.say(&format!("{what}: {}", names.join(", ")));
        }
    }
    if problems.is_empty() {
        return Ok(Exit::Done);
    }
    if !printer.is_json() {
        for problem in &problems {
            printer.data(&table::diagnosis(problem, printer.paint))?;
        }
    }
    Ok(Exit::Failed)
}
