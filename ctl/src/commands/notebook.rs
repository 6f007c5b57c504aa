//! `nbctl notebook stop|restart|log`: a notebook's server at the far end.

use nbtunnel_proto::{NotebookAsk, Reply};
use serde_json::json;

use crate::args::{Face, NotebookCommand};
use crate::daemon::{Daemon, unexpected};
use crate::exit::{CommandError, Exit};
use crate::notebook::{ask, locate, url};
use crate::printer::Printer;
use crate::text::plain_lines;

pub(crate) async fn run(
    command: NotebookCommand,
    daemon: &Daemon,
    printer: &Printer,
) -> Result<Exit, CommandError> {
    match command {
        NotebookCommand::Stop(named) => match ask(&named.name, NotebookAsk::Stop, daemon, printer).await? {
            Reply::Done => {
                if printer.is_json() {
                    printer.json(&json!({"stopped": named.name}))?;
                }
                printer.say(&format!("{} is stopped", named.name));
            }
            other => return Err(unexpected(&other)),
        },
        NotebookCommand::Restart(named) => {
            let at = locate(&named.name, NotebookAsk::Restart, daemon, printer).await?;
            let url = url(&at, Face::default());
            if printer.is_json() {
                printer.json(&json!({"restarted": {"tunnel": at.tunnel, "name": at.name, "url": url, "notes": at.notes}}))?;
            }
            printer.say(&format!("{} runs anew at {url}; its kernels are new, too", named.name));
        }
        NotebookCommand::Log(args) => {
            let wanted = NotebookAsk::Log { lines: args.lines };
            match ask(&args.named.name, wanted, daemon, printer).await? {
                Reply::Text(text) if printer.is_json() => printer.json(&json!({"log": text}))?,
                Reply::Text(text) if text.is_empty() => {
                    printer.say(&format!("the server of {} wrote nothing yet", args.named.name));
                }
                Reply::Text(text) => printer.data(&plain_lines(&text))?,
                other => return Err(unexpected(&other)),
            }
        }
    }
    Ok(Exit::Done)
}
