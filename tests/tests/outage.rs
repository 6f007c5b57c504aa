//! The server goes and comes; whoever knocks at the local port is never refused.

use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use nbtunnel_tests::child::Signal;
use nbtunnel_tests::{Knocker, Server, Sshd, World, net, wait};

/// Long enough to be held and answered.
const PATIENT: Duration = Duration::from_secs(40);

/// An echo through `port` in a thread of its own, which connects at once.
fn ask(port: u16) -> JoinHandle<Result<()>> {
    std::thread::spawn(move || {
        let mut stream = net::connect(port, PATIENT)?;
        net::echo(&mut stream, b"asked while nobody was there")
    })
}

fn answered(asked: JoinHandle<Result<()>>) -> Result<()> {
    asked.join().map_err(|_| anyhow!("it panicked"))?
}

fn held(world: &World) -> Result<()> {
    world.wait_until("alice", "somebody is held", |tunnel| {
        tunnel["forwards"][0]["held"].as_u64() >= Some(1)
    })?;
    Ok(())
}

#[test]
fn twenty_outages_are_survived_and_nobody_is_refused() -> Result<()> {
    let (mut sshd, echo) = (Sshd::start()?, Server::echo()?);
    let (world, local) = World::with_alice(&sshd, echo.port())?;
    let knocker = Knocker::start(local);
    for outage in 1..=20 {
        sshd.stop()?;
        world.wait_until("alice", "the outage is noticed", |tunnel| tunnel["state"] != "up")?;
        let asked = ask(local);
        sshd.start_again()?;
        let tunnel = world.wait_for("alice", "up")?;
        ensure!(tunnel["reconnects"].as_u64() >= Some(outage), "outage {outage} is not counted: {tunnel}");
        answered(asked)?;
    }
    knocker.finish()?;
    Ok(())
}

#[test]
fn a_request_is_held_while_the_server_is_away_and_answered_afterwards() -> Result<()> {
    let (mut sshd, echo) = (Sshd::start()?, Server::echo()?);
    let (world, local) = World::with_alice(&sshd, echo.port())?;
    sshd.stop()?;
    world.wait_for("alice", "waiting")?;
    let asked: Vec<_> = (0..10).map(|_| ask(local)).collect();
    held(&world)?;
    sshd.start_again()?;
    asked.into_iter().try_for_each(answered)
}

#[test]
fn with_a_hold_of_nothing_a_request_is_reset_at_once() -> Result<()> {
    let (mut sshd, echo) = (Sshd::start()?, Server::echo()?);
    let mut world = World::new()?;
    let local = net::free_port()?;
    world.write("alice", &sshd.tunnel().forward(local, echo.port()).set("hold", "\"0s\""))?;
    world.start()?;
    world.wait_for("alice", "up")?;
    sshd.stop()?;
    world.wait_until("alice", "the outage is noticed", |tunnel| tunnel["state"] != "up")?;
    let mut stream = net::connect(local, wait::SOON)?;
    let error = net::echo(&mut stream, b"hello").expect_err("nobody can have answered");
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    ensure!(kind != Some(std::io::ErrorKind::WouldBlock), "it waited instead: {error:#}");
    Ok(())
}

#[test]
fn a_connection_that_was_open_when_the_link_died_is_cut_so_that_clients_notice() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let (_world, local) = World::with_alice(&sshd, echo.port())?;
    let mut stream = net::connect(local, wait::SOON)?;
    net::echo(&mut stream, b"before")?;
    sshd.kill_sessions();
    let end = std::io::Read::read(&mut stream, &mut [0; 1]);
    ensure!(
        end.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset),
        "a reset was expected, since the stream is not whole: {end:?}"
    );
    Ok(())
}

#[test]
fn a_server_that_stops_answering_is_left_for_one_that_does() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let mut world = World::new()?;
    let local = net::free_port()?;
    world.write("alice", &sshd.tunnel().forward(local, echo.port()).set("keepalive", "\"1s\""))?;
    world.start()?;
    world.wait_for("alice", "up")?;
    sshd.freeze_sessions(true);
    world.wait_until("alice", "a new session is up", |tunnel| {
        tunnel["state"] == "up" && tunnel["reconnects"].as_u64() >= Some(1)
    })?;
    ensure!(net::echoes(local, wait::SOON), "the new session does not carry");
    Ok(())
}

#[test]
fn nobody_is_refused_during_edits_reloads_parking_and_unparking() -> Result<()> {
    let (mut sshd, echo) = (Sshd::start()?, Server::echo()?);
    let (mut world, local) = World::with_alice(&sshd, echo.port())?;
    let knocker = Knocker::start(local);
    let file = sshd.tunnel().forward(local, echo.port());

    world.write("alice", &file.clone().set("tags", "[\"lab\"]"))?;
    world.wait_until("alice", "the tag is there", |tunnel| tunnel["tags"][0] == "lab")?;
    world.write("alice", &file.clone().set("host", "\"localhost\"").set("host_key", "\"accept-new\""))?;
    world.wait_until("alice", "the host is another", |tunnel| tunnel["host"] == "localhost")?;
    world.wait_for("alice", "up")?;
    world.daemon()?.signal(Signal::Hup);
    wait::until("SIGHUP is heard", wait::SOON, || {
        world.log().contains("asked to read the configuration again")
    })?;
    ensure!(world.nbctl(["reload"])?.code == 0);
    let other = Server::echo()?;
    world.write("alice", &file.clone().forward(net::free_port()?, echo.port()))?;
    world.wait_until("alice", "a forward was added", |tunnel| {
        tunnel["forwards"].as_array().map(Vec::len) == Some(2)
    })?;
    world.write("alice", &sshd.tunnel().forward(local, other.port()))?;
    world.wait_until("alice", "the target is another", |tunnel| {
        tunnel["forwards"][0]["target"] == format!("127.0.0.1:{}", other.port())
    })?;
    wait::until("the other target answers", wait::SOON, || {
        net::echoes(local, wait::SOON) && other.served() > 0
    })?;
    ensure!(world.nbctl(["restart", "alice", "--wait=20"])?.code == 0);
    world.write("alice", &file)?;
    world.wait_until("alice", "the host is the old one", |tunnel| tunnel["host"] == "127.0.0.1")?;
    world.wait_for("alice", "up")?;

    sshd.change_host_key()?;
    world.wait_for("alice", "parked")?;
    ensure!(!net::echoes(local, wait::SOON), "a parked tunnel carries");
    std::fs::write(sshd.known_hosts(), sshd.known_hosts_line()?)?;
    world.wait_for("alice", "up")?;
    wait::until("it carries again", wait::SOON, || net::echoes(local, wait::SOON))?;
    knocker.finish_parked()?;
    Ok(())
}
