//! `nbctl token`: a notebook's token, for scripts.

use nbtunnel_proto::NotebookAsk;
use serde_json::json;

use crate::args::{Face, Named};
use crate::daemon::Daemon;
use crate::exit::{CommandError, Exit};
use crate::notebook::{locate, no_token, url};
use crate::printer::Printer;

pub(crate) async fn run(args: Named, daemon: &Daemon, printer: &Printer) -> Result<Exit, CommandError> {
    let at = locate(&args.name, NotebookAsk::Find, daemon, printer).await?;
    let Some(token) = &at.token else {
        return Err(no_token(&at, &url(&at, Face::default())));
    };
    if printer.is_json() {
        printer.json(&json!({"tunnel": at.tunnel, "name": at.name, "token": token.expose()}))?;
    } else {
        printer.data(token.expose())?;
    }
    Ok(Exit::Done)
}
