//! Ways over jump hosts and ProxyCommands: what breaks is told of the machine where it does.

use std::fs;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::tunnel_file::quoted;
use nbtunnel_tests::{Server, Sshd, TunnelFile, World, net};
use serde_json::Value;

use crate::{breaks, doctor, idle, verdict_of};

/// A tunnel over `jump` to `sshd`, by an ssh_config of its own that has nothing to do with anybody's.
fn over(world: &World, jump: &Sshd, sshd: &Sshd, more: &str) -> Result<TunnelFile> {
    let config = world.path("ssh_config");
    let host = |alias: &str, to: &Sshd| {
        format!(
            "Host {alias}\n  HostName {}\n  Port {}\n  User {}\n  IdentityFile {}\n  UserKnownHostsFile {}\n",
            to.host(),
            to.port(),
            to.user(),
            to.user_key().display(),
            to.known_hosts().display()
        )
    };
    let text = format!("{}{}  ProxyJump jump\n{more}", host("jump", jump), host("server", sshd));
    fs::write(&config, text)?;
    let file = TunnelFile::default().set("host", "\"server\"").set("connect_timeout", "\"10s\"");
    Ok(file.set("ssh_config", quoted(&config.to_string_lossy())))
}

fn at<'a>(found: &'a [Value], hop: &Sshd, layer: &str) -> Option<&'a Value> {
    let hop = format!("{}:{}", hop.host(), hop.port());
    found.iter().find(|finding| finding["layer"] == layer && finding["hop"] == hop.as_str())
}

#[test]
fn every_machine_of_a_way_over_a_jump_host_has_its_lines_in_order() -> Result<()> {
    let (jump, sshd, echo) = (Sshd::start()?, Sshd::start()?, Server::echo()?);
    let mut world = World::new()?;
    let file = over(&world, &jump, &sshd, "  HostbasedAuthentication yes\n")?;
    world.write("alice", &idle(&file.forward(net::free_port()?, echo.port())))?;
    world.start()?;
    let (told, found) = doctor(&world)?;
    ensure!(told.code == 0, "{told:?}");
    for hop in [&jump, &sshd] {
        for layer in ["tcp", "banner", "host_key", "agent", "credentials", "authentication"] {
            let finding = at(&found, hop, layer).with_context(|| format!("no {layer}: {found:#?}"))?;
            ensure!(finding["verdict"] == "ok", "{finding:#}");
        }
        hop.has_let_in("publickey", 1)?;
    }
    let place = |hop: &Sshd| found.iter().position(|finding| at(&found, hop, "tcp") == Some(finding));
    ensure!(place(&jump) < place(&sshd), "{found:#?}");
    let config: Vec<&Value> = found.iter().filter(|finding| finding["layer"] == "ssh_config").collect();
    ensure!(format!("{config:?}").contains("ssh_config"), "the file is not named: {config:#?}");
    ensure!(
        config
            .iter()
            .any(|finding| finding["verdict"] == "warn" && format!("{finding}").contains("Hostbased")),
        "what is not followed is not named: {config:#?}"
    );
    Ok(())
}

#[test]
fn a_jump_host_whose_key_is_unknown_is_what_breaks() -> Result<()> {
    let (jump, sshd, mut world) = (Sshd::start()?, Sshd::start()?, World::new()?);
    fs::write(jump.known_hosts(), "")?;
    let file = over(&world, &jump, &sshd, "")?;
    world.write("alice", &idle(&file.forward(net::free_port()?, 1)))?;
    world.start()?;
    let found = breaks(&world, "host_key", 4, "nbctl trust alice")?;
    ensure!(
        at(&found, &jump, "host_key").is_some_and(|finding| finding["verdict"] == "broken"),
        "{found:#?}"
    );
    ensure!(at(&found, &sshd, "way").is_some_and(|finding| finding["verdict"] == "skipped"), "{found:#?}");
    ensure!(sshd.count_log("Connection from") == 0, "{}", sshd.log());
    Ok(())
}

#[test]
fn a_jump_host_that_leads_nowhere_is_what_breaks() -> Result<()> {
    let (jump, sshd, mut world) = (Sshd::with(&["AllowTcpForwarding no"])?, Sshd::start()?, World::new()?);
    let file = over(&world, &jump, &sshd, "")?;
    world.write("alice", &idle(&file.forward(net::free_port()?, 1)))?;
    world.start()?;
    let found = breaks(&world, "tcp", 1, "AllowTcpForwarding")?;
    ensure!(at(&found, &sshd, "tcp").is_some_and(|finding| finding["verdict"] == "broken"), "{found:#?}");
    ensure!(
        at(&found, &jump, "authentication").is_some_and(|finding| finding["verdict"] == "ok"),
        "{found:#?}"
    );
    Ok(())
}

#[test]
fn the_session_of_a_jump_host_that_is_up_is_used_and_not_made_again() -> Result<()> {
    let (jump, sshd, echo, mut world) = (Sshd::start()?, Sshd::start()?, Server::echo()?, World::new()?);
    let file = over(&world, &jump, &sshd, "")?;
    world.write("alice", &file.forward(net::free_port()?, echo.port()))?;
    world.start()?;
    world.wait_for("alice", "up")?;
    let (told, found) = doctor(&world)?;
    ensure!(told.code == 0, "{told:?}");
    jump.has_let_in("publickey", 1)?;
    sshd.has_let_in("publickey", 2)?;
    let passed = at(&found, &jump, "authentication").context("nothing of the jump host")?;
    ensure!(passed["message"].as_str().is_some_and(|text| text.contains("is up")), "{passed:#}");
    // The jump host's session outlives the look.
    ensure!(world.tunnel("alice")?["state"] == "up", "the tunnel went down");
    Ok(())
}

#[test]
fn a_jump_host_that_asks_is_looked_at_as_far_as_its_login() -> Result<()> {
    let settings = ["PasswordAuthentication yes", "AuthenticationMethods password", "LogLevel DEBUG1"];
    let (jump, sshd, mut world) = (Sshd::with(&settings)?, Sshd::start()?, World::new()?);
    let file = over(&world, &jump, &sshd, "")?;
    world.write("alice", &file.forward(net::free_port()?, 1))?;
    world.start()?;
    world.wait_for("alice", "parked")?;
    let before = jump.count_log("userauth-request");
    let (told, found) = doctor(&world)?;
    ensure!(told.code == 4, "{told:?}");
    for (layer, verdict) in [("tcp", "ok"), ("host_key", "ok"), ("authentication", "broken")] {
        ensure!(at(&found, &jump, layer).is_some_and(|one| one["verdict"] == verdict), "{layer}: {found:#?}");
    }
    ensure!(jump.count_log("userauth-request") == before, "a login was begun:\n{}", jump.log());
    ensure!(sshd.count_log("Connection from") == 0, "{}", sshd.log());
    Ok(())
}

#[test]
fn a_proxy_command_that_fails_says_why() -> Result<()> {
    let (sshd, mut world) = (Sshd::start()?, World::new()?);
    let file = sshd.tunnel().set("options", "[\"ProxyCommand=echo no way >&2; exit 7\"]");
    world.write("alice", &idle(&file.forward(net::free_port()?, 1)))?;
    world.start()?;
    let (told, found) = doctor(&world)?;
    ensure!(told.code == 1 && verdict_of(&found, "banner") == Some("broken"), "{found:#?}");
    ensure!(told.stdout.contains("no way"), "{told:?}");
    Ok(())
}
