//! The control socket: who may speak to it, and what becomes of those who speak nonsense.

#![cfg(unix)]

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nbtunnel_proto::{Request, codec};
use nbtunnel_tests::child::Signal;
use nbtunnel_tests::{Sshd, World, net, wait};

/// "nobody" on every Unix; any user that is not root would do.
const NOBODY: u32 = 65_534;

/// Who may speak: eight bytes of magic, the protocol, the length of a version, the version.
fn hello(protocol: u16) -> Vec<u8> {
    let mut bytes = b"nbtunnel".to_vec();
    bytes.extend(protocol.to_be_bytes());
    bytes.push(5);
    bytes.extend(b"9.9.9");
    bytes
}

fn protocol(world: &World) -> Result<u16> {
    let protocol = world.status()?["daemon"]["protocol"].as_u64().context("the protocol is a number")?;
    Ok(u16::try_from(protocol)?)
}

/// Sends `bytes` and reads until the daemon ends the connection, which it has to.
fn answer(world: &World, bytes: &[u8], then_close: bool) -> Result<Vec<u8>> {
    let mut stream = UnixStream::connect(world.socket())?;
    stream.set_read_timeout(Some(wait::SOON))?;
    // It may hang up before everything is sent.
    let _ = stream.write_all(bytes);
    if then_close {
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => Err(e).context("the daemon keeps it open"),
        // A reset is an end too.
        Ok(_) | Err(_) => Ok(all),
    }
}

/// Whether the daemon has not ended this connection.
fn is_open(stream: &mut UnixStream) -> Result<bool> {
    stream.set_nonblocking(true)?;
    loop {
        match stream.read(&mut [0; 64]) {
            Ok(0) => return Ok(false),
            // It says who it is at once.
            Ok(_) => {}
            Err(e) => return Ok(e.kind() == std::io::ErrorKind::WouldBlock),
        }
    }
}

#[test]
fn nonsense_gets_its_end_and_the_others_are_served_meanwhile() -> Result<()> {
    let sshd = Sshd::start()?;
    let (world, _local) = World::with_alice(&sshd, 1)?;
    let protocol = protocol(&world)?;
    let after_hello = |bytes: &[u8]| [hello(protocol), bytes.to_vec()].concat();
    let cases: &[(&str, Vec<u8>, bool)] = &[
        ("garbage", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), false),
        ("zeros", vec![0; 4096], false),
        ("a truncated hello", b"nbtun".to_vec(), true),
        ("a truncated frame", after_hello(&[0, 0, 0, 100, 1, 2, 3]), true),
        ("a frame of 4 GiB", after_hello(&[0xff; 4]), false),
        ("a frame of nothing", after_hello(&[0; 4]), true),
        ("a frame of garbage", after_hello(&[0, 0, 0, 4, 0xfe, 0xfe, 0xfe, 0xfe]), true),
        ("one byte, and then nothing", b"n".to_vec(), false),
        ("half a frame, and then nothing", after_hello(&[0, 0, 1]), false),
        ("nothing at all", Vec::new(), false),
    ];
    std::thread::scope(|scope| -> Result<()> {
        let world = &world;
        let answers: Vec<_> = cases
            .iter()
            .map(|(what, bytes, close)| (*what, scope.spawn(move || answer(world, bytes, *close))))
            .collect();
        let mut beside = 0;
        for _ in 0..20 {
            let mut silent = UnixStream::connect(world.socket())?;
            ensure!(world.nbctl(["status"])?.code == 0, "others are not served");
            beside += usize::from(is_open(&mut silent)?);
        }
        // At some of them a busy machine may have stood still for as long as a silent client has.
        ensure!(beside > 10, "only {beside} of 20 were answered before somebody silent was hung up on");
        for (what, answer) in answers {
            let answer = answer.join().map_err(|_| anyhow::anyhow!("it panicked"))?;
            answer.with_context(|| format!("{what} has no end"))?;
        }
        Ok(())
    })?;
    ensure!(world.tunnel("alice")?["state"] == "up", "the tunnel is harmed");
    ensure!(!world.log().contains("panicked"), "something panicked");
    Ok(())
}

#[test]
fn a_client_of_another_version_learns_the_daemons_own() -> Result<()> {
    let mut world = World::new()?;
    world.start()?;
    let ours = protocol(&world)?;
    let answer = answer(&world, &hello(ours + 1), false)?;
    let expected = [b"nbtunnel".as_slice(), &ours.to_be_bytes()].concat();
    ensure!(answer.starts_with(&expected), "the daemon does not say who it is: {answer:?}");
    Ok(())
}

#[test]
fn many_idle_clients_do_not_lock_the_next_one_out() -> Result<()> {
    let mut world = World::new()?;
    world.start()?;
    let idle = (0..100).map(|_| UnixStream::connect(world.socket())).collect::<Result<Vec<_>, _>>()?;
    wait::until("somebody is served beside them", Duration::from_secs(10), || {
        world.nbctl(["status"]).is_ok_and(|told| told.code == 0)
    })?;
    drop(idle);
    ensure!(world.nbctl(["status"])?.code == 0);
    Ok(())
}

/// A frame as the daemon reads it, with one request in it.
fn frame(request: &Request) -> Result<Vec<u8>> {
    let body = codec::encode(request, codec::MAX_REQUEST)?;
    Ok([&u32::try_from(body.len())?.to_be_bytes()[..], &body].concat())
}

#[test]
fn who_was_greeted_and_has_not_asked_yet_is_told_too_that_the_daemon_stops() -> Result<()> {
    let mut world = World::new()?;
    world.log_filter("debug");
    world.start()?;
    let mut slow = UnixStream::connect(world.socket())?;
    slow.set_read_timeout(Some(wait::SOON))?;
    // What nbctl says first has no answer, and shows that it was let in.
    let environment = frame(&Request::Environment { agent: String::new() })?;
    let bytes = [hello(protocol(&world)?), environment].concat();
    let word = "asks for a look at its environment";
    let before = world.log().matches(word).count();
    slow.write_all(&bytes)?;
    wait::until("it is let in", wait::SOON, || world.log().matches(word).count() > before)?;
    ensure!(world.end(Signal::Term)?.success());
    let mut all = Vec::new();
    slow.read_to_end(&mut all)?;
    let told = String::from_utf8_lossy(&all);
    ensure!(told.contains("nbtunneld is stopping"), "it was told {told:?}");
    Ok(())
}

#[test]
fn a_subscriber_that_does_not_read_is_dropped_and_not_waited_for() -> Result<()> {
    let sshd = Sshd::start()?;
    let mut world = World::new()?;
    // Nobody listens at the far end: each order is a handful of transitions that cost nobody anything.
    let file = sshd.tunnel().set("port", net::free_port()?).set("start", "\"manual\"");
    for number in 0..100 {
        world.write(&format!("t{number:02}"), &file)?;
    }
    world.log_filter("nbtunneld::control=debug");
    world.start()?;
    let mut deaf = UnixStream::connect(world.socket())?;
    deaf.write_all(&[hello(protocol(&world)?), frame(&Request::Events)?].concat())?;
    // It says so when the socket's buffer and its own queue are full, and the deadline has passed.
    wait::until("the deaf subscriber is dropped", Duration::from_secs(60), || {
        for order in ["start", "stop"] {
            let told = world.nbctl([order, "--all"]);
            assert_eq!(told.unwrap().code, 0, "others are not served");
        }
        world.log().contains("did not read an answer")
    })?;
    // What was sent before is still there to be read, and then comes the end.
    deaf.set_read_timeout(Some(wait::SOON))?;
    let mut all = Vec::new();
    deaf.read_to_end(&mut all).context("the daemon keeps it open")?;
    ensure!(all.len() > 10_000, "only {} bytes were sent: another end than the one looked for", all.len());
    ensure!(world.nbctl(["status"])?.code == 0);
    Ok(())
}

#[test]
fn the_socket_is_for_its_owner_alone() -> Result<()> {
    let mut world = World::new()?;
    world.start()?;
    let mode = |path: &std::path::Path| {
        Ok::<_, std::io::Error>(std::fs::metadata(path)?.permissions().mode() & 0o777)
    };
    ensure!(mode(&world.socket())? == 0o600, "the socket has mode {:o}", mode(&world.socket())?);
    ensure!(mode(&world.path("run/nbtunnel"))? == 0o700);
    Ok(())
}

#[test]
fn a_directory_that_others_may_enter_is_refused() -> Result<()> {
    let mut world = World::new()?;
    let dir = world.path("run/nbtunnel");
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755))?;
    let error = world.start().expect_err("it listens in a directory that others may enter");
    ensure!(format!("{error:#}").contains("run/nbtunnel"), "it does not say which: {error:#}");
    Ok(())
}

/// Needs root, since no other user gets past the modes of the files.
#[test]
fn a_root_client_that_passed_the_file_modes_is_refused_by_the_daemon_of_another_user() -> Result<()> {
    let mut world = World::new()?;
    world.give_to(NOBODY)?;
    world.start()?;
    ensure!(world.nbctl(["status"])?.code == 0, "its own user is not served");

    let mut as_root = std::process::Command::new(&world.programs().nbctl);
    as_root.arg("--socket").arg(world.socket()).arg("status");
    let output = as_root.output()?;
    ensure!(!output.status.success(), "root was served: {output:?}");

    // nbctl looks at the daemon's owner too: what follows asks without it. The same bytes are answered with
    // the status when the daemon is ours.
    let mut ours = World::new()?;
    ours.start()?;
    for (world, whose) in [(&world, "another user's"), (&ours, "our own")] {
        let mut stream =
            UnixStream::connect(world.socket()).context("root does not even get to the check")?;
        stream.set_read_timeout(Some(wait::SOON))?;
        let status = frame(&Request::Status { names: Vec::new() })?;
        let _ = stream.write_all(&[hello(protocol(world)?), status].concat());
        let config_dir = world.config_dir().display().to_string();
        let (mut answer, mut told) = (Vec::new(), false);
        while !told {
            let mut some = [0; 4096];
            match stream.read(&mut some) {
                Ok(0) => break,
                Ok(got) => answer.extend_from_slice(&some[..got]),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                    return Err(e).context("the daemon keeps it open");
                }
                // A reset is an end too.
                Err(_) => break,
            }
            told = String::from_utf8_lossy(&answer).contains(&config_dir);
        }
        ensure!(
            told == (whose == "our own"),
            "root and {whose} daemon: {:?}",
            String::from_utf8_lossy(&answer)
        );
    }
    Ok(())
}

#[test]
fn exit_codes_and_json_errors_are_as_promised() -> Result<()> {
    let sshd = Sshd::start()?;
    let mut world = World::new()?;
    let told = world.nbctl(["--json", "status"])?;
    ensure!(told.code == 5, "no daemon: {told:?}");
    let error: serde_json::Value = serde_json::from_str(told.stdout.trim())?;
    for part in ["code", "message", "hint"] {
        ensure!(
            error["error"][part].as_str().is_some_and(|text| !text.is_empty()),
            "{part} is missing: {error}"
        );
    }
    let closed = net::free_port()?;
    world.write("away", &sshd.tunnel().forward(net::free_port()?, 1).set("port", closed))?;
    world.start()?;
    ensure!(world.nbctl(["start", "nobody"])?.code == 3, "no such tunnel");
    ensure!(world.nbctl(["start"])?.code == 2, "usage");
    ensure!(world.nbctl(["no-such-command"])?.code == 2, "usage");
    let told = world.nbctl(["start", "away", "--wait=1"])?;
    ensure!(told.code == 6, "timed out: {told:?}");
    ensure!(told.stdout.is_empty(), "stdout is data: {told:?}");
    Ok(())
}
