//! What is offered to a server, and when: never in vain, never a secret twice.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nbtunnel_tests::sshd::keygen;
use nbtunnel_tests::tunnel_file::paths;
use nbtunnel_tests::{Agent, Server, Sshd, World, net, wait};

#[test]
fn a_tunnel_without_credentials_comes_up_within_two_seconds_of_ssh_add() -> Result<()> {
    let (sshd, echo, agent) = (Sshd::start()?, Server::echo()?, Agent::start()?);
    let (mut world, local) = (World::new()?, net::free_port()?);
    let no_key = world.path("no_such_key");
    let file = sshd.tunnel().forward(local, echo.port()).set("identity_file", paths(&[&no_key]));
    world.write("alice", &file)?;
    world.set_env("SSH_AUTH_SOCK", agent.socket());
    world.start()?;
    let tunnel = world.wait_for("alice", "parked")?;
    ensure!(tunnel["problem"]["code"] == "no_credentials", "{tunnel:#}");

    // What could be offered is looked at here, never by asking the server: not even once.
    wait::throughout("sshd is left alone", Duration::from_secs(3), || {
        sshd.count_log("Connection from") == 0
    })?;
    agent.add(&sshd.user_key())?;
    let began = Instant::now();
    world.wait_for("alice", "up")?;
    ensure!(began.elapsed() < Duration::from_secs(2), "it took {:?}", began.elapsed());
    ensure!(sshd.count_log("Connection from") == 1, "it took several attempts:\n{}", sshd.log());
    wait::until("it carries", wait::SOON, || net::echoes(local, wait::SOON))
}

#[test]
fn a_key_file_that_appears_is_used() -> Result<()> {
    let (sshd, mut world) = (Sshd::start()?, World::new()?);
    let key = world.path("late_key");
    let file = sshd.tunnel().forward(net::free_port()?, 1).set("identity_file", paths(&[&key]));
    world.write("alice", &file)?;
    world.start()?;
    let tunnel = world.wait_for("alice", "parked")?;
    ensure!(tunnel["problem"]["code"] == "no_credentials", "{tunnel:#}");
    // Beside and renamed: a half written key is no key.
    fs::copy(sshd.user_key(), world.path("late_key.new"))?;
    fs::rename(world.path("late_key.new"), &key)?;
    world.wait_for("alice", "up")?;
    Ok(())
}

#[test]
fn an_encrypted_key_parks_with_answer_needed_and_exit_code_4() -> Result<()> {
    let (sshd, mut world) = (Sshd::start()?, World::new()?);
    let key = world.path("encrypted_key");
    keygen(&key, "a passphrase that nobody typed")?;
    let file = sshd.tunnel().forward(net::free_port()?, 1).set("identity_file", paths(&[&key]));
    world.write("alice", &file)?;
    world.start()?;
    let tunnel = world.wait_for("alice", "parked")?;
    ensure!(tunnel["problem"]["code"] == "answer_needed", "{tunnel:#}");
    let told = world.nbctl(["start", "alice", "--wait=10"])?;
    ensure!(told.code == 4 && told.stderr.len() > 10, "{told:?}");
    Ok(())
}

#[test]
fn a_key_that_the_server_refuses_is_offered_once() -> Result<()> {
    let (sshd, mut world) = (Sshd::start()?, World::new()?);
    let key = world.path("strange_key");
    keygen(&key, "")?;
    let file = sshd.tunnel().forward(net::free_port()?, 1).set("identity_file", paths(&[&key]));
    world.write("alice", &file)?;
    world.start()?;
    let tunnel = world.wait_for("alice", "parked")?;
    ensure!(tunnel["problem"]["code"] == "auth_refused", "{tunnel:#}");
    let attempts = || sshd.count_log("Connection from");
    let before = attempts();
    wait::throughout("it is not offered again", Duration::from_secs(3), || attempts() == before)
}

#[test]
fn nothing_of_a_private_key_reaches_the_log() -> Result<()> {
    let sshd = Sshd::start()?;
    let mut world = World::new()?;
    world.write("alice", &sshd.tunnel().forward(net::free_port()?, 1))?;
    world.log_filter("trace");
    world.start()?;
    world.wait_for("alice", "up")?;
    let key = fs::read_to_string(sshd.user_key())?;
    let log = world.log();
    ensure!(
        log.contains("TRACE") || log.contains("DEBUG"),
        "the log is not detailed enough to prove anything"
    );
    let body = key.lines().filter(|line| !line.starts_with("-----") && line.len() > 20);
    for line in body {
        ensure!(!log.contains(line), "a line of the private key is in the log");
    }
    Ok(())
}
