//! A daemon that dies, and which servers the next one leads to.

use std::fs;

use anyhow::Result;
use nbtunnel_tests::child::Signal;
use nbtunnel_tests::jupyter::Jupyter;
use nbtunnel_tests::{http, wait};

use super::lab::Lab;

const AUTO: &str = "[notebook.alice]\nfind = \"auto\"\n";

/// What outlives the daemon, as it is written down.
fn kept(lab: &Lab) -> String {
    let files = fs::read_dir(lab.world.path("state/nbtunnel")).into_iter().flatten().flatten();
    let history = files.map(|file| file.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("history") && name.ends_with(".json")
    });
    history.filter_map(|path| fs::read_to_string(path).ok()).collect()
}

/// Waits until it is written down, or not, which server it was.
fn until_kept(lab: &Lab, server: &Jupyter, is_kept: bool) -> Result<()> {
    let port = format!("\"port\":{},", server.port());
    wait::until("it is written down", wait::SOON, || kept(lab).contains(&port) == is_kept)
}

fn at(server: &Jupyter) -> String {
    format!("127.0.0.1:{}", server.port())
}

/// A laboratory that leads to the older of two servers which fit.
fn with_two() -> Result<(Lab, Jupyter, Jupyter)> {
    let lab = Lab::with("hold = \"180s\"\n", AUTO)?;
    let older = lab.recipe().token("of-the-older").start()?;
    lab.found("alice")?;
    until_kept(&lab, &older, true)?;
    let newer = lab.recipe().token("of-the-newer").start()?;
    assert_eq!(lab.says("token", "alice")?, "of-the-older");
    Ok((lab, older, newer))
}

#[test]
fn after_a_kill_the_same_of_two_servers_is_found_and_its_kernels_are_there() -> Result<()> {
    let (mut lab, older, _newer) = with_two()?;
    let port = lab.port("alice")?;
    let kernel = older.start_kernel(port)?;
    older.run_code(port, &kernel, "x = 6 * 7")?;
    for _ in 0..2 {
        lab.world.end(Signal::Kill)?;
        lab.world.start()?;
        assert_eq!(lab.says("token", "alice")?, "of-the-older");
        assert_eq!(lab.notebook("alice")?["target"], at(&older));
        assert_eq!(older.run_code(port, &kernel, "print(x)")?, "42\n");
    }
    assert!(!kept(&lab).contains("of-the-older"), "a token is written down");
    Ok(())
}

#[test]
fn the_file_of_an_earlier_version_and_a_broken_one_are_no_failure() -> Result<()> {
    let (mut lab, older, newer) = with_two()?;
    for text in [r#"{"tunnels":{"lab":{"since_ms":1,"reconnects":3,"up_ms":9}}}"#, "{"] {
        lab.world.end(Signal::Kill)?;
        for file in fs::read_dir(lab.world.path("state/nbtunnel"))? {
            let path = file?.path();
            if path.to_string_lossy().ends_with(".json") && kept(&lab) == fs::read_to_string(&path)? {
                fs::write(path, text)?;
            }
        }
        lab.world.start()?;
        // Nobody knows better.
        assert_eq!(lab.says("token", "alice")?, "of-the-newer");
        until_kept(&lab, &newer, true)?;
        until_kept(&lab, &older, false)?;
    }
    Ok(())
}

#[test]
fn who_asks_for_another_server_while_no_daemon_runs_or_while_one_does_is_not_led_to_the_one_before()
-> Result<()> {
    let (mut lab, older, newer) = with_two()?;
    let path = lab.world.tunnel_path("lab");
    let ask = |lab: &Lab, find: &str| -> Result<()> {
        let edited = |line: &str| match line.starts_with("find") {
            true => format!("find = \"{find}\"\n"),
            false => format!("{line}\n"),
        };
        let text = fs::read_to_string(&path)?.lines().map(edited).collect::<String>();
        lab.world.write_text("lab", text)
    };
    lab.world.end(Signal::Kill)?;
    ask(&lab, "1024-65535")?;
    lab.world.start()?;
    assert_eq!(lab.says("token", "alice")?, "of-the-newer");
    until_kept(&lab, &newer, true)?;
    // The newest is another one now.
    let newest = lab.recipe().token("of-the-newest").start()?;
    assert_eq!(lab.says("token", "alice")?, "of-the-newer");
    ask(&lab, "auto")?;
    lab.until("alice", "the newest is found", |notebook| notebook["target"] == at(&newest))?;
    until_kept(&lab, &newest, true)?;
    until_kept(&lab, &newer, false)?;
    // Without its section nothing of it is kept.
    let text = fs::read_to_string(&path)?;
    let without: Vec<_> = text.lines().take_while(|line| !line.starts_with("[notebook")).collect();
    lab.world.write_text("lab", without.join("\n"))?;
    until_kept(&lab, &newest, false)?;
    until_kept(&lab, &older, false)
}

#[test]
fn a_server_that_moves_while_the_daemon_is_dead_is_reached_by_the_same_url() -> Result<()> {
    let mut lab = Lab::with("hold = \"180s\"\n", AUTO)?;
    let mut before = lab.recipe().token("yesterday").start()?;
    lab.found("alice")?;
    let (port, url) = (lab.port("alice")?, lab.notebook("alice")?["url"].clone());
    let kernel = before.start_kernel(port)?;
    assert_eq!(before.run_code(port, &kernel, "print(6 * 7)")?, "42\n");
    until_kept(&lab, &before, true)?;
    // One dies while nobody looks, the other while it is looked for.
    for token in ["today", "tomorrow"] {
        if token == "today" {
            lab.world.end(Signal::Kill)?;
            before.kill()?;
        } else {
            before.kill()?;
            let _ = http::get(port, "/api", &[], std::time::Duration::from_secs(1));
            lab.until("alice", "it is gone", |notebook| notebook["target"].is_null())?;
            lab.world.end(Signal::Kill)?;
        }
        lab.world.start()?;
        let early = std::thread::spawn(move || http::get(port, "/api", &[], wait::SOON * 8));
        let after = lab.recipe().token(token).start()?;
        assert_eq!(early.join().expect("no panic")?.status, 200);
        assert_eq!(lab.says("token", "alice")?, token);
        let kernel = after.start_kernel(port)?;
        assert_eq!(after.run_code(port, &kernel, "print(6 * 7)")?, "42\n");
        let alice = lab.notebook("alice")?;
        assert_eq!((&alice["url"], lab.port("alice")?), (&url, port));
        let note = alice["note"].as_str().unwrap_or_default();
        assert!(note.contains("kernels of the one before are gone"), "{alice:#}");
        before = after;
    }
    Ok(())
}
