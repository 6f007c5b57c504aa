//! The daemon dies, or there are two of them.

#![cfg(unix)]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::child::{Running, Signal, signal_pid};
use nbtunnel_tests::programs::{repository, system};
use nbtunnel_tests::told::tell;
use nbtunnel_tests::{Server, Sshd, World, net, wait};

/// How a daemon ends where another one runs (README.md).
const ALREADY_RUNNING: i32 = 10;

/// Tunnels in every state that has to outlive a crash: `alice` up, `bob` stopped by hand, `carol` manual and
/// started by hand, `dave` manual and left alone.
fn four(sshd: &Sshd, echo: &Server, world: &World) -> Result<u16> {
    let local = net::free_port()?;
    world.write("alice", &sshd.tunnel().forward(local, echo.port()))?;
    world.write("bob", &sshd.tunnel().forward(net::free_port()?, echo.port()))?;
    let manual = || -> Result<_> {
        Ok(sshd.tunnel().forward(net::free_port()?, echo.port()).set("start", "\"manual\""))
    };
    world.write("carol", &manual()?)?;
    world.write("dave", &manual()?)?;
    Ok(local)
}

fn order(world: &World) -> Result<()> {
    world.wait_for("bob", "up")?;
    for (verb, name) in [("stop", "bob"), ("start", "carol")] {
        let told = world.nbctl([verb, name, "--wait=20"])?;
        ensure!(told.code == 0, "{verb} {name}: {told:?}");
    }
    as_ordered(world)
}

fn as_ordered(world: &World) -> Result<()> {
    world.wait_for("alice", "up")?;
    world.wait_for("carol", "up")?;
    for (name, wanted) in [("bob", "down"), ("dave", "down"), ("carol", "up")] {
        let tunnel = world.tunnel(name)?;
        ensure!(tunnel["wanted"] == wanted, "{name}: {tunnel:#}");
    }
    world.wait_for("bob", "stopped")?;
    Ok(())
}

#[test]
fn after_a_kill_everything_is_as_it_was_ordered() -> Result<()> {
    let (sshd, echo, mut world) = (Sshd::start()?, Server::echo()?, World::new()?);
    let local = four(&sshd, &echo, &world)?;
    world.start()?;
    order(&world)?;
    for _ in 0..2 {
        world.end(Signal::Kill)?;
        ensure!(world.socket().exists(), "the stale socket that should not be in the way is not there");
        ensure!(world.nbctl(["status"])?.code == 5, "no daemon is exit code 5");
        world.start()?;
        as_ordered(&world)?;
        wait::until("it carries", wait::SOON, || net::echoes(local, wait::SOON))?;
    }
    Ok(())
}

/// Two seconds are the daemon's; a machine that is busy with something else may be slow at one of these, not at each.
#[test]
fn a_clean_stop_takes_less_than_two_seconds_and_closes_everything() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let (mut world, local) = (World::new()?, net::free_port()?);
    world.write("alice", &sshd.tunnel().forward(local, echo.port()))?;
    world.write("far", &sshd.tunnel().set("port", net::free_port()?).set("start", "\"manual\""))?;
    world.log_filter("debug");
    let mut quickest = Duration::MAX;
    for stops in 1..=3 {
        world.start()?;
        world.wait_for("alice", "up")?;
        quickest = quickest.min(stop(&mut world, stops)?);
        ensure!(net::connect(local, wait::SOON).is_err(), "the port is still open");
        ensure!(!world.socket().exists(), "the control socket is still there");
        wait::until("the session is gone", wait::SOON, || sshd.sessions().is_empty())?;
    }
    ensure!(quickest < Duration::from_secs(2), "each stop took {quickest:?} or more");
    Ok(())
}

/// Stops the daemon, as the one of so many `stops`, while two are being answered; says how long it took.
fn stop(world: &mut World, stops: usize) -> Result<Duration> {
    let mut clients = Vec::new();
    for args in [&["logs", "alice", "-f"][..], &["start", "far", "--wait=60"]] {
        let mut command = world.nbctl_command(args);
        clients.push((args, std::thread::spawn(move || tell(&mut command, &[], wait::SOON * 2))));
    }
    // One is answered line by line, the other waits for a server that is not there.
    wait::until("both have asked", wait::SOON, || {
        let log = world.log();
        ["logs", "an order"].iter().all(|word| log.matches(&format!("asks for {word}")).count() == stops)
    })?;
    world.wait_for("far", "waiting")?;
    let began = Instant::now();
    let status = world.end(Signal::Term)?;
    let took = began.elapsed();
    ensure!(status.success(), "a clean stop ends with {status}");
    for (args, client) in clients {
        let told = client.join().map_err(|_| anyhow::anyhow!("it panicked"))??;
        ensure!(told.code == 5 && told.stderr.contains("nbtunneld is stopping"), "{args:?}: {told:?}");
    }
    Ok(took)
}

#[test]
fn a_second_daemon_says_who_runs_already() -> Result<()> {
    let mut world = World::new()?;
    world.start()?;
    let pid = world.daemon()?.id().to_string();

    a_second_one_is_told(&world, &pid)?;

    let mut elsewhere = world.command(&world.programs().nbtunneld);
    elsewhere.arg("--config-dir").arg(world.config_dir());
    elsewhere.arg("--socket").arg(world.path("run/nbtunnel/other.sock"));
    let told = tell(&mut elsewhere, &[], wait::SOON)?;
    ensure!(told.code == ALREADY_RUNNING, "two daemons on one directory: {told:?}");
    ensure!(told.stderr.contains(&pid), "it does not say that process {pid} runs: {told:?}");
    ensure!(world.nbctl(["status"])?.code == 0, "the first one is harmed");
    Ok(())
}

/// A second daemon on the same socket says that `pid` runs already, and ends.
fn a_second_one_is_told(world: &World, pid: &str) -> Result<()> {
    let told = tell(&mut world.daemon_command(), &[], wait::SOON)?;
    ensure!(told.code == ALREADY_RUNNING, "two daemons on one socket: {told:?}");
    ensure!(told.stderr.contains(pid), "it does not say that process {pid} runs: {told:?}");
    ensure!(world.nbctl(["status"])?.code == 0, "the first one is harmed");
    Ok(())
}

/// A process that owns the control socket and starts the daemon with it.
struct HandOver {
    _keeper: Running,
    pids: BufReader<std::process::ChildStdout>,
}

impl HandOver {
    fn start(world: &World) -> Result<HandOver> {
        let daemon = world.daemon_command();
        let mut command = Command::new(system("python3")?);
        command.arg(repository().join("tests/fixtures/hand_over.py")).arg(world.socket());
        command.arg(daemon.get_program()).args(daemon.get_args()).env_clear();
        command.envs(daemon.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let log = std::fs::File::options().create(true).append(true).open(world.path("daemon.log"))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut keeper = Running::spawn(&mut command)?;
        let pids = keeper.pipes().stdout.take().context("it has a standard output")?;
        Ok(HandOver { _keeper: keeper, pids: BufReader::new(pids) })
    }

    /// The process id of the daemon that was started last.
    fn pid(&mut self) -> Result<u32> {
        let mut line = String::new();
        self.pids.read_line(&mut line)?;
        line.trim().parse().with_context(|| format!("no process id: {line:?}"))
    }
}

#[test]
fn under_a_socket_that_was_handed_over_it_is_the_same() -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let (sshd, echo, world) = (Sshd::start()?, Server::echo()?, World::new()?);
    let local = four(&sshd, &echo, &world)?;
    let mut keeper = HandOver::start(&world)?;
    let pid = keeper.pid()?;
    wait::until("the daemon answers", wait::SOON, || world.status().is_ok())?;
    ensure!(world.status()?["daemon"]["pid"] == pid, "another daemon answers");
    let inode = std::fs::metadata(world.socket())?.ino();
    order(&world)?;
    a_second_one_is_told(&world, &pid.to_string())?;

    signal_pid(pid, Signal::Kill)?;
    let next = keeper.pid()?;
    ensure!(next != pid);
    // The socket is open all the time: this waits for the next daemon and is not refused.
    ensure!(world.status()?["daemon"]["pid"] == next, "another daemon answers");
    as_ordered(&world)?;
    wait::until("it carries", wait::SOON, || net::echoes(local, wait::SOON))?;
    signal_pid(next, Signal::Term)?;
    wait::until("the daemon is gone", wait::SOON, || signal_pid(next, Signal::Cont).is_err())?;
    ensure!(std::fs::metadata(world.socket())?.ino() == inode, "a socket that was handed over was replaced");
    Ok(())
}
