//! The corpus of command lines. `$ ` begins a line, `> ` goes on with it; what follows is the tunnel file that it makes
//! and the notes to it, or an error. `{lab}` is the directory where it is typed. Where no shell or ssh reads the line
//! as it stands, `as ssh …` says what it stands for.

use std::fs;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::programs::repository;

/// One command line, and what becomes of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Case {
    pub(crate) line: String,
    /// What a shell is given in its place.
    pub(crate) stands_for: Option<String>,
    /// The tunnel file.
    pub(crate) file: String,
    /// Without their `note: `.
    pub(crate) notes: Vec<String>,
    /// What the error says, if it is refused.
    pub(crate) error: Option<String>,
}

/// All of them.
pub(crate) fn all(lab: &str) -> Result<Vec<Case>> {
    let mut files: Vec<_> = fs::read_dir(repository().join("tests/corpus/ssh_lines"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file)?.replace("{lab}", lab);
        read(&text, &mut cases).with_context(|| file.display().to_string())?;
    }
    Ok(cases)
}

fn read(text: &str, cases: &mut Vec<Case>) -> Result<()> {
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(line) = line.strip_prefix("$ ") {
            cases.push(Case { line: line.to_owned(), ..Case::default() });
            continue;
        }
        let Some(case) = cases.last_mut() else {
            ensure!(line.is_empty(), "something stands before the first line");
            continue;
        };
        if let Some(more) = line.strip_prefix("> ") {
            case.line.push('\n');
            case.line.push_str(more);
        } else if let Some(line) = line.strip_prefix("as ") {
            case.stands_for = Some(line.to_owned());
        } else if let Some(note) = line.strip_prefix("note: ") {
            case.notes.push(note.to_owned());
        } else if let Some(error) = line.strip_prefix("error: ") {
            case.error = Some(error.to_owned());
        } else {
            case.file.push_str(line);
            case.file.push('\n');
        }
    }
    for case in cases {
        // An empty line parts a case from the next.
        case.file = case.file.trim_end().to_owned();
        ensure!(case.file.is_empty() == case.error.is_some(), "{:?} has no end, or two", case.line);
    }
    Ok(())
}
