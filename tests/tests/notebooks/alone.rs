//! Whom a notebook's port lets in: as its section says, and where that says nothing, as its tunnel.

use std::fs;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::as_user::as_user;
use nbtunnel_tests::{http, wait};

use super::lab::Lab;

/// A user that needs no name.
const STRANGER: u32 = 54_321;

/// What the section of each says, in the words of this file.
const SECTIONS: [(&str, &str); 3] =
    [("plain", ""), ("open", "owner_only = false\n"), ("shut", "owner_only = true\n")];

/// How many were refused at the notebook's port.
fn refused(lab: &Lab, name: &str) -> Result<u64> {
    let (tunnel, port) = (lab.world.tunnel("lab")?, lab.port(name)?);
    let mut forwards = tunnel["forwards"].as_array().context("no forwards")?.iter();
    let is_its =
        |listen: &serde_json::Value| listen.as_str().is_some_and(|at| at.ends_with(&format!(":{port}")));
    let its = forwards.find(|one| one["listens"].as_array().is_some_and(|all| all.iter().any(is_its)));
    its.context("no forward of its own")?["refused"].as_u64().context("no count")
}

/// That a stranger is let in at those whose names stand here, refused and counted at the others, and we at all.
fn lets_in(lab: &Lab, open: &[&str]) -> Result<()> {
    for (name, _) in SECTIONS {
        let (port, before) = (lab.port(name)?, refused(lab, name)?);
        let get = || Ok(http::get(port, "/api", &[], wait::SOON).map(|answer| answer.status));
        let (theirs, ours) = (as_user(STRANGER, get)?, get()?);
        ensure!(ours.as_ref().is_ok_and(|status| *status == 200), "{name} serves us not: {ours:?}");
        let is_open = open.contains(&name);
        ensure!(theirs.is_ok() == is_open, "{name}, where {open:?} are open: {theirs:?}");
        ensure!(refused(lab, name)? == before + u64::from(!is_open), "{name} counts them wrong");
    }
    Ok(())
}

#[test]
fn a_sections_word_on_strangers_counts_more_than_its_tunnels() -> Result<()> {
    let section = |(name, word): &(&str, &str)| format!("[notebook.{name}]\nfind = \"auto\"\n{word}");
    let sections: String = SECTIONS.iter().map(section).collect();
    let lab = Lab::new(&sections)?;
    let _jupyter = lab.recipe().start()?;
    for (name, _) in SECTIONS {
        lab.found(name)?;
    }
    lets_in(&lab, &["open"])?;
    let edit = |from: &str, to: &str| -> Result<()> {
        let text = fs::read_to_string(lab.world.tunnel_path("lab"))?;
        ensure!(text.contains(from), "{from:?} is not in {text}");
        lab.world.write_text("lab", text.replacen(from, to, 1))?;
        ensure!(lab.nbctl(&["reload"])?.code == 0);
        Ok(())
    };
    edit("\n[notebook.plain]", "\nowner_only = false\n[notebook.plain]")?;
    lets_in(&lab, &["plain", "open"])?;
    // A section's word counts from when it is written, at a port that stays.
    let (of_open, of_shut) = ("auto\"\nowner_only = false", "auto\"\nowner_only = true");
    edit(of_shut, of_open)?;
    lets_in(&lab, &["plain", "open", "shut"])?;
    edit(of_open, of_shut)?;
    lets_in(&lab, &["plain", "shut"])
}
