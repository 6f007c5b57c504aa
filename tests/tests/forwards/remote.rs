//! Forwards that listen at the server: what it denies, what comes back, who is let in.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::child::Signal;
use nbtunnel_tests::net::Pattern;
use nbtunnel_tests::server::SEED;
use nbtunnel_tests::{Server, Sshd, World, http, net, wait};

use crate::support::{listening, port_of, remotes, up, upload, with};

/// A world whose tunnel `alice` has one remote forward to `target`, and its port.
fn remote(sshd: &Sshd, target: u16) -> Result<(World, u16)> {
    let port = net::free_port()?;
    let world = up(&remotes(sshd, &[format!("{port}:localhost:{target}")]))?;
    listening(&world)?;
    Ok((world, port))
}

#[test]
fn the_port_comes_back_after_the_session_was_killed() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let (world, port) = remote(&sshd, echo.port())?;
    ensure!(net::echoes(port, wait::SOON));
    for _ in 0..3 {
        ensure!(sshd.kill_sessions() > 0);
        wait::until("the port is there again", Duration::from_secs(60), || net::echoes(port, wait::SOON))?;
    }
    let tunnel = world.tunnel("alice")?;
    ensure!(tunnel["forwards"][0]["total"].as_u64() >= Some(4), "counters were forgotten: {tunnel:#}");
    Ok(())
}

#[test]
fn a_port_that_the_server_chose_is_asked_for_again() -> Result<()> {
    let (mut sshd, echo) = (Sshd::start()?, Server::echo()?);
    let world = up(&remotes(&sshd, &[format!("0:localhost:{}", echo.port())]))?;
    let chosen = port_of(&listening(&world)?[0]["listens"][0])?;
    ensure!(chosen != 0 && net::echoes(chosen, wait::SOON));
    let told = world.nbctl(["status"])?;
    ensure!(told.stdout.contains(&format!("remote localhost:{chosen} -> localhost:")), "{}", told.stdout);
    sshd.stop()?;
    world.wait_until("alice", "the link is gone", |tunnel| tunnel["state"] != "up")?;
    sshd.start_again()?;
    wait::until("the same port is there", wait::SOON, || net::echoes(chosen, wait::SOON))?;
    ensure!(port_of(&listening(&world)?[0]["listens"][0])? == chosen);
    Ok(())
}

/// What the daemon of `world` keeps of its tunnels.
fn history(world: &World) -> Result<String> {
    let files = fs::read_dir(world.path("state/nbtunnel"))?.flatten().map(|entry| entry.path());
    let mut files = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    Ok(fs::read_to_string(files.next().context("there is no history")?)?)
}

#[test]
fn a_port_that_the_server_chose_outlives_the_daemon() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let mut world = up(&remotes(&sshd, &[format!("0:localhost:{}", echo.port()), "0".to_owned()]))?;
    let ports = |world: &World| -> Result<Vec<u16>> {
        listening(world)?.iter().map(|forward| port_of(&forward["listens"][0])).collect()
    };
    let chosen = ports(&world)?;
    for signal in [Signal::Term, Signal::Kill] {
        if signal == Signal::Kill {
            // Nothing else is written in its first minute; this does not wait for that.
            wait::until("it is written down", wait::SOON, || {
                history(&world).is_ok_and(|text| text.contains(&chosen[1].to_string()))
            })?;
        }
        world.end(signal)?;
        world.start()?;
        world.wait_for("alice", "up")?;
        ensure!(ports(&world)? == chosen, "{chosen:?} became {:?} after {signal:?}", ports(&world)?);
        ensure!(net::echoes(chosen[0], wait::SOON));
    }
    Ok(())
}

#[test]
fn a_port_that_somebody_else_has_there_is_had_as_soon_as_it_is_free() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let squatter = net::listener()?;
    let (taken, good) = (squatter.local_addr()?.port(), net::free_port()?);
    let to = |port| format!("127.0.0.1:{port}:localhost:{}", echo.port());
    let local = net::free_port()?;
    let file = remotes(&sshd, &[to(taken), to(good)]).forward(local, echo.port());
    let world = up(&file)?;
    let tunnel = world.wait_until("alice", "the denial is shown", |tunnel| {
        tunnel["forwards"][1]["problem"]["code"] == "forwarding_denied"
            && tunnel["forwards"][2]["listens"][0].is_string()
    })?;
    ensure!(tunnel["forwards"][2]["problem"].is_null() && tunnel["problem"].is_null(), "{tunnel:#}");
    ensure!(net::echoes(good, wait::SOON) && net::echoes(local, wait::SOON), "another forward is harmed");
    drop(squatter);
    wait::until("the port is had", Duration::from_secs(60), || net::echoes(taken, wait::SOON))?;
    world.wait_until("alice", "nothing is wrong any more", |tunnel| {
        tunnel["forwards"][1]["problem"].is_null()
    })?;
    Ok(())
}

#[test]
fn what_sshd_config_forbids_is_that_forwards_problem_alone() -> Result<()> {
    let echo = Server::echo()?;
    let (port, local) = (net::free_port()?, net::free_port()?);
    for settings in
        [&["AllowTcpForwarding local"][..], &["PermitListen 1"], &["AllowStreamLocalForwarding no"]]
    {
        let sshd = Sshd::with(settings)?;
        let listen = match settings[0] {
            "AllowStreamLocalForwarding no" => sshd.path("there").display().to_string(),
            _ => port.to_string(),
        };
        let file = remotes(&sshd, &[format!("{listen}:localhost:{}", echo.port())]);
        let world = up(&file.forward(local, echo.port()))?;
        let tunnel = world.wait_until("alice", "the denial is shown", |tunnel| {
            tunnel["forwards"][1]["problem"]["code"] == "forwarding_denied"
        })?;
        let hint = tunnel["forwards"][1]["problem"]["hint"].as_str().context("a hint")?;
        ensure!(hint.contains("sshd_config"), "{hint}");
        ensure!(net::echoes(local, wait::SOON), "the local forward is harmed by {settings:?}");
        let told = world.nbctl(["start", "alice", "--wait"])?;
        ensure!(told.code == 1, "{told:?}");
    }
    Ok(())
}

#[test]
fn a_socket_that_an_earlier_session_left_is_explained() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let path = sshd.path("stale");
    drop(std::os::unix::net::UnixListener::bind(&path)?);
    let world = up(&remotes(&sshd, &[format!("{}:localhost:{}", path.display(), echo.port())]))?;
    let tunnel = world.wait_until("alice", "the denial is shown", |tunnel| {
        tunnel["forwards"][0]["problem"]["code"] == "forwarding_denied"
    })?;
    let hint = tunnel["forwards"][0]["problem"]["hint"].as_str().context("a hint")?;
    ensure!(hint.contains("StreamLocalBindUnlink"), "{hint}");
    std::fs::remove_file(&path)?;
    listening(&world)?;
    Ok(())
}

#[test]
fn a_target_that_is_gone_is_a_reset_and_a_problem_until_it_is_back() -> Result<()> {
    let sshd = Sshd::start()?;
    let target = net::free_port()?;
    let (world, port) = remote(&sshd, target)?;
    let mut stream = net::connect(port, wait::SOON)?;
    let ended = stream.read(&mut [0]);
    ensure!(matches!(&ended, Ok(0)) || ended.as_ref().is_err_and(|e| e.kind() == ErrorKind::ConnectionReset));
    let tunnel = world.wait_until("alice", "the problem is shown", |tunnel| {
        tunnel["forwards"][0]["problem"]["code"] == "refused"
    })?;
    ensure!(tunnel["state"] == "up" && tunnel["forwards"][0]["open"] == 0, "{tunnel:#}");
    // A child between fork and exec may hold the one that was there.
    let back = wait::until_some("its port is free", wait::SOON, || {
        std::net::TcpListener::bind(("127.0.0.1", target)).ok()
    })?;
    let mut stream = net::connect(port, wait::SOON)?;
    let (mut there, _) = back.accept()?;
    there.write_all(b"x")?;
    stream.read_exact(&mut [0])?;
    world.wait_until("alice", "nothing is wrong any more", |tunnel| {
        tunnel["forwards"][0]["problem"].is_null()
    })?;
    Ok(())
}

#[test]
fn a_change_of_the_file_reaches_the_server_without_another_login() -> Result<()> {
    let (sshd, echo, page) = (Sshd::start()?, Server::echo()?, Server::page("hello")?);
    let (world, port) = remote(&sshd, echo.port())?;
    let mut open = net::connect(port, wait::SOON)?;
    net::echo(&mut open, b"before")?;
    // Another target for the same port.
    world.write("alice", &remotes(&sshd, &[format!("{port}:localhost:{}", page.port())]))?;
    // The echo, while it is still that, never ends its answer.
    let patience = Duration::from_millis(500);
    wait::until("it leads elsewhere", wait::SOON, || {
        http::get(port, "/", &[], patience).is_ok_and(|answer| answer.body == "hello")
    })?;
    net::echo(&mut open, b"what was carried stays where it is")?;
    // Another port.
    let other = net::free_port()?;
    world.write("alice", &remotes(&sshd, &[format!("{other}:localhost:{}", echo.port())]))?;
    wait::until("the other port listens", wait::SOON, || net::echoes(other, wait::SOON))?;
    wait::until("the old one does not", wait::SOON, || TcpStream::connect(("127.0.0.1", port)).is_err())?;
    // None.
    world.write("alice", &sshd.tunnel().forward(net::free_port()?, echo.port()))?;
    wait::until("nothing listens", wait::SOON, || TcpStream::connect(("127.0.0.1", other)).is_err())?;
    ensure!(sshd.count_log("Accepted publickey") == 1, "{}", sshd.log());
    Ok(())
}

#[test]
fn the_port_moves_to_the_session_that_follows_and_what_is_open_goes_on() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let (world, port) = (up(&remotes(&sshd, &[]).set("renew_bytes", "\"1MiB\""))?, net::free_port()?);
    let file = remotes(&sshd, &[format!("{port}:localhost:{}", echo.port())]);
    world.write("alice", &file.set("renew_bytes", "\"1MiB\""))?;
    wait::until("it listens", wait::SOON, || net::echoes(port, wait::SOON))?;
    let mut open = net::connect(port, wait::SOON)?;
    for _ in 0..40 {
        net::echo(&mut open, &[3; 64 << 10])?;
    }
    world.wait_until("alice", "another session follows", |tunnel| tunnel["draining"] == 1)?;
    wait::until("the new session listens", wait::SOON, || net::echoes(port, wait::SOON))?;
    net::echo(&mut open, b"still carried by the old one")?;
    let sink = Server::sink()?;
    let file = remotes(&sshd, &[format!("{port}:localhost:{}", sink.port())]);
    world.write("alice", &file)?;
    wait::until("it leads to the sink", wait::SOON, || {
        net::connect(port, wait::SOON).is_ok_and(|stream| upload(stream, 100_003).is_ok())
    })?;
    drop(open);
    world.wait_until("alice", "the old session ends", |tunnel| tunnel["draining"] == 0)?;
    ensure!(sshd.count_log("Accepted publickey") >= 2, "{}", sshd.log());
    Ok(())
}

#[test]
fn a_hundred_at_once_are_all_carried_and_counted() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let (world, port) = remote(&sshd, echo.port())?;
    let mut streams: Vec<TcpStream> =
        (0..100).map(|_| net::connect(port, wait::SOON)).collect::<Result<_>>()?;
    for (number, stream) in (0_u32..).zip(&mut streams) {
        net::echo(stream, &number.to_be_bytes())?;
    }
    let tunnel = world.tunnel("alice")?;
    let forward = &tunnel["forwards"][0];
    ensure!(forward["open"] == 100 && forward["total"] == 100 && forward["bytes_in"] == 400, "{tunnel:#}");
    drop(streams);
    world.wait_until("alice", "all are over", |tunnel| tunnel["forwards"][0]["open"] == 0)?;
    Ok(())
}

#[test]
fn a_program_here_that_does_not_read_stalls_nobody() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    // It accepts, and reads only when it is told to.
    let (go, told) = std::sync::mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    let lazy = Server::start(move |mut stream| {
        let _ = told.lock().map(|told| told.recv());
        let mut all = Pattern::new(SEED);
        let right = all.expect(&mut stream, 48 << 20).is_ok();
        stream.write_all(&[u8::from(right)])
    })?;
    let ports = [net::free_port()?, net::free_port()?];
    let to = |port: u16, server: &Server| format!("{port}:localhost:{}", server.port());
    let world = up(&remotes(&sshd, &[to(ports[0], &lazy), to(ports[1], &echo)]))?;
    listening(&world)?;
    let sender = std::thread::spawn(move || {
        let mut stream = net::connect(ports[0], Duration::from_secs(120))?;
        Pattern::new(SEED).write(&mut stream, 48 << 20)?;
        let mut right = [0];
        stream.read_exact(&mut right)?;
        ensure!(right == [1], "something was lost");
        Ok(())
    });
    wait::until("much waits", Duration::from_secs(60), || {
        world.tunnel("alice").is_ok_and(|tunnel| tunnel["forwards"][0]["open"] == 1)
    })?;
    for _ in 0..50 {
        ensure!(net::echoes(ports[1], wait::SOON), "another forward is stalled");
    }
    go.send(()).context("the lazy server is there")?;
    sender.join().unwrap_or_else(|_| anyhow::bail!("the sender panicked"))
}

#[test]
fn nbctl_add_takes_the_whole_command_line() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let mut world = World::new()?;
    world.start()?;
    let (back, socks) = (net::free_port()?, net::free_port()?);
    let line = format!(
        "ssh -N -R {back}:localhost:{} -D {socks} -i {} -o UserKnownHostsFile={} -p {} {}@127.0.0.1",
        echo.port(),
        sshd.user_key().display(),
        sshd.known_hosts().display(),
        sshd.port(),
        sshd.user()
    );
    let told = world.nbctl(["add", "alice", &line])?;
    ensure!(told.code == 0, "{told:?}");
    wait::until("the way back is there", wait::SOON, || net::echoes(back, wait::SOON))?;
    let text = std::fs::read_to_string(world.tunnel_path("alice"))?;
    ensure!(
        text.contains("remote = [") && text.contains("dynamic = [") && !text.contains("forward ="),
        "{text}"
    );
    let shown = with(sshd.tunnel(), "dynamic", &[socks.to_string()]).text();
    ensure!(
        shown.contains(&format!("dynamic = [\"{socks}\"]")) && text.contains(&format!("\"{socks}\"")),
        "{text}"
    );
    Ok(())
}
