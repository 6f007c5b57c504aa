//! Which machine it is: by certificates, aliases, over jump hosts, and when its keys change in good order.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use nbtunnel_tests::sshd::keygen;
use nbtunnel_tests::tunnel_file::{paths, quoted};
use nbtunnel_tests::{Sshd, TunnelFile, World, programs, wait};

fn public(key: &Path) -> Result<String> {
    let text = fs::read_to_string(key.with_extension("pub"))?;
    Ok(text.split(' ').take(2).collect::<Vec<_>>().join(" "))
}

#[test]
fn an_authority_vouches_for_a_host_by_its_alias_until_it_is_revoked() -> Result<()> {
    let mut sshd = Sshd::start()?;
    let authority = sshd.path("authority");
    keygen(&authority, "")?;
    let signed = Command::new(programs::system("ssh-keygen")?)
        .args(["-q", "-I", "box", "-h", "-n", "box", "-s"])
        .arg(&authority)
        .arg(sshd.path("host_key.pub"))
        .status()?;
    ensure!(signed.success(), "ssh-keygen does not sign");
    sshd.stop()?;
    sshd.set(&[&format!("HostCertificate {}", sshd.path("host_key-cert.pub").display())]);
    sshd.start_again()?;
    let vouched = format!("@cert-authority box {}\n", public(&authority)?);
    fs::write(sshd.known_hosts(), &vouched)?;

    let mut world = World::new()?;
    let file = sshd.tunnel().set("ssh_config", "\"none\"");
    world.write("alice", &file.clone().set("options", "[\"HostKeyAlias=box\"]"))?;
    world.write("bob", &file.set("options", "[\"HostKeyAlias=crate\"]"))?;
    world.start()?;
    world.wait_for("alice", "up")?;
    let bob = world.wait_for("bob", "parked")?;
    ensure!(bob["problem"]["code"] == "host_key_unknown", "{bob:#}");

    // By a pattern it would be vouched for, but the certificate names another host.
    fs::write(sshd.known_hosts(), vouched.replace(" box ", " * "))?;
    let bob = world.wait_until("bob", "the certificate is for another host", |tunnel| {
        tunnel["problem"]["message"].as_str().is_some_and(|why| why.contains("is for box, not for crate"))
    })?;
    ensure!(bob["problem"]["code"] == "host_key_unknown", "{bob:#}");

    fs::write(sshd.known_hosts(), format!("{vouched}@revoked * {}\n", public(&authority)?))?;
    ensure!(world.nbctl(["restart", "alice"])?.code == 0);
    let alice = world.wait_for("alice", "parked")?;
    ensure!(alice["problem"]["code"] == "host_key_changed", "{alice:#}");
    let message = alice["problem"]["message"].as_str().unwrap_or_default();
    ensure!(message.contains("signed by an authority that is marked @revoked at"), "{message}");
    let told =
        world.nbctl(["trust", "alice", "--yes", "--fingerprint", &sshd.fingerprint()?, "--replace"])?;
    ensure!(told.code == 4 && told.stderr.contains("@revoked in"), "{told:?}");
    Ok(())
}

#[test]
fn each_machine_on_the_way_is_trusted_by_itself_and_named() -> Result<()> {
    let (jump, server, mut world) = (Sshd::start()?, Sshd::start()?, World::new()?);
    for sshd in [&jump, &server] {
        fs::write(sshd.known_hosts(), "")?;
    }
    let config = format!(
        "Host jump\n HostName {}\n Port {}\n User {}\n IdentityFile {}\n UserKnownHostsFile {}\n",
        jump.host(),
        jump.port(),
        jump.user(),
        jump.user_key().display(),
        jump.known_hosts().display()
    );
    fs::write(world.path("ssh_config"), config)?;
    let file = server.tunnel().set("jump", "[\"jump\"]");
    let ssh_config = quoted(&world.path("ssh_config").display().to_string());
    world.write("alice", &file.set("ssh_config", ssh_config))?;
    world.start()?;
    for (number, sshd) in [(1, &jump), (0, &server)] {
        let print = sshd.fingerprint()?;
        let alice = world.wait_until("alice", "its key is asked about", |tunnel| {
            tunnel["state"] == "parked"
                && tunnel["problem"]["message"].as_str().is_some_and(|why| why.contains(&print))
        })?;
        ensure!(alice["problem"]["code"] == "host_key_unknown", "{alice:#}");
        let told = world.nbctl(["--json", "trust", "alice"])?;
        let json: serde_json::Value = serde_json::from_str(&told.stdout)?;
        let offer = &json["host_key"];
        ensure!(told.code == 4 && offer["jump"] == number && offer["jumps"] == 1, "{told:?}");
        let told = world.nbctl(["trust", "alice", "--yes", "--fingerprint", &print])?;
        ensure!(told.code == 0, "{told:?}");
        ensure!(told.stderr.contains("(jump host 1 of 1)") == (number == 1), "{told:?}");
        ensure!(fs::read_to_string(sshd.known_hosts())? == sshd.known_hosts_line()?);
    }
    world.wait_for("alice", "up")?;
    Ok(())
}

#[test]
fn a_container_that_was_made_again_shows_its_old_and_its_new_key_side_by_side() -> Result<()> {
    let (mut sshd, mut world) = (Sshd::start()?, World::new()?);
    let old = sshd.fingerprint()?;
    world.write("alice", &sshd.tunnel())?;
    sshd.change_host_key()?;
    world.start()?;
    world.wait_for("alice", "parked")?;
    let new = sshd.fingerprint()?;
    let told = world.nbctl(["trust", "--replace", "alice", "--yes", "--fingerprint", &new])?;
    ensure!(told.code == 0, "{told:?}");
    let place = format!("{old} ({}:1)", sshd.known_hosts().display());
    for part in [new.as_str(), &place, "On file", "Now"] {
        ensure!(told.stderr.contains(part), "{part} in {told:?}");
    }
    let both = told.stderr.lines().filter(|line| line.matches("+--[ED25519 256]--+").count() == 2).count();
    ensure!(both == 1, "two drawings side by side: {}", told.stderr);
    world.wait_for("alice", "up")?;
    Ok(())
}

#[test]
fn keys_that_a_server_announces_are_stored_when_ssh_config_says_so() -> Result<()> {
    let (mut sshd, mut world) = (Sshd::start()?, World::new()?);
    let made = Command::new(programs::system("ssh-keygen")?)
        .args(["-q", "-t", "rsa", "-N", "", "-f"])
        .arg(sshd.path("next"))
        .status()?;
    ensure!(made.success(), "ssh-keygen makes no key");
    sshd.stop()?;
    sshd.set(&[&format!("HostKey {}", sshd.path("next").display())]);
    sshd.start_again()?;
    let file = |name: &str| -> Result<TunnelFile> {
        let config = world.path(&format!("config-{name}"));
        fs::write(&config, format!("UserKnownHostsFile {}\n", sshd.path(name).display()))?;
        fs::write(sshd.path(name), sshd.known_hosts_line()?)?;
        Ok(TunnelFile::default()
            .set("host", "\"127.0.0.1\"")
            .set("port", sshd.port())
            .set("user", quoted(sshd.user()))
            .set("identity_file", paths(&[&sshd.user_key()]))
            .set("ssh_config", quoted(&config.display().to_string())))
    };
    world.write("alice", &file("updated")?.set("options", "[\"UpdateHostKeys=yes\"]"))?;
    world.write("bob", &file("kept")?)?;
    world.start()?;
    world.wait_for("bob", "up")?;
    world.wait_for("alice", "up")?;
    let next = public(&sshd.path("next"))?;
    let stored = |name: &str| fs::read_to_string(sshd.path(name)).is_ok_and(|text| text.contains(&next));
    wait::until("the next key is on file", wait::SOON, || stored("updated"))?;
    // Files that are not the usual ones are only changed where somebody says so, as by ssh.
    ensure!(!stored("kept"));
    Ok(())
}
