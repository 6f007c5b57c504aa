//! What is no fault of the link: a name that does not resolve, and a port that nobody listens on at the far end.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use nbtunnel_tests::child::with_mounts;
use nbtunnel_tests::dns::{AT, Dns};
use nbtunnel_tests::netns::{Networks, THERE};
use nbtunnel_tests::{Callers, Server, Sshd, World, net, wait};

use crate::lab::{Line, PATIENT, as_shipped, wait_for};
use crate::table::told;

const NAME: &str = "far.test";

#[test]
fn a_name_that_did_not_resolve_is_tried_until_it_does() -> Result<()> {
    let IpAddr::V4(there) = THERE else { bail!("a name server that gives out IPv4 addresses") };
    let networks = Networks::enter()?;
    let sshd = networks.there(|| Sshd::at(THERE, &[]))??;
    let echo = networks.make_there(Server::echo)?;
    let dns = Dns::failing()?;
    let (mut world, local) = (World::new()?, net::free_port()?);
    let known = sshd.known_hosts_line()?.replace(&THERE.to_string(), NAME);
    std::fs::write(sshd.known_hosts(), known)?;
    let resolv = world.path("resolv.conf");
    std::fs::write(&resolv, format!("nameserver {AT}\noptions timeout:1 attempts:1\n"))?;
    world.write("alice", &as_shipped(&sshd).set("host", format!("{NAME:?}")).forward(local, echo.port()))?;
    let mount = format!("mount --bind {} /etc/resolv.conf", resolv.display());
    let daemon = with_mounts(&mount, &world.daemon_command());
    world.start_by(daemon)?;

    wait_for(&world, "it says what is wrong", |tunnel| tunnel["problem"]["code"] == "dns")?;
    let callers = Callers::start(local)?;
    let failed = dns.failed();
    ensure!(failed > 0, "nobody asked for the name");
    wait::until("it asks again", PATIENT, || dns.failed() > failed)?;
    let mended = Instant::now();
    dns.answer(there);
    let soon = callers.answered_again(mended, PATIENT)?;
    let called = callers.settle(PATIENT)?;
    ensure!(called.cut_off == 0, "who was held is answered: {called:?}");
    told("DNS fails, then answers", "retries, new link", soon, Some(called))
}

/// One that is let in and reset without an answer; says how soon.
fn turned_away(port: u16) -> Result<Duration> {
    let began = Instant::now();
    let mut stream = net::connect(port, wait::SOON)?;
    match net::read(&mut stream, &mut [0]) {
        Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => Ok(began.elapsed()),
        other => bail!("a reset was expected, not {other:?}"),
    }
}

#[test]
fn a_port_that_is_gone_at_the_far_end_is_told_as_that_and_leaves_the_link_alone() -> Result<()> {
    let (sshd, lasting, passing) = (Sshd::start()?, Server::echo()?, Server::echo()?);
    let (mut world, steady, local) = (World::new()?, net::free_port()?, net::free_port()?);
    world
        .write("alice", &as_shipped(&sshd).forward(steady, lasting.port()).forward(local, passing.port()))?;
    world.start()?;
    wait_for(&world, "it is up", |tunnel| tunnel["state"] == "up")?;
    let mut line = Line::open(steady)?;
    ensure!(net::echoes(local, wait::SOON));

    let port = passing.port();
    drop(passing);
    // A child between fork and exec may hold the listener still: whoever is taken by it meets no port that is gone.
    wait::until("nobody listens there", wait::SOON, || net::connect(port, wait::SOON).is_err())?;
    let soon = turned_away(local)?;
    wait_for(&world, "the forward says what is wrong", |tunnel| {
        let (link, problem) = (&tunnel["problem"], &tunnel["forwards"][1]["problem"]);
        let message = problem["message"].as_str().unwrap_or_default();
        let named = message.contains(&format!("127.0.0.1:{port}"));
        tunnel["state"] == "up" && tunnel["health"] == "ok" && link.is_null() && named
    })?;
    ensure!(world.tunnel("alice")?["forwards"][0]["problem"].is_null(), "the other forward is blamed");
    line.say(1000)?;
    line.hear()?;

    // Somebody listens there again: nothing has to be done for it.
    // A child between fork and exec may hold the one that was there.
    let listener = wait::until_some("its port is free", wait::SOON, || {
        std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()
    })?;
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept()?;
        std::io::copy(&mut stream.try_clone()?, &mut &stream)
    });
    ensure!(net::echoes(local, wait::SOON), "it does not carry again");
    let _ = server.join();
    wait_for(&world, "nothing is wrong", |tunnel| tunnel["forwards"][1]["problem"].is_null())?;
    ensure!(sshd.count_log("Accepted publickey") == 1, "a new link was made for it");
    told("far port gone: client reset after", "keeps the link", soon, None)
}
