//! Local programs that do not read: first memory takes what is for them, then disk, and then only their own
//! session stands still. Every byte arrives, in order, when they read again.

#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nbtunnel_tests::child::Signal;
use nbtunnel_tests::net::{self, Pattern};
use nbtunnel_tests::server::SEED;
use nbtunnel_tests::{Server, Sshd, World, wait};

const MIB: u64 = 1 << 20;
/// For what takes a moment on a machine that has nothing else to do.
const PATIENT: Duration = Duration::from_secs(90);
/// Much more than memory, [`SPOOL`], and the buffers of sockets and a channel hold.
const LOAD: u64 = 64 * MIB;
const SPOOL: u64 = 8 * MIB;

/// Tunnels `alice` and `bob`, each with one forward to a source and one to an echo.
struct Bench {
    world: World,
    sshd: Sshd,
    source: Server,
    echo: Server,
    /// The local ports to the source and to the echo.
    alice: (u16, u16),
    bob: (u16, u16),
}

impl Bench {
    fn new() -> Result<Bench> {
        let (sshd, source, echo) = (Sshd::start()?, Server::source()?, Server::echo()?);
        let mut world = World::new()?;
        std::fs::write(world.config_dir().join("nbtunnel.toml"), "[daemon]\nspool = \"8MiB\"\n")?;
        let (alice, bob) = ((net::free_port()?, net::free_port()?), (net::free_port()?, net::free_port()?));
        for (name, (load, talk)) in [("alice", alice), ("bob", bob)] {
            let file = sshd.tunnel().set("buffer", "\"64KiB\"").set("hold", "\"30s\"");
            world.write(name, &file.forward(load, source.port()).forward(talk, echo.port()))?;
        }
        world.start()?;
        for name in ["alice", "bob"] {
            world.wait_for(name, "up")?;
        }
        Ok(Bench { world, sshd, source, echo, alice, bob })
    }

    fn wait(&self, name: &str, what: &str, holds: impl Fn(&Bench) -> bool) -> Result<()> {
        wait::until(&format!("{name}: {what}"), PATIENT, || holds(self))
    }

    fn names_slow(&self, name: &str) -> bool {
        let me = format!("(pid {})", std::process::id());
        self.world.tunnel(name).is_ok_and(|tunnel| {
            let told = tunnel.to_string();
            told.contains("slow_reader") && told.contains(&me)
        })
    }

    fn names_nobody(&self, name: &str) -> bool {
        self.world.tunnel(name).is_ok_and(|tunnel| !tunnel.to_string().contains("slow_reader"))
    }

    /// What the daemon's unlinked files take on disk, and how many these are.
    fn spooled(&mut self) -> Result<(u64, usize)> {
        let (pid, state) = (self.world.daemon()?.id(), self.world.path("state"));
        let mut found = (0, 0);
        for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))?.flatten() {
            let Ok(path) = std::fs::read_link(entry.path()) else { continue };
            if path.starts_with(&state) && path.to_string_lossy().ends_with("(deleted)") {
                found = (found.0 + std::fs::metadata(entry.path())?.len(), found.1 + 1);
            }
        }
        Ok(found)
    }

    fn until_spooled_nothing(&mut self) -> Result<()> {
        wait::until("the disk is given back", PATIENT, || matches!(self.spooled(), Ok((0, 0))))
    }
}

/// Asks a source for [`LOAD`], which nobody reads yet.
fn lazy(port: u16) -> Result<TcpStream> {
    let mut stream = net::connect(port, PATIENT)?;
    stream.write_all(&LOAD.to_be_bytes())?;
    Ok(stream)
}

/// Every byte, in order, and nothing more.
fn read_all(mut stream: TcpStream) -> Result<()> {
    Pattern::new(SEED).expect(&mut stream, LOAD)?;
    ensure!(stream.read(&mut [0])? == 0, "more came than was sent");
    Ok(())
}

/// A fresh connection is answered, within a time that no timer of a held connection would keep to.
fn answers_soon(port: u16) -> Result<()> {
    let asked = Instant::now();
    net::echo(&mut net::connect(port, PATIENT)?, b"are you there?")?;
    ensure!(asked.elapsed() < Duration::from_secs(10), "a new connection waited {:?}", asked.elapsed());
    Ok(())
}

#[test]
fn a_reader_that_stops_costs_nobody_else_anything_and_gets_every_byte_when_it_goes_on() -> Result<()> {
    let bench = Bench::new()?;
    let (load, talk) = bench.alice;
    let slow = lazy(load)?;
    bench.wait("alice", "the slow reader is named", |bench| bench.names_slow("alice"))?;
    answers_soon(talk)?;
    answers_soon(talk)?;
    ensure!(bench.world.tunnel("alice")?["state"] == "up", "the tunnel is away over it");
    ensure!(bench.names_nobody("bob"), "the other tunnel is blamed");
    answers_soon(bench.bob.1)?;
    ensure!(bench.sshd.sessions().len() >= 3, "there is no session beside the one that stands still");
    read_all(slow)?;
    bench.wait("alice", "nobody is slow", |bench| bench.names_nobody("alice"))?;
    // Two tunnels, two sessions: the one that only drained is over.
    let two = bench.sshd.count_log("Accepted publickey") == 3;
    ensure!(two, "more logins than one for each tunnel and a fresh one: {}", bench.sshd.log());
    wait::until("the old session ends", PATIENT, || {
        bench.sshd.count_log("Disconnected from") + bench.sshd.count_log("Received disconnect") >= 1
    })?;
    answers_soon(talk)
}

#[test]
fn slow_readers_of_all_tunnels_share_the_disk_and_one_that_is_killed_gives_its_part_back() -> Result<()> {
    let mut bench = Bench::new()?;
    let (alice, bob) = (bench.alice, bench.bob);
    let mut slow = vec![lazy(alice.0)?];
    bench.wait("alice", "the slow reader is named", |bench| bench.names_slow("alice"))?;
    answers_soon(alice.1)?;
    // On the fresh session of the same tunnel, and on another tunnel: for these no disk is left.
    slow.push(lazy(alice.0)?);
    slow.push(lazy(bob.0)?);
    bench.wait("bob", "the slow reader is named", |bench| bench.names_slow("bob"))?;
    for port in [alice.1, bob.1] {
        answers_soon(port)?;
    }
    let (bytes, files) = bench.spooled()?;
    ensure!(bytes <= SPOOL && files >= 1, "{bytes} bytes in {files} files");
    // The one that holds the disk dies without a word.
    let killed = slow.remove(0);
    socket2::SockRef::from(&killed).set_linger(Some(Duration::ZERO))?;
    drop(killed);
    for stream in slow {
        read_all(stream)?;
    }
    for name in ["alice", "bob"] {
        bench.wait(name, "nobody is slow", |bench| bench.names_nobody(name))?;
    }
    bench.until_spooled_nothing()
}

#[test]
fn a_reader_whose_server_dies_while_it_stands_still_gets_what_came_and_then_a_reset() -> Result<()> {
    let mut bench = Bench::new()?;
    let (load, talk) = bench.alice;
    let mut slow = lazy(load)?;
    bench.wait("alice", "the slow reader is named", |bench| bench.names_slow("alice"))?;
    answers_soon(talk)?;
    bench.sshd.kill_sessions();
    wait::until("it is back", PATIENT, || net::echoes(talk, Duration::from_secs(30)))?;
    // What came before the death is still its own; that there is no more is a reset.
    let mut all = Vec::new();
    let cut = slow.read_to_end(&mut all);
    ensure!(cut.is_err(), "a stream that was cut off looks whole: {} bytes", all.len());
    ensure!(!all.is_empty() && Pattern::new(SEED).accepts(&all), "what came is not what was sent");
    bench.wait("alice", "nobody is slow", |bench| bench.names_nobody("alice"))?;
    bench.until_spooled_nothing()
}

#[test]
fn a_tunnel_that_leads_elsewhere_and_a_daemon_that_ends_leave_nothing_on_disk() -> Result<()> {
    let mut bench = Bench::new()?;
    let (load, talk) = bench.alice;
    let other = Sshd::start()?;
    let mut slow = lazy(load)?;
    bench.wait("alice", "the slow reader is named", |bench| bench.names_slow("alice"))?;
    answers_soon(talk)?;
    // Another route closes what drained over the old one, unread as it is.
    let file = other.tunnel().set("buffer", "\"64KiB\"").set("hold", "\"30s\"");
    let (source, echo) = (bench.source.port(), bench.echo.port());
    bench.world.write("alice", &file.forward(load, source).forward(talk, echo))?;
    wait::until("it leads elsewhere", PATIENT, || other.count_log("Accepted publickey") == 1)?;
    bench.wait("alice", "nobody is slow", |bench| bench.names_nobody("alice"))?;
    bench.until_spooled_nothing()?;
    ensure!(slow.read_to_end(&mut Vec::new()).is_err(), "it looks whole");

    let slow = lazy(load)?;
    bench.wait("alice", "the slow reader is named", |bench| bench.names_slow("alice"))?;
    bench.world.end(Signal::Term)?;
    for entry in walk(&bench.world.path("state"))? {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        ensure!(std::fs::metadata(&entry)?.len() < 64 << 10, "{name} was left behind");
    }
    slow.shutdown(Shutdown::Both).or(Ok(()))
}

/// All files below `dir`.
fn walk(dir: &std::path::Path) -> Result<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files.extend(walk(&entry.path())?);
        } else {
            files.push(entry.path());
        }
    }
    Ok(files)
}
