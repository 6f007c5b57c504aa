//! `nbctl rm`: removes tunnel files; a running daemon then takes the tunnels down.

use std::fs;

use serde_json::json;

use crate::args::RmArgs;
use crate::daemon::Daemon;
use crate::exit::{CommandError, Exit};
use crate::printer::Printer;
use crate::tunnel_file;

pub(crate) async fn run(args: &RmArgs, daemon: &Daemon, printer: &Printer) -> Result<Exit, CommandError> {
    let config_dir = daemon.config_dir().await?;
    // All of them or none: a misspelt name is seen before anything is removed.
    let mut files = Vec::new();
    for name in &args.names {
        let file = tunnel_file::existing(&config_dir, name)?;
        if !files.contains(&file) {
            files.push(file);
        }
    }
    // Where nobody can be asked, the name itself was clear enough.
    if !args.yes && printer.can_ask() {
        let list: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        if !printer.confirm(&format!("Remove {}?", list.join(", "))) {
            return Err(CommandError::new(Exit::NeedsYou, "nothing was removed", "answer y, or give --yes"));
        }
    }
    for file in &files {
        fs::remove_file(file).map_err(|error| CommandError::file("removed", file, &error))?;
        printer.say(&format!("removed {}", file.display()));
    }
    if printer.is_json() {
        printer.json(&json!({"removed": files}))?;
    }
    if let Err(error) = daemon.reload(&config_dir, printer).await {
        printer.note(&format!("the running daemon was not told: {}", error.message));
    }
    Ok(Exit::Done)
}
