//! The corpus of ssh_config: a real ssh and nbtunneld go where each file says, and the servers' logs tell whether they
//! came as the same user, with the same key, from the same address, by the same way, with the same algorithms.

#![cfg(target_os = "linux")]

mod case;
mod import;
mod lab;
mod record;

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use case::Case;
use lab::Lab;
use nbtunnel_tests::child::Running;
use nbtunnel_tests::programs::system;
use nbtunnel_tests::tunnel_file::quoted;
use nbtunnel_tests::{Server, Sshd, TunnelFile, World, net, wait};
use record::{Beginning, Record};

/// Goes there with ssh, and says what the servers saw.
fn by_ssh(lab: &Lab, world: &World, case: &Case) -> Result<(Record, String)> {
    let mut command: Command = world.command(&system("ssh")?);
    command.arg("-N").arg("-F").arg(&case.conf).args(case.user.iter().flat_map(|user| ["-l", user]));
    command.args(case.port.iter().flat_map(|port| ["-p".to_owned(), port.to_string()]));
    command.args(case.options.iter().flat_map(|option| ["-o", option]));
    command.arg(&case.host).envs(lab.variables());
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(std::fs::File::create(world.path("ssh.err"))?);
    let began = Beginning::now(lab)?;
    let mut ssh = Running::spawn(&mut command)?;
    wait::until(&format!("ssh is there or gives up: {}", case.name), wait::SOON, || {
        ssh.ended().is_some() || began.has_arrived(lab)
    })?;
    drop(ssh);
    Ok((began.record(lab, &case.text)?, std::fs::read_to_string(world.path("ssh.err"))?))
}

/// The tunnel file that says the same.
fn tunnel(case: &Case) -> TunnelFile {
    let mut file = TunnelFile::default().set("host", quoted(&case.host)).set("start", quoted("manual"));
    file = file.set("ssh_config", quoted(&case.conf.to_string_lossy()));
    if let Some(user) = &case.user {
        file = file.set("user", quoted(user));
    }
    if let Some(port) = case.port {
        file = file.set("port", port);
    }
    let options: Vec<String> = case.options.iter().map(|option| quoted(option)).collect();
    file.set("options", format!("[{}]", options.join(", "))).set("connect_timeout", quoted("10s"))
}

/// Goes there with the daemon, and says what the servers saw, and what nbctl said.
fn by_us(lab: &Lab, world: &World, case: &Case) -> Result<(Record, String)> {
    let began = Beginning::now(lab)?;
    let told = world.nbctl(["start", &case.name, "--wait=20"])?;
    if told.code == 0 {
        // sshd tells a client that it is let in before it writes that down. What is never written, the record tells.
        let _ = wait::until("the login is written down", wait::SOON, || began.has_arrived(lab));
    }
    let record = began.record(lab, &case.text)?;
    world.nbctl(["stop", &case.name, "--wait=20"])?;
    Ok((record, format!("{}{}", told.stdout, told.stderr)))
}

#[test]
fn where_ssh_goes_a_tunnel_goes_in_the_same_way() -> Result<()> {
    let (lab, mut world) = (Lab::new()?, World::new()?);
    for (name, value) in lab.variables() {
        world.set_env(name, value);
    }
    let cases: Vec<Case> = case::all(&lab)?.into_iter().filter(wanted).collect();
    for case in &cases {
        world.write(&case.name, &tunnel(case))?;
    }
    world.start()?;
    let mut wrong = Vec::new();
    for case in &cases {
        let (theirs, said) = by_ssh(&lab, &world, case)?;
        if !case.newer && theirs.logins[0].is_empty() != case.refused {
            wrong.push(format!("{}: the corpus is wrong: {theirs:?}: {said}", case.name));
        }
        let (ours, said) = by_us(&lab, &world, case)?;
        // Who is not let in at the end may have gone different ways to the same refusal.
        let same = match theirs.logins[0].is_empty() {
            true => ours.logins[0].is_empty(),
            false => ours == theirs,
        };
        if !same {
            wrong.push(format!("{}:\n  ssh  {theirs:?}\n  ours {ours:?}\n  {said}", case.name));
        }
    }
    ensure!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    Ok(())
}

/// Only those whose name contains `$NBTUNNEL_TEST_CORPUS`, while one of them is being looked into.
fn wanted(case: &Case) -> bool {
    std::env::var("NBTUNNEL_TEST_CORPUS").map_or(true, |part| case.name.contains(&part))
}

/// With the file's own words the server is reached, and with those of ssh_config it is not: that tells which counted.
#[test]
fn without_an_ssh_program_the_words_of_the_file_are_enough() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    for has_ssh in [true, false] {
        let mut world = World::new()?;
        let (nothing, config) = (world.path("no_programs"), world.path("ssh_config"));
        std::fs::create_dir(&nothing)?;
        std::fs::write(&config, "Host *\n  ProxyCommand false\n")?;
        let local = net::free_port()?;
        let file = sshd
            .tunnel()
            .forward(local, echo.port())
            .set("ssh_config", quoted(&config.display().to_string()));
        world.write("alice", &file)?;
        if !has_ssh {
            world.set_env("PATH", &nothing);
        }
        world.start()?;
        world.wait_for("alice", if has_ssh { "waiting" } else { "up" })?;
        ensure!(has_ssh || net::echoes(local, wait::SOON), "it does not carry");
    }
    Ok(())
}
