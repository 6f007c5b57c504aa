//! A line is split as `sh` does it: the corpus, and lines that are made of what means something to a shell.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nbctl::ssh_line::{Words, split};
use nbtunnel_tests::sim::chance::Chance;

use super::case;

/// What a shell hands to a program.
fn by_sh(line: &str, dir: &std::path::Path) -> Result<Vec<String>> {
    let output = Command::new("sh")
        .args(["-c", &format!("printf '%s\\0' {line}")])
        // A tilde at the beginning of a word is left to whoever reads the file.
        .env("HOME", "~")
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()?;
    ensure!(output.status.success() && output.stderr.is_empty(), "{line:?}: {output:?}");
    let text = String::from_utf8(output.stdout)?;
    let text = text.strip_suffix('\0').context("printf ends each word")?;
    Ok(text.split('\0').map(str::to_owned).collect())
}

/// Whether it is one of the lines that both take, and take alike.
fn is_split_alike(line: &str, dir: &std::path::Path) -> Result<bool> {
    let Ok(Words { words, left_out }) = split(line) else { return Ok(false) };
    // What is redirected or in the background is not for printf, nor what begins on another line than it.
    if words.is_empty()
        || line.trim_start_matches([' ', '\t', '\\']).starts_with(['#', '\n'])
        || left_out.iter().any(|(what, _)| *what != "the comment")
    {
        return Ok(false);
    }
    let theirs = by_sh(line, dir)?;
    ensure!(theirs == words, "{line:?} is {theirs:?} to sh, and {words:?} to us");
    Ok(true)
}

#[test]
fn lines_are_split_as_sh_does() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let lines = case::all("/lab")?;
    let mut alike = 0;
    for line in lines.iter().map(|case| &case.line).filter(|line| !line.trim().is_empty()) {
        alike += usize::from(is_split_alike(line, dir.path())?);
    }
    ensure!(alike >= 100, "only {alike} lines of the corpus were compared");
    let seed = u64::from(std::process::id());
    let (mut chance, mut alike) = (Chance::new(seed), 0);
    let pieces = [
        "a", "b c", " ", "\t", "'", "\"", "\\", "\\\n", "\n", "#", " #", "$", "~", "~/", "*", "{", "}", "=",
        "-", "!", "'$x'", "\"a b\"", "ü", "%", ":", "[", "]", "2", ",", "@", "''", "\"\"", "\\\"", "\\'",
        "\\$",
    ];
    while alike < 500 {
        let line: String = (0..=chance.below(12)).map(|_| pieces[chance.below(pieces.len())]).collect();
        alike += usize::from(is_split_alike(&line, dir.path()).with_context(|| format!("seed {seed}"))?);
    }
    Ok(())
}
