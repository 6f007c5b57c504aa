//! Servers that are odd, or worse, about where they listen for us: nobody is connected who should not be, nothing
//! hangs, and users read what happened.

use std::time::Duration;

use anyhow::{Result, ensure};
use nbtunnel_tests::strange_listener::{Answer, StrangeListener};
use nbtunnel_tests::{Server, World, net};
use serde_json::Value;

use crate::support::{listening, up, with};

/// A program here that counts who comes to it.
fn target() -> Result<(Server, u16)> {
    let echo = Server::echo()?;
    let port = echo.port();
    Ok((echo, port))
}

/// The problem of forward `at` of `alice`, once it has one.
fn problem(world: &World, at: usize) -> Result<Value> {
    let tunnel = world.wait_until("alice", "the forward has a problem", |tunnel| {
        tunnel["forwards"][at]["problem"].is_object()
    })?;
    ensure!(tunnel["forwards"][at]["listens"].as_array().is_some_and(Vec::is_empty), "{tunnel:#}");
    Ok(tunnel["forwards"][at]["problem"].clone())
}

#[test]
fn what_one_refuses_is_named_and_harms_no_other_forward() -> Result<()> {
    let server = StrangeListener::answering(|host, _| match host {
        "localhost" => Answer::No,
        _ => Answer::Port(0),
    })?;
    let (echo, port) = target()?;
    let list = [format!("8080:127.0.0.1:{port}"), format!("/run/there:127.0.0.1:{port}")];
    let world = up(&with(server.tunnel(), "remote", &list))?;
    let why = problem(&world, 0)?;
    ensure!(why["code"] == "forwarding_denied", "{why}");
    ensure!(why["message"].as_str().is_some_and(|text| text.contains("localhost:8080")), "{why}");
    world.wait_until("alice", "the socket listens", |tunnel| {
        tunnel["forwards"][1]["listens"][0] == "/run/there"
    })?;
    // Whoever comes where it said that it would not listen is not connected.
    ensure!(server.come_to("localhost", 8080).is_err() && echo.served() == 0);
    let mut visit = server.come_to_socket("/run/there")?;
    visit.send(b"ping")?;
    ensure!(visit.hear(4)? == b"ping");
    Ok(())
}

#[test]
fn one_that_takes_its_time_is_waited_for_and_leads_in_meanwhile() -> Result<()> {
    let server = StrangeListener::answering(|_, _| Answer::After(Duration::from_secs(3)))?;
    let (_echo, port) = target()?;
    let list = [format!("8080:127.0.0.1:{port}"), format!("0:127.0.0.1:{port}")];
    let world = up(&with(server.tunnel(), "remote", &[list[0].clone()]))?;
    let tunnel = world.tunnel("alice")?;
    ensure!(tunnel["state"] == "up" && tunnel["forwards"][0]["problem"].is_null(), "{tunnel:#}");
    listening(&world)?;
    let mut visit = server.come_to("localhost", 8080)?;
    visit.send(b"ping")?;
    ensure!(visit.hear(4)? == b"ping");
    ensure!(server.asked() == ["listen localhost:8080"], "{:?}", server.asked());
    Ok(())
}

#[test]
fn a_chosen_port_that_is_none_is_a_problem_and_never_shown_as_one() -> Result<()> {
    for nonsense in [0, 70_000] {
        let server = StrangeListener::answering(move |_, _| Answer::Port(nonsense))?;
        let (echo, port) = target()?;
        let world = up(&with(server.tunnel(), "remote", &[format!("0:127.0.0.1:{port}")]))?;
        let why = problem(&world, 0)?;
        ensure!(why["code"] == "forwarding_denied", "{why}");
        ensure!(why["message"].as_str().is_some_and(|text| text.contains("port")), "{why}");
        for odd in [0, nonsense] {
            ensure!(server.come_to("localhost", odd).is_err() && echo.served() == 0, "{odd}");
        }
        let told = world.nbctl(["status", "alice"])?;
        ensure!(told.stdout.contains("write a port instead of 0"), "{}", told.stdout);
    }
    Ok(())
}

#[test]
fn one_that_answers_with_another_port_than_it_was_asked_for_gets_nobody_in_there() -> Result<()> {
    let server = StrangeListener::answering(|_, _| Answer::Port(4001))?;
    let (echo, port) = target()?;
    let world = up(&with(server.tunnel(), "remote", &[format!("8080:127.0.0.1:{port}")]))?;
    listening(&world)?;
    ensure!(server.come_to("localhost", 4001).is_err() && echo.served() == 0);
    server.come_to("localhost", 8080)?;
    Ok(())
}

#[test]
fn two_forwards_do_not_get_the_same_chosen_port() -> Result<()> {
    let server = StrangeListener::answering(|_, _| Answer::Port(4000))?;
    let (first, second) = (target()?, target()?);
    let list = [format!("0:127.0.0.1:{}", first.1), format!("0:127.0.0.1:{}", second.1)];
    let world = up(&with(server.tunnel(), "remote", &list))?;
    world.wait_until("alice", "the first one listens", |tunnel| {
        tunnel["forwards"][0]["listens"][0] == "localhost:4000"
    })?;
    problem(&world, 1)?;
    let mut visit = server.come_to("localhost", 4000)?;
    visit.send(b"ping")?;
    ensure!(visit.hear(4)? == b"ping");
    ensure!(first.0.served() == 1 && second.0.served() == 0, "the second forward took over");
    Ok(())
}

#[test]
fn nobody_is_let_in_where_nobody_asked_and_that_is_told_once() -> Result<()> {
    let server = StrangeListener::answering(|_, _| Answer::Port(0))?;
    let (echo, port) = target()?;
    let local = net::free_port()?;
    let world = up(&with(server.tunnel().forward(local, 1), "remote", &[format!("8080:127.0.0.1:{port}")]))?;
    listening(&world)?;
    let odd_hosts = ["", "127.0.0.1", "LOCALHOST", "localhost\0", "::1", "\x1b[31mred"];
    for (host, port) in odd_hosts.map(|host| (host, 8080)).into_iter().chain([
        ("localhost", 0),
        ("localhost", 8081),
        ("localhost", 8080 + 65_536),
        ("localhost", u32::MAX),
    ]) {
        ensure!(server.come_to(host, port).is_err(), "{host:?}:{port}");
    }
    for path in ["", "/run/there", "localhost:8080"] {
        ensure!(server.come_to_socket(path).is_err(), "{path:?}");
    }
    ensure!(echo.served() == 0, "somebody was connected");
    let log = world.nbctl(["logs", "alice"])?.stdout;
    let told: Vec<&str> = log.lines().filter(|line| line.contains("not asked to listen")).collect();
    ensure!(told.len() == 1 && !log.contains('\x1b'), "{log}");
    server.come_to("localhost", 8080)?;
    ensure!(server.logins() == 1, "the session did not last");
    Ok(())
}
