//! What only a person can answer: asked at a real terminal, once, and never spent in the background. With a real
//! sshd behind PAM, and with a small server that asks what PAM cannot.
#![cfg(target_os = "linux")]

mod factors;
mod new_passwords;
mod passphrases;
mod people;
mod secrets;
mod sharing;
mod strange;

use anyhow::{Result, ensure};
use nbtunnel_tests::terminal::Typist;
use nbtunnel_tests::tunnel_file::paths;
use nbtunnel_tests::{Sshd, TunnelFile, World, net};

/// A key and a code, and neither alone.
const KEY_AND_CODE: &str = "AuthenticationMethods publickey,keyboard-interactive";

/// Waits until a tunnel is parked for an answer.
fn parked(world: &World, name: &str) -> Result<()> {
    let tunnel = world.wait_for(name, "parked")?;
    ensure!(tunnel["problem"]["code"] == "answer_needed", "{tunnel:#}");
    let hint = tunnel["problem"]["hint"].as_str().unwrap_or_default();
    ensure!(hint.contains("nbctl unlock"), "{tunnel:#}");
    Ok(())
}

/// With `alice`, parked since nothing but answers lets it in.
fn asked_by(tunnel: TunnelFile) -> Result<World> {
    let mut world = World::new()?;
    world.write("alice", &tunnel.forward(net::free_port()?, 1))?;
    world.start()?;
    world.wait_for("alice", "parked")?;
    Ok(world)
}

fn without_key(sshd: &Sshd, world: &World) -> TunnelFile {
    sshd.tunnel().set("identity_file", paths(&[&world.path("no_key")]))
}

fn unlock(world: &World, name: &str) -> Result<Typist> {
    Typist::run(&world.nbctl_command(["unlock", name]))
}
