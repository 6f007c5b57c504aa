//! Sessions that are followed by others: renewed because they carried enough or are old, or given up for one that
//! answers. Whoever is carried is carried to the end, and whoever comes meanwhile notices nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use nbtunnel_tests::net::{self, Pattern};
use nbtunnel_tests::server::SEED;
use nbtunnel_tests::{Callers, Server, Sshd, TunnelFile, World, wait};
use serde_json::Value;

const MIB: u64 = 1 << 20;
const PATIENT: Duration = Duration::from_secs(90);
/// Nobody waits so long because of a renewal: dialling a session takes longer, and nobody waits for that.
const NOTICED: Duration = Duration::from_secs(3);

/// A daemon whose tunnel `alice` leads to the ports `remotes` and is as `file` makes it, and its local ports.
fn world(sshd: &Sshd, remotes: &[u16], file: impl Fn(TunnelFile) -> TunnelFile) -> Result<(World, Vec<u16>)> {
    let mut world = World::new()?;
    let (mut text, mut locals) = (file(sshd.tunnel()), Vec::new());
    for remote in remotes {
        let local = net::free_port()?;
        text = text.forward(local, *remote);
        locals.push(local);
    }
    world.write("alice", &text)?;
    world.start()?;
    // Up, and through with the login at the other end, too: what leads it there ends before anything is answered.
    world.wait_until("alice", "a probe was answered", |tunnel| tunnel["rtt_ms"].is_number())?;
    Ok((world, locals))
}

fn logins(sshd: &Sshd) -> usize {
    sshd.count_log("Accepted publickey")
}

fn draining(tunnel: &Value) -> u64 {
    tunnel["draining"].as_u64().unwrap_or_default()
}

/// The processes of one session: OpenSSH may use more than one for each.
fn processes_of_one(sshd: &Sshd) -> Result<usize> {
    let count = sshd.sessions().len();
    ensure!(count > 0, "there is no session");
    Ok(count)
}

/// Asks a source for `count` bytes.
fn ask(port: u16, count: u64) -> Result<TcpStream> {
    let mut stream = net::connect(port, PATIENT)?;
    stream.write_all(&count.to_be_bytes())?;
    Ok(stream)
}

/// Checks every byte up to the end, in a thread of its own.
fn download(mut stream: TcpStream, count: u64) -> JoinHandle<Result<()>> {
    std::thread::spawn(move || {
        Pattern::new(SEED).expect(&mut stream, count)?;
        ensure!(stream.read(&mut [0])? == 0, "more came than was asked for");
        Ok(())
    })
}

/// Sends so many bytes to a sink, which counts the good ones, in a thread of its own.
fn upload(port: u16, count: u64) -> JoinHandle<Result<()>> {
    std::thread::spawn(move || {
        let mut stream = net::connect(port, PATIENT)?;
        Pattern::new(SEED).write(&mut stream, count)?;
        stream.shutdown(Shutdown::Write)?;
        let mut good = [0; 8];
        stream.read_exact(&mut good)?;
        ensure!(u64::from_be_bytes(good) == count, "{} of {count} bytes came", u64::from_be_bytes(good));
        Ok(())
    })
}

fn done(thread: JoinHandle<Result<()>>) -> Result<()> {
    thread.join().map_err(|_| anyhow!("it panicked"))?
}

#[test]
fn a_session_that_carried_enough_is_followed_and_nobody_notices() -> Result<()> {
    let (sshd, source, echo) = (Sshd::start()?, Server::source()?, Server::echo()?);
    let (world, ports) =
        world(&sshd, &[source.port(), echo.port()], |file| file.set("renew_bytes", "\"8MiB\""))?;
    let one = processes_of_one(&sshd)?;
    let callers = Callers::start(ports[1])?;
    let mut line = net::connect(ports[1], PATIENT)?;
    net::echo(&mut line, b"from the first session on")?;

    let mut old = ask(ports[0], 32 * MIB)?;
    let mut pattern = Pattern::new(SEED);
    pattern.expect(&mut old, 16 * MIB)?;
    world.wait_until("alice", "another session takes new connections", |tunnel| draining(tunnel) == 1)?;
    sshd.has_let_in("publickey", 2)?;
    ensure!(net::echoes(ports[1], wait::SOON), "the new session carries nothing");
    // Both go on over the old session, to their ends.
    pattern.expect(&mut old, 16 * MIB)?;
    ensure!(old.read(&mut [0])? == 0, "more came than was asked for");
    net::echo(&mut line, b"and to the end")?;
    let tunnel = world.tunnel("alice")?;
    ensure!(draining(&tunnel) == 1 && tunnel["reconnects"] == 0, "a renewal is no reconnect: {tunnel:#}");
    drop((old, line));
    world.wait_until("alice", "the old session ends with its last connection", |t| draining(t) == 0)?;
    wait::until("sshd has one session", wait::SOON, || sshd.sessions().len() == one)?;

    let called = callers.settle(wait::SOON)?;
    ensure!(called.refused == 0 && called.cut_off == 0 && called.longest < NOTICED, "{called:?}");
    Ok(())
}

#[test]
fn what_an_old_session_carries_is_cut_off_at_the_deadline_and_sees_a_reset() -> Result<()> {
    let (sshd, source, echo) = (Sshd::start()?, Server::source()?, Server::echo()?);
    let (world, ports) = world(&sshd, &[source.port(), echo.port()], |file| {
        file.set("renew_bytes", "\"4MiB\"").set("drain", "\"1s\"")
    })?;
    let one = processes_of_one(&sshd)?;
    let mut line = net::connect(ports[1], PATIENT)?;
    net::echo(&mut line, b"there")?;
    done(download(ask(ports[0], 5 * MIB)?, 5 * MIB))?;
    let end = line.read(&mut [0]);
    ensure!(end.as_ref().is_err_and(|e| e.kind() == ErrorKind::ConnectionReset), "a reset, not {end:?}");
    ensure!(net::echoes(ports[1], wait::SOON), "the new session carries nothing");
    wait::until("sshd has one session", wait::SOON, || sshd.sessions().len() == one)?;
    ensure!(draining(&world.tunnel("alice")?) == 0);
    Ok(())
}

#[test]
fn sessions_that_grow_old_are_renewed_again_and_again_and_none_is_left() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let (world, ports) = world(&sshd, &[echo.port()], |file| file.set("renew_after", "\"2s\""))?;
    let one = processes_of_one(&sshd)?;
    let callers = Callers::start(ports[0])?;
    wait::until("five renewals", Duration::from_secs(60), || logins(&sshd) > 5)?;
    let called = callers.settle(wait::SOON)?;
    ensure!(called.refused == 0 && called.cut_off == 0 && called.longest < NOTICED, "{called:?}");
    wait::until("sshd has one session", wait::SOON, || sshd.sessions().len() == one)?;
    let tunnel = world.tunnel("alice")?;
    ensure!(tunnel["reconnects"] == 0 && tunnel["state"] == "up", "{tunnel:#}");
    Ok(())
}

#[test]
fn renewals_never_cut_off_who_stays() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let (world, ports) = world(&sshd, &[echo.port()], |file| file.set("renew_after", "\"1s\""))?;
    let mut lines = Vec::new();
    // One on each session, and more sessions than a tunnel keeps.
    wait::until("somebody is on each session, and no renewal follows", PATIENT, || {
        let seen = logins(&sshd);
        if lines.len() < seen {
            lines.extend(net::connect(ports[0], PATIENT).ok());
        }
        world.tunnel("alice").is_ok_and(|tunnel| draining(&tunnel) == 8)
    })?;
    for line in &mut lines {
        net::echo(line, b"still there?")?;
    }
    // sshd tells a client that it is let in before it writes that down: who is answered knows that it is written.
    ensure!(net::echoes(ports[0], wait::SOON), "the last session carries nothing");
    let before = logins(&sshd);
    wait::throughout("no session is made that would push one out", Duration::from_secs(4), || {
        logins(&sshd) == before
    })?;
    for line in &mut lines {
        net::echo(line, b"and still?")?;
    }
    lines.clear();
    wait::until("there is room, and it goes on", PATIENT, || logins(&sshd) > before)
}

#[test]
fn a_server_that_changes_its_keys_under_load_both_ways_loses_no_byte_while_sessions_are_renewed() -> Result<()>
{
    let sshd = Sshd::with(&["RekeyLimit 16M"])?;
    let (source, sink, echo) = (Server::source()?, Server::sink()?, Server::echo()?);
    let (world, ports) = world(&sshd, &[source.port(), sink.port(), echo.port()], |file| {
        file.set("renew_bytes", "\"32MiB\"")
    })?;
    let callers = Callers::start(ports[2])?;
    let began = Instant::now();
    while logins(&sshd) < 3 {
        ensure!(began.elapsed() < PATIENT, "{} logins: nothing is renewed", logins(&sshd));
        let down = download(ask(ports[0], 40 * MIB)?, 40 * MIB);
        let up = upload(ports[1], 40 * MIB);
        done(down)?;
        done(up)?;
    }
    let called = callers.settle(wait::SOON)?;
    ensure!(called.refused == 0 && called.cut_off == 0, "{called:?}");
    ensure!(world.tunnel("alice")?["reconnects"] == 0, "a session was lost:\n{}", world.log());
    Ok(())
}

/// A tunnel whose session does not answer any more, though the server would let another one in.
fn frozen(sshd: &Sshd, echo: &Server, file: impl Fn(TunnelFile) -> TunnelFile) -> Result<(World, u16)> {
    let (world, ports) = world(sshd, &[echo.port()], |made| file(made).set("keepalive", "\"1s\""))?;
    sshd.freeze_sessions(true);
    Ok((world, ports[0]))
}

#[test]
fn a_silent_session_waits_for_credentials_that_are_gone_for_now() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let key = sshd.user_key();
    let away = key.with_extension("away");
    let (world, local) = frozen(&sshd, &echo, |file| file)?;
    std::fs::rename(&key, &away)?;
    let tunnel = world.wait_until("alice", "it says that another login is not possible", |tunnel| {
        tunnel["problem"]["code"] == "no_credentials"
    })?;
    ensure!(tunnel["state"] == "up" && tunnel["health"] == "suspect", "{tunnel:#}");
    std::fs::rename(&away, &key)?;
    let back = Instant::now();
    world.wait_until("alice", "a new session is there", |tunnel| tunnel["health"] == "ok")?;
    // Patience with the old session lasts a minute.
    ensure!(back.elapsed() < Duration::from_secs(15), "it took {:?}", back.elapsed());
    ensure!(net::echoes(local, wait::SOON), "the new session carries nothing");
    Ok(())
}

#[test]
fn the_key_of_a_server_that_is_silent_can_be_looked_at_and_trusted() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let (world, local) = frozen(&sshd, &echo, |file| file)?;
    // As if another host had taken its place.
    std::fs::write(sshd.known_hosts(), "")?;
    world.wait_until("alice", "it says that the key is unknown", |tunnel| {
        tunnel["problem"]["code"] == "host_key_unknown" && tunnel["health"] == "suspect"
    })?;
    let told = world.nbctl(["trust", "alice", "--yes", "--fingerprint", &sshd.fingerprint()?])?;
    ensure!(told.code == 0, "{told:?}");
    world.wait_until("alice", "a new session is there", |tunnel| tunnel["health"] == "ok")?;
    ensure!(net::echoes(local, wait::SOON), "the new session carries nothing");
    Ok(())
}

#[test]
fn on_demand_too_a_caller_of_a_silent_session_is_carried_by_another() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let mut world = World::new()?;
    let local = net::free_port()?;
    let file = sshd.tunnel().forward(local, echo.port());
    world.write("alice", &file.set("start", "\"demand\"").set("keepalive", "\"30s\""))?;
    world.start()?;
    world.wait_for("alice", "idle")?;
    ensure!(net::echoes(local, wait::SOON));
    world.wait_until("alice", "it is measured", |tunnel| tunnel["rtt_ms"].is_number())?;
    sshd.freeze_sessions(true);
    // The only one who comes, before anybody knows that the session does not answer.
    let asked = Instant::now();
    ensure!(net::echoes(local, PATIENT), "nobody answered");
    // Patience with the old session lasts a minute.
    ensure!(asked.elapsed() < Duration::from_secs(30), "it took {:?}", asked.elapsed());
    Ok(())
}

#[test]
fn a_daemon_that_stops_does_not_wait_for_what_drains_or_is_silent() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let (mut world, ports) = world(&sshd, &[echo.port()], |file| file.set("renew_after", "\"1s\""))?;
    let mut line = net::connect(ports[0], PATIENT)?;
    net::echo(&mut line, b"there")?;
    world.wait_until("alice", "its session drains", |tunnel| draining(tunnel) == 1)?;
    sshd.freeze_sessions(true);
    let began = Instant::now();
    ensure!(world.end(nbtunnel_tests::child::Signal::Term)?.success());
    // Two seconds are promised; this machine is busy with other tests.
    ensure!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    ensure!(line.read(&mut [0]).is_err(), "a cut looks like an end");
    Ok(())
}
