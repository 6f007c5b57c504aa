//! Logging in by Kerberos, with a real key distribution centre and a daemon that was built with the cargo feature
//! `gssapi`; and what the usual daemon says instead.
#![cfg(target_os = "linux")]

use std::time::Duration;

use anyhow::{Result, ensure};
use nbtunnel_tests::kerberos::Realm;
use nbtunnel_tests::programs::with_kerberos;
use nbtunnel_tests::sshd::keygen;
use nbtunnel_tests::tunnel_file::paths;
use nbtunnel_tests::{Server, Sshd, TunnelFile, World, net, wait};

const SETTINGS: [&str; 4] = [
    "GSSAPIAuthentication yes",
    "GSSAPIStrictAcceptorCheck no",
    "PubkeyAuthentication no",
    "LogLevel DEBUG1",
];

/// A realm, a server that takes its tickets and nothing else, and a world with the environment for both.
fn realm() -> Result<(Realm, Sshd, World)> {
    let mut sshd = Sshd::with(&SETTINGS)?;
    let realm = Realm::start(sshd.user())?;
    sshd.stop()?;
    sshd.set_env("KRB5_CONFIG", realm.config());
    sshd.start_again()?;
    let mut world = World::new()?;
    world.set_env("KRB5_CONFIG", realm.config());
    Ok((realm, sshd, world))
}

fn tunnel(sshd: &Sshd, world: &World, options: &str) -> TunnelFile {
    let no_key = world.path("no_such_key");
    sshd.tunnel().set("identity_file", paths(&[&no_key])).set("options", options)
}

#[test]
fn a_ticket_gets_in_and_an_expired_one_waits_for_kinit_without_asking_the_server() -> Result<()> {
    let ((realm, sshd, mut world), echo, local) = (realm()?, Server::echo()?, net::free_port()?);
    let file = tunnel(&sshd, &world, r#"["GSSAPIAuthentication=yes"]"#);
    world.write("alice", &file.forward(local, echo.port()))?;
    let mut daemon = world.daemon_command_of(&with_kerberos()?);
    daemon.env_remove("KRB5CCNAME");
    world.start_by(daemon)?;
    let parked = world.wait_for("alice", "parked")?;
    ensure!(parked["problem"]["code"] == "no_credentials", "{parked:#}");
    ensure!(parked["problem"]["hint"].as_str().is_some_and(|hint| hint.contains("kinit")), "{parked:#}");
    ensure!(sshd.count_log("Connection from") == 0, "{}", sshd.log());
    realm.kinit(600)?;
    world.wait_for("alice", "up")?;
    sshd.has_let_in("gssapi-with-mic", 1)?;
    wait::until("it carries", wait::SOON, || net::echoes(local, wait::SOON))?;

    // It takes the place of the other one.
    realm.kinit(5)?;
    wait::until("the ticket expires", Duration::from_secs(30), || realm.has_ticket().is_ok_and(|has| !has))?;
    let connections = sshd.count_log("Connection from");
    ensure!(world.nbctl(["restart", "alice"])?.code == 0, "it does not restart");
    let parked = world.wait_for("alice", "parked")?;
    let message = parked["problem"]["message"].as_str().unwrap_or_default();
    ensure!(parked["problem"]["code"] == "no_credentials" && message.contains("expired"), "{parked:#}");
    ensure!(sshd.count_log("Connection from") == connections, "the server was asked:\n{}", sshd.log());
    realm.kinit(600)?;
    world.wait_for("alice", "up")?;
    sshd.has_let_in("gssapi-with-mic", 2)?;
    Ok(())
}

#[test]
fn a_ticket_is_delegated_only_when_asked_for() -> Result<()> {
    let (realm, sshd, mut world) = realm()?;
    realm.kinit(600)?;
    let daemon = world.daemon_command_of(&with_kerberos()?);
    world.write("kept", &tunnel(&sshd, &world, r#"["GSSAPIAuthentication=yes"]"#))?;
    world.start_by(daemon)?;
    world.wait_for("kept", "up")?;
    let stored = || sshd.count_log("Storing credentials") + sshd.count_log("ssh_gssapi_krb5_storecreds");
    let nothing = "No credentials stored";
    wait::until("sshd says that it got none", wait::SOON, || sshd.count_log(nothing) == 1)?;
    ensure!(stored() == 0, "{}", sshd.log());
    let both = r#"["GSSAPIAuthentication=yes", "GSSAPIDelegateCredentials=yes"]"#;
    world.write("given", &tunnel(&sshd, &world, both))?;
    ensure!(world.nbctl(["reload"])?.code == 0, "it does not reload");
    world.wait_for("given", "up")?;
    sshd.has_let_in("gssapi-with-mic", 2)?;
    ensure!(sshd.count_log(nothing) == 1, "it was not delegated:\n{}", sshd.log());
    Ok(())
}

#[test]
fn a_build_without_kerberos_says_so_where_nothing_else_works() -> Result<()> {
    let (_realm, sshd, mut world) = realm()?;
    world.write("alice", &tunnel(&sshd, &world, r#"["GSSAPIAuthentication=yes"]"#))?;
    world.start()?;
    let parked = world.wait_for("alice", "parked")?;
    let message = parked["problem"]["message"].as_str().unwrap_or_default();
    ensure!(message.contains("has no Kerberos"), "{parked:#}");
    ensure!(!parked["problem"]["hint"].as_str().unwrap_or_default().contains("kinit"), "{parked:#}");
    Ok(())
}

/// Debian wants Kerberos of everybody, and Red Hat's servers offer it to everybody.
#[test]
fn who_never_heard_of_kerberos_is_told_of_the_key_and_of_the_password() -> Result<()> {
    let sshd = Sshd::with(&["GSSAPIAuthentication yes", "PasswordAuthentication yes"])?;
    let mut world = World::new()?;
    let key = world.path("another_key");
    keygen(&key, "")?;
    let file = sshd.tunnel().set("identity_file", paths(&[&key]));
    world.write("alice", &file.set("options", r#"["GSSAPIAuthentication=yes"]"#))?;
    world.start()?;
    let parked = world.wait_for("alice", "parked")?;
    let (message, hint) = (parked["problem"]["message"].as_str(), parked["problem"]["hint"].as_str());
    let (message, hint) = (message.unwrap_or_default(), hint.unwrap_or_default());
    ensure!(message.contains("it refused") && !message.contains("Kerberos"), "{parked:#}");
    ensure!(hint.contains("ssh-copy-id") && hint.contains("password: `nbctl unlock alice`"), "{parked:#}");
    ensure!(!hint.contains("gssapi-with-mic:"), "{parked:#}");
    Ok(())
}
