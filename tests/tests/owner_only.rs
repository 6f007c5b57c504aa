//! A forward on loopback is its user's alone: whoever else is on the machine gets not a byte through it.

#![cfg(target_os = "linux")]

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, anyhow, ensure};
use nbtunnel_tests::as_user::as_user;
use nbtunnel_tests::child::Signal;
use nbtunnel_tests::socks::{self, Ask};
use nbtunnel_tests::{Server, Sshd, World, net, programs, wait};
use serde_json::Value;

/// Users that need no name.
const ROOT: u32 = 0;
const NOBODY: u32 = 65_534;
const STRANGER: u32 = 54_321;

const LOOPBACKS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// So many connect, send and are gone before anybody could look at them.
const HASTY: u64 = 200;

/// An echo that remembers all that it heard.
struct Ear {
    server: Server,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Ear {
    fn start() -> Result<Ear> {
        let heard = Arc::<Mutex<Vec<u8>>>::default();
        let hears = Arc::clone(&heard);
        let server = Server::start(move |mut stream| {
            let mut some = [0; 4096];
            loop {
                let count = stream.read(&mut some)?;
                if let Ok(mut heard) = hears.lock() {
                    heard.extend_from_slice(&some[..count]);
                }
                if count == 0 {
                    return Ok(());
                }
                stream.write_all(&some[..count])?;
            }
        })?;
        Ok(Ear { server, heard })
    }

    fn port(&self) -> u16 {
        self.server.port()
    }

    /// That `served` of us were here, and nobody else.
    fn heard_only_us(&self, served: usize) -> Result<()> {
        let heard = self.heard.lock().map_err(|_| anyhow!("the server panicked"))?;
        let theirs = heard.iter().filter(|byte| **byte == THEIRS[0]).count();
        ensure!(theirs == 0, "{theirs} bytes of a stranger came through");
        ensure!(self.server.served() == served, "{} were served, not {served}", self.server.served());
        Ok(())
    }
}

const OURS: &[u8] = b"ooooo";
const THEIRS: &[u8] = b"xxxxx";

fn connect(host: IpAddr, port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).with_context(|| format!("cannot connect to {host}"))?;
    stream.set_read_timeout(Some(wait::SOON))?;
    Ok(stream)
}

/// A connection that is accepted; none if it was reset before connect(2) came to return, which waits without the lock.
fn accepted(host: IpAddr, port: u16) -> Result<Option<TcpStream>> {
    match connect(host, port) {
        Err(why) if is_kind(&why, ErrorKind::ConnectionReset) => Ok(None),
        connected => connected.map(Some),
    }
}

fn is_kind(why: &anyhow::Error, kind: ErrorKind) -> bool {
    why.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == kind)
}

fn echoed(host: IpAddr, port: u16) -> Result<()> {
    net::echo(&mut connect(host, port)?, OURS)
}

/// That it sees a reset and nothing before it, whether it sends or reads first.
fn is_reset(mut stream: TcpStream, sends: &[u8], ends: bool) -> Result<()> {
    let sent = match stream.write_all(sends) {
        Ok(()) if ends => stream.shutdown(Shutdown::Write),
        sent => sent,
    };
    match sent.and_then(|()| stream.read(&mut [0])) {
        Ok(count) => Err(anyhow!("a stranger got {count} bytes and an end, not a reset")),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(anyhow!("a stranger is kept waiting")),
        Err(_) => Ok(()),
    }
}

/// Everything that a stranger can try at `port`; says how often it connected.
fn try_everything(port: u16) -> Result<u64> {
    for host in LOOPBACKS {
        for (sends, ends) in [(&b""[..], false), (THEIRS, false), (THEIRS, true)] {
            if let Some(stream) = accepted(host, port)? {
                is_reset(stream, sends, ends)?;
            }
        }
        for _ in 0..HASTY {
            // What is sent before the close waits in the daemon's socket, whose other end nobody has any more.
            if let Some(mut stream) = accepted(host, port)? {
                let _ = stream.write_all(THEIRS);
            }
        }
    }
    Ok(2 * (HASTY + 3))
}

/// A world with the tunnel `alice`, which leads to `ear` and has `lines` in its file, and its local port. Not started.
fn alice(sshd: &Sshd, ear: &Ear, lines: &[(&str, &str)]) -> Result<(World, u16)> {
    let (world, local) = (World::new()?, net::free_port()?);
    rewrite(&world, sshd, ear, local, lines)?;
    Ok((world, local))
}

fn rewrite(world: &World, sshd: &Sshd, ear: &Ear, local: u16, lines: &[(&str, &str)]) -> Result<()> {
    let file = sshd.tunnel().forward(local, ear.port());
    world.write("alice", &lines.iter().fold(file, |file, (key, value)| file.set(key, value)))
}

fn refused(world: &World, count: u64) -> Result<Value> {
    refused_at(world, 0, count)
}

fn refused_at(world: &World, forward: usize, count: u64) -> Result<Value> {
    let tunnel = world.wait_until("alice", &format!("{count} are refused"), |tunnel| {
        tunnel["forwards"][forward]["refused"] == count
    })?;
    Ok(tunnel["forwards"][forward].clone())
}

#[test]
fn another_user_gets_no_byte_through_and_ours_goes_on_meanwhile() -> Result<()> {
    let (sshd, ear) = (Sshd::start()?, Ear::start()?);
    let proxy = net::free_port()?;
    let (mut world, local) = alice(&sshd, &ear, &[("dynamic", &format!("[\"{proxy}\"]"))])?;
    world.start()?;
    world.wait_for("alice", "up")?;
    let mut open = connect(LOOPBACKS[0], local)?;
    net::echo(&mut open, OURS)?;
    let tried = as_user(STRANGER, || try_everything(local))?;
    let tried = tried + as_user(NOBODY, || try_everything(local))?;
    let forward = refused(&world, tried)?;
    ensure!(forward["total"] == 1 && forward["held"] == 0, "they count as ours: {forward}");
    net::echo(&mut open, OURS)?;
    // The same where each names where to go: he does not get as far as that.
    let by_proxy = || socks::connect(proxy, Ask::Four([127, 0, 0, 1]), ear.port(), OURS);
    let tried_there = as_user(STRANGER, || try_everything(proxy))?;
    ensure!(as_user(STRANGER, || Ok(by_proxy().is_err()))?, "a stranger goes by the proxy");
    let dynamic = refused_at(&world, 1, tried_there + 1)?;
    ensure!(dynamic["kind"] == "dynamic" && dynamic["total"] == 0, "they count as ours: {dynamic}");
    let mut open_by_proxy = by_proxy()?;
    let mut answer = [0; OURS.len()];
    open_by_proxy.read_exact(&mut answer)?;
    ensure!(answer == OURS);
    LOOPBACKS.into_iter().try_for_each(|host| echoed(host, local))?;
    ear.heard_only_us(4)?;
    wait::until("the refusals are told", wait::SOON, || {
        let logs = world.nbctl(["logs", "alice"]).map(|told| told.stdout).unwrap_or_default();
        [STRANGER, NOBODY].iter().all(|uid| logs.contains(&uid.to_string()))
            && logs.contains("owner_only = false")
    })?;
    ensure!(
        world.nbctl(["status"])?.stdout.contains(&format!("{tried} refused")),
        "the table does not say so"
    );
    Ok(())
}

#[test]
fn not_even_root_gets_a_byte_through_the_forward_of_somebody_else() -> Result<()> {
    let (sshd, ear) = (Sshd::start()?, Ear::start()?);
    let (mut world, local) = alice(&sshd, &ear, &[])?;
    // The key and the known hosts of the server are in a directory of root's.
    let ours = |name: &str, path: &Path| -> Result<String> {
        let copy = world.path(name);
        std::fs::copy(path, &copy)?;
        Ok(format!("[{:?}]", copy))
    };
    let key = ours("key", &sshd.user_key())?;
    let known = ours("known", &sshd.known_hosts())?;
    rewrite(&world, &sshd, &ear, local, &[("identity_file", &key), ("known_hosts", &known)])?;
    world.give_to(NOBODY)?;
    world.start()?;
    world.wait_for("alice", "up")?;
    let tried = as_user(ROOT, || try_everything(local))? + as_user(STRANGER, || try_everything(local))?;
    refused(&world, tried)?;
    as_user(NOBODY, || LOOPBACKS.into_iter().try_for_each(|host| echoed(host, local)))?;
    ear.heard_only_us(2)
}

/// Whose a socket was is forgotten some time after it was closed, and then it looks like one of root's.
#[test]
fn bytes_that_outlived_their_socket_are_nobodys() -> Result<()> {
    let (sshd, ear) = (Sshd::start()?, Ear::start()?);
    let (mut world, local) = alice(&sshd, &ear, &[])?;
    world.start()?;
    world.wait_for("alice", "up")?;
    world.daemon()?.signal(Signal::Stop);
    as_user(STRANGER, || {
        LOOPBACKS.into_iter().try_for_each(|host| Ok(connect(host, local)?.write_all(THEIRS)?))
    })?;
    let table = || -> Result<[String; 2]> {
        Ok([std::fs::read_to_string("/proc/net/tcp")?, std::fs::read_to_string("/proc/net/tcp6")?])
    };
    let port = format!(":{local:04X} 05");
    let forgotten = |table: [String; 2]| table.iter().all(|table| table.contains(&port));
    let waited = wait::until("their sockets are forgotten", wait::SOON, || table().is_ok_and(forgotten));
    world.daemon()?.signal(Signal::Cont);
    waited?;
    refused(&world, 2)?;
    LOOPBACKS.into_iter().try_for_each(|host| echoed(host, local))?;
    ear.heard_only_us(2)
}

/// The same by programs of their own, as it would be on a shared machine.
#[test]
fn a_program_of_another_user_is_refused_and_named() -> Result<()> {
    let (sshd, ear) = (Sshd::start()?, Ear::start()?);
    let (mut world, local) = alice(&sshd, &ear, &[])?;
    world.start()?;
    world.wait_for("alice", "up")?;
    let knocks = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{local}; echo xxxxx >&3; read -r -u 3 line; echo \"$line\"; sleep 2"
    );
    let mut stranger = Command::new(programs::system("setpriv")?);
    stranger.args(["--reuid", "54321", "--regid", "54321", "--clear-groups", "bash", "-c", &knocks]);
    let output = stranger.output()?;
    ensure!(output.stdout.trim_ascii().is_empty(), "it was answered: {output:?}");
    refused(&world, 1)?;
    ear.heard_only_us(0)?;
    wait::until("the program is named", wait::SOON, || {
        let logs = world.nbctl(["logs", "alice"]).map(|told| told.stdout).unwrap_or_default();
        logs.contains("a connection by another user (uid 54321)")
    })
}

#[test]
fn a_thousand_quick_connections_of_our_own_are_served() -> Result<()> {
    let (sshd, ear) = (Sshd::start()?, Ear::start()?);
    let (mut world, local) = alice(&sshd, &ear, &[])?;
    world.start()?;
    world.wait_for("alice", "up")?;
    std::thread::scope(|scope| {
        let quick = |host| move || (0..250).try_for_each(|_| echoed(host, local));
        let all = [LOOPBACKS, LOOPBACKS].concat().into_iter().map(|host| scope.spawn(quick(host)));
        let all: Vec<_> = all.collect();
        all.into_iter().try_for_each(|one| one.join().map_err(|_| anyhow!("it panicked"))?)
    })?;
    ensure!(refused(&world, 0)?["total"] == 1000, "not all were let in");
    ear.heard_only_us(1000)
}

#[test]
fn a_stranger_is_not_held_and_wakes_nothing() -> Result<()> {
    let (mut sshd, ear) = (Sshd::start()?, Ear::start()?);
    let (mut world, local) = alice(&sshd, &ear, &[("start", "\"demand\""), ("hold", "\"180s\"")])?;
    world.start()?;
    world.wait_for("alice", "idle")?;
    let tried = as_user(STRANGER, || try_everything(local))?;
    refused(&world, tried)?;
    ensure!(world.tunnel("alice")?["state"] == "idle", "a stranger brought it up");
    sshd.stop()?;
    let ours = std::thread::spawn(move || {
        let mut stream = connect(LOOPBACKS[1], local)?;
        // Whatever pause the dials have come to while the server was away.
        stream.set_read_timeout(Some(wait::SOON * 6))?;
        net::echo(&mut stream, OURS)
    });
    world.wait_until("alice", "ours is held", |tunnel| tunnel["forwards"][0]["held"] == 1)?;
    let tried = tried + as_user(STRANGER, || try_everything(local))?;
    ensure!(refused(&world, tried)?["held"] == 1, "a stranger is held");
    sshd.start_again()?;
    ours.join().map_err(|_| anyhow!("it panicked"))??;
    ear.heard_only_us(1)
}

#[test]
fn a_word_in_the_file_lets_everybody_in_and_costs_no_open_connection() -> Result<()> {
    let (sshd, ear) = (Sshd::start()?, Ear::start()?);
    let (mut world, local) = alice(&sshd, &ear, &[("owner_only", "false")])?;
    world.start()?;
    world.wait_for("alice", "up")?;
    as_user(STRANGER, || echoed(LOOPBACKS[0], local))?;
    let mut open = connect(LOOPBACKS[1], local)?;
    net::echo(&mut open, OURS)?;
    for (word, tried) in [("true", 1), ("false", 0), ("true", 1)] {
        let before = world.tunnel("alice")?["forwards"][0]["refused"].as_u64().context("a count")?;
        rewrite(&world, &sshd, &ear, local, &[("owner_only", word)])?;
        ensure!(world.nbctl(["reload"])?.code == 0, "it does not reload");
        let outcome = as_user(STRANGER, || Ok(echoed(LOOPBACKS[0], local)))?;
        ensure!(outcome.is_err() == (word == "true"), "owner_only = {word}: {outcome:?}");
        refused(&world, before + tried)?;
        net::echo(&mut open, OURS)?;
    }
    Ok(())
}

/// Nobody is let in, and it is said why, until the file says that everybody is: where the daemon is run by `command`.
fn is_shut_until_its_file_says_so(why: &str, command: impl FnOnce(&World) -> Result<Command>) -> Result<()> {
    let (sshd, ear) = (Sshd::start()?, Ear::start()?);
    let (mut world, local) = alice(&sshd, &ear, &[])?;
    let inside = world.daemon_command();
    let mut command = command(&world)?;
    command.arg(inside.get_program()).args(inside.get_args());
    world.start_by(command)?;
    let problem = |tunnel: &Value| tunnel["forwards"][0]["problem"].clone();
    let tunnel = world.wait_until("alice", "the problem is shown", |tunnel| !problem(tunnel).is_null())?;
    let told = problem(&tunnel);
    let says = |key: &str, what: &str| told[key].as_str().is_some_and(|text| text.contains(what));
    ensure!(told["code"] == "config" && says("message", why), "it does not say why: {told}");
    ensure!(says("hint", "owner_only = false"), "it does not say what to do: {told}");
    world.wait_for("alice", "up")?;
    for host in LOOPBACKS {
        accepted(host, local)?.map_or(Ok(()), |stream| is_reset(stream, THEIRS, false))?;
    }
    let tried = as_user(STRANGER, || try_everything(local))?;
    refused(&world, 2 + tried)?;
    ear.heard_only_us(0)?;
    rewrite(&world, &sshd, &ear, local, &[("owner_only", "false")])?;
    ensure!(world.nbctl(["reload"])?.code == 0, "it does not reload");
    world.wait_until("alice", "the problem is gone", |tunnel| problem(tunnel).is_null())?;
    LOOPBACKS.into_iter().try_for_each(|host| echoed(host, local))
}

#[test]
fn where_the_kernel_does_not_tell_nobody_is_let_in_before_the_file_says_so() -> Result<()> {
    is_shut_until_its_file_says_so("cannot be found out", |world| {
        let sandbox = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/no_sock_diag.py");
        let mut command = world.command(&programs::system("python3")?);
        command.arg(sandbox);
        Ok(command)
    })
}

/// As in a container of one user, who is called what all others are called there (user_namespaces(7)).
#[test]
fn where_others_look_like_us_nobody_is_let_in_before_the_file_says_so() -> Result<()> {
    is_shut_until_its_file_says_so("others look like us", |world| {
        let overflow = std::fs::read_to_string("/proc/sys/kernel/overflowuid")?;
        let mut command = world.command(&programs::system("unshare")?);
        command.arg("--user").arg(format!("--map-user={}", overflow.trim()));
        Ok(command)
    })
}
