//! What users never notice: a restart, a crash, a hang. And what they asked for: a stop, a file that is gone.

use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::child::{Signal, signal_pid};
use nbtunnel_tests::{Knocker, net, wait};

use super::manager::Manager;

/// How `systemctl --user stop` is allowed to take at most.
const STOP: Duration = Duration::from_secs(2);

/// How many sockets a forward of `localhost` has.
fn doors() -> usize {
    1 + usize::from(net::has_ipv6())
}

fn knock_by_path(path: &Path) -> Result<()> {
    let mut stream = UnixStream::connect(path).context("the socket is refused")?;
    stream.set_read_timeout(Some(wait::SOON))?;
    stream.write_all(b"by path")?;
    let mut back = [0; 7];
    stream.read_exact(&mut back).context("no echo by path")?;
    ensure!(&back == b"by path");
    Ok(())
}

fn is_refused(port: u16) -> bool {
    net::connect(port, wait::SOON).is_err()
}

impl Manager {
    /// Waits until another daemon than `old` serves.
    fn is_replaced(&self, old: u32) -> Result<()> {
        let another = || self.daemon().is_ok_and(|pid| pid != old);
        wait::until("there is another daemon", wait::SOON, another)?;
        self.carries()
    }

    /// Kills the daemon, and returns while none is there.
    fn crash(&self) -> Result<u32> {
        let old = self.daemon()?;
        signal_pid(old, Signal::Kill)?;
        wait::until("it is dead", wait::SOON, || self.daemon().is_err())?;
        Ok(old)
    }

    /// Has the daemon hang, and ends it as the manager's watchdog would, half a minute later.
    fn hang(&self) -> Result<()> {
        let word = "asks for a hang";
        let before = self.world.log().matches(word).count();
        std::thread::scope(|scope| {
            // It returns when the daemon is gone.
            let asking = scope.spawn(|| self.nbctl(&["debug-hang"]));
            wait::until("it hangs", wait::SOON, || self.world.log().matches(word).count() > before)?;
            self.systemctl(&["kill", "--signal=ABRT", "nbtunneld.service"])?;
            let told = asking.join().map_err(|_| anyhow::anyhow!("it panicked"))??;
            ensure!(told.code == 0, "it does not hang: {told:?}");
            Ok(())
        })
    }

    fn stores(&self, sockets: usize) -> Result<()> {
        self.wait_for("NFileDescriptorStore", &sockets.to_string())
    }
}

#[test]
fn a_port_is_never_refused_over_a_restart_a_crash_and_a_hang() -> Result<()> {
    let manager = Manager::installed()?;
    let path = manager.world.path("home/forward.sock");
    let by_path = format!("{}:127.0.0.1:{}", path.display(), manager.echo());
    let alice = manager.tunnel().forward(manager.local, manager.echo()).forward_text(&by_path);
    manager.world.write("alice", &alice)?;
    wait::until("it listens by path, too", wait::SOON, || knock_by_path(&path).is_ok())?;
    manager.stores(doors() + 1)?;
    let inode = std::fs::symlink_metadata(&path)?.ino();

    let knocker = Knocker::start(manager.local);
    let first = manager.daemon()?;
    manager.systemctl(&["restart", "nbtunneld.service"])?;
    manager.is_replaced(first)?;
    knock_by_path(&path)?;

    let second = manager.crash()?;
    // These come while nobody is there, and are carried by who comes next.
    let mut waiting = net::connect(manager.local, wait::SOON)?;
    knock_by_path(&path)?;
    net::echo(&mut waiting, b"after all")?;
    manager.is_replaced(second)?;

    let third = manager.daemon()?;
    manager.hang()?;
    manager.is_replaced(third)?;
    knock_by_path(&path)?;
    ensure!(manager.property("NRestarts")? == "2", "a crash and a hang");

    let seen = knocker.finish()?;
    ensure!(seen.opened > 200, "{seen:?}");
    ensure!(std::fs::symlink_metadata(&path)?.ino() == inode, "the socket is another one");
    manager.stores(doors() + 1)
}

#[test]
fn a_port_that_nobody_wants_is_refused_whatever_comes_after() -> Result<()> {
    let manager = Manager::installed()?;
    let (bob, carol) = (net::free_port()?, net::free_port()?);
    let path = manager.world.path("home/carol.sock");
    let by_path = format!("{}:127.0.0.1:{}", path.display(), manager.echo());
    manager.world.write("bob", &manager.tunnel().forward(bob, manager.echo()))?;
    manager.world.write("carol", &manager.tunnel().forward(carol, manager.echo()).forward_text(&by_path))?;
    for port in [bob, carol] {
        wait::until("it carries", wait::SOON, || net::echoes(port, wait::SOON))?;
    }
    wait::until("carol listens by path", wait::SOON, || knock_by_path(&path).is_ok())?;
    manager.stores(3 * doors() + 1)?;

    // While the daemon is there: removed, or at another address.
    manager.world.remove("bob")?;
    wait::until("the port of bob is refused", wait::SOON, || is_refused(bob))?;
    manager.stores(2 * doors() + 1)?;
    let elsewhere = net::free_port()?;
    manager.world.write("alice", &manager.tunnel().forward(elsewhere, manager.echo()))?;
    wait::until("alice has another port", wait::SOON, || net::echoes(elsewhere, wait::SOON))?;
    ensure!(is_refused(manager.local), "and the old one, too");
    manager.stores(2 * doors() + 1)?;

    // While it is away.
    let old = manager.crash()?;
    manager.world.remove("carol")?;
    wait::until("there is another daemon", wait::SOON, || manager.daemon().is_ok_and(|pid| pid != old))?;
    wait::until("the port of carol is refused", wait::SOON, || is_refused(carol))?;
    ensure!(std::fs::symlink_metadata(&path).is_err(), "the socket of carol is still there");
    wait::until("alice carries", wait::SOON, || net::echoes(elsewhere, wait::SOON))?;
    manager.stores(doors())?;

    manager.systemctl(&["restart", "nbtunneld.service"])?;
    wait::until("alice carries", wait::SOON, || net::echoes(elsewhere, wait::SOON))?;
    for port in [bob, carol, manager.local] {
        ensure!(is_refused(port), "port {port} is back");
    }
    // The last one may also wait for its turn at another address than before.
    let anywhere = format!("*:{elsewhere}:127.0.0.1:{}", manager.echo());
    manager.world.write("alice", &manager.tunnel().forward_text(&anywhere))?;
    wait::until("alice listens anywhere", wait::SOON, || {
        std::net::TcpStream::connect(("127.0.0.2", elsewhere)).is_ok()
    })?;

    manager.systemctl(&["stop", "nbtunneld.service"])?;
    // The manager closes its copies in its own time.
    manager.stores(0)?;
    wait::until("nothing is served, and the port is refused", wait::SOON, || is_refused(elsewhere))
}

/// Two seconds are the daemon's; a machine that is busy with something else may be slow at one of these, not at each.
#[test]
fn many_tunnels_stop_in_time() -> Result<()> {
    let manager = Manager::installed()?;
    let ports = (0..20).map(|_| net::free_port()).collect::<Result<Vec<_>>>()?;
    for (number, port) in ports.iter().enumerate() {
        let file = manager.tunnel().forward(*port, manager.echo());
        manager.world.write(&format!("lab-{number}"), &file)?;
    }
    let mut quickest = Duration::MAX;
    for _ in 0..3 {
        manager.systemctl(&["start", "nbtunneld.service"])?;
        for port in &ports {
            wait::until("it carries", wait::SOON, || net::echoes(*port, wait::SOON))?;
        }
        let began = Instant::now();
        manager.systemctl(&["stop", "nbtunneld.service"])?;
        quickest = quickest.min(began.elapsed());
        ensure!(manager.property("Result")? == "success", "the stop was not clean");
        manager.stores(0)?;
        let all = || ports.iter().all(|port| is_refused(*port));
        wait::until("every port is refused", wait::SOON, all)?;
    }
    ensure!(quickest < STOP, "each stop with {} tunnels took {quickest:?} or more", ports.len() + 1);
    Ok(())
}

#[test]
fn no_nbctl_is_turned_away_over_a_restart_a_crash_and_a_hang() -> Result<()> {
    let manager = Manager::installed()?;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        let asking = (0..2).map(|_| {
            scope.spawn(|| -> Result<usize> {
                let mut answers = 0;
                while !over.load(Ordering::SeqCst) {
                    let told = manager.nbctl(&["status"])?;
                    ensure!(told.code == 0, "after {answers} answers: {told:?}");
                    answers += 1;
                }
                Ok(answers)
            })
        });
        let asking: Vec<_> = asking.collect();
        let replaced = || -> Result<()> {
            let first = manager.daemon()?;
            manager.systemctl(&["restart", "nbtunneld.service"])?;
            manager.is_replaced(first)?;
            let second = manager.crash()?;
            manager.is_replaced(second)?;
            let third = manager.daemon()?;
            manager.hang()?;
            manager.is_replaced(third)
        }();
        over.store(true, Ordering::SeqCst);
        for asked in asking {
            let answers = asked.join().map_err(|_| anyhow::anyhow!("it panicked"))??;
            ensure!(answers > 10, "only {answers} answers");
        }
        replaced
    })
}

#[test]
fn a_crash_loop_ends_in_its_limits_and_nbctl_says_what_to_do() -> Result<()> {
    let manager = Manager::installed()?;
    let mut crashes = 0;
    // Between two attempts it may look the same, but for the job to start it again.
    let given_up = || {
        let told = manager.systemctl(&["show", "--property", "ActiveState,Job", "nbtunneld.service"]);
        told.is_ok_and(|told| told.stdout.contains("=failed\n") && told.stdout.contains("Job=\n"))
    };
    loop {
        let daemon = wait::until_some("it is started again, or given up", wait::SOON, || {
            manager.daemon().ok().map(Some).or_else(|| given_up().then_some(None))
        })?;
        let Some(pid) = daemon else { break };
        // One that ended by itself meanwhile was not ours to end.
        crashes += usize::from(signal_pid(pid, Signal::Kill).is_ok());
        wait::until("it is dead", wait::SOON, || !manager.daemon().is_ok_and(|now| now == pid))?;
        ensure!(crashes < 20, "it is started for ever");
    }
    // As the unit has it: 10 starts a minute.
    ensure!((5..=10).contains(&crashes), "given up after {crashes} crashes");
    wait::throughout("it is left alone", Duration::from_secs(3), given_up)?;
    wait::until("the port is refused", wait::SOON, || is_refused(manager.local))?;
    let told = manager.nbctl(&["status"])?;
    ensure!(told.code == 5 && told.stderr.contains("hint: start it with `systemctl --user"), "{told:?}");

    manager.systemctl(&["reset-failed", "nbtunneld.service", "nbtunneld.socket"])?;
    manager.systemctl(&["start", "nbtunneld.service"])?;
    manager.carries()
}
