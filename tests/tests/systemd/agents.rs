//! What a user's service manager knows and the daemon was not started with: where the agent is. And what its user
//! may not see of it.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::child::Running;
use nbtunnel_tests::told::tell;
use nbtunnel_tests::tunnel_file::paths;
use nbtunnel_tests::{net, wait};

use super::manager::Manager;

#[test]
fn an_agent_that_the_manager_learns_of_later_is_found_and_followed_to_another_place() -> Result<()> {
    let manager = Manager::installed()?;
    let (key, local) = (manager.world.path("key"), net::free_port()?);
    let no_key = manager.world.path("no_such_key");
    let file = manager.tunnel().forward(local, manager.echo()).set("identity_file", paths(&[&no_key]));
    manager.world.write("bob", &file)?;
    manager.becomes("bob", "parked")?;
    let daemon = manager.daemon()?;

    // Twice, since what was found once may be remembered.
    for name in ["one", "another"] {
        let socket = manager.world.path("home").join(name);
        let mut command = manager.command("ssh-agent")?;
        command.arg("-D").arg("-a").arg(&socket).stdin(Stdio::null()).stdout(Stdio::null());
        let agent = Running::spawn(&mut command)?;
        let mut add = manager.command("ssh-add")?;
        add.arg("-q").arg(&key).env("SSH_AUTH_SOCK", &socket);
        let added = || tell(&mut add, &[], wait::SOON).is_ok_and(|told| told.code == 0);
        wait::until("the agent has the key", wait::SOON, added)?;
        let set = format!("SSH_AUTH_SOCK={}", socket.to_str().context("a path is text")?);
        manager.systemctl(&["set-environment", &set])?;
        manager.becomes("bob", "up")?;
        wait::until("it carries", wait::SOON, || net::echoes(local, wait::SOON))?;
        // nsenter passes no signal on; the agent goes with the whole of it, its place goes here.
        drop(agent);
        std::fs::remove_file(&socket)?;
        ensure!(manager.nbctl(&["restart", "bob"])?.code == 0);
        manager.becomes("bob", "parked")?;
    }
    ensure!(manager.daemon()? == daemon, "it is another daemon");
    Ok(())
}

#[test]
fn other_programs_of_the_same_user_cannot_look_into_the_daemon() -> Result<()> {
    let manager = Manager::installed()?;
    let pid = manager.property("MainPID")?;
    for (whose, is_open) in [("self", true), (pid.as_str(), false)] {
        let told = tell(manager.command("cat")?.arg(format!("/proc/{whose}/environ")), &[], wait::SOON)?;
        ensure!((told.code == 0) == is_open, "{whose}: {told:?}");
    }
    Ok(())
}
