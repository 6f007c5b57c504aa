//! Many connections, much data, and a reader that does not read.

use std::io::Read;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use nbtunnel_tests::child::resident_bytes;
use nbtunnel_tests::net::{self, Pattern};
use nbtunnel_tests::server::SEED;
use nbtunnel_tests::{Server, Sshd, World, wait};

const MIB: u64 = 1 << 20;
const PATIENT: Duration = Duration::from_secs(90);

/// Sends `count` bytes of a pattern through an echo and checks each that comes back, both at once.
fn both_ways(back: TcpStream, seed: u64, count: u64) -> Result<()> {
    let mut back = back;
    let mut forth = back.try_clone()?;
    let sender = std::thread::spawn(move || -> Result<()> {
        Pattern::new(seed).write(&mut forth, count)?;
        Ok(forth.shutdown(Shutdown::Write)?)
    });
    Pattern::new(seed).expect(&mut back, count)?;
    ensure!(net::read(&mut back, &mut [0; 1])? == 0, "more came back than was sent");
    sender.join().map_err(|_| anyhow!("the sender panicked"))?
}

/// Runs `work` for each number at once, each in a thread.
fn at_once(count: u64, work: impl Fn(u64) -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..count).map(|number| scope.spawn(move || work(number))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("it panicked"))?)
    })
}

#[test]
fn two_hundred_connections_carry_a_mebibyte_each_both_ways() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let (world, local) = World::with_alice(&sshd, echo.port())?;
    // All of them carry something before one of them may end.
    let all_open = Barrier::new(200);
    at_once(200, |number| {
        let opened = net::connect(local, PATIENT).and_then(|mut stream| {
            net::echo(&mut stream, b"open")?;
            Ok(stream)
        });
        let seen = all_open.wait().is_leader().then(|| world.tunnel("alice"));
        all_open.wait();
        let opened = opened?;
        if let Some(tunnel) = seen.transpose()? {
            let open = &tunnel["forwards"][0]["open"];
            ensure!(*open == 200, "{open} connections are open at once, not 200");
        }
        both_ways(opened, number, MIB)
    })?;
    let forward = &world.tunnel("alice")?["forwards"][0];
    for counter in ["bytes_in", "bytes_out"] {
        ensure!(forward[counter].as_u64() >= Some(200 * MIB), "{counter} is wrong: {forward}");
    }
    ensure!(forward["total"].as_u64() >= Some(200), "{forward}");
    world.wait_until("alice", "all are closed", |tunnel| tunnel["forwards"][0]["open"] == 0)?;
    Ok(())
}

#[test]
fn twenty_thousand_short_connections_leave_nothing_behind() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let (mut world, local) = World::with_alice(&sshd, echo.port())?;
    let pid = world.daemon()?.id();
    let short = |total: usize| -> Result<()> {
        let left = AtomicUsize::new(total);
        at_once(8, |_| {
            while left.try_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
                let mut stream = net::connect(local, PATIENT)?;
                net::echo(&mut stream, b"short")?;
            }
            Ok(())
        })?;
        world.wait_until("alice", "all are closed", |tunnel| tunnel["forwards"][0]["open"] == 0)?;
        Ok(())
    };
    short(2_000)?;
    let warm = resident_bytes(pid)?;
    short(20_000)?;
    let after = resident_bytes(pid)?;
    let grown = after.saturating_sub(warm);
    ensure!(grown <= 2 * MIB, "the daemon grew by {grown} bytes, from {warm} to {after}");
    Ok(())
}

#[test]
fn one_that_does_not_read_leaves_the_others_unharmed_and_gets_its_bytes_in_the_end() -> Result<()> {
    let count = 48 * MIB;
    let all_sent = Arc::new(AtomicBool::new(false));
    let sent = Arc::clone(&all_sent);
    let source = Server::start(move |mut stream| {
        Pattern::new(SEED).write(&mut stream, count)?;
        sent.store(true, Ordering::SeqCst);
        Ok(())
    })?;
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let mut world = World::new()?;
    let (slow, quick) = (net::free_port()?, net::free_port()?);
    world.write("alice", &sshd.tunnel().forward(slow, source.port()).forward(quick, echo.port()))?;
    world.start()?;
    world.wait_for("alice", "up")?;
    let mut other = net::connect(quick, PATIENT)?;
    let calm = round_trip(&mut other)?;

    let mut lazy = net::connect(slow, PATIENT)?;
    wait::until("all of it has left the far end", PATIENT, || all_sent.load(Ordering::SeqCst))?;
    let busy = round_trip(&mut other)?;
    let bound = Duration::from_millis(50).max(calm * 20);
    ensure!(busy < bound, "round trips took {busy:?} instead of {calm:?}");
    ensure!(world.tunnel("alice")?["health"] == "ok", "the link counts as suspect");
    Pattern::new(SEED).expect(&mut lazy, count)?;
    ensure!(net::read(&mut lazy, &mut [0; 1])? == 0, "more came than was sent");
    Ok(())
}

/// The median of round trips made over two seconds.
fn round_trip(stream: &mut TcpStream) -> Result<Duration> {
    let (began, mut all) = (Instant::now(), Vec::new());
    while began.elapsed() < Duration::from_secs(2) {
        let sent = Instant::now();
        net::echo(stream, b"ping")?;
        all.push(sent.elapsed());
        wait::pace(sent + Duration::from_millis(5));
    }
    all.sort();
    all.get(all.len() / 2).copied().ok_or_else(|| anyhow!("no round trip was made"))
}

#[test]
fn streams_live_through_a_server_that_rekeys_every_16_mib() -> Result<()> {
    let sshd = Sshd::with(&["RekeyLimit 16M none", "LogLevel DEBUG1"])?;
    let echo = Server::echo()?;
    let (_world, local) = World::with_alice(&sshd, echo.port())?;
    let rekeys = || sshd.count_log("rekey out after");
    let before = rekeys();
    at_once(8, |number| both_ways(net::connect(local, PATIENT)?, number, 12 * MIB))?;
    let made = rekeys() - before;
    ensure!(made >= 4, "sshd rekeyed {made} times: this proves nothing");
    Ok(())
}

#[test]
fn each_direction_ends_by_itself() -> Result<()> {
    let (sshd, sink) = (Sshd::start()?, Server::sink()?);
    let (_world, local) = World::with_alice(&sshd, sink.port())?;
    let mut stream = net::connect(local, PATIENT)?;
    Pattern::new(SEED).write(&mut stream, MIB)?;
    // The sink answers only after it has seen our end, over a connection whose other half is still open.
    stream.shutdown(Shutdown::Write)?;
    let mut count = [0; 8];
    stream.read_exact(&mut count)?;
    ensure!(u64::from_be_bytes(count) == MIB);
    Ok(())
}

#[test]
fn a_target_that_refuses_is_a_reset_and_the_problem_of_that_forward() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let mut world = World::new()?;
    let (bad, good) = (net::free_port()?, net::free_port()?);
    let file = sshd.tunnel().forward(bad, net::free_port()?).forward(good, echo.port());
    world.write("alice", &file)?;
    world.start()?;
    world.wait_for("alice", "up")?;
    ensure!(!net::echoes(bad, wait::SOON), "nobody listens there");
    ensure!(net::echoes(good, wait::SOON), "the other forward is harmed");
    let tunnel = world.wait_until("alice", "the forward shows its problem", |tunnel| {
        !tunnel["forwards"][0]["problem"].is_null()
    })?;
    ensure!(tunnel["state"] == "up" && tunnel["forwards"][1]["problem"].is_null(), "{tunnel:#}");
    Ok(())
}

#[test]
fn a_server_that_forbids_forwarding_is_named_on_the_forward() -> Result<()> {
    let (sshd, echo) = (Sshd::with(&["AllowTcpForwarding no"])?, Server::echo()?);
    let (world, local) = World::with_alice(&sshd, echo.port())?;
    ensure!(!net::echoes(local, wait::SOON), "it cannot be carried");
    world.wait_until("alice", "the forward shows its problem", |tunnel| {
        tunnel["forwards"][0]["problem"]["code"] == "forwarding_denied"
    })?;
    Ok(())
}

#[test]
fn a_denial_is_told_once_seen_again_on_the_next_link_and_its_end_is_told_too() -> Result<()> {
    let (mut sshd, echo) = (Sshd::with(&["AllowTcpForwarding no"])?, Server::echo()?);
    let (world, local) = World::with_alice(&sshd, echo.port())?;
    let denied = |tunnel: &serde_json::Value| tunnel["forwards"][0]["problem"]["code"] == "forwarding_denied";
    let told = |word: &str| world.log().lines().filter(|line| line.contains(word)).count();
    for _ in 0..5 {
        ensure!(!net::echoes(local, wait::SOON), "it cannot be carried");
    }
    world.wait_until("alice", "the forward shows its problem", denied)?;
    ensure!(told(": denied: ") == 1, "{}", world.log());

    // The next link has not been asked yet; as soon as it is, the problem is there again.
    sshd.kill_sessions();
    world.wait_until("alice", "it is back", |tunnel| tunnel["reconnects"] == 1 && tunnel["state"] == "up")?;
    world.wait_until("alice", "nothing is known against the forward", |tunnel| !denied(tunnel))?;
    ensure!(!net::echoes(local, wait::SOON), "it cannot be carried");
    world.wait_until("alice", "the forward shows its problem again", denied)?;

    sshd.stop()?;
    sshd.set(&["AllowTcpForwarding yes"]);
    sshd.start_again()?;
    wait::until("it carries", wait::SOON, || net::echoes(local, wait::SOON))?;
    world.wait_until("alice", "the problem is gone", |tunnel| tunnel["forwards"][0]["problem"].is_null())?;
    ensure!(told(": bound") == 1, "{}", world.log());
    Ok(())
}

#[test]
fn a_taken_port_is_a_problem_of_that_forward_until_it_is_free() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let mut world = World::new()?;
    let thief = net::listener()?;
    let (taken, good) = (thief.local_addr()?.port(), net::free_port()?);
    world.write("alice", &sshd.tunnel().forward(taken, echo.port()).forward(good, echo.port()))?;
    world.start()?;
    let tunnel = world.wait_until("alice", "the taken port is shown", |tunnel| {
        tunnel["state"] == "up" && tunnel["forwards"][0]["problem"]["code"] == "port_in_use"
    })?;
    ensure!(tunnel["forwards"][1]["problem"].is_null(), "{tunnel:#}");
    ensure!(net::echoes(good, wait::SOON), "the other forward is harmed");
    drop(thief);
    wait::until("the port is taken back", Duration::from_secs(60), || net::echoes(taken, wait::SOON))
}
