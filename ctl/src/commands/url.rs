//! `nbctl url`: where a notebook is, with its token, for programs that ask for such a URL.

use nbtunnel_proto::NotebookAsk;
use serde_json::json;

use crate::args::UrlArgs;
use crate::daemon::Daemon;
use crate::exit::{CommandError, Exit};
use crate::face;
use crate::notebook::{locate, no_token, url, whole_url};
use crate::printer::Printer;

pub(crate) async fn run(args: UrlArgs, daemon: &Daemon, printer: &Printer) -> Result<Exit, CommandError> {
    let mut at = locate(&args.named.name, NotebookAsk::Find, daemon, printer).await?;
    // A server may do without either; one with a password is of no use to whoever pastes this.
    if at.token.is_none() && at.password {
        return Err(no_token(&at, &url(&at, args.face)));
    }
    let face = face::there(&mut at, args.face, printer).await;
    let whole = whole_url(&at, face);
    if printer.is_json() {
        let token = at.token.as_ref().map(|token| token.expose());
        printer.json(
            &json!({"tunnel": at.tunnel, "name": at.name, "url": whole, "token": token, "notes": at.notes}),
        )?;
    } else {
        printer.data(&whole)?;
    }
    Ok(Exit::Done)
}
