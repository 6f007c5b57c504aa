//! The harness itself, tried with a plain `ssh -N -L` in the place of the daemon.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use nbtunnel_tests::{Agent, Jupyter, Server, Sshd, net, plain_ssh, programs, wait};

#[test]
fn a_plain_ssh_tunnel_carries_an_echo_until_its_session_is_killed() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let local = net::free_port()?;
    let mut ssh = plain_ssh::start(&sshd, local, echo.port())?;
    wait::until("the tunnel carries", wait::SOON, || net::echoes(local, wait::SOON))?;
    assert_eq!(sshd.count_log("Accepted publickey"), 1);
    assert!(sshd.kill_sessions() >= 1);
    ssh.wait(wait::SOON)?;
    assert!(!net::echoes(local, wait::SOON));
    wait::until("no session is left", wait::SOON, || sshd.sessions().is_empty())
}

#[test]
fn a_stopped_sshd_comes_back_on_its_port_with_its_key() -> Result<()> {
    let mut sshd = Sshd::with(&["AllowTcpForwarding no"])?;
    let (port, line) = (sshd.port(), sshd.known_hosts_line()?);
    sshd.stop()?;
    assert!(net::connect(port, wait::SOON).is_err(), "a stopped sshd still listens");
    sshd.start_again()?;
    net::connect(port, wait::SOON)?;
    assert_eq!(sshd.known_hosts_line()?, line);
    sshd.change_host_key()?;
    assert_ne!(sshd.known_hosts_line()?, line);
    assert!(sshd.fingerprint()?.starts_with("SHA256:"));
    Ok(())
}

#[test]
fn a_frozen_session_does_not_answer_until_it_goes_on() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let local = net::free_port()?;
    let _ssh = plain_ssh::start(&sshd, local, echo.port())?;
    wait::until("the tunnel carries", wait::SOON, || net::echoes(local, wait::SOON))?;
    sshd.freeze_sessions(true);
    assert!(!net::echoes(local, Duration::from_millis(300)));
    sshd.freeze_sessions(false);
    wait::until("the tunnel carries again", wait::SOON, || net::echoes(local, wait::SOON))
}

#[test]
fn an_agent_has_the_keys_that_it_was_given() -> Result<()> {
    let (sshd, agent) = (Sshd::start()?, Agent::start()?);
    let keys = || -> Result<usize> {
        let output = Command::new(programs::system("ssh-add")?)
            .arg("-L")
            .env("SSH_AUTH_SOCK", agent.socket())
            .output()?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.starts_with("ssh-")).count())
    };
    assert_eq!(keys()?, 0);
    agent.add(&sshd.user_key())?;
    assert_eq!(keys()?, 1);
    agent.remove_all()?;
    assert_eq!(keys()?, 0);
    Ok(())
}

#[test]
fn a_kernel_keeps_its_variables_between_websockets() -> Result<()> {
    let jupyter = Jupyter::start()?;
    let kernel = jupyter.start_kernel(jupyter.port())?;
    assert_eq!(jupyter.run_code(jupyter.port(), &kernel, "x = 6 * 7; print(x)")?, "42\n");
    let mut held = jupyter.hold_websocket(jupyter.port(), &kernel)?;
    ensure!(!held.is_cut(), "an open websocket counts as cut");
    assert_eq!(jupyter.run_code(jupyter.port(), &kernel, "print(x + 1)")?, "43\n");
    assert!(jupyter.run_code(jupyter.port(), &kernel, "1 / 0").is_err());
    drop(jupyter);
    held.wait_cut(wait::SOON)
}
