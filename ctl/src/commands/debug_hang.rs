//! `nbctl debug-hang`, in debug builds alone: has the daemon hang, and returns when somebody ended it.

use nbtunnel_proto::Request;

use crate::daemon::{self, Daemon};
use crate::exit::{CommandError, Exit};

pub(super) async fn run(daemon: &Daemon) -> Result<Exit, CommandError> {
    let mut client = daemon.connect().await?;
    client.send(&Request::Hang).await?;
    match client.next().await? {
        None => Ok(Exit::Done),
        Some(reply) => Err(daemon::unexpected(&reply)),
    }
}
