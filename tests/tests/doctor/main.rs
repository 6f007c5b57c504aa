//! `nbctl doctor` names the layer that breaks, whichever it is, and what to do about it; it takes one login at most,
//! spends no answer, and hangs nowhere.

mod ways;

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::second_factor::{Factors, PASSWORD, SecondFactor};
use nbtunnel_tests::sshd::keygen;
use nbtunnel_tests::terminal::Typist;
use nbtunnel_tests::tunnel_file::{paths, quoted};
use nbtunnel_tests::{Agent, Server, Sshd, Told, TunnelFile, World, net, wait};
use serde_json::Value;

/// A tunnel that is not wanted: nothing but the doctor goes its way.
fn idle(file: &TunnelFile) -> TunnelFile {
    file.clone().set("start", "\"manual\"")
}

/// A world with the tunnel `alice` that was not started.
fn world(file: &TunnelFile) -> Result<World> {
    let mut world = World::new()?;
    world.write("alice", &idle(file))?;
    world.start()?;
    Ok(world)
}

fn doctor(world: &World) -> Result<(Told, Vec<Value>)> {
    let told = world.nbctl(["doctor", "alice", "--json"])?;
    let all: Value = serde_json::from_str(&told.stdout).with_context(|| format!("no JSON: {told:?}"))?;
    Ok((told, all["findings"].as_array().context("findings is a list")?.clone()))
}

/// Checks that `layer` is what is broken, and nothing but what stands behind it, with `hint` in its hint.
fn breaks(world: &World, layer: &str, code: i32, hint: &str) -> Result<Vec<Value>> {
    let (told, found) = doctor(world)?;
    let broken: Vec<&Value> = found.iter().filter(|finding| finding["verdict"] == "broken").collect();
    ensure!(broken.len() == 1 && broken[0]["layer"] == layer, "not {layer} alone is broken: {found:#?}");
    let said = broken[0]["hint"].as_str().unwrap_or_default();
    ensure!(said.contains(hint), "{layer} has the hint {said:?}, without {hint:?}");
    ensure!(told.code == code, "exit code {} for {layer}: {told:?}", told.code);
    let people = world.nbctl(["doctor", "alice"])?;
    ensure!(people.code == code && people.stdout.contains(hint), "{people:?}");
    ensure!(!people.stdout.contains('\x1b'), "colour without a terminal: {people:?}");
    Ok(found)
}

fn verdict_of<'a>(found: &'a [Value], layer: &str) -> Option<&'a str> {
    found.iter().find(|finding| finding["layer"] == layer)?["verdict"].as_str()
}

#[test]
fn every_layer_of_a_tunnel_that_works_is_ok_and_costs_one_login() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let (world, _) = World::with_alice(&sshd, echo.port())?;
    let before = world.tunnel("alice")?;
    let (told, found) = doctor(&world)?;
    ensure!(told.code == 0, "{told:?}");
    let layers: Vec<&str> = found.iter().filter_map(|finding| finding["layer"].as_str()).collect();
    let expected = [
        "daemon",
        "build",
        "config",
        "config",
        "way",
        "dns",
        "tcp",
        "banner",
        "host_key",
        "agent",
        "credentials",
        "authentication",
        "listener",
        "target",
    ];
    ensure!(layers.iter().filter(|layer| **layer != "ssh_config").eq(&expected), "{layers:?}");
    for finding in &found {
        ensure!(finding["verdict"] == "ok", "{finding:#}");
        let on_the_way = layers.iter().position(|layer| *layer == "dns")
            <= layers.iter().position(|layer| finding["layer"] == *layer)
            && !["listener", "target"].contains(&finding["layer"].as_str().unwrap_or_default());
        ensure!(finding["hop"].is_string() == on_the_way, "{finding:#}");
    }
    ensure!(told.stdout.contains(&sshd.fingerprint()?), "the host key is not shown: {found:#?}");
    sshd.has_let_in("publickey", 2).context("one for the tunnel and one")?;
    let after = world.tunnel("alice")?;
    for field in ["state", "reconnects", "attempt", "problem"] {
        ensure!(before[field] == after[field], "{field} changed: {before:#} {after:#}");
    }
    Ok(())
}

#[test]
fn a_broken_file_is_named_with_its_line_also_without_a_daemon() -> Result<()> {
    let mut world = World::new()?;
    world.write_text("alice", "host = \"h\"\nport = \"many\"\n")?;
    let (told, found) = doctor(&world)?;
    ensure!(told.code == 5, "{told:?}");
    ensure!(verdict_of(&found, "daemon") == Some("broken"), "{found:#?}");
    ensure!(told.stdout.contains("tunnels/alice.toml:2"), "{told:?}");
    world.start()?;
    let found = breaks(&world, "config", 4, "")?;
    let text = format!("{found:?}");
    ensure!(text.contains("tunnels/alice.toml:2"), "{text}");
    let told = world.nbctl(["doctor", "nobody"])?;
    ensure!(told.code == 3, "{told:?}");
    Ok(())
}

#[test]
fn without_a_daemon_a_right_file_is_still_looked_at() -> Result<()> {
    let (sshd, world) = (Sshd::start()?, World::new()?);
    world.write("alice", &sshd.tunnel().forward(net::free_port()?, 1))?;
    let (told, found) = doctor(&world)?;
    ensure!(told.code == 5 && verdict_of(&found, "config") == Some("ok"), "{told:?}");
    ensure!(sshd.count_log("Connection from") == 0, "nbctl itself connected");
    Ok(())
}

#[test]
fn a_name_that_does_not_resolve() -> Result<()> {
    let sshd = Sshd::start()?;
    let world = world(&sshd.tunnel().set("host", "\"no-such-host.invalid\"").forward(net::free_port()?, 1))?;
    breaks(&world, "dns", 1, "check its spelling")?;
    Ok(())
}

#[test]
fn a_closed_port() -> Result<()> {
    let sshd = Sshd::start()?;
    let world = world(&sshd.tunnel().set("port", net::free_port()?).forward(net::free_port()?, 1))?;
    let found = breaks(&world, "tcp", 1, "check host and port")?;
    ensure!(verdict_of(&found, "dns") == Some("ok"), "{found:#?}");
    ensure!(verdict_of(&found, "authentication") == Some("skipped"), "{found:#?}");
    Ok(())
}

#[test]
fn a_server_that_never_speaks_is_given_up_after_the_time_of_one_step() -> Result<()> {
    let (sshd, silent) = (Sshd::start()?, TcpListener::bind("127.0.0.1:0")?);
    let file = sshd.tunnel().set("port", silent.local_addr()?.port()).set("connect_timeout", "\"1s\"");
    let world = world(&file.forward(net::free_port()?, 1))?;
    let began = Instant::now();
    breaks(&world, "banner", 1, "check the port")?;
    ensure!(began.elapsed() < Duration::from_secs(20), "it took {:?}", began.elapsed());
    Ok(())
}

#[test]
fn something_else_than_an_ssh_server() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    // It says our own version line back, and then nothing that could be a key exchange.
    let world = world(&sshd.tunnel().set("port", echo.port()).forward(net::free_port()?, 1))?;
    let (told, found) = doctor(&world)?;
    ensure!(told.code == 1 && verdict_of(&found, "tcp") == Some("ok"), "{told:?}");
    ensure!(verdict_of(&found, "authentication") == Some("skipped"), "{found:#?}");
    Ok(())
}

#[test]
fn an_unknown_host_key_is_not_written_down() -> Result<()> {
    let sshd = Sshd::with(&["LogLevel DEBUG1"])?;
    fs::write(sshd.known_hosts(), "")?;
    let world = world(&sshd.tunnel().forward(net::free_port()?, 1))?;
    let found = breaks(&world, "host_key", 4, "nbctl trust alice")?;
    ensure!(format!("{found:?}").contains(&sshd.fingerprint()?), "{found:#?}");
    ensure!(fs::read_to_string(sshd.known_hosts())?.is_empty(), "a key was written down");
    ensure!(sshd.count_log("userauth-request") == 0, "it asked to be authenticated:\n{}", sshd.log());
    Ok(())
}

#[test]
fn a_changed_host_key() -> Result<()> {
    let mut sshd = Sshd::start()?;
    let world = world(&sshd.tunnel().forward(net::free_port()?, 1))?;
    sshd.change_host_key()?;
    breaks(&world, "host_key", 4, "nbctl trust --replace alice")?;
    Ok(())
}

#[test]
fn nothing_to_log_in_with_while_everything_before_it_works() -> Result<()> {
    let sshd = Sshd::with(&["LogLevel DEBUG1"])?;
    let mut world = World::new()?;
    let key = world.path("no_such_key");
    world.write(
        "alice",
        &idle(&sshd.tunnel().forward(net::free_port()?, 1).set("identity_file", paths(&[&key]))),
    )?;
    world.start()?;
    let found = breaks(&world, "credentials", 4, "ssh-add")?;
    for layer in ["dns", "tcp", "banner", "host_key"] {
        ensure!(verdict_of(&found, layer) == Some("ok"), "{layer}: {found:#?}");
    }
    ensure!(sshd.count_log("userauth-request") == 0, "it asked to be authenticated:\n{}", sshd.log());
    Ok(())
}

#[test]
fn a_key_that_the_server_does_not_take() -> Result<()> {
    let (sshd, mut world) = (Sshd::start()?, World::new()?);
    let key = world.path("strange_key");
    keygen(&key, "")?;
    world.write(
        "alice",
        &idle(&sshd.tunnel().forward(net::free_port()?, 1).set("identity_file", paths(&[&key]))),
    )?;
    world.start()?;
    breaks(&world, "authentication", 4, "authorized_keys")?;
    Ok(())
}

#[test]
fn an_encrypted_key_asks_nobody() -> Result<()> {
    let (sshd, mut world) = (Sshd::start()?, World::new()?);
    let key = world.path("encrypted_key");
    keygen(&key, "a passphrase that nobody typed")?;
    world.write(
        "alice",
        &idle(&sshd.tunnel().forward(net::free_port()?, 1).set("identity_file", paths(&[&key]))),
    )?;
    world.start()?;
    let (told, found) = doctor(&world)?;
    ensure!(told.code == 4, "{told:?}");
    ensure!(format!("{found:?}").contains("encrypted_key"), "{found:#?}");
    Ok(())
}

#[test]
fn a_dead_agent_is_told_of_and_does_no_harm() -> Result<()> {
    let (sshd, echo, mut world) = (Sshd::start()?, Server::echo()?, World::new()?);
    world.write("alice", &idle(&sshd.tunnel().forward(net::free_port()?, echo.port())))?;
    world.set_env("SSH_AUTH_SOCK", world.path("nobody_there"));
    world.start()?;
    let (told, found) = doctor(&world)?;
    ensure!(told.code == 0, "{told:?}");
    ensure!(verdict_of(&found, "agent") == Some("warn"), "{found:#?}");
    ensure!(format!("{found:?}").contains("nobody_there"), "{found:#?}");
    Ok(())
}

#[test]
fn a_key_in_the_agent_lets_us_in() -> Result<()> {
    let (sshd, echo, agent, mut world) = (Sshd::start()?, Server::echo()?, Agent::start()?, World::new()?);
    agent.add(&sshd.user_key())?;
    world.write(
        "alice",
        &idle(&sshd.tunnel().forward(net::free_port()?, echo.port()).set("identity_file", "[]")),
    )?;
    world.set_env("SSH_AUTH_SOCK", agent.socket());
    world.start()?;
    let (told, found) = doctor(&world)?;
    ensure!(told.code == 0, "{told:?}");
    let auth = found.iter().find(|finding| finding["layer"] == "authentication").context("no login")?;
    ensure!(auth["message"].as_str().is_some_and(|text| text.contains("(agent)")), "{auth:#}");
    Ok(())
}

#[test]
fn a_target_that_nobody_serves() -> Result<()> {
    let sshd = Sshd::start()?;
    let world = world(&sshd.tunnel().forward(net::free_port()?, net::free_port()?))?;
    let found = breaks(&world, "target", 1, "start the notebook")?;
    ensure!(verdict_of(&found, "authentication") == Some("ok"), "{found:#?}");
    Ok(())
}

#[test]
fn a_server_that_forbids_forwarding() -> Result<()> {
    let (sshd, echo) = (Sshd::with(&["AllowTcpForwarding no"])?, Server::echo()?);
    let world = world(&sshd.tunnel().forward(net::free_port()?, echo.port()))?;
    breaks(&world, "target", 1, "AllowTcpForwarding")?;
    Ok(())
}

#[test]
fn a_local_port_that_somebody_else_has() -> Result<()> {
    let (sshd, echo, taken) = (Sshd::start()?, Server::echo()?, TcpListener::bind("127.0.0.1:0")?);
    let mut world = World::new()?;
    world.write("alice", &sshd.tunnel().forward(taken.local_addr()?.port(), echo.port()))?;
    world.start()?;
    world.wait_until("alice", "the port is found taken", |tunnel| {
        tunnel["forwards"][0]["problem"]["code"] == "port_in_use"
    })?;
    let found = breaks(&world, "listener", 1, "choose another local port")?;
    ensure!(verdict_of(&found, "target") == Some("ok"), "{found:#?}");
    Ok(())
}

#[test]
fn a_server_that_freezes_in_the_login_does_not_hang_it_and_a_client_that_leaves_ends_it() -> Result<()> {
    let (sshd, silent) = (Sshd::start()?, TcpListener::bind("127.0.0.1:0")?);
    let file = sshd.tunnel().set("port", silent.local_addr()?.port()).set("connect_timeout", "\"60s\"");
    let world = world(&file.forward(net::free_port()?, 1))?;
    let mut nbctl = world.nbctl_command(["doctor", "alice"]).stdout(std::process::Stdio::null()).spawn()?;
    let (mut stream, _) = silent.accept()?;
    nbctl.kill()?;
    nbctl.wait()?;
    stream.set_read_timeout(Some(wait::SOON))?;
    let mut all = Vec::new();
    // It ends: a time-out would be an error.
    std::io::Read::read_to_end(&mut stream, &mut all)?;
    Ok(())
}

#[test]
fn all_tunnels_are_looked_at_and_the_broken_one_in_detail() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let world = world(&sshd.tunnel().forward(net::free_port()?, echo.port()))?;
    world.write("bob", &idle(&sshd.tunnel().set("port", net::free_port()?).forward(net::free_port()?, 1)))?;
    world.write_text("carol", format!("host = {}\nuser = 7\n", quoted("h")))?;
    world.nbctl(["reload"])?;
    let told = world.nbctl(["doctor"])?;
    ensure!(told.code == 1, "{told:?}");
    let line = |start: &str| told.stdout.lines().find(|line| line.starts_with(start)).map(str::to_owned);
    ensure!(line("ok       alice  every layer works").is_some(), "{}", told.stdout);
    ensure!(line("broken   bob    tcp: ").is_some(), "{}", told.stdout);
    ensure!(told.stdout.contains("tunnels/carol.toml:2"), "{}", told.stdout);
    ensure!(told.stdout.contains("hint: check host and port"), "{}", told.stdout);
    sshd.has_let_in("publickey", 1)?;
    Ok(())
}

#[test]
fn where_an_answer_is_needed_none_is_spent_and_no_login_is_begun_again() -> Result<()> {
    let settings = ["PasswordAuthentication yes", "AuthenticationMethods password", "LogLevel DEBUG1"];
    let mut sshd = Sshd::with(&settings)?;
    let world = world(&sshd.tunnel().forward(net::free_port()?, 1))?;
    let (told, found) = doctor(&world)?;
    ensure!(told.code == 4, "{told:?}");
    ensure!(verdict_of(&found, "host_key") == Some("ok"), "{found:#?}");
    let login = found.iter().find(|finding| finding["verdict"] == "broken").context("nothing is broken")?;
    ensure!(login["layer"] == "authentication", "{login:#}");
    ensure!(login["hint"].as_str().is_some_and(|hint| hint.contains("nbctl unlock alice")), "{login:#}");
    ensure!(sshd.count_log("method password") == 0, "a password was tried:\n{}", sshd.log());
    // That it asks is known now, whether it is there is looked at all the same.
    let before = sshd.count_log("userauth-request");
    ensure!(before > 0, "requests are not logged:\n{}", sshd.log());
    let (told, found) = doctor(&world)?;
    ensure!(told.code == 4, "{told:?}");
    ensure!(verdict_of(&found, "authentication") == Some("broken"), "{found:#?}");
    for layer in ["tcp", "banner", "host_key"] {
        ensure!(verdict_of(&found, layer) == Some("ok"), "{layer} was not looked at: {found:#?}");
    }
    ensure!(sshd.count_log("userauth-request") == before, "a login was begun again:\n{}", sshd.log());
    sshd.stop()?;
    let found = breaks(&world, "tcp", 1, "the SSH server is not running")?;
    ensure!(verdict_of(&found, "authentication") == Some("skipped"), "{found:#?}");
    Ok(())
}

#[test]
fn what_listens_at_the_far_end_is_told_of_and_a_proxy_has_no_target_to_look_at() -> Result<()> {
    let (sshd, echo, mut world) = (Sshd::start()?, Server::echo()?, World::new()?);
    let (socks, remote) = (net::free_port()?, net::free_port()?);
    let file = sshd.tunnel().set("dynamic", format!("[\"{socks}\"]"));
    world.write("alice", &file.set("remote", format!("[\"{remote}:127.0.0.1:{}\"]", echo.port())))?;
    world.start()?;
    world.wait_until("alice", "the server listens", |tunnel| {
        let forwards = tunnel["forwards"].as_array();
        forwards.is_some_and(|all| all.iter().all(|forward| forward["listens"][0].is_string()))
    })?;
    let (told, found) = doctor(&world)?;
    ensure!(told.code == 0, "{told:?}");
    ensure!(verdict_of(&found, "listener") == Some("ok"), "{found:#?}");
    ensure!(verdict_of(&found, "remote") == Some("ok"), "{found:#?}");
    ensure!(verdict_of(&found, "target").is_none(), "{found:#?}");
    Ok(())
}

#[test]
fn a_session_for_which_somebody_answered_is_looked_at_and_not_made_again() -> Result<()> {
    let factor = SecondFactor::new(Factors::Password)?;
    let sshd = factor.sshd(&["PasswordAuthentication yes", "KbdInteractiveAuthentication no"])?;
    let (mut world, echo) = (World::new()?, Server::echo()?);
    let file = sshd.tunnel().set("identity_file", paths(&[&world.path("no_key")]));
    world.write("alice", &idle(&file.forward(net::free_port()?, echo.port())))?;
    world.start()?;
    let mut person = Typist::run(&world.nbctl_command(["unlock", "alice"]))?;
    person.answers("password of", PASSWORD)?;
    ensure!(person.ends()? == 0, "{}", person.shown());
    let (told, found) = doctor(&world)?;
    ensure!(told.code == 0, "{told:?}");
    ensure!(verdict_of(&found, "authentication") == Some("ok"), "{found:#?}");
    ensure!(verdict_of(&found, "target") == Some("ok"), "{found:#?}");
    ensure!(sshd.count_log("Connection from") == 1, "it was contacted again:\n{}", sshd.log());
    ensure!(world.tunnel("alice")?["state"] == "up", "the tunnel went down");
    Ok(())
}
