//! `nbctl open`: a notebook in the browser, which gets its token by an address that works once.

use nbtunnel_proto::NotebookAsk;
use serde_json::json;

use crate::args::OpenArgs;
use crate::browser::{self, Browser};
use crate::daemon::Daemon;
use crate::exit::{CommandError, Exit};
use crate::face;
use crate::notebook::{locate, url, whole_url};
use crate::printer::Printer;

pub(crate) async fn run(args: OpenArgs, daemon: &Daemon, printer: &Printer) -> Result<Exit, CommandError> {
    let mut at = locate(&args.named.name, NotebookAsk::Open, daemon, printer).await?;
    let face = face::there(&mut at, args.face, printer).await;
    let plain = url(&at, face);
    if args.print {
        if printer.is_json() {
            let token = at.token.as_ref().map(|token| token.expose());
            printer.json(&json!({"tunnel": at.tunnel, "name": at.name, "url": whole_url(&at, face), "token": token, "notes": at.notes}))?;
        } else {
            printer.data(&whole_url(&at, face))?;
        }
        return Ok(Exit::Done);
    }
    let browser = if args.no_browser { None } else { Browser::find().await };
    let Some(browser) = browser else {
        if printer.is_json() {
            printer.json(&json!({"tunnel": at.tunnel, "name": at.name, "url": plain, "opened": false, "notes": at.notes}))?;
            return Ok(Exit::Done);
        }
        printer.data(&plain)?;
        if !args.no_browser {
            printer.note("there is no browser here to open it with");
        }
        if at.token.is_some() {
            printer.say(&format!("`nbctl url {}` prints it with its token", args.named.name));
        }
        return Ok(Exit::Done);
    };
    if at.password {
        printer.note(&format!("{} asks for its password in the browser", at.name));
    }
    let own_dir = daemon.runtime_dir()?;
    browser::open(&browser, &whole_url(&at, face), &args.named.name, &own_dir).await?;
    if printer.is_json() {
        printer.json(
            &json!({"tunnel": at.tunnel, "name": at.name, "url": plain, "opened": true, "notes": at.notes}),
        )?;
    }
    printer.say(&format!("opened {plain}"));
    Ok(Exit::Done)
}
