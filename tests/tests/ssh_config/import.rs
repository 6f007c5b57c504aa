//! `nbctl import`, and that what it made follows ssh_config from then on.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::{Server, Sshd, World, http, net};
use serde_json::Value;

fn hosts(sshd: &Sshd, forward: &str) -> String {
    format!(
        "Host lab\n  LocalForward {forward}\nHost plain\n  User nobody\nHost broken\n  VerifyHostKeyDNS yes\n\
         Host *\n  HostName {}\n  Port {}\n  IdentityFile {}\n  UserKnownHostsFile {}\n  RevokedHostKeys /dev/null\n",
        sshd.host(),
        sshd.port(),
        sshd.user_key().display(),
        sshd.known_hosts().display()
    )
}

#[test]
fn a_host_with_a_forward_becomes_a_tunnel_that_follows_it() -> Result<()> {
    let (sshd, page, mut world) = (Sshd::start()?, Server::page("hello")?, World::new()?);
    let (first, second) = (net::free_port()?, net::free_port()?);
    let file = world.path("ssh_config");
    fs::write(&file, hosts(&sshd, &format!("{first} 127.0.0.1:{}", page.port())))?;
    world.start()?;
    let import = |more: &[&str]| -> Result<Value> {
        let told = world.nbctl(["--json", "import"].into_iter().chain(more.iter().copied()))?;
        ensure!(told.code == 0, "{told:?}");
        Ok(serde_json::from_str(&told.stdout)?)
    };
    let file_text = file.to_str().context("a path is text")?;
    let names = |told: &Value, of: &str, key: &str| -> Vec<String> {
        let all = told[of].as_array().into_iter().flatten();
        all.filter_map(|one| Some(one[key].as_str()?.to_owned())).collect()
    };

    let told = import(&["--dry-run", file_text])?;
    ensure!(names(&told, "made", "name") == ["lab"], "{told:#}");
    ensure!(!world.tunnel_path("lab").exists(), "a dry run makes nothing");

    let told = import(&[file_text])?;
    ensure!(names(&told, "made", "name") == ["lab"], "{told:#}");
    ensure!(names(&told, "skipped", "host") == ["plain", "broken"], "{told:#}");
    world.wait_for("lab", "up")?;
    let answer = http::get(first, "/", &[], Duration::from_secs(10))?;
    ensure!(answer.body == "hello", "{answer:?}");

    let mine = "host = \"lab\" # mine\n";
    fs::write(world.tunnel_path("lab"), format!("{mine}ssh_config = {file_text:?}\n"))?;
    let told = import(&[file_text])?;
    ensure!(names(&told, "made", "name").is_empty(), "{told:#}");
    ensure!(fs::read_to_string(world.tunnel_path("lab"))?.starts_with(mine), "a file was written over");

    let problems = world.status()?["problems"].to_string();
    ensure!(problems.contains("RevokedHostKeys"), "what is not followed is told: {problems}");

    fs::write(&file, hosts(&sshd, &format!("{second} 127.0.0.1:{}", page.port())))?;
    world.wait_until("lab", "the new port", |tunnel| {
        tunnel["forwards"][0]["listen"].as_str().is_some_and(|listen| listen.ends_with(&format!(":{second}")))
            && tunnel["state"] == "up"
    })?;
    let answer = http::get(second, "/", &[], Duration::from_secs(10))?;
    ensure!(answer.body == "hello", "{answer:?}");
    Ok(())
}

#[test]
fn a_second_import_makes_nothing_that_the_first_one_left_out() -> Result<()> {
    let world = World::new()?;
    let file = world.path("ssh_config");
    fs::write(&file, "Host one two\n  HostName 127.0.0.1\n  LocalForward 6000 localhost:7000\n")?;
    let file = file.to_str().context("a path is text")?;
    for _ in 0..2 {
        let told = world.nbctl(["import", file])?;
        ensure!(
            told.code == 0 && told.stderr.contains("skipped two: it has the same forwards as one"),
            "{told:?}"
        );
        ensure!(!world.tunnel_path("two").exists(), "{told:?}");
    }
    fs::write(file, "Bogus yes\n")?;
    let told = world.nbctl(["import", file])?;
    ensure!(told.code == 1 && told.stderr.contains("line 1: Bad configuration option: bogus"), "{told:?}");
    ensure!(!told.stderr.contains("nobody"), "a name that nobody wrote is told: {told:?}");
    Ok(())
}
