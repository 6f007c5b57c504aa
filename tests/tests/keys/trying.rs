//! Whether a server takes a key: by the daemon, at a real sshd.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::second_factor::{Factors, SecondFactor};
use nbtunnel_tests::sshd::keygen;
use nbtunnel_tests::terminal::Typist;
use nbtunnel_tests::tunnel_file::paths;
use nbtunnel_tests::{Agent, Sshd, World, net};

use super::{json, with_path};

const SAID: &str = "open, 5esame";

/// `alice`, which nobody wants up, with these keys.
fn world(sshd: &Sshd, world: &mut World, keys: &[&Path]) -> Result<()> {
    let file = sshd.tunnel().forward(net::free_port()?, 1).set("identity_file", paths(keys));
    world.write("alice", &file.set("start", "\"manual\""))?;
    world.start()
}

/// What one does on the page of a platform.
fn paste(line: &str, sshd: &Sshd) -> Result<()> {
    let mut keys = fs::File::options().append(true).open(sshd.path("authorized_keys"))?;
    Ok(writeln!(keys, "{}", line.trim())?)
}

#[test]
fn from_a_new_key_over_the_page_of_a_platform_to_a_tunnel() -> Result<()> {
    let (sshd, mut world_) = (Sshd::start()?, World::new()?);
    let key = world_.path("key");
    let mut person =
        Typist::run(&world_.nbctl_command(["keygen", "--file", key.to_str().context("no text")?]))?;
    person.answers("empty for none", SAID)?;
    person.answers("the same again", SAID)?;
    ensure!(person.ends()? == 0, "{}", person.shown());
    // As the test itself logs in, so that it would find the session of the tunnel below.
    let file = sshd.tunnel().forward(net::free_port()?, 1).set("identity_file", paths(&[&key]));
    let file = file.set("options", "[\"PreferredAuthentications=publickey\"]");
    world_.write("alice", &file.set("start", "\"manual\""))?;
    world_.start()?;
    let world = world_;

    let line = world.nbctl(["key", "show", "alice"])?;
    ensure!((line.code, &line.stdout) == (0, &fs::read_to_string(world.path("key.pub"))?), "{line:?}");
    let refused = world.nbctl(["key", "test", "alice"])?;
    ensure!(refused.code == 1 && refused.stdout.ends_with(&line.stdout), "{refused:?}");
    ensure!(refused.stderr.contains("error: refused: ") && refused.stderr.contains("paste"), "{refused:?}");
    let said = json(&world.nbctl(["--json", "key", "test", "alice"])?)?;
    ensure!(said["verdict"] == "refused" && said["paste"] == line.stdout.trim(), "{said:#}");
    ensure!(said["error"]["code"] == "auth_refused", "{said:#}");
    ensure!(said["server"]["keys"][0]["verdict"] == "refused", "{said:#}");

    paste(&line.stdout, &sshd)?;
    let taken = world.nbctl(["key", "test", "alice"])?;
    let print = said["server"]["keys"][0]["fingerprint"].as_str().context("no fingerprint")?;
    ensure!(taken.code == 0 && taken.stdout.contains("taken: "), "{taken:?}");
    ensure!(taken.stdout.contains(print) && taken.stdout.contains(&key.display().to_string()), "{taken:?}");
    ensure!(taken.stdout.contains("passphrase is needed"), "{taken:?}");
    ensure!(!taken.stdout.contains("broken"), "{taken:?}");
    ensure!(
        sshd.count_log("Accepted publickey") == 0,
        "it logged in without the passphrase:\n{}",
        sshd.log()
    );

    let mut person = Typist::run(&world.nbctl_command(["unlock", "alice"]))?;
    person.answers("passphrase of", SAID)?;
    ensure!(person.ends()? == 0, "{}", person.shown());
    ensure!(world.tunnel("alice")?["state"] == "up", "the key that was made does not serve");
    // What somebody typed keeps a session up, by which nothing is learnt of keys: the server is asked anew.
    let taken = world.nbctl(["key", "test", "alice"])?;
    ensure!(taken.code == 0 && taken.stdout.contains("taken: "), "{taken:?}");
    sshd.has_let_in("publickey", 1)?;
    Ok(())
}

#[test]
fn a_key_that_is_open_logs_in_once_and_leaves_the_tunnel_alone() -> Result<()> {
    let (sshd, mut world) = (Sshd::start()?, World::new()?);
    for (name, kind) in [("new", &["--rsa", "3072"][..]), ("other", &[])] {
        let key = world.path(name);
        let told = with_path(&world, &[&["keygen", "--no-passphrase"], kind, &["--file"]].concat(), &key)?;
        ensure!(told.code == 0, "{told:?}");
    }
    let new = world.path("new");
    paste(&fs::read_to_string(world.path("new.pub"))?, &sshd)?;
    world.write("alice", &sshd.tunnel().forward(net::free_port()?, 1))?;
    world.start()?;
    let before = world.wait_for("alice", "up")?;
    let told = with_path(&world, &["--json", "key", "test", "alice", "--file"], &new)?;
    let said = json(&told)?;
    ensure!(told.code == 0 && said["verdict"] == "taken" && said["server"]["let_in"] == true, "{said:#}");
    ensure!(said["server"]["keys"].as_array().is_some_and(|keys| keys.len() == 1), "{said:#}");
    ensure!(said["server"]["keys"][0]["file"] == new.to_str().context("no text")?, "{said:#}");
    sshd.has_let_in("publickey", 2).context("one for the tunnel and one")?;
    let told = with_path(&world, &["key", "test", "alice", "--file"], &world.path("other"))?;
    ensure!(
        told.code == 1 && told.stdout.contains(&fs::read_to_string(world.path("other.pub"))?),
        "{told:?}"
    );
    sshd.has_let_in("publickey", 2).context("another key logged in")?;
    let after = world.tunnel("alice")?;
    for field in ["state", "reconnects", "attempt", "problem"] {
        ensure!(before[field] == after[field], "{field} changed: {before:#} {after:#}");
    }
    let told = with_path(&world, &["key", "test", "alice", "--file"], &world.path("nothing"))?;
    ensure!(told.code == 1 && told.stderr.contains("nothing cannot be read"), "{told:?}");
    Ok(())
}

#[test]
fn a_key_that_only_the_agent_has_is_shown_and_tried() -> Result<()> {
    let (sshd, agent, mut world_) = (Sshd::start()?, Agent::start()?, World::new()?);
    let away = world_.path("away");
    keygen(&away, "")?;
    let line = fs::read_to_string(world_.path("away.pub"))?;
    agent.add(&away)?;
    fs::remove_file(&away)?;
    fs::remove_file(world_.path("away.pub"))?;
    world_.set_env("SSH_AUTH_SOCK", agent.socket());
    world(&sshd, &mut world_, &[])?;
    let world = world_;
    let shown = world.nbctl(["key", "show", "alice"])?;
    let key = line.rsplit_once(' ').map_or(&*line, |(key, _)| key);
    ensure!(shown.code == 0 && shown.stdout.starts_with(key), "{shown:?}");
    let told = world.nbctl(["key", "test", "alice"])?;
    ensure!(told.code == 1 && told.stdout.contains(key), "{told:?}");
    paste(&line, &sshd)?;
    let told = world.nbctl(["key", "test", "alice"])?;
    ensure!(told.code == 0 && told.stdout.contains("(agent)"), "{told:?}");
    Ok(())
}

#[test]
fn a_key_that_is_only_the_first_of_two_proofs_is_taken_and_the_second_never_begun() -> Result<()> {
    let factor = SecondFactor::new(Factors::Password)?;
    let sshd = factor.sshd(&[
        "AuthenticationMethods publickey,password",
        "PasswordAuthentication yes",
        "LogLevel DEBUG1",
    ])?;
    let mut world_ = World::new()?;
    world(&sshd, &mut world_, &[&sshd.user_key()])?;
    let told = world_.nbctl(["key", "test", "alice"])?;
    ensure!(told.code == 0 && told.stdout.contains("it takes more than that"), "{told:?}");
    ensure!(told.stdout.contains("nbctl unlock alice"), "{told:?}");
    ensure!(sshd.count_log("method password") == 0, "a password was tried:\n{}", sshd.log());
    ensure!(world_.tunnel("alice")?["problem"].is_null(), "the test left something behind");
    // That the login is known to ask by now changes nothing: a key alone is shown to it.
    let started = world_.nbctl(["start", "alice", "--wait=30"])?;
    ensure!(started.code == 4, "{started:?}");
    let told = world_.nbctl(["key", "test", "alice"])?;
    ensure!(told.code == 0 && told.stdout.contains("taken: "), "{told:?}");
    ensure!(sshd.count_log("method password") == 0, "a password was tried:\n{}", sshd.log());
    Ok(())
}

#[test]
fn a_server_that_takes_no_more_keys_is_not_said_to_refuse_the_others() -> Result<()> {
    let (sshd, mut world_) = (Sshd::with(&["MaxAuthTries 2"])?, World::new()?);
    let keys = ["one", "two", "three"].map(|name| world_.path(name));
    keys.iter().try_for_each(|key| keygen(key, ""))?;
    let keys: Vec<&Path> = keys.iter().map(|key| &**key).collect();
    paste(&fs::read_to_string(world_.path("three.pub"))?, &sshd)?;
    world(&sshd, &mut world_, &keys)?;
    let told = world_.nbctl(["key", "test", "alice"])?;
    ensure!(told.code == 1 && told.stderr.contains("more were not tried"), "{told:?}");
    let told = with_path(&world_, &["key", "test", "alice", "--file"], keys[2])?;
    ensure!(told.code == 0, "{told:?}");
    Ok(())
}

#[test]
fn what_keeps_a_key_from_being_tried_is_said_instead() -> Result<()> {
    let passwords = ["PasswordAuthentication yes", "AuthenticationMethods password", "LogLevel DEBUG1"];
    let (mut sshd, mut world_) = (Sshd::with(&passwords)?, World::new()?);
    let no_daemon = world_.nbctl(["key", "test", "alice"])?;
    ensure!(no_daemon.code == 5, "{no_daemon:?}");
    world(&sshd, &mut world_, &[&sshd.user_key()])?;
    let world = world_;
    let says = |code: i32, text: &str| {
        let told = world.nbctl(["key", "test", "alice"])?;
        ensure!(told.code == code && told.stderr.contains(text), "{text}: {told:?}");
        Ok(())
    };
    says(4, "takes no key from")?;
    ensure!(sshd.count_log("method password") == 0, "a password was tried:\n{}", sshd.log());
    let nobody = world.nbctl(["key", "test", "nobody"])?;
    ensure!(nobody.code == 3, "{nobody:?}");
    let nobody = world.nbctl(["key", "show", "nobody"])?;
    ensure!(nobody.code == 3, "{nobody:?}");
    fs::remove_file(sshd.user_key())?;
    says(4, "no key was tried: there is nothing to log in with")?;
    let none = world.nbctl(["key", "show", "alice"])?;
    ensure!(none.code == 4 && none.stderr.contains("nbctl keygen"), "{none:?}");
    fs::write(sshd.known_hosts(), "")?;
    says(4, "nbctl trust alice")?;
    sshd.stop()?;
    says(1, "refused the connection")?;
    Ok(())
}
