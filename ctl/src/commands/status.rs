//! `nbctl status`: the table or the JSON, once or again and again.

use std::time::Duration;

use nbtunnel_proto::{Client, Request, Status};

use crate::args::StatusArgs;
use crate::daemon::{Daemon, hung_up, status_on};
use crate::exit::{CommandError, Exit};
use crate::printer::Printer;
use crate::table;

/// How often `--watch` looks when nothing happens.
const EVERY: Duration = Duration::from_secs(1);

/// How long a burst of events may last before it is shown.
const BURST: Duration = Duration::from_millis(50);

pub(crate) async fn run(args: StatusArgs, daemon: &Daemon, printer: &Printer) -> Result<Exit, CommandError> {
    if args.watch {
        return watch(&args.names, &mut daemon.connect().await?, daemon, printer).await;
    }
    let status = about(daemon.status(args.names.clone()).await?, &args.names, printer);
    show(&status, !args.names.is_empty(), printer, false)?;
    Ok(Exit::Done)
}

/// Ends only by a signal, or when the daemon goes away.
async fn watch(
    names: &[String],
    client: &mut Client,
    daemon: &Daemon,
    printer: &Printer,
) -> Result<Exit, CommandError> {
    let mut events = daemon.connect().await?;
    let mut subscribed = false;
    loop {
        let status = about(status_on(client, names.to_vec()).await?, names, printer);
        show(&status, !names.is_empty(), printer, true)?;
        if !subscribed {
            events.send(&Request::Events).await?;
            subscribed = true;
        }
        if let Ok(event) = tokio::time::timeout(EVERY, events.next()).await {
            // One screen for all that happens together.
            let mut more = event?;
            let burst = tokio::time::sleep(BURST);
            tokio::pin!(burst);
            loop {
                if more.is_none() {
                    return Err(hung_up());
                }
                tokio::select! {
                    () = &mut burst => break,
                    event = events.next() => more = event?,
                }
            }
        }
    }
}

/// Who names tunnels does not want to read about the mistakes in other tunnels' files. Scripts get all.
fn about(mut status: Status, names: &[String], printer: &Printer) -> Status {
    if !names.is_empty() && !printer.is_json() {
        let Status { tunnels, problems, .. } = &mut status;
        problems.retain(|problem| {
            let file = problem.file.as_deref().and_then(|file| file.strip_prefix("tunnels/"));
            file.is_none_or(|file| tunnels.iter().any(|tunnel| file == format!("{}.toml", tunnel.name)))
        });
    }
    status
}

/// `named`: tunnels were asked for by name, and more is told where that is one.
fn show(status: &Status, named: bool, printer: &Printer, again: bool) -> Result<(), CommandError> {
    if printer.is_json() {
        return printer.json(status);
    }
    let mut text = table::render(status, printer.paint);
    if let (true, [tunnel]) = (named, status.tunnels.as_slice()) {
        text += &table::details(tunnel, status.daemon.now_ms, printer.paint);
        text += &table::past(tunnel, status.daemon.now_ms, printer.paint);
    }
    if again { printer.screen(&text) } else { printer.data(&text) }
}
