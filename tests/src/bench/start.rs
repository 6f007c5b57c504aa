//! How long it takes from the start of the process to the first byte that comes back.

use std::time::Instant;

use anyhow::{Context, Result};
use nbtunnel_tests::child::{Running, Signal};
use nbtunnel_tests::{Server, Sshd, World, net, plain_ssh, wait};

use crate::Args;
use crate::sides::{BOTH, first_byte};
use crate::table::{Table, milliseconds};

pub(crate) fn measure(args: &Args) -> Result<Table> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let mut table = Table::new(BOTH);
    for _ in 0..args.rounds {
        let local = net::free_port()?;
        let began = Instant::now();
        let ssh = plain_ssh::start(&sshd, local, echo.port())?;
        first_byte(local)?;
        let by_ssh = milliseconds(began);
        drop(ssh);

        let mut world = World::new()?;
        world.quiet();
        let local = net::free_port()?;
        world.write("bench", &sshd.tunnel().forward(local, echo.port()))?;
        let mut command = world.daemon_command();
        let log = std::fs::File::create(world.path("daemon.log"))?;
        command.stdout(log.try_clone()?).stderr(log);
        let began = Instant::now();
        let mut daemon = Running::spawn(&mut command)?;
        first_byte(local).with_context(|| world.log())?;
        table.row("process start to first byte", "ms").push(&[by_ssh, milliseconds(began)]);
        daemon.signal(Signal::Term);
        daemon.wait(wait::SOON)?;
    }
    Ok(table)
}
