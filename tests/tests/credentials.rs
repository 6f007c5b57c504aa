//! What is offered to a server, and when: never in vain, never a secret twice.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nbtunnel_tests::sshd::keygen;
use nbtunnel_tests::tunnel_file::paths;
use nbtunnel_tests::{Agent, Server, Sshd, World, net, wait};

/// Two seconds are the daemon's; a machine that is busy with something else may be slow at one of these, not at each.
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
    let mut quickest = Duration::MAX;
    for times in 1..=3 {
        agent.add(&sshd.user_key())?;
        let began = Instant::now();
        world.wait_for("alice", "up")?;
        quickest = quickest.min(began.elapsed());
        ensure!(sshd.count_log("Connection from") == times, "it took several attempts:\n{}", sshd.log());
        wait::until("it carries", wait::SOON, || net::echoes(local, wait::SOON))?;
        agent.remove_all()?;
        ensure!(world.nbctl(["restart", "alice"])?.code == 0, "it does not restart");
        world.wait_for("alice", "parked")?;
    }
    ensure!(quickest < Duration::from_secs(2), "each time it took {quickest:?} or more");
    Ok(())
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

#[test]
fn a_daemon_whose_environment_names_no_agent_asks_the_one_of_the_last_nbctl_and_follows_it() -> Result<()> {
    let sshd = Sshd::start()?;
    let mut world = World::new()?;
    let no_key = world.path("no_such_key");
    world.write("alice", &sshd.tunnel().set("identity_file", paths(&[&no_key])))?;
    world.start()?;
    let parked = world.wait_for("alice", "parked")?;
    ensure!(parked["problem"]["code"] == "no_credentials", "{parked:#}");
    let status_from = |agent: &Agent| -> Result<()> {
        let mut nbctl = world.nbctl_command(["status"]);
        let told = nbctl.env("SSH_AUTH_SOCK", agent.socket()).output()?;
        ensure!(told.status.success(), "{told:?}");
        Ok(())
    };
    let agent = Agent::start()?;
    agent.add(&sshd.user_key())?;
    status_from(&agent)?;
    world.wait_for("alice", "up")?;
    // It dies, and another one is elsewhere.
    drop(agent);
    ensure!(world.nbctl(["restart", "alice"])?.code == 0, "it does not restart");
    world.wait_for("alice", "parked")?;
    let elsewhere = Agent::start()?;
    elsewhere.add(&sshd.user_key())?;
    status_from(&elsewhere)?;
    world.wait_for("alice", "up")?;
    Ok(())
}

#[test]
#[cfg(unix)]
fn an_agent_at_a_usual_place_is_found_also_when_it_is_unlocked_later() -> Result<()> {
    let (sshd, agent) = (Sshd::start()?, Agent::start()?);
    let mut world = World::new()?;
    let no_key = world.path("no_such_key");
    world.write("alice", &sshd.tunnel().set("identity_file", paths(&[&no_key])))?;
    agent.add(&sshd.user_key())?;
    agent.lock(true)?;
    world.start()?;
    world.wait_for("alice", "parked")?;
    // Where OpenSSH's own unit for systemd has it.
    std::os::unix::fs::symlink(agent.socket(), world.path("run/openssh_agent"))?;
    wait::throughout("a locked agent is no help", Duration::from_secs(2), || {
        world.tunnel("alice").is_ok_and(|tunnel| tunnel["state"] == "parked")
    })?;
    agent.lock(false)?;
    world.wait_for("alice", "up")?;
    ensure!(sshd.count_log("Connection from") == 1, "it was tried in vain:\n{}", sshd.log());
    Ok(())
}
