//! Words of ssh_config that change how forwards listen and what their failure means, beside ssh itself.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::child::Running;
use nbtunnel_tests::tunnel_file::quoted;
use nbtunnel_tests::{Server, Sshd, TunnelFile, World, net, programs, wait};

/// A world whose ssh_config has a Host `box`, which is `sshd`, with these words beside.
fn world(sshd: &Sshd, words: &[String]) -> Result<(World, PathBuf)> {
    let world = World::new()?;
    let path = world.path("ssh_config");
    let known = sshd.known_hosts();
    let text = format!(
        "Host box\nHostName {}\nPort {}\nUser {}\nIdentityFile {}\nIdentitiesOnly yes\nIdentityAgent none\n\
         UserKnownHostsFile {}\nGlobalKnownHostsFile none\n{}\n",
        sshd.host(),
        sshd.port(),
        sshd.user(),
        sshd.user_key().display(),
        known.display(),
        words.join("\n")
    );
    fs::write(&path, text)?;
    let file = TunnelFile::default()
        .set("host", quoted("box"))
        .set("ssh_config", quoted(&path.display().to_string()));
    world.write("alice", &file)?;
    Ok((world, path))
}

/// ssh itself, by the same words.
fn ssh(config: &std::path::Path) -> Result<Running> {
    let mut command = Command::new(programs::system("ssh")?);
    command.args(["-N", "-o", "BatchMode=yes", "-F"]).arg(config).arg("box");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Running::spawn(&mut command)
}

#[cfg(target_os = "linux")]
#[test]
fn gateway_ports_open_to_other_machines_what_ssh_opens_to_them() -> Result<()> {
    // 127.0.0.2 stands for every address but localhost.
    const ADDRESSES: [&str; 3] = ["127.0.0.1", "127.0.0.2", "[::1]"];
    let reached = |port: u16| {
        ADDRESSES.map(|address| {
            let address: Option<SocketAddr> = format!("{address}:{port}").parse().ok();
            address.is_some_and(|at| TcpStream::connect_timeout(&at, wait::SOON).is_ok())
        })
    };
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    for gateway in ["no", "yes"] {
        let ports: Vec<u16> = (0..5).map(|_| net::free_port()).collect::<Result<_>>()?;
        let to = format!("127.0.0.1:{}", echo.port());
        let words = [
            format!("GatewayPorts {gateway}"),
            format!("LocalForward {} {to}", ports[0]),
            format!("LocalForward localhost:{} {to}", ports[1]),
            format!("LocalForward *:{} {to}", ports[2]),
            format!("LocalForward 127.0.0.1:{} {to}", ports[3]),
            format!("DynamicForward {}", ports[4]),
        ];
        let (mut world, config) = world(&sshd, &words)?;
        let all = || ports.iter().map(|port| reached(*port)).collect::<Vec<_>>();
        let listens = || all().iter().all(|found| found[0]);
        let theirs = {
            let _ssh = ssh(&config)?;
            wait::until("ssh listens", wait::SOON, listens)?;
            all()
        };
        wait::until("ssh is gone", wait::SOON, || all().iter().all(|found| !found[0]))?;
        world.start()?;
        world.wait_for("alice", "up")?;
        wait::until("the tunnel listens", wait::SOON, listens)?;
        ensure!(all() == theirs, "GatewayPorts {gateway}: {:?} and not {theirs:?}", all());
        ensure!(theirs[0][1] == (gateway == "yes") && theirs[2][1], "this proves nothing: {theirs:?}");
    }
    Ok(())
}

#[test]
fn exit_on_forward_failure_means_what_it_means_to_ssh() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    for (keyword, code) in [("RemoteForward", "forwarding_denied"), ("LocalForward", "port_in_use")] {
        for exit in ["yes", "no"] {
            let squatter = net::listener()?;
            let (taken, good) = (squatter.local_addr()?.port(), net::free_port()?);
            let words = [
                format!("ExitOnForwardFailure {exit}"),
                format!("LocalForward {good} 127.0.0.1:{}", echo.port()),
                format!("{keyword} 127.0.0.1:{taken} 127.0.0.1:{}", echo.port()),
            ];
            let (mut world, config) = world(&sshd, &words)?;
            let mut theirs = ssh(&config)?;
            if exit == "yes" {
                let ended = theirs.wait(wait::SOON).context("ssh goes on")?;
                ensure!(!ended.success(), "{keyword}: {ended}");
            } else {
                wait::until("ssh carries", wait::SOON, || net::echoes(good, wait::SOON))?;
            }
            drop(theirs);
            wait::until("ssh is gone", wait::SOON, || TcpStream::connect(("127.0.0.1", good)).is_err())?;
            world.start()?;
            if exit == "yes" {
                let tunnel = world
                    .wait_until("alice", "the tunnel says why", |tunnel| tunnel["problem"]["code"] == code)?;
                ensure!(tunnel["problem"]["hint"].is_string(), "{tunnel:#}");
            } else {
                world.wait_until("alice", "it is up beside", |tunnel| {
                    tunnel["state"] == "up" && tunnel["forwards"][0]["problem"].is_null()
                })?;
                ensure!(net::echoes(good, wait::SOON), "{keyword}: the good forward is harmed");
            }
            drop(squatter);
            // And when it can be had, all of it comes up by itself.
            let patience = Duration::from_secs(60);
            wait::until("the other is had", patience, || {
                net::echoes(taken, wait::SOON) && net::echoes(good, wait::SOON)
            })?;
            world.wait_until("alice", "nothing is wrong any more", |tunnel| {
                tunnel["state"] == "up" && tunnel["problem"].is_null()
            })?;
        }
    }
    Ok(())
}
