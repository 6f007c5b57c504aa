//! Whom we talk to is decided before anything about us is said.

use std::fs;

use anyhow::{Result, ensure};
use nbtunnel_tests::tunnel_file::{paths, quoted};
use nbtunnel_tests::{Server, Sshd, TunnelFile, World, net, wait};

/// What sshd logs, at DEBUG1, as soon as a client asks to be authenticated by any method.
const ASKED: &str = "userauth-request";

/// A tunnel that heeds no ssh_config: that of the system may want names to be hashed.
fn by_its_file(sshd: &Sshd) -> TunnelFile {
    sshd.tunnel().set("ssh_config", "\"none\"")
}

/// An sshd that tells of every step, and a world with a tunnel to it that is not started yet.
fn cautious() -> Result<(Sshd, Server, World, u16)> {
    let (sshd, echo, world) = (Sshd::with(&["LogLevel DEBUG1"])?, Server::echo()?, World::new()?);
    let local = net::free_port()?;
    world.write("alice", &by_its_file(&sshd).forward(local, echo.port()))?;
    Ok((sshd, echo, world, local))
}

#[test]
fn a_changed_key_parks_and_nothing_that_could_authenticate_is_sent() -> Result<()> {
    let (mut sshd, _echo, mut world, local) = cautious()?;
    let old_line = fs::read_to_string(sshd.known_hosts())?;
    sshd.change_host_key()?;
    world.start()?;
    let tunnel = world.wait_for("alice", "parked")?;
    ensure!(tunnel["problem"]["code"] == "host_key_changed", "{tunnel:#}");
    wait::until("the connection reached sshd", wait::SOON, || sshd.count_log("Connection from") > 0)?;
    ensure!(sshd.count_log(ASKED) == 0, "it asked to be authenticated:\n{}", sshd.log());

    let print = sshd.fingerprint()?;
    let told = world.nbctl(["trust", "alice", "--yes", "--fingerprint", &print])?;
    ensure!(told.code == 4, "a changed key was overwritten without --replace: {told:?}");
    ensure!(fs::read_to_string(sshd.known_hosts())? == old_line, "known_hosts was touched");

    let told = world.nbctl(["trust", "alice", "--yes", "--fingerprint", &print, "--replace"])?;
    ensure!(told.code == 0, "{told:?}");
    world.wait_for("alice", "up")?;
    let lines = fs::read_to_string(sshd.known_hosts())?;
    ensure!(lines.trim_end() == sshd.known_hosts_line()?.trim_end(), "known_hosts has {lines:?}");
    ensure!(sshd.count_log(ASKED) > 0, "the check above cannot fail:\n{}", sshd.log());
    wait::until("it carries", wait::SOON, || net::echoes(local, wait::SOON))
}

#[test]
fn an_unknown_key_parks_until_it_is_trusted_and_then_comes_up_without_a_restart() -> Result<()> {
    let (sshd, _echo, mut world, local) = cautious()?;
    fs::write(sshd.known_hosts(), "")?;
    world.start()?;
    let tunnel = world.wait_for("alice", "parked")?;
    ensure!(tunnel["problem"]["code"] == "host_key_unknown", "{tunnel:#}");
    ensure!(sshd.count_log(ASKED) == 0, "it asked to be authenticated:\n{}", sshd.log());
    let told = world.nbctl(["start", "alice", "--wait=10"])?;
    ensure!(told.code == 4, "waiting for a human is exit code 4: {told:?}");

    let told = world.nbctl(["trust", "alice", "--yes", "--fingerprint", &sshd.fingerprint()?])?;
    ensure!(told.code == 0, "{told:?}");
    world.wait_for("alice", "up")?;
    wait::until("it carries", wait::SOON, || net::echoes(local, wait::SOON))
}

#[test]
fn trust_writes_the_key_that_was_shown_not_one_that_came_later() -> Result<()> {
    let (mut sshd, _echo, mut world, _local) = cautious()?;
    fs::write(sshd.known_hosts(), "")?;
    world.start()?;
    world.wait_for("alice", "parked")?;
    let (shown, print) = (sshd.known_hosts_line()?, sshd.fingerprint()?);
    sshd.change_host_key()?;

    let told = world.nbctl(["trust", "alice", "--yes", "--fingerprint", &print])?;
    ensure!(told.code == 0, "{told:?}");
    let written = fs::read_to_string(sshd.known_hosts())?;
    ensure!(written.trim_end() == shown.trim_end(), "{written:?} was written instead of {shown:?}");
    world.wait_until("alice", "the later key counts as changed", |tunnel| {
        tunnel["problem"]["code"] == "host_key_changed"
    })?;
    Ok(())
}

#[test]
fn a_fingerprint_that_was_not_shown_is_not_trusted() -> Result<()> {
    let (sshd, _echo, mut world, _local) = cautious()?;
    fs::write(sshd.known_hosts(), "")?;
    world.start()?;
    world.wait_for("alice", "parked")?;
    let other = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let told = world.nbctl(["trust", "alice", "--yes", "--fingerprint", other])?;
    ensure!(told.code != 0, "{told:?}");
    ensure!(fs::read_to_string(sshd.known_hosts())?.is_empty(), "something was written");
    Ok(())
}

#[test]
fn accept_new_writes_an_unknown_key_down_and_still_parks_at_a_changed_one() -> Result<()> {
    let (mut sshd, echo, mut world, local) = cautious()?;
    fs::write(sshd.known_hosts(), "")?;
    world
        .write("alice", &by_its_file(&sshd).forward(local, echo.port()).set("host_key", "\"accept-new\""))?;
    world.start()?;
    world.wait_for("alice", "up")?;
    ensure!(fs::read_to_string(sshd.known_hosts())?.trim_end() == sshd.known_hosts_line()?.trim_end());
    sshd.change_host_key()?;
    let tunnel = world.wait_for("alice", "parked")?;
    ensure!(tunnel["problem"]["code"] == "host_key_changed", "{tunnel:#}");
    Ok(())
}

#[test]
fn a_revoked_key_is_never_used() -> Result<()> {
    let (sshd, _echo, mut world, _local) = cautious()?;
    let line = sshd.known_hosts_line()?;
    fs::write(sshd.known_hosts(), format!("{line}@revoked {line}"))?;
    world.start()?;
    let tunnel = world.wait_for("alice", "parked")?;
    ensure!(tunnel["problem"]["code"] == "host_key_changed", "{tunnel:#}");
    ensure!(sshd.count_log(ASKED) == 0, "it asked to be authenticated:\n{}", sshd.log());
    Ok(())
}

#[test]
fn hashed_names_and_a_malformed_line_before_them_are_read() -> Result<()> {
    let (sshd, _echo, mut world, _local) = cautious()?;
    let keygen = nbtunnel_tests::programs::system("ssh-keygen")?;
    let hashed = std::process::Command::new(keygen).arg("-Hqf").arg(sshd.known_hosts()).output()?;
    ensure!(hashed.status.success(), "ssh-keygen -H fails");
    let lines = fs::read_to_string(sshd.known_hosts())?;
    ensure!(lines.starts_with("|1|"), "not hashed: {lines}");
    fs::write(sshd.known_hosts(), format!("this is no line of known_hosts\n{lines}"))?;
    world.start()?;
    world.wait_for("alice", "up")?;
    Ok(())
}

#[test]
fn a_key_that_another_server_showed_is_not_trusted_for_this_one() -> Result<()> {
    let (sshd, _echo, mut world, local) = cautious()?;
    fs::write(sshd.known_hosts(), "")?;
    world.start()?;
    world.wait_for("alice", "parked")?;
    // The file names another server now, which has shown nothing yet.
    let elsewhere = net::free_port()?;
    world.write("alice", &by_its_file(&sshd).set("port", elsewhere).forward(local, 1))?;
    world.wait_for("alice", "waiting")?;
    let told = world.nbctl(["trust", "alice", "--yes", "--fingerprint", &sshd.fingerprint()?])?;
    ensure!(told.code != 0, "{told:?}");
    ensure!(fs::read_to_string(sshd.known_hosts())?.is_empty(), "a key was written for a server without one");

    // Back again, where the key was shown.
    world.write("alice", &by_its_file(&sshd).forward(local, 1))?;
    world.wait_for("alice", "parked")?;
    let told = world.nbctl(["trust", "alice", "--yes", "--fingerprint", &sshd.fingerprint()?])?;
    ensure!(told.code == 0, "{told:?}");
    world.wait_for("alice", "up")?;
    Ok(())
}

#[test]
fn a_new_key_of_the_server_is_stored_in_the_tunnels_own_file_where_somebody_said_so_as_by_ssh() -> Result<()>
{
    let (mut sshd, mut world) = (Sshd::start()?, World::new()?);
    let second = sshd.path("second_key");
    nbtunnel_tests::sshd::keygen(&second, "")?;
    sshd.stop()?;
    sshd.set(&[&format!("HostKey {}", second.display())]);
    sshd.start_again()?;
    let text = |name: &str| fs::read_to_string(sshd.path(name));
    // Its own key comes after the one of the setting, which is what it is known by.
    let public = fs::read_to_string(second.with_extension("pub"))?.replace(" throwaway", "");
    let first = format!("[127.0.0.1]:{} {public}", sshd.port());
    for name in ["unasked", "asked", "theirs"] {
        fs::write(sshd.path(name), &first)?;
    }
    fs::write(world.path("ssh_config"), "UpdateHostKeys yes\nHashKnownHosts no\n")?;
    let tunnel = |name: &str, config: &str| -> Result<TunnelFile> {
        let file = sshd.tunnel().set("known_hosts", paths(&[&sshd.path(name)]));
        Ok(file.set("ssh_config", quoted(config)).forward(net::free_port()?, 1))
    };
    let config = world.path("ssh_config").display().to_string();
    world.write("unasked", &tunnel("unasked", "none")?)?;
    world.start()?;
    world.wait_for("unasked", "up")?;
    world.write("asked", &tunnel("asked", &config)?)?;
    wait::until("the second key is stored", wait::SOON, || {
        text("asked").is_ok_and(|text| text.lines().count() == 2)
    })?;
    ensure!(text("unasked")? == first, "stored though nobody said so: {}", text("unasked")?);

    let known = format!("UserKnownHostsFile={}", sshd.path("theirs").display());
    let mut ssh = std::process::Command::new(nbtunnel_tests::programs::system("ssh")?);
    ssh.args(["-F", &config, "-o", &known, "-o", "BatchMode=yes", "-p", &sshd.port().to_string(), "-i"]);
    ssh.arg(sshd.user_key()).args(["127.0.0.1", "true"]).stdin(std::process::Stdio::null());
    ensure!(ssh.output()?.status.success());
    ensure!(text("asked")? == text("theirs")?, "{} is not {}", text("asked")?, text("theirs")?);
    Ok(())
}
