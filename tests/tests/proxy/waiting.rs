//! What a client of `nbctl proxy` meets while its tunnel is not up.

use std::fs;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::child::Running;
use nbtunnel_tests::{net, wait};

use crate::inner::Place;

#[test]
fn a_tunnel_on_demand_comes_up_and_stays_while_it_is_used() -> Result<()> {
    let port = net::free_port()?;
    let place = Place::set(|file| file.forward(port, port).set("start", "\"demand\"").set("idle", "\"1s\""))?;
    place.world.wait_for("alice", "idle")?;
    let mut ssh = place.command("ssh", &["alice", "echo up; sleep 4; echo still"])?;
    ssh.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut ssh = Running::spawn(&mut ssh)?;
    place.world.wait_for("alice", "up")?;
    let status = ssh.wait(wait::SOON)?;
    let mut said = String::new();
    let stdout = ssh.pipes().stdout.take().context("it has a standard output")?;
    std::io::Read::read_to_string(&mut std::io::BufReader::new(stdout), &mut said)?;
    ensure!(status.success() && said == "up\nstill\n", "{status} {said}");
    place.world.wait_for("alice", "idle")?;
    Ok(())
}

#[test]
fn a_stopped_one_says_how_to_start_it() -> Result<()> {
    let place = Place::new()?;
    place.world.wait_for("alice", "up")?;
    ensure!(place.world.nbctl(["stop", "alice", "--wait"])?.code == 0);
    let told = place.world.nbctl(["proxy", "alice"])?;
    ensure!(told.code == 1 && told.stdout.is_empty(), "{told:?}");
    ensure!(told.stderr.contains("nbctl start alice"), "{told:?}");
    let told = place.world.nbctl(["proxy", "nobody"])?;
    ensure!(told.code == 3, "{told:?}");
    let told = place.world.nbctl(["proxy", "alice", "no-port"])?;
    ensure!(told.code == 2, "{told:?}");
    Ok(())
}

#[test]
fn what_parked_it_is_told_at_once() -> Result<()> {
    let place = Place::set(|file| file.set("hold", "\"60s\""))?;
    place.world.wait_for("alice", "up")?;
    fs::write(place.sshd.known_hosts(), "")?;
    ensure!(place.world.nbctl(["restart", "alice"])?.code == 0);
    place.world.wait_for("alice", "parked")?;
    let told = place.world.nbctl(["proxy", "alice"])?;
    ensure!(told.code == 4 && told.stdout.is_empty(), "{told:?}");
    ensure!(told.stderr.contains("host key"), "{told:?}");
    Ok(())
}

#[test]
fn what_is_away_is_waited_for_and_what_is_refused_is_said() -> Result<()> {
    let mut place = Place::set(|file| file.set("hold", "\"60s\""))?;
    place.world.wait_for("alice", "up")?;
    let nobody = format!("127.0.0.1:{}", net::free_port()?);
    let told = place.world.nbctl(["proxy", "alice", &nobody])?;
    ensure!(told.code == 1 && told.stderr.contains("nothing answers"), "{told:?}");
    place.sshd.stop()?;
    place.world.wait_for("alice", "waiting")?;
    let mut ssh = place.command("ssh", &["alice", "true"])?;
    ssh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut ssh = Running::spawn(&mut ssh)?;
    let said = ssh.pipes().stderr.take().context("it has a standard error")?;
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(said), &mut line)?;
    ensure!(line.contains("waiting: "), "{line}");
    place.sshd.start_again()?;
    ensure!(ssh.wait(wait::SOON * 2)?.success());
    Ok(())
}
