//! Every input that was kept is fed again, and then new ones that are made of them for half a minute each (or
//! `$NBTUNNEL_FUZZ_SECONDS`). What fails is printed with its bytes, to be kept in `tests/fuzz/corpus`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nbtunnel_tests::fuzz::{TARGETS, Target, mutate::mutated, target};
use nbtunnel_tests::programs::repository;
use nbtunnel_tests::sim::chance::Chance;

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = repository().join("tests/fuzz/corpus").join(name);
    let files = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn fed(target: &Target, input: &[u8]) -> bool {
    catch_unwind(AssertUnwindSafe(|| (target.feed)(input))).is_ok()
}

fn stands(name: &str) {
    let target = target(name);
    let kept = corpus(name);
    assert!(kept.len() >= 10, "the corpus of {name} is lost");
    for (path, input) in &kept {
        assert!(fed(&target, input), "{} fails", path.display());
    }
    let seconds =
        std::env::var("NBTUNNEL_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(30);
    let seed = u64::from(std::process::id());
    let (mut chance, began, mut count) = (Chance::new(seed), Instant::now(), 0_u64);
    let kept: Vec<Vec<u8>> = kept.into_iter().map(|(_, input)| input).collect();
    while began.elapsed() < Duration::from_secs(seconds) {
        for _ in 0..256 {
            let input = mutated(&mut chance, &kept, target.words);
            assert!(
                fed(&target, &input),
                "{name} fails with seed {seed}: {:?}",
                input.escape_ascii().to_string()
            );
            count += 1;
        }
    }
    println!("{name}: {} kept inputs and {count} new ones, seed {seed}", kept.len());
    assert!(count > 0);
}

#[test]
fn forwards_stand_any_text() {
    stands("forwards");
}

#[test]
fn control_frames_stand_any_bytes() {
    stands("frames");
}

#[test]
fn socks_handshakes_stand_any_bytes() {
    stands("socks");
}

#[test]
fn known_hosts_stand_any_bytes() {
    stands("known_hosts");
}

#[test]
fn every_target_is_fed_here_and_by_cargo_fuzz() {
    let (here, there) = (include_str!("fuzz.rs"), repository().join("tests/fuzz/fuzz_targets"));
    for Target { name, .. } in TARGETS {
        assert!(here.contains(&format!("stands(\"{name}\")")), "{name} is not fed here");
        assert!(there.join(format!("{name}.rs")).is_file(), "cargo-fuzz does not know {name}");
    }
}

#[test]
fn the_answer_of_ssh_stands_any_text() {
    stands("ssh_g");
}

#[test]
fn pasted_command_lines_stand_any_text() {
    stands("ssh_line");
}
