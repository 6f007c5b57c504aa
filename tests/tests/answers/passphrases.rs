//! Passphrases of keys: asked for once, kept as long as a file says, and never shown.

use anyhow::{Result, ensure};
use nbtunnel_tests::sshd::keygen;
use nbtunnel_tests::tunnel_file::paths;
use nbtunnel_tests::{Sshd, World, net, wait};

use super::{parked, unlock};

const SAID: &str = "open, 5esame";

/// `alice`, whose only key needs a passphrase that nobody has said yet.
fn with_locked_key() -> Result<(Sshd, World)> {
    let (sshd, mut world) = (Sshd::start()?, World::new()?);
    let key = world.path("locked");
    keygen(&key, SAID)?;
    std::fs::copy(key.with_extension("pub"), sshd.path("authorized_keys"))?;
    let file = sshd.tunnel().forward(net::free_port()?, 1).set("identity_file", paths(&[&key]));
    world.write("alice", &file)?;
    world.start()?;
    parked(&world, "alice")?;
    Ok((sshd, world))
}

#[test]
fn a_passphrase_that_may_be_kept_opens_every_tunnel_that_needs_the_key_and_comes_back_by_itself() -> Result<()>
{
    // Two servers: what they share is the key alone.
    let (one, other, mut world) = (Sshd::start()?, Sshd::start()?, World::new()?);
    let key = world.path("locked");
    keygen(&key, SAID)?;
    for (sshd, name) in [(&one, "alice"), (&other, "bob")] {
        std::fs::copy(key.with_extension("pub"), sshd.path("authorized_keys"))?;
        let file = sshd.tunnel().forward(net::free_port()?, 1).set("identity_file", paths(&[&key]));
        world.write(name, &file.set("remember", "\"8h\""))?;
    }
    world.log_filter("trace");
    world.start()?;
    parked(&world, "alice")?;
    parked(&world, "bob")?;
    let mut person = unlock(&world, "alice")?;
    person.answers("passphrase of", "wrong")?;
    person.answers("passphrase of", SAID)?;
    ensure!(person.ends()? == 0, "{}", person.shown());
    world.wait_for("bob", "up")?;

    one.kill_sessions();
    world.wait_until("alice", "it came back by itself", |tunnel| {
        tunnel["state"] == "up" && tunnel["reconnects"] == 1
    })?;
    let said = [world.log(), world.nbctl(["logs"])?.stdout, world.status()?.to_string(), person.shown()];
    ensure!(said.iter().all(|said| !said.contains(SAID)), "the passphrase was written somewhere");
    Ok(())
}

#[test]
fn a_passphrase_that_takes_longer_than_the_server_waits_is_not_asked_for_again() -> Result<()> {
    let (sshd, world) = with_locked_key()?;
    let mut person = unlock(&world, "alice")?;
    person.sees("passphrase of")?;
    // As after its LoginGraceTime.
    sshd.kill_sessions();
    person.types(&format!("{SAID}\r"))?;
    ensure!(person.ends()? == 0, "{}", person.shown());
    world.wait_for("alice", "up")?;
    ensure!(person.shown().matches("passphrase of").count() == 1, "{}", person.shown());
    Ok(())
}

#[test]
fn a_passphrase_is_not_kept_unless_a_file_says_so() -> Result<()> {
    let (sshd, world) = with_locked_key()?;
    let mut person = unlock(&world, "alice")?;
    person.answers("passphrase of", SAID)?;
    ensure!(person.ends()? == 0, "{}", person.shown());
    sshd.kill_sessions();
    parked(&world, "alice")?;
    let before = sshd.count_log("Connection from");
    wait::throughout("the server is left alone", std::time::Duration::from_secs(2), || {
        sshd.count_log("Connection from") == before
    })
}
