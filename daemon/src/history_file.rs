//! Where the history of the tunnels is kept: one file in the state directory for each config directory, so
//! that two daemons do not write over each other's.
//!
//! Written beside and renamed, on a blocking thread: a slow disk delays nobody.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use nbtunnel_core::Name;
use nbtunnel_proto::places;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::forward::private_dir;
use crate::history::Past;
use crate::service::instance::tag;

/// The file for what runs by `config_dir`: `history.json`, or one of its own where that is not the usual one.
pub fn history_path(state_dir: &Path, config_dir: &Path) -> PathBuf {
    kept_path("history", state_dir, config_dir)
}

/// The file of lasting state `what` for what runs by `config_dir`, named as the history is.
pub(crate) fn kept_path(what: &str, state_dir: &Path, config_dir: &Path) -> PathBuf {
    let usual = places::usual_config_dir().is_ok_and(|usual| tag(&usual) == tag(config_dir));
    state_dir.join(if usual { format!("{what}.json") } else { format!("{what}-{}.json", tag(config_dir)) })
}

/// No history of ours is longer.
const LONGEST_FILE: u64 = 64 << 20;

/// The file, and what is being written to it.
pub struct HistoryFile {
    path: PathBuf,
    writing: Option<JoinHandle<()>>,
    /// Why the last write failed, if it did.
    trouble: watch::Receiver<Option<String>>,
    outcome: watch::Sender<Option<String>>,
}

#[derive(Default, Serialize, Deserialize)]
struct Kept {
    tunnels: BTreeMap<String, Past>,
}

impl HistoryFile {
    /// The file at `path`, and what it says. One that is missing says nothing; one that cannot be understood
    /// is put aside, with a warning.
    pub fn open(path: PathBuf) -> (Self, BTreeMap<Name, Past>) {
        let remembered = read(&path).unwrap_or_else(|why| {
            put_aside(&path, &why, "the history of the tunnels begins");
            BTreeMap::new()
        });
        let (outcome, trouble) = watch::channel(None);
        (HistoryFile { path, writing: None, trouble, outcome }, remembered)
    }

    /// Begins to write `tunnels` down, after whatever is being written already.
    pub fn write(&mut self, tunnels: BTreeMap<Name, Past>) {
        let (before, path, outcome) = (self.writing.take(), self.path.clone(), self.outcome.clone());
        self.writing = Some(tokio::spawn(async move {
            if let Some(before) = before {
                // However it ended, this one is newer.
                let _ = before.await;
            }
            let written = spawn_blocking(move || write(&path, tunnels)).await;
            let why = match written {
                Ok(result) => result.err().map(|why| why.to_string()),
                Err(fault) => Some(fault.to_string()),
            };
            outcome.send_if_modified(|known| std::mem::replace(known, why.clone()) != why);
        }));
    }

    /// Whether a write is under way.
    pub fn is_busy(&self) -> bool {
        self.writing.as_ref().is_some_and(|writing| !writing.is_finished())
    }

    /// Returns when everything is written, or could not be.
    pub async fn written(&mut self) {
        if let Some(writing) = self.writing.take() {
            let _ = writing.await;
        }
    }

    /// Whether the last write failed.
    pub fn has_failed(&self) -> bool {
        self.trouble.borrow().is_some()
    }

    /// Why the last write failed, if it did.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// The same, if it was not told yet.
    pub fn news(&mut self) -> Option<String> {
        if !self.trouble.has_changed().unwrap_or(false) {
            return None;
        }
        self.trouble.borrow_and_update().clone()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn read(path: &Path) -> io::Result<BTreeMap<Name, Past>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(LONGEST_FILE).read_to_end(&mut bytes)?;
    let kept: Kept = serde_json::from_slice(&bytes)?;
    let named = |(name, past): (String, Past)| Some((Name::parse(&name).ok()?, past));
    Ok(kept.tunnels.into_iter().filter_map(named).collect())
}

/// Out of the way, for whoever wants to look at it; the next one takes its place, and `what` anew.
pub(crate) fn put_aside(path: &Path, why: &io::Error, what: &str) {
    let aside = path.with_extension("json.broken");
    match std::fs::rename(path, &aside) {
        Ok(()) => tracing::warn!(
            "{} cannot be understood and was put aside as {}: {why}; {what} anew",
            path.display(),
            aside.display()
        ),
        Err(error) => tracing::warn!(
            "{} cannot be understood ({why}) nor put aside ({error}); {what} anew",
            path.display()
        ),
    }
}

fn write(path: &Path, tunnels: BTreeMap<Name, Past>) -> io::Result<()> {
    let tunnels = tunnels.into_iter().map(|(name, past)| (name.to_string(), past)).collect();
    write_whole(path, &serde_json::to_vec(&Kept { tunnels })?)
}

/// Beside, then renamed. Readable by its owner alone: it tells where the tunnels lead.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    private_dir(dir)?;
    let beside = path.with_extension("json.new");
    // Left behind by one of us who died while writing; our lock makes us the only one who writes here.
    let _ = std::fs::remove_file(&beside);
    let name = beside.file_name().unwrap_or_default();
    let mut file = tempfile::Builder::new().prefix(name).rand_bytes(0).tempfile_in(dir)?;
    file.write_all(bytes)?;
    // Else a power cut after the rename leaves an empty file.
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(reconnects: u64) -> BTreeMap<Name, Past> {
        [(Name::parse("alice").unwrap(), Past { reconnects, up_ms: 9, ..Past::default() })].into()
    }

    #[tokio::test]
    async fn it_is_read_back_and_only_its_owner_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/nbtunnel/history.json");
        let (mut file, nothing) = HistoryFile::open(path.clone());
        assert!(nothing.is_empty());
        file.write(past(1));
        // Whatever was written last is what stays.
        file.write(past(2));
        file.written().await;
        assert_eq!((file.trouble(), file.is_busy()), (None, false));
        assert_eq!(HistoryFile::open(path.clone()).1, past(2));
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "litter");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        }
    }

    #[tokio::test]
    async fn a_broken_file_is_put_aside_and_the_next_one_is_good() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.json");
        for broken in [&b""[..], b"\xff{", b"[]", b"{\"tunnels\":{\"alice\":{\"up_ms\":-1}}}"] {
            std::fs::write(&path, broken).unwrap();
            let (mut file, nothing) = HistoryFile::open(path.clone());
            assert!(nothing.is_empty() && !path.exists());
            assert_eq!(std::fs::read(dir.path().join("history.json.broken")).unwrap(), broken);
            file.write(past(1));
            file.written().await;
            assert_eq!(HistoryFile::open(path.clone()).1, past(1));
        }
    }

    #[test]
    fn what_another_version_wrote_is_read_as_far_as_it_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.json");
        let text = r#"{"tunnels":{"alice":{"reconnects":3,"new":true},"../x":{"reconnects":1}},"more":[]}"#;
        std::fs::write(&path, text).unwrap();
        let (_, remembered) = HistoryFile::open(path);
        assert_eq!(remembered.len(), 1, "no tunnel has such a name: {remembered:?}");
        assert_eq!(remembered[&Name::parse("alice").unwrap()].reconnects, 3);
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_news_once_and_over_when_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let blocked = dir.path().join("state");
        std::fs::write(&blocked, "a file where a directory should be").unwrap();
        let (mut file, _) = HistoryFile::open(dir.path().join("history.json"));
        file.path = blocked.join("history.json");
        for news in [true, false] {
            file.write(past(1));
            file.written().await;
            assert_eq!((file.news().is_some(), file.trouble().is_some()), (news, true));
        }
        std::fs::remove_file(&blocked).unwrap();
        file.write(past(1));
        file.written().await;
        assert_eq!((file.news(), file.trouble()), (None, None));
    }
}
