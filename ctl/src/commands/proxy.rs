//! `nbctl proxy`: carries its standard input and output over a tunnel's session to the SSH server there, for
//! `ProxyCommand nbctl proxy NAME`. On standard output there is nothing but what comes from there.

use nbtunnel_proto::{Reply, Request};

use crate::args::ProxyArgs;
use crate::daemon::{Daemon, hung_up, unexpected};
use crate::exit::{CommandError, Exit};
use crate::printer::Printer;
use crate::raw;

/// Where a tunnel's own ProxyCommand began us: the name of the tunnel.
const FOR_TUNNEL: &str = "NBTUNNEL_CONNECTS";

pub(crate) async fn run(args: ProxyArgs, daemon: &Daemon, printer: &Printer) -> Result<Exit, CommandError> {
    if std::env::var_os(FOR_TUNNEL).is_some_and(|tunnel| tunnel == *args.name) {
        return Err(CommandError::new(
            Exit::Failed,
            format!("the tunnel {} waits for this, and this would wait for the tunnel", args.name),
            // Of a ProxyCommand the last line is what its tunnel shows.
            format!(
                "the way of {0} leads through {0} itself: run `nbctl export ssh-config`, or mend ssh_config",
                args.name
            ),
        ));
    }
    let mut client = daemon.connect().await?;
    client.send(&Request::Proxy { name: args.name, target: args.target }).await?;
    let number = loop {
        match client.next().await? {
            Some(Reply::Progress(text)) => printer.note(&format!("waiting: {text}")),
            Some(Reply::Proxied { number }) => break number,
            Some(other) => return Err(unexpected(&other)),
            None => return Err(hung_up()),
        }
    };
    let (early, connection) = client.into_raw()?;
    match raw::carry(early, connection).await {
        // Whoever started us wants no more of it.
        Err(raw::NobodyReads) => Ok(Exit::Done),
        // The connection cannot say in what way it ended.
        Ok(()) => match daemon.ask(&Request::ProxyEnd { number }).await? {
            Reply::Done => Ok(Exit::Done),
            other => Err(unexpected(&other)),
        },
    }
}
