//! What this machine runs out of: descriptors, disk, and the patience of a reader.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use nbtunnel_tests::child::{after, with_mounts};
use nbtunnel_tests::net::{self, Pattern};
use nbtunnel_tests::server::SEED;
use nbtunnel_tests::{Callers, Server, Sshd, World, wait};

use crate::lab::{Line, PATIENT, as_shipped, wait_for};
use crate::table::told;

const MIB: u64 = 1 << 20;

#[test]
fn without_a_descriptor_to_spare_the_link_still_comes_back() -> Result<()> {
    let (mut sshd, echo) = (Sshd::start()?, Server::echo()?);
    let (mut world, local) = (World::new()?, net::free_port()?);
    world.write("alice", &as_shipped(&sshd).set("hold", "\"60s\"").forward(local, echo.port()))?;
    // The hard limit too, since the daemon raises the soft one to it.
    let daemon = after("ulimit -n 200", &world.daemon_command());
    world.start_by(daemon)?;
    wait_for(&world, "it is up", |tunnel| tunnel["state"] == "up")?;
    sshd.stop()?;
    wait_for(&world, "the loss is seen", |tunnel| tunnel["state"] != "up")?;
    // All of them wait, and fill the table of descriptors: those that find no place wait in the kernel.
    let mut waiting = (0..250).map(|_| net::connect(local, PATIENT)).collect::<Result<Vec<_>>>()?;
    wait::until("a problem is shown", PATIENT, || {
        world.status().is_ok_and(|status| status.to_string().contains("descriptor"))
    })?;
    sshd.start_again()?;
    let back = Instant::now();
    wait_for(&world, "it is up", |tunnel| tunnel["state"] == "up")?;
    // Each that is served and leaves makes room for one that waits.
    for stream in &mut waiting {
        net::echo(stream, b"still here")?;
        stream.shutdown(std::net::Shutdown::Both)?;
    }
    let soon = back.elapsed();
    wait::until("the problem is gone", PATIENT, || {
        world.status().is_ok_and(|status| !status.to_string().contains("descriptor"))
    })?;
    told("no descriptor left while the server is away: 250 held", "new link", soon, None)
}

/// Asks a source for `count` bytes, which are read later.
fn ordered(port: u16, count: u64) -> Result<TcpStream> {
    let mut stream = net::connect(port, PATIENT)?;
    stream.write_all(&count.to_be_bytes())?;
    Ok(stream)
}

/// Reads `count` bytes at `rate` bytes a second and checks each, and that nothing follows.
fn read_slowly(mut stream: TcpStream, count: u64, rate: u64) -> Result<()> {
    let (began, mut pattern) = (Instant::now(), Pattern::new(SEED));
    let mut left = count;
    while left > 0 {
        let piece = left.min(rate / 20 + 1);
        pattern.expect(&mut stream, piece)?;
        left -= piece;
        // Sizes are far below 2^53 and so exact.
        wait::pace(began + Duration::from_secs_f64((count - left) as f64 / rate as f64));
    }
    ensure!(net::read(&mut stream, &mut [0])? == 0, "more came than was sent");
    Ok(())
}

#[test]
fn a_disk_that_is_full_under_the_spool_loses_no_byte_and_stops_nobody_else() -> Result<()> {
    let (sshd, source, echo) = (Sshd::start()?, Server::source()?, Server::echo()?);
    let (mut world, slow, quick) = (World::new()?, net::free_port()?, net::free_port()?);
    let file = as_shipped(&sshd).set("buffer", "\"1MiB\"");
    world.write("alice", &file.forward(slow, source.port()).forward(quick, echo.port()))?;
    let state = world.path("state");
    let mount = format!("mount -t tmpfs -o size=4m tmpfs {}", state.display());
    let daemon = with_mounts(&mount, &world.daemon_command());
    world.start_by(daemon)?;
    wait_for(&world, "it is up", |tunnel| tunnel["state"] == "up")?;

    // Much more than memory, disk, and the buffers of two sockets and a channel hold.
    let count = 96 * MIB;
    let lazy = ordered(slow, count)?;
    wait_for(&world, "the slow reader is named", |tunnel| tunnel.to_string().contains("slow_reader"))?;
    let began = Instant::now();
    let callers = Callers::start(quick)?;
    let soon = callers.answered_after(began, PATIENT)?;
    read_slowly(lazy, count, 32 * MIB)?;
    let called = callers.settle(PATIENT)?;
    ensure!(called.cut_off == 0, "others suffer: {called:?}");
    wait_for(&world, "nobody is slow", |tunnel| !tunnel.to_string().contains("slow_reader"))?;
    told("disk full under the spool", "new link beside the old", soon, Some(called))
}

/// 1 GB at 20 MB/s; 2 GB at 1 MB/s with `NBTUNNEL_LONG=1`.
#[test]
fn a_slow_reader_gets_a_gigabyte_whole_and_in_order_while_others_are_served() -> Result<()> {
    let (sshd, source, echo) = (Sshd::start()?, Server::source()?, Server::echo()?);
    let (mut world, slow, quick) = (World::new()?, net::free_port()?, net::free_port()?);
    world.write("alice", &as_shipped(&sshd).forward(slow, source.port()).forward(quick, echo.port()))?;
    world.start()?;
    wait_for(&world, "it is up", |tunnel| tunnel["state"] == "up")?;
    let long = std::env::var_os("NBTUNNEL_LONG").is_some();
    let (count, rate) = if long { (2_000_000_000, 1_000_000) } else { (1_000_000_000, 20_000_000) };
    let lazy = ordered(slow, count)?;
    let mut line = Line::open(quick)?;
    let reader = std::thread::spawn(move || read_slowly(lazy, count, rate));
    let mut all = Vec::new();
    while !reader.is_finished() {
        let asked = Instant::now();
        line.say(100)?;
        line.hear()?;
        all.push(asked.elapsed());
        wait::pace(asked + Duration::from_millis(20));
    }
    reader.join().map_err(|_| anyhow!("the reader panicked"))??;
    all.sort();
    let median = all.get(all.len() / 2).copied().unwrap_or_default();
    ensure!(median < Duration::from_secs(1), "others waited for {median:?}");
    line.close()?;
    ensure!(sshd.count_log("Accepted publickey") == 1, "the link was given up over it");
    told("slow reader of 1 GB: round trip of others", "keeps the link", median, None)
}
