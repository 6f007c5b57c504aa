//! Hundreds of tunnels in one daemon, and a server that goes and comes back.

use std::time::{Duration, Instant};

use anyhow::Result;
use nbtunnel_tests::child::resident_bytes;
use nbtunnel_tests::{Server, Sshd, World, net, wait};

use crate::Args;
use crate::process::megabytes;
use crate::sides::{name, until_all_up, up};
use crate::table::{Table, milliseconds};
use crate::traffic::status_time;

/// Hundreds of handshakes take the server's processor.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn measure(args: &Args) -> Result<Table> {
    let mut sshd = Sshd::with(&["MaxStartups 2000"])?;
    let echo = Server::echo()?;
    let mut world = World::new()?;
    world.quiet();
    for number in 0..args.fleet {
        world.write(&name(number), &sshd.tunnel().forward(net::free_port()?, echo.port()))?;
    }
    let mut table = Table::new(&["nbtunnel"]);
    let began = Instant::now();
    world.start()?;
    until_all_up(&world, args.fleet, PATIENCE)?;
    let of = format!("{} tunnels", args.fleet);
    table.row(format!("{of}, start to all up"), "ms").push(&[milliseconds(began)]);
    for _ in 0..args.rounds {
        table.row(format!("{of}, nbctl status, wall time"), "ms").push(&[status_time(&world)?]);
    }
    let pid = world.daemon()?.id();
    table.row(format!("{of}, resident memory"), "MB").push(&[megabytes(resident_bytes(pid)?)]);
    sshd.stop()?;
    wait::until("all are down", PATIENCE, || up(&world).is_ok_and(|up| up == 0))?;
    sshd.start_again()?;
    let began = Instant::now();
    until_all_up(&world, args.fleet, PATIENCE)?;
    table.row(format!("{of}, server back to all up"), "ms").push(&[milliseconds(began)]);
    table.row(format!("{of}, resident memory after it"), "MB").push(&[megabytes(resident_bytes(pid)?)]);
    Ok(table)
}
