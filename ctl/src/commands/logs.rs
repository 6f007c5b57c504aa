//! `nbctl logs`: what happened, one sentence a line, and what happens next with `-f`.

use nbtunnel_proto::{LogLine, Reply, Request};

use crate::args::LogsArgs;
use crate::daemon::{Daemon, hung_up, unexpected};
use crate::exit::{CommandError, Exit};
use crate::printer::Printer;
use crate::text::{about, local_time};

pub(crate) async fn run(args: LogsArgs, daemon: &Daemon, printer: &Printer) -> Result<Exit, CommandError> {
    let mut client = daemon.connect().await?;
    client.send(&Request::Logs { name: args.name, lines: args.lines, follow: args.follow }).await?;
    loop {
        match client.next().await? {
            Some(Reply::Log(line)) if printer.is_json() => printer.json(&line)?,
            Some(Reply::Log(line)) => printer.data(&sentence(&line, printer))?,
            Some(Reply::Done) => return Ok(Exit::Done),
            Some(other) => return Err(unexpected(&other)),
            None => return Err(hung_up()),
        }
    }
}

fn sentence(line: &LogLine, printer: &Printer) -> String {
    let time = printer.paint.dim(&local_time(line.at_ms));
    let who = line.tunnel.as_deref().unwrap_or("nbtunneld");
    format!("{time} {}", about(who, &line.text, printer.paint))
}
