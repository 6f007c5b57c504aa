//! One file of the corpus: a comment that says what it shows, lines `#@ word value` that say how it is used, and the
//! rest for ssh.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::programs::repository;

use crate::lab::{self, Lab};

#[derive(Debug, Default)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// Where it is, with everything filled in.
    pub(crate) conf: PathBuf,
    pub(crate) text: String,
    pub(crate) host: String,
    pub(crate) user: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) options: Vec<String>,
    /// Nobody must come in.
    pub(crate) refused: bool,
    /// Older versions of ssh do not know it.
    pub(crate) newer: bool,
    needs_ipv6: bool,
}

/// All of them, in order.
pub(crate) fn all(lab: &Lab) -> Result<Vec<Case>> {
    let dir = repository().join("tests/corpus/ssh_config");
    let mut files: Vec<PathBuf> = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "conf"));
    files.sort();
    ensure!(files.len() >= 60, "the corpus has only {} files", files.len());
    fs::create_dir(lab.path("conf"))?;
    let cases: Result<Vec<Case>> = files.iter().map(|file| read(lab, file)).collect();
    let has_ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
    Ok(cases?.into_iter().filter(|case| has_ipv6 || !case.needs_ipv6).collect())
}

fn read(lab: &Lab, file: &std::path::Path) -> Result<Case> {
    let name = file.file_stem().and_then(|stem| stem.to_str()).context("a name is text")?.to_owned();
    let conf = lab.path(&format!("conf/{name}"));
    let text = lab.fill(&fs::read_to_string(file)?, &conf, lab::port()?);
    fs::write(&conf, &text)?;
    let mut case = Case { name, conf, ..Case::default() };
    for line in text.lines().filter_map(|line| line.strip_prefix("#@ ")) {
        let (word, value) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "host" => case.host = value.to_owned(),
            "user" => case.user = Some(value.to_owned()),
            "port" => case.port = Some(value.parse()?),
            "option" => case.options.push(value.to_owned()),
            "refused" => case.refused = true,
            "newer" => case.newer = true,
            "needs" => case.needs_ipv6 = value == "ipv6",
            _ => anyhow::bail!("{}: what is {line:?}?", case.name),
        }
    }
    case.text = text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    ensure!(!case.host.is_empty(), "{} names no host", case.name);
    Ok(case)
}
