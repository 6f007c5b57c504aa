//! What was typed is nowhere afterwards: not in what is told or written, and not in the daemon's memory.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::sshd::keygen;
use nbtunnel_tests::strange_server::{Round, StrangeServer};
use nbtunnel_tests::tunnel_file::paths;
use nbtunnel_tests::{Sshd, World, net, wait};

use super::{parked, unlock};

const TYPED: [&str; 2] = ["Zaphod-42-typed", "493817-once"];

/// Where in the memory of `process` that it may write to `text` is, as address ranges with their names.
fn in_memory(process: u32, text: &str) -> Result<Vec<String>> {
    let memory = File::open(format!("/proc/{process}/mem"))?;
    let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
    let mut found = Vec::new();
    for line in maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|how| how.starts_with("rw"))) {
        let (from, to) = line.split(' ').next().and_then(|range| range.split_once('-')).context("a range")?;
        let (from, to) = (u64::from_str_radix(from, 16)?, u64::from_str_radix(to, 16)?);
        let mut bytes = vec![0; usize::try_from(to - from)?];
        // Some ranges are of devices and cannot be read.
        if memory.read_exact_at(&mut bytes, from).is_ok()
            && bytes.windows(text.len()).any(|window| window == text.as_bytes())
        {
            found.push(line.to_owned());
        }
    }
    Ok(found)
}

/// The files below `dir` in which `text` is.
fn in_files(dir: &Path, text: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type()))?;
        let kind = kind?;
        if kind.is_dir() {
            found.extend(in_files(&path, text)?);
        } else if kind.is_file() && String::from_utf8_lossy(&fs::read(&path)?).contains(text) {
            found.push(path.display().to_string());
        }
    }
    Ok(found)
}

#[test]
fn answers_to_a_dialogue_are_told_and_written_nowhere() -> Result<()> {
    let server = StrangeServer::asking(vec![Round {
        title: "",
        instructions: "",
        prompts: &[("Word", false), ("Code", false)],
        answers: &TYPED,
    }])?;
    let mut world = World::new()?;
    world.write("alice", &server.tunnel().forward(net::free_port()?, 1))?;
    world.log_filter("trace");
    world.start()?;
    world.wait_for("alice", "parked")?;
    let mut person = unlock(&world, "alice")?;
    // Wrong first: what failed is told at length.
    person.answers("Word:", TYPED[0])?;
    person.answers("Code:", "000000-never")?;
    person.answers("Word:", TYPED[0])?;
    person.answers("Code:", TYPED[1])?;
    ensure!(person.ends()? == 0, "{}", person.shown());
    world.wait_for("alice", "up")?;
    ensure!(server.heard().len() == 2, "{:?}", server.heard());

    let mut told = vec![person.shown(), world.log()];
    for command in [&["logs", "-n", "1000"][..], &["logs", "--json", "-n", "1000"], &["status", "--json"]] {
        told.push(world.nbctl(command)?.stdout);
    }
    let mut doctor = world.nbctl_command(["doctor", "alice", "--json"]);
    told.push(format!("{:?}", doctor.output()?));
    ensure!(world.log().contains("TRACE"), "the log is not detailed enough to prove anything");
    for typed in [TYPED[0], TYPED[1], "000000-never"] {
        ensure!(told.iter().all(|told| !told.contains(typed)), "{typed} was told");
        let files = in_files(&world.path(""), typed)?;
        ensure!(files.is_empty(), "{typed} is in {files:?}");
    }
    Ok(())
}

#[test]
fn a_passphrase_leaves_the_memory_when_its_time_is_over() -> Result<()> {
    let (sshd, mut world) = (Sshd::start()?, World::new()?);
    let (key, said) = (world.path("locked"), "Slartibartfast was here");
    keygen(&key, said)?;
    fs::copy(key.with_extension("pub"), sshd.path("authorized_keys"))?;
    let file = sshd.tunnel().forward(net::free_port()?, 1).set("identity_file", paths(&[&key]));
    // Long enough to look into the memory, also on a machine that is busy with something else.
    world.write("alice", &file.set("remember", "\"20s\""))?;
    world.start()?;
    parked(&world, "alice")?;
    let mut person = unlock(&world, "alice")?;
    person.answers("passphrase of", said)?;
    ensure!(person.ends()? == 0, "{}", person.shown());
    let daemon = world.daemon()?.id();
    ensure!(!in_memory(daemon, said)?.is_empty(), "it is not kept, so its absence proves nothing");
    wait::until("it is wiped", wait::SOON * 2, || in_memory(daemon, said).is_ok_and(|found| found.is_empty()))
        .with_context(|| format!("{:?}", in_memory(daemon, said)))
}
