//! Resident memory of so many ssh processes, and of one daemon with as many tunnels.

use anyhow::Result;
use nbtunnel_tests::child::resident_bytes;
use nbtunnel_tests::{Server, Sshd};

use crate::Args;
use crate::process::{Crowd, megabytes};
use crate::sides::BOTH;
use crate::table::Table;

pub(crate) fn measure(args: &Args) -> Result<Table> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let mut table = Table::new(BOTH);
    for count in [1, args.tunnels] {
        let mut crowd = Crowd::start(&sshd, echo.port(), count)?;
        let ssh = crowd.sshs.iter().map(|ssh| resident_bytes(ssh.id())).sum::<Result<u64>>()?;
        let ours = resident_bytes(crowd.world.daemon()?.id())?;
        let what = format!("resident memory, {count} tunnel{}", if count == 1 { "" } else { "s" });
        table.row(what, "MB").push(&[megabytes(ssh), megabytes(ours)]);
    }
    Ok(table)
}
