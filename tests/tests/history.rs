//! What a tunnel went through is remembered, whatever becomes of the daemon.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::child::Signal;
use nbtunnel_tests::{Server, Sshd, World, net, wait};
use serde_json::Value;

/// Where the daemon of `world` keeps its history; the name tells which config directory it is of.
fn file(world: &World) -> Result<PathBuf> {
    let files = fs::read_dir(world.path("state/nbtunnel"))?.flatten().map(|entry| entry.path());
    let mut files = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.next().context("there is no history")
}

fn kept(world: &World) -> Result<Value> {
    Ok(serde_json::from_slice(&fs::read(file(world)?)?)?)
}

/// Ends the session of `alice` by force, and waits until she is back for the `times`th time.
fn lose_and_return(sshd: &Sshd, world: &World, times: u64) -> Result<Value> {
    ensure!(sshd.kill_sessions() > 0, "there was no session");
    world.wait_until("alice", "she is back", |tunnel| {
        tunnel["state"] == "up" && tunnel["reconnects"].as_u64() == Some(times)
    })
}

#[test]
fn a_restart_and_a_kill_of_the_daemon_keep_the_history_and_are_no_gap() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let (mut world, _) = World::with_alice(&sshd, echo.port())?;
    let fresh = world.tunnel("alice")?;
    ensure!(fresh["reconnects"] == 0 && fresh["history"]["longest_gap_s"] == 0.0, "{fresh:#}");
    ensure!(fresh["history"]["last_failure"].is_null() && fresh["draining"] == 0, "{fresh:#}");

    lose_and_return(&sshd, &world, 1)?;
    let before = lose_and_return(&sshd, &world, 2)?["history"].clone();
    ensure!(before["longest_gap_s"].as_f64() > Some(0.0), "{before:#}");
    let failure = &before["last_failure"];
    ensure!(
        failure["code"].is_string() && failure["at_ms"].as_u64() > before["since_ms"].as_u64(),
        "{before:#}"
    );
    let told = world.nbctl(["logs", "alice"])?.stdout;
    ensure!(told.contains("back after ") && told.contains("it came back 2 times so far"), "{told}");

    for (signal, written) in [(Signal::Term, true), (Signal::Kill, false), (Signal::Kill, false)] {
        world.end(signal)?;
        if written {
            let kept = &kept(&world)?["tunnels"]["alice"];
            ensure!(kept["reconnects"] == 2 && kept["up_ms"].as_u64() > Some(0), "{kept:#}");
            ensure!(file(&world)?.metadata()?.permissions().mode() & 0o777 == 0o600, "others may read it");
        }
        world.start()?;
        let tunnel = world.wait_for("alice", "up")?;
        let history = &tunnel["history"];
        ensure!(tunnel["reconnects"] == 2 && history["reconnects"] == 2, "after {signal:?}: {tunnel:#}");
        for key in ["since_ms", "longest_gap_s", "last_failure"] {
            ensure!(history[key] == before[key], "after {signal:?}: {before:#} became {history:#}");
        }
        ensure!(history["up_s"].as_f64() >= before["up_s"].as_f64(), "after {signal:?}: {history:#}");
        let told = world.nbctl(["logs", "alice"])?.stdout;
        ensure!(told.contains("before this start: reconnected 2 times"), "after {signal:?}: {told}");
    }
    lose_and_return(&sshd, &world, 3)?;
    Ok(())
}

#[test]
fn who_asks_for_one_tunnel_reads_what_it_went_through() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let (world, _) = World::with_alice(&sshd, echo.port())?;
    lose_and_return(&sshd, &world, 1)?;
    let told = world.nbctl(["status", "alice"])?.stdout;
    ensure!(told.contains("reconnected once") && told.contains("last failure "), "{told}");
    let told = world.nbctl(["status"])?.stdout;
    ensure!(!told.contains("reconnected"), "nobody asked for it: {told}");
    Ok(())
}

#[test]
fn a_tunnel_that_is_gone_is_forgotten_at_the_next_start_and_one_with_a_mistake_is_not() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let (mut world, _) = World::with_alice(&sshd, echo.port())?;
    world.write("bob", &sshd.tunnel().forward(net::free_port()?, echo.port()))?;
    world.wait_for("bob", "up")?;
    world.end(Signal::Term)?;
    ensure!(kept(&world)?["tunnels"].as_object().map(|all| all.len()) == Some(2), "{:#}", kept(&world)?);
    world.remove("alice")?;
    world.write_text("bob", "host = ")?;
    world.start()?;
    wait::until("alice is forgotten", wait::SOON, || {
        kept(&world).is_ok_and(|kept| kept["tunnels"]["alice"].is_null())
    })?;
    ensure!(kept(&world)?["tunnels"]["bob"].is_object(), "a mistake in a file costs its history");
    Ok(())
}

#[test]
fn a_history_that_is_broken_is_put_aside_and_a_disk_that_refuses_is_told_once() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let (mut world, _) = World::with_alice(&sshd, echo.port())?;
    world.end(Signal::Term)?;
    let path = file(&world)?;
    fs::write(&path, "{ half of it")?;
    world.start()?;
    world.wait_for("alice", "up")?;
    ensure!(world.log().matches("was put aside as").count() == 1, "one warning");
    ensure!(fs::read(path.with_extension("json.broken"))? == b"{ half of it", "it is not there to look at");
    wait::until("there is a new one", wait::SOON, || kept(&world).is_ok())?;
    world.end(Signal::Term)?;

    fs::remove_dir_all(world.path("state/nbtunnel"))?;
    fs::write(world.path("state/nbtunnel"), "a file where a directory should be")?;
    world.start()?;
    world.wait_for("alice", "up")?;
    let told = "the history of the tunnels cannot be written down";
    wait::until("status says so", wait::SOON, || {
        let problems = world.status().map(|status| status["problems"].clone()).unwrap_or_default();
        problems[0]["message"].as_str().is_some_and(|message| message.starts_with(told))
            && problems[0]["hint"].as_str().is_some_and(|hint| !hint.is_empty())
    })?;
    lose_and_return(&sshd, &world, 1)?;
    ensure!(world.log().matches(told).count() == 1, "it is told again and again");
    ensure!(world.end(Signal::Term)?.success(), "it cannot even stop");
    Ok(())
}
