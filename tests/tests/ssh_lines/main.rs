//! The corpus of command lines that people paste: `nbctl add` makes the tunnel file that each of them stands beside,
//! and what the daemon reads there is what `ssh -G` says of the line itself, as a real shell splits it.

#![cfg(target_os = "linux")]

mod case;
mod judged;
mod meaning;
mod words;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use case::Case;
use meaning::{LEFT_OUT, Lab, Meaning};
use nbtunnel_core::TunnelSpec;
use nbtunnel_tests::programs::{Programs, write_program};
use nbtunneld::config::{self, Context};

/// What nbctl did with one of them.
struct Added {
    file: String,
    notes: Vec<String>,
    error: Option<String>,
}

/// Adds it; the file is judged later, with all the others.
fn add(dir: &Path, name: &str, case: &Case) -> Result<Added> {
    let output = Command::new(Programs::find()?.nbctl)
        .arg("--config-dir")
        .arg(dir.join("config"))
        .arg("--socket")
        .arg(dir.join("no.sock"))
        .args(["add", name, "--", &case.line])
        .env("NBTUNNELD", dir.join("judge"))
        .env("NO_COLOR", "1")
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8(output.stderr)?;
    let after = |start: &str| said.lines().find_map(|line| line.strip_prefix(start)).map(str::to_owned);
    let notes = said.lines().filter_map(|line| line.strip_prefix("note: ")).map(str::to_owned).collect();
    let file = fs::read_to_string(dir.join(format!("config/tunnels/{name}.toml"))).unwrap_or_default();
    ensure!(file.is_empty() != output.status.success(), "{:?}: {said}", case.line);
    Ok(Added { file: file.trim_end().to_owned(), notes, error: after("error: ") })
}

/// What differs between the line and its tunnel without a word.
fn differences(typed: &Meaning, written: &Meaning, is_said: bool) -> Vec<String> {
    let keywords = typed.keys().chain(written.keys().filter(|keyword| !typed.contains_key(*keyword)));
    let differs = keywords.filter(|keyword| typed.get(*keyword) != written.get(*keyword));
    let unsaid = differs.filter(|keyword| !(is_said && LEFT_OUT.contains(&keyword.as_str())));
    unsaid
        .map(|keyword| format!("{keyword}: {:?} became {:?}", typed.get(keyword), written.get(keyword)))
        .collect()
}

#[test]
fn what_is_pasted_becomes_the_tunnel_that_ssh_would_make() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (dir, lab) = (dir.path(), Lab::new(dir.path())?);
    let judge = dir.join("judge");
    write_program(&judge, "#!/bin/sh\necho '{\"config_dir\":\"\",\"tunnels\":[],\"problems\":[]}'\n")?;
    let cases = case::all(&dir.display().to_string())?;
    ensure!(cases.len() >= 150, "the corpus is lost: {}", cases.len());
    let mut wrong = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        let added = add(dir, &format!("n{at}"), case)?;
        let file = case.file.replace("[notebook.NAME]", &format!("[notebook.n{at}]"));
        if added.error != case.error {
            wrong.push(format!("{:?}: error {:?}", case.line, added.error));
        } else if case.error.is_none() && (added.file != file || added.notes != case.notes) {
            wrong.push(format!("{:?} makes\n{}\n{:?}", case.line, added.file, added.notes));
        }
    }
    let loaded = config::load(&dir.join("config"), &Context::of_this_user());
    ensure!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    for (at, case) in cases.iter().enumerate().filter(|(_, case)| case.error.is_none()) {
        let spec: &TunnelSpec =
            loaded.tunnels.get(format!("n{at}").as_str()).with_context(|| case.line.clone())?;
        let typed = match lab.typed(case.stands_for.as_ref().unwrap_or(&case.line)) {
            Ok(typed) => typed,
            Err(error) => {
                wrong.push(format!("{error:#}"));
                continue;
            }
        };
        let differences = differences(&typed, &lab.written(spec, &case.file)?, !case.notes.is_empty());
        if !differences.is_empty() {
            wrong.push(format!("{:?}: {}", case.line, differences.join("; ")));
        }
    }
    ensure!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    Ok(())
}
