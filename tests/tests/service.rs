//! The daemon as a service: whoever starts it, listens to it and ends it.

#![cfg(unix)]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::child::{Running, Signal};
use nbtunnel_tests::programs::{repository, system};
use nbtunnel_tests::told::tell;
use nbtunnel_tests::{Sshd, TunnelFile, World, net, wait};

/// A tunnel to a port where nobody listens.
fn nowhere(sshd: &Sshd) -> Result<TunnelFile> {
    Ok(sshd.tunnel().set("port", net::free_port()?).forward(net::free_port()?, 1))
}

#[test]
fn it_goes_on_when_nobody_reads_its_log_any_more() -> Result<()> {
    let (sshd, world) = (Sshd::start()?, World::new()?);
    let mut daemon = Running::spawn(world.daemon_command().stderr(Stdio::piped()))?;
    let stderr = daemon.pipes().stderr.take().context("it has a stderr")?;
    let mut first = String::new();
    BufReader::new(stderr).read_line(&mut first)?;
    // The reader is gone with its pipe, as a terminal that was closed.
    wait::until("it answers", wait::SOON, || world.nbctl(["status"]).is_ok_and(|told| told.code == 0))?;
    world.write("alice", &nowhere(&sshd)?)?;
    ensure!(world.nbctl(["reload"])?.code == 0, "it did not survive what it could not log");
    world.wait_for("alice", "waiting")?;
    daemon.signal(Signal::Hup);
    ensure!(world.nbctl(["status"])?.code == 0);
    ensure!(daemon.ended().is_none(), "it ended with {:?}", daemon.ended());
    daemon.signal(Signal::Term);
    let status = daemon.wait(wait::SOON)?;
    ensure!(status.success(), "a clean stop ends with {status}");
    Ok(())
}

#[test]
fn who_asks_before_the_files_are_read_is_answered_when_they_are() -> Result<()> {
    let (sshd, world) = (Sshd::start()?, World::new()?);
    for n in 0..300 {
        world.write(&format!("t{n}"), &nowhere(&sshd)?.set("start", "\"manual\""))?;
    }
    // The socket is there before the daemon is, as under systemd: nbctl asks at the first possible moment.
    let mut command = world.command(&system("python3")?);
    command.arg(repository().join("tests/fixtures/hand_over.py")).arg(world.socket());
    command.arg("/bin/sh").args(["-c", "sleep 1; exec \"$@\"", "sh"]);
    let daemon = world.daemon_command();
    command.arg(daemon.get_program()).args(daemon.get_args());
    let _owner = Running::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
    wait::until("the socket is there", wait::SOON, || world.socket().exists())?;
    let told = world.nbctl(["stop", "t299", "--wait=20"])?;
    ensure!(told.code == 0, "{told:?}");
    Ok(())
}

#[test]
fn everybody_who_waits_is_told_that_the_daemon_stops() -> Result<()> {
    let (sshd, mut world) = (Sshd::start()?, World::new()?);
    world.write("alice", &nowhere(&sshd)?)?;
    world.log_filter("debug");
    world.start()?;
    world.wait_for("alice", "waiting")?;
    let asks: [&[&str]; 4] =
        [&["events"], &["events", "--json"], &["logs", "-f"], &["start", "alice", "--wait=60"]];
    std::thread::scope(|scope| -> Result<()> {
        let asking: Vec<_> = asks
            .iter()
            .map(|args| {
                let mut command: Command = world.nbctl_command(args.iter());
                scope.spawn(move || tell(&mut command, &[], Duration::from_secs(60)))
            })
            .collect();
        wait::until("all have asked", wait::SOON, || {
            let log = world.log();
            ["events", "logs", "an order"].iter().all(|word| log.contains(&format!("asks for {word}")))
                && log.matches("asks for events").count() == 2
        })?;
        let pid = world.status()?["daemon"]["pid"].as_u64().context("it has a pid")?;
        nbtunnel_tests::child::signal_pid(u32::try_from(pid)?, Signal::Term)?;
        for (asked, args) in asking.into_iter().zip(asks) {
            let told = asked.join().map_err(|_| anyhow::anyhow!("it panicked"))??;
            let said = told.stdout.clone() + &told.stderr;
            ensure!(said.contains("is stopping"), "{args:?} was not told: {told:?}");
        }
        Ok(())
    })
}
