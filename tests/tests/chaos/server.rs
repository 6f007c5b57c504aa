//! The SSH server: frozen and thawed, silent, late, and stuck while it authenticates.

use std::fs::File;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nbtunnel_tests::{Callers, Server, Sshd, TunnelFile, World, net, wait};

use crate::lab::{Lab, Line, PATIENT, as_shipped, wait_for};
use crate::table::told;

/// How long a server is frozen.
const FROZEN: Duration = Duration::from_secs(20);

#[test]
fn a_server_that_froze_for_20_s_keeps_its_connections() -> Result<()> {
    let mut lab = Lab::start()?;
    let callers = Callers::start(lab.local)?;
    let mut line = Line::open(lab.local)?;
    lab.sshd.freeze(true);
    line.say(50_000)?;
    wait::throughout("the open connection stands", FROZEN, || line.stands())?;
    let thawed = Instant::now();
    lab.sshd.freeze(false);
    let soon = callers.answered_again(thawed, PATIENT)?;
    line.hear()?;
    let called = callers.settle(PATIENT)?;
    ensure!(called.cut_off == 0, "who was held is answered: {called:?}");
    line.close()?;
    told("sshd frozen for 20 s, listener and session", lab.outcome(), soon, Some(called))
}

#[test]
fn a_session_that_froze_for_20_s_is_replaced_and_keeps_its_connections() -> Result<()> {
    let lab = Lab::start()?;
    let mut line = Line::open(lab.local)?;
    let began = Instant::now();
    lab.sshd.freeze_sessions(true);
    lab.wait("a new session is up beside it", |_| lab.logins() == 2)?;
    let callers = Callers::start(lab.local)?;
    let soon = callers.answered_after(began, PATIENT)?;
    let left = FROZEN.saturating_sub(began.elapsed());
    wait::throughout("the open connection stands", left, || line.stands())?;
    lab.sshd.freeze_sessions(false);
    line.say(50_000)?;
    line.hear()?;
    line.close()?;
    told("session frozen for 20 s, idle: first answer", lab.outcome(), soon, Some(callers.settle(PATIENT)?))
}

/// A tunnel to `sshd` whose connections all pass through a door that `open`s them: it returns when it may.
struct Doorkeeper {
    world: World,
    local: u16,
    door: Server,
    _echo: Server,
}

impl Doorkeeper {
    fn start(
        sshd: &Sshd,
        edit: impl FnOnce(TunnelFile) -> TunnelFile,
        open: impl Fn() + Send + Sync + 'static,
    ) -> Result<Doorkeeper> {
        let to = sshd.port();
        let door = Server::start(move |stream| {
            open();
            relay(stream, to)
        })?;
        let line = sshd.known_hosts_line()?.replace(&to.to_string(), &door.port().to_string());
        File::options().append(true).open(sshd.known_hosts())?.write_all(line.as_bytes())?;
        let (echo, mut world, local) = (Server::echo()?, World::new()?, net::free_port()?);
        let file = as_shipped(sshd).set("port", door.port()).forward(local, echo.port());
        world.write("alice", &edit(file))?;
        world.start()?;
        Ok(Doorkeeper { world, local, door, _echo: echo })
    }
}

/// Carries `stream` to `port` and back until both ends are over.
fn relay(mut stream: TcpStream, port: u16) -> io::Result<()> {
    let mut onward = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    onward.set_nodelay(true)?;
    let (mut from, mut to) = (stream.try_clone()?, onward.try_clone()?);
    let there = std::thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        to.shutdown(Shutdown::Write)
    });
    let _ = io::copy(&mut onward, &mut stream);
    let _ = stream.shutdown(Shutdown::Both);
    there.join().unwrap_or(Ok(()))
}

#[test]
fn a_server_that_takes_connections_and_says_nothing_is_tried_until_it_speaks() -> Result<()> {
    let sshd = Sshd::start()?;
    let speaks = Arc::new(AtomicBool::new(false));
    let heard = Arc::clone(&speaks);
    let short = |file: TunnelFile| file.set("connect_timeout", "\"2s\"");
    let keeper = Doorkeeper::start(&sshd, short, move || {
        // Those that were let in before are spoken to as well, but nobody listens there any more.
        let _ = wait::until("it speaks", PATIENT, || heard.load(Ordering::SeqCst));
    })?;
    wait_for(&keeper.world, "it waits for the banner", |tunnel| tunnel["step"] == "banner")?;
    let callers = Callers::start(keeper.local)?;
    wait_for(&keeper.world, "it says what is wrong", |tunnel| tunnel["problem"]["code"] == "timed_out")?;
    wait::until("it tries again", PATIENT, || keeper.door.served() >= 3)?;
    let spoke = Instant::now();
    speaks.store(true, Ordering::SeqCst);
    let soon = callers.answered_again(spoke, PATIENT)?;
    let called = callers.settle(PATIENT)?;
    ensure!(called.cut_off == 0, "who was held is answered: {called:?}");
    told("sshd accepts and never speaks, then does", "retries, new link", soon, Some(called))
}

#[test]
fn a_banner_that_comes_after_15_s_still_connects() -> Result<()> {
    let sshd = Sshd::start()?;
    let late = Duration::from_secs(15);
    let began = Instant::now();
    let keeper = Doorkeeper::start(&sshd, |file| file, move || wait::pace(Instant::now() + late))?;
    wait_for(&keeper.world, "it waits for the banner", |tunnel| tunnel["step"] == "banner")?;
    let callers = Callers::start(keeper.local)?;
    let soon = callers.answered_again(began, PATIENT)?;
    ensure!(soon > late && keeper.door.served() == 1, "{soon:?}, {} attempts", keeper.door.served());
    let called = callers.settle(PATIENT)?;
    ensure!(called.cut_off == 0, "who was held is answered: {called:?}");
    told("banner after 15 s", "connects", soon, Some(called))
}

#[test]
fn a_server_that_hangs_while_it_authenticates_is_tried_again() -> Result<()> {
    // It asks this program for the keys, which says nothing for an hour.
    let mut sshd = Sshd::with(&[
        "AuthorizedKeysFile none",
        "AuthorizedKeysCommand /usr/bin/sleep 3600",
        "AuthorizedKeysCommandUser root",
    ])?;
    let (echo, mut world, local) = (Server::echo()?, World::new()?, net::free_port()?);
    let file = as_shipped(&sshd).set("connect_timeout", "\"3s\"").forward(local, echo.port());
    world.write("alice", &file)?;
    world.start()?;
    wait_for(&world, "it is being authenticated", |tunnel| tunnel["step"] == "authenticating")?;
    let callers = Callers::start(local)?;
    wait_for(&world, "it says what is wrong", |tunnel| tunnel["problem"]["code"] == "timed_out")?;
    wait_for(&world, "it tries again", |tunnel| tunnel["attempt"].as_u64() >= Some(2))?;
    sshd.stop()?;
    sshd.set(&[]);
    sshd.start_again()?;
    let mended = Instant::now();
    let soon = callers.answered_again(mended, PATIENT)?;
    let called = callers.settle(PATIENT)?;
    ensure!(called.cut_off == 0, "who was held is answered: {called:?}");
    told("authentication hangs, then does not", "retries, new link", soon, Some(called))
}
