//! What `nbctl add` learns from the daemon's own program: what stands in ssh_config, and what is not done as it says.

use std::fs;

use anyhow::{Result, ensure};
use nbtunnel_tests::child::with_mounts;
use nbtunnel_tests::told::tell;
use nbtunnel_tests::{Sshd, World, wait};

#[test]
fn what_a_tunnel_does_otherwise_is_said_when_it_is_added() -> Result<()> {
    let world = World::new()?;
    let line = "ssh -o NumberOfPasswordPrompts=1 -o KbdInteractiveDevices=pam -L 1:a:2 h";
    let told = world.nbctl(["add", line])?;
    ensure!(told.code == 0, "{told:?}");
    for said in ["NumberOfPasswordPrompts 1 is not followed: ", "KbdInteractiveDevices pam is not followed: "]
    {
        ensure!(
            told.stderr.lines().any(|line| line.starts_with("note: ") && line.contains(said)),
            "{told:?}"
        );
    }
    let told = world.nbctl(["--json", "add", "again", line])?;
    ensure!(told.stdout.contains("NumberOfPasswordPrompts 1 is not followed: "), "{told:?}");
    // What would change whom to trust is no note.
    let told = world.nbctl(["add", "other", "ssh -o RevokedHostKeys=/revoked -L 1:a:2 h"])?;
    ensure!(told.code == 2 && told.stderr.contains("-o RevokedHostKeys cannot be honoured"), "{told:?}");
    ensure!(!world.tunnel_path("other").exists());
    Ok(())
}

#[test]
fn a_host_of_ssh_config_that_has_a_forward_is_a_tunnel_to_that_and_no_notebook() -> Result<()> {
    let world = World::new()?;
    let (home, passwd) = (world.path("account"), world.path("passwd"));
    fs::create_dir_all(home.join(".ssh"))?;
    let config = home.join(".ssh/config");
    fs::write(&config, "Host lab\n  User me\n  LocalForward 6000 localhost:7000\nHost plain\n  User me\n")?;
    fs::write(&passwd, format!("somebody:x:0:0::{}:/bin/sh\n", home.display()))?;
    let script = format!("mount --bind {} /etc/passwd", passwd.display());
    let named = format!("ssh -F '{}'", config.display());
    for (name, line, has_notebook) in [
        ("lab", "lab", false),
        ("plain", "plain", true),
        ("lab-2", &format!("{named} lab"), false),
        ("plain-2", &format!("{named} plain"), true),
    ] {
        let add = world.nbctl_command(["add", name, line]);
        let told = tell(&mut with_mounts(&script, &add), &[], wait::SOON)?;
        ensure!(told.code == 0, "{line}: {told:?}");
        let file = fs::read_to_string(world.tunnel_path(name))?;
        ensure!(file.contains("[notebook.") == has_notebook, "{line}: {file}");
    }
    Ok(())
}

#[test]
fn what_a_platform_moved_keeps_its_address_here() -> Result<()> {
    let (old, new) = (Sshd::start()?, Sshd::start()?);
    let mut world = World::new()?;
    world.start()?;
    let line = |sshd: &Sshd| {
        let (key, known) = (sshd.user_key().display().to_string(), sshd.known_hosts().display().to_string());
        let known = format!("UserKnownHostsFile={known}");
        let whole = [
            "ssh",
            "-F",
            "none",
            "-i",
            &key,
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            &known,
            "-p",
            &sshd.port().to_string(),
            "-l",
            sshd.user(),
            "127.0.0.1",
        ];
        whole.join(" ")
    };
    let added = |words: &[&str]| world.nbctl([&["add"], words].concat());
    let told = added(&["gpu", &line(&old)])?;
    ensure!(told.code == 0, "{told:?}");
    let before = world.wait_for("gpu", "up")?;
    let told = added(&["gpu", &line(&new)])?;
    ensure!(told.code == 1 && told.stderr.contains("--replace"), "{told:?}");
    let told = added(&["--replace", "gpu", &line(&new)])?;
    ensure!(told.code == 0, "{told:?}");
    let is_there = |gpu: &serde_json::Value| gpu["port"] == new.port() && gpu["state"] == "up";
    let after = world.wait_until("gpu", "it is up at its new port", is_there)?;
    let port = |gpu: &serde_json::Value| gpu["notebooks"][0]["local_port"].as_u64();
    ensure!(port(&after).is_some() && port(&after) == port(&before), "{before:#} {after:#}");
    Ok(())
}
