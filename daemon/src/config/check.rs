//! Checks a config directory, or one tunnel file, without a daemon: `nbtunneld --check [PATH]`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use nbtunnel_proto::FileProblem;

use super::Context;
use super::gather::{self, Gathered};
use super::hosts::{Answers, Hosts};
use super::read::{MAIN_FILE, Reader, interpret_asking, tunnel_name, whole_file};
use super::values::Flaw;
use crate::ssh_config::Query;

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The directory that was checked, or whose defaults held for the file.
    pub config_dir: PathBuf,
    /// The tunnels whose files are good.
    pub tunnels: Vec<String>,
    /// Everything that is wrong.
    pub problems: Vec<FileProblem>,
    /// What ssh would do for a host and a tunnel does not.
    pub notes: Vec<FileProblem>,
}

/// Checks `path`: a config directory, or one file. Without one, checks `config_dir`.
///
/// A file in a directory `tunnels` belongs to the config directory around that; any other file is read
/// over the defaults of `config_dir`. It may have any name, so that a new file can be checked before it
/// is moved into its place.
pub fn check(path: Option<&Path>, config_dir: &Path, ctx: &Context) -> Report {
    let Some(path) = path else { return check_dir(config_dir, ctx) };
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if path.is_dir() {
        return check_dir(&path, ctx);
    }
    let parent = path.parent().unwrap_or(&path);
    let file_name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if file_name == MAIN_FILE {
        return check_dir(parent, ctx);
    }
    let config_dir = match parent.parent() {
        Some(dir) if parent.file_name().is_some_and(|name| name == "tunnels") => dir,
        _ => config_dir,
    };
    check_file(&path, &file_name, config_dir, ctx)
}

fn check_dir(dir: &Path, ctx: &Context) -> Report {
    let found = Gathered::from_dir(dir);
    let loaded = interpret_asking(&found, ctx, &mut Hosts::new(&ctx.home));
    let mut problems = loaded.problems;
    if !dir.exists() && problems.is_empty() {
        let hint = "`nbctl add` makes it; or make it yourself and put tunnels/NAME.toml there";
        problems
            .push(whole_file("", Flaw::new(format!("there is no config directory {}", dir.display()), hint)));
    }
    Report {
        config_dir: found.dir,
        tunnels: loaded.tunnels.keys().map(ToString::to_string).collect(),
        problems,
        notes: loaded.notes,
    }
}

fn check_file(path: &Path, file_name: &str, config_dir: &Path, ctx: &Context) -> Report {
    let mut found = Gathered { dir: config_dir.to_owned(), ..Gathered::default() };
    found.main = gather::read(&config_dir.join(MAIN_FILE)).ok();
    let mut report = Report {
        config_dir: config_dir.to_owned(),
        tunnels: Vec::new(),
        problems: Vec::new(),
        notes: Vec::new(),
    };
    let shown = path.strip_prefix(config_dir).unwrap_or(path).to_string_lossy().into_owned();
    let contents = gather::read(path).unwrap_or_else(|error| {
        Err(Flaw::new(format!("it cannot be read: {error}"), "name a tunnel file or a config directory"))
    });
    let exposed = gather::is_exposed(path);
    let read = |answers: &Answers| {
        let reader = Reader::new(&found, ctx, answers)?;
        let mut problems = reader.above.problems.clone();
        match reader.tunnel(&shown, &contents, exposed) {
            Ok(read) if problems.is_empty() => return Ok(read),
            Ok(_) => {}
            Err(more) => problems.extend(more),
        }
        Err(problems)
    };
    // The first look tells what to ask ssh for.
    let read = read(&Answers::default()).and_then(|first| {
        let query = Query::of(&first.spec.route);
        if !ctx.ask_ssh || query.is_idle() {
            return Ok(first);
        }
        read(&Hosts::new(&ctx.home).ask(&BTreeSet::from([query])))
    });
    match read {
        Ok(read) => (report.notes, report.problems) = (read.notes, read.problems),
        Err(problems) => report.problems = problems,
    }
    // `.alice.toml.tmp` is on its way to become `alice.toml`.
    let stem = file_name.trim_start_matches('.');
    let stem = stem.find(".toml").map_or(stem, |end| &stem[..end]);
    match tunnel_name(stem) {
        Ok(name) if report.problems.is_empty() => report.tunnels.push(name.to_string()),
        Ok(_) => {}
        Err(flaw) => report.problems.push(whole_file(&shown, flaw)),
    }
    report
}

/// What `nbtunneld --check` writes to stdout, and its exit code: 0 if all is well, else 1.
pub fn check_main(path: Option<&Path>, config_dir: &Path, ctx: &Context, json: bool) -> (String, u8) {
    let report = check(path, config_dir, ctx);
    let code = u8::from(!report.problems.is_empty());
    let text = if json { json_text(&report) } else { human_text(&report) };
    (text, code)
}

fn json_text(report: &Report) -> String {
    // A path that is not UTF-8 has no JSON; it is shown as well as it can be.
    serde_json::json!({
        "config_dir": report.config_dir.to_string_lossy(),
        "tunnels": report.tunnels,
        "problems": report.problems,
        "notes": report.notes,
    })
    .to_string()
}

fn human_text(report: &Report) -> String {
    let mut text = String::new();
    let problems = report.problems.iter().map(|problem| ("", problem));
    for (mark, problem) in problems.chain(report.notes.iter().map(|note| ("note: ", note))) {
        let mut place = problem.file.clone().unwrap_or_default();
        for number in [problem.line, problem.column].into_iter().flatten() {
            let _ = write!(place, ":{number}");
        }
        let between = if place.is_empty() { "" } else { ": " };
        let _ = writeln!(text, "{place}{between}{mark}{}", problem.message);
        if let (Some(line), Some(column), Some(source)) = (problem.line, problem.column, &problem.source) {
            let number = line.to_string();
            let gutter = " ".repeat(number.len());
            let indent = " "
                .repeat(usize::try_from(column).unwrap_or(1).saturating_sub(1).min(source.chars().count()));
            let _ = writeln!(text, "  {number} | {source}\n  {gutter} | {indent}^");
        }
        if !problem.hint.is_empty() {
            let _ = writeln!(text, "  hint: {}", problem.hint);
        }
    }
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let good = count(report.tunnels.len(), "good tunnel");
    let bad = count(report.problems.len(), "problem");
    let _ = writeln!(text, "{}: {good}, {bad}", report.config_dir.display());
    text
}
