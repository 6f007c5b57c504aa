//! Servers that come back elsewhere, and strangers in their places.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nbtunnel_tests::jupyter::{Jupyter, Stranger};
use nbtunnel_tests::programs::write_program;
use nbtunnel_tests::{http, net, wait};
use serde_json::Value;

use super::lab::Lab;

#[test]
fn a_server_that_comes_back_with_another_port_and_token_is_reached_by_the_same_url() -> Result<()> {
    let lab = Lab::with("hold = \"180s\"\n", "[notebook.alice]\nfind = \"auto\"\n")?;
    let mut before = lab.recipe().token("yesterday").start()?;
    lab.found("alice")?;
    let (port, url) = (lab.port("alice")?, lab.notebook("alice")?["url"].clone());
    assert_eq!(lab.says("token", "alice")?, "yesterday");
    let kernel = before.start_kernel(port)?;
    assert_eq!(before.run_code(port, &kernel, "x = 6 * 7\nprint(x)")?, "42\n");
    // A browser that was led in by the URL goes by a cookie from then on.
    let led_in = http::get(port, "/?token=yesterday", &[], wait::SOON)?;
    let cookies = led_in.cookies.join("; ");
    let by_cookie = || http::get(port, "/api/kernels", &[("Cookie", &cookies)], wait::SOON);
    ensure!(by_cookie()?.status == 200, "{cookies:?}");
    ensure!(http::get(port, "/api/kernels", &[], wait::SOON)?.status == 403, "it lets anybody in");
    before.kill()?;
    // Whoever comes while there is none is held, and carried to the next one.
    let early = std::thread::spawn(move || http::get(port, "/api", &[], wait::SOON * 8));
    let after = lab.recipe().token("today").start()?;
    let came_back = Instant::now();
    assert_ne!(before.port(), after.port());
    let token = lab.says("token", "alice")?;
    assert_eq!(token, "today");
    let kernel = after.start_kernel(port)?;
    assert_eq!(after.run_code(port, &kernel, "print(6 * 7)")?, "42\n");
    let took = came_back.elapsed();
    println!("code ran {:.2} s after the server had answered for the first time", took.as_secs_f64());
    // Ten times what it is to take.
    ensure!(took < Duration::from_secs(30), "code ran {took:?} after the server had come back");
    ensure!(by_cookie()?.status == 200, "the browser has to log in again");
    let early = early.join().expect("no panic")?;
    assert_eq!(early.status, 200, "{}", early.body);
    let alice = lab.notebook("alice")?;
    assert_eq!((&alice["url"], lab.port("alice")?), (&url, port));
    let note = alice["note"].as_str().unwrap_or_default();
    assert!(note.contains("kernels of the one before are gone"), "{alice:#}");
    Ok(())
}

#[test]
fn a_server_that_begins_beside_it_takes_nobody_away_and_its_end_is_told_until_somebody_opens_the_next()
-> Result<()> {
    let lab = Lab::new("[notebook.alice]\nfind = \"auto\"\n")?;
    let mut first = lab.recipe().token("first").start()?;
    let at = |server: &Jupyter| format!("127.0.0.1:{}", server.port());
    lab.found("alice")?;
    assert_eq!(lab.says("token", "alice")?, "first");
    let second = lab.recipe().token("second").start()?;
    assert_eq!(lab.says("token", "alice")?, "first");
    let alice = lab.notebook("alice")?;
    let note = alice["note"].as_str().unwrap_or_default();
    assert_eq!(alice["target"], at(&first), "{alice:#}");
    assert!(note.contains(&format!("others would do as well: port {}", second.port())), "{alice:#}");
    assert!(!note.contains("gone"), "{alice:#}");
    first.kill()?;
    let news = "the kernels of the one before are gone";
    assert_eq!(lab.says("token", "alice")?, "second");
    let note = |alice: &Value| alice["note"].as_str().unwrap_or_default().to_owned();
    let alice = lab.notebook("alice")?;
    assert_eq!(alice["target"], at(&second), "{alice:#}");
    assert!(note(&alice).contains(news), "{alice:#}");
    let opened = lab.nbctl(&["open", "alice", "--print"])?;
    assert!(opened.code == 0 && opened.stderr.contains(news), "{opened:?}");
    let opened = lab.nbctl(&["open", "alice", "--print"])?;
    assert!(opened.code == 0 && !opened.stderr.contains(news), "{opened:?}");
    let alice = lab.notebook("alice")?;
    assert!(!note(&alice).contains(news), "{alice:#}");
    Ok(())
}

#[test]
fn a_stranger_on_yesterdays_port_hears_nothing() -> Result<()> {
    let lab = Lab::new("[notebook.alice]\nfind = \"auto\"\n")?;
    let mut jupyter = lab.recipe().token("mine-alone").start()?;
    lab.found("alice")?;
    let (port, far) = (lab.port("alice")?, jupyter.port());
    let headers = [("Authorization", "token mine-alone")];
    assert_eq!(http::get(port, "/api/status", &headers, wait::SOON)?.status, 200);
    // It dies without a word, so that what it wrote down stays.
    jupyter.kill()?;
    let stranger = Stranger::on(far)?;
    let told = lab.nbctl(&["token", "alice"])?;
    assert_ne!(told.code, 0, "{told:?}");
    assert!(!told.stdout.contains("mine-alone"), "{told:?}");
    lab.until("alice", "it is gone", |notebook| notebook["target"].is_null())?;
    // Whoever comes now brings his own token, and waits in vain.
    assert!(http::get(port, "/api/status", &headers, wait::SOON).is_err());
    lab.nbctl(&["status", "lab"])?;
    let heard = stranger.heard();
    assert!(!heard.contains("mine-alone"), "{heard}");
    Ok(())
}

#[test]
fn a_port_that_is_written_down_leads_to_no_stranger_either() -> Result<()> {
    let remote = nbtunnel_tests::net::free_port()?;
    let lab = Lab::new(&format!("[notebook.alice]\nremote_port = {remote}\n"))?;
    let mut jupyter = lab.recipe().port(remote).start()?;
    lab.found("alice")?;
    jupyter.kill()?;
    let stranger = Stranger::on(remote)?;
    let told = lab.nbctl(&["open", "alice", "--print"])?;
    assert_eq!(told.code, 4, "{told:?}");
    assert!(told.stderr.contains("another user"), "{told:?}");
    let cookie = [("Cookie", "username-localhost=of-yesterday")];
    assert!(http::get(lab.port("alice")?, "/api", &cookie, wait::SOON).is_err());
    assert_eq!(stranger.heard(), "", "not a byte");
    Ok(())
}

/// Runs what it is asked for; what comes while `shut` is there waits until `open` is there, too.
const GATE: &str = "#!/bin/sh\ncd \"${0%/*}\" || exit\nrun() { (cd && exec sh -c \"$SSH_ORIGINAL_COMMAND\"); }\n\
    [ -e shut ] || { run; exit; }\n\
    : >waits; until [ -e open ]; do sleep 0.05; done\nrun; : >over\n";

#[test]
fn what_is_found_for_a_section_of_another_time_takes_the_place_of_nothing() -> Result<()> {
    let (before, now) = (net::free_port()?, net::free_port()?);
    let lab = Lab::new(&format!("[notebook.alice]\nremote_port = {before}\n"))?;
    let _servers = [lab.recipe().port(before).start()?, lab.recipe().port(now).start()?];
    let gate = |name: &str| lab.sshd.path(&format!("gate/{name}"));
    fs::create_dir(lab.sshd.path("gate"))?;
    write_program(&gate("run"), GATE)?;
    let keys = lab.sshd.path("authorized_keys");
    let key = fs::read_to_string(&keys)?;
    fs::write(&keys, format!("command=\"{}\" {key}", gate("run").display()))?;
    ensure!(lab.nbctl(&["restart", "lab", "--wait"])?.code == 0);
    let leads_to = |alice: &Value, port: u16| {
        alice["target"].as_str().is_some_and(|at| at.ends_with(&format!(":{port}")))
            && alice["url"].is_string()
    };
    lab.until("alice", "it is found", |alice| leads_to(alice, before))?;

    // A look begins, and its file changes once more before that is over.
    fs::write(gate("shut"), "")?;
    let text = fs::read_to_string(lab.world.tunnel_path("lab"))?;
    lab.world.write_text("lab", format!("{text}scheme = \"http\"\n"))?;
    wait::until("it is looked for", wait::SOON, || gate("waits").exists())?;
    fs::remove_file(gate("shut"))?;
    let line = |port: u16| format!("remote_port = {port}\n");
    lab.world.write_text("lab", text.replace(&line(before), &line(now)))?;
    lab.until("alice", "the other one is found", |alice| leads_to(alice, now))?;
    fs::write(gate("open"), "")?;
    wait::until("that look is over", wait::SOON, || gate("over").exists())?;
    wait::throughout("the other one stays", Duration::from_secs(3), || {
        lab.notebook("alice").is_ok_and(|alice| leads_to(&alice, now))
    })?;
    let told = lab.nbctl(&["logs", "lab"])?.stdout;
    // Who asks for another one is not told that it is another one.
    ensure!(!told.contains("its server is another one now"), "{told}");
    Ok(())
}

/// A line of a team's file: the port is that of the account which the section is named after.
#[test]
fn an_accounts_port_leads_to_its_server_under_its_name_alone() -> Result<()> {
    let ((his, his_port), (other, other_port)) = (Stranger::somewhere()?, Stranger::somewhere()?);
    let lab = Lab::new(&format!(
        "[notebook.nobody]\nremote_port = {his_port}\n[notebook.alice]\nremote_port = {other_port}\n"
    ))?;
    let nobody = lab.found("nobody")?;
    assert_eq!(nobody["target"], format!("127.0.0.1:{his_port}"), "{nobody:#}");
    assert_eq!(http::get(lab.port("nobody")?, "/api?from=us", &[], wait::SOON)?.status, 200);
    ensure!(his.heard().contains("/api?from=us"), "{}", his.heard());
    ensure!(lab.nbctl(&["open", "nobody", "--print"])?.code == 0);
    let told = lab.nbctl(&["open", "alice", "--print"])?;
    assert_eq!(told.code, 4, "{told:?}");
    ensure!(told.stderr.contains("another user"), "{told:?}");
    assert_eq!(other.heard(), "", "not a byte");
    Ok(())
}
