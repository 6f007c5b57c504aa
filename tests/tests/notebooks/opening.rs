//! `nbctl open`, whatever has to be done before.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv6Addr, TcpListener};

use anyhow::{Result, ensure};
use nbtunnel_tests::{http, net, wait};

use super::lab::{Lab, Visit};

#[test]
fn a_browser_is_led_to_the_page_and_its_command_line_has_no_token() -> Result<()> {
    let lab = Lab::new("[notebook.alice]\nfind = \"auto\"\n")?;
    let jupyter = lab.recipe().classic().base_url("/team/").start()?;
    let Visit { told, called, led, .. } = lab.browse(&["alice", "--tree"])?;
    let page = format!("http://localhost:{}/team/tree?token={}", lab.port("alice")?, jupyter.token());
    ensure!(led.ends_with(&page), "{led} is not {page}");
    ensure!(called.starts_with("http://127.0.0.1:") && !called.contains(jupyter.token()), "{called}");
    ensure!(!told.stdout.contains(jupyter.token()) && !told.stderr.contains(jupyter.token()), "{told:?}");
    Ok(())
}

#[test]
fn no_url_says_localhost_where_one_of_its_addresses_is_somebody_elses() -> Result<()> {
    let lab = Lab::new("[notebook.alice]\nfind = \"auto\"\n")?;
    let jupyter = lab.recipe().start()?;
    lab.found("alice")?;
    let before = lab.port("alice")?;
    ensure!(lab.says("url", "alice")? == format!("http://localhost:{before}/?token={}", jupyter.token()));
    let neighbour = TcpListener::bind((Ipv6Addr::LOCALHOST, net::free_port()?))?;
    neighbour.set_nonblocking(true)?;
    let port = neighbour.local_addr()?.port();
    let text = fs::read_to_string(lab.world.tunnel_path("lab"))?;
    lab.world.write_text(
        "lab",
        text.replace(&format!("local_port = {before}"), &format!("local_port = {port}")),
    )?;
    let alice =
        lab.until("alice", "it moved", |alice| alice["local_port"] == port && alice["state"] == "found")?;
    let url = format!("http://127.0.0.1:{port}/");
    ensure!(alice["url"] == url, "{alice:#}");
    let whole = format!("{url}?token={}", jupyter.token());
    ensure!(lab.says("url", "alice")? == whole);
    let opened = lab.nbctl(&["open", "alice", "--print"])?;
    ensure!(opened.code == 0 && opened.stdout.trim_end() == whole, "{opened:?}");
    ensure!(http::get(port, "/api", &[], wait::SOON)?.status == 200);
    ensure!(neighbour.accept().is_err_and(|why| why.kind() == ErrorKind::WouldBlock));
    Ok(())
}

#[test]
fn a_tunnel_that_was_stopped_is_started_for_whoever_opens_it_and_not_for_who_only_asks() -> Result<()> {
    let lab = Lab::new("[notebook.alice]\nfind = \"auto\"\n")?;
    let jupyter = lab.recipe().start()?;
    lab.found("alice")?;
    ensure!(lab.nbctl(&["stop", "lab", "--wait"])?.code == 0);
    let told = lab.nbctl(&["token", "alice"])?;
    ensure!(told.code == 1 && told.stderr.contains("nbctl start lab"), "{told:?}");
    let told = lab.nbctl(&["open", "alice", "--print"])?;
    ensure!(told.code == 0 && told.stdout.contains(jupyter.token()), "{told:?}");
    Ok(())
}

#[test]
fn a_tunnel_on_demand_comes_up_for_who_asks() -> Result<()> {
    let lab = Lab::with("start = \"demand\"\n", "[notebook.alice]\nfind = \"auto\"\n")?;
    let jupyter = lab.recipe().start()?;
    lab.world.wait_for("lab", "idle")?;
    ensure!(lab.says("token", "alice")? == jupyter.token());
    ensure!(lab.world.tunnel("lab")?["state"] == "up");
    Ok(())
}

#[test]
fn a_tunnel_that_was_parked_is_tried_again_for_whoever_opens_it() -> Result<()> {
    let lab = Lab::new("[notebook.alice]\nfind = \"auto\"\n")?;
    let jupyter = lab.recipe().start()?;
    lab.found("alice")?;
    let keys = lab.sshd.path("authorized_keys");
    let text = fs::read_to_string(&keys)?;
    fs::write(&keys, "")?;
    ensure!(lab.nbctl(&["restart", "lab"])?.code == 0);
    lab.world.wait_for("lab", "parked")?;
    let told = lab.nbctl(&["open", "alice", "--print"])?;
    ensure!(told.code != 0 && told.stderr.contains("did not let"), "{told:?}");
    fs::write(&keys, text)?;
    let told = lab.nbctl(&["open", "alice", "--print"])?;
    ensure!(told.code == 0 && told.stdout.contains(jupyter.token()), "{told:?}");
    Ok(())
}
