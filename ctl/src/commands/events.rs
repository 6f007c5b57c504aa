//! `nbctl events`: every transition as it happens, until the daemon or the user ends it.

use nbtunnel_proto::{Event, Reply, Request};

use crate::daemon::{Daemon, hung_up, unexpected};
use crate::exit::{CommandError, Exit};
use crate::printer::Printer;
use crate::text::{about, local_time};

pub(crate) async fn run(daemon: &Daemon, printer: &Printer) -> Result<Exit, CommandError> {
    let mut client = daemon.connect().await?;
    client.send(&Request::Events).await?;
    loop {
        match client.next().await? {
            Some(Reply::Event(event)) if printer.is_json() => printer.json(&event)?,
            Some(Reply::Event(event)) => printer.data(&sentence(&event, printer))?,
            Some(other) => return Err(unexpected(&other)),
            None => return Err(hung_up()),
        }
    }
}

fn sentence(event: &Event, printer: &Printer) -> String {
    let time = printer.paint.dim(&local_time(event.at_ms));
    let who = match (&event.tunnel, &event.forward) {
        (Some(tunnel), Some(forward)) => format!("{tunnel} {forward}"),
        (Some(tunnel), None) => tunnel.clone(),
        (None, _) => "nbtunneld".to_owned(),
    };
    format!("{time} {}", about(&who, &event.text, printer.paint))
}
