//! Changes a known_hosts file, and nothing in it that nobody asked for: every byte that does not concern a host
//! stays as it was. Blocks on the file system.
//!
//! Appending goes through symlinks and takes the file's lock; everything else writes beside and renames.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nbtunnel_core::{Failure, FailureKind};
use russh::keys::PublicKey;

use super::known_line::{Line, hash_name, lines_of};
use super::system;

/// Writers in this process take turns; the lock of the file is for other processes.
static TURN: Mutex<()> = Mutex::new(());

/// How often, and how long apart, the lock of another process is tried for: two seconds in all.
const LOCK_TRIES: u32 = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// How often a change is tried while others write.
const CHANGE_TRIES: u32 = 5;

/// Whoever holds it may look, decide and write without another of us in between.
pub(super) fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes of the file at `path` what `change` makes of its text, and gives what else that tells. A file that is not
/// there is made where something is to be written. Asks `change` again where another program, which heeds no lock,
/// wrote meanwhile.
///
/// # Errors
/// The system's, or that of `change`. Then the file is as it was.
pub(super) fn change<T>(path: &Path, change: impl Fn(&[u8]) -> io::Result<(Vec<u8>, T)>) -> io::Result<T> {
    if !path.exists() {
        let (new, told) = change(&[])?;
        if new.is_empty() {
            return Ok(told);
        }
        make_directory(path)?;
    }
    for _ in 0..CHANGE_TRIES {
        let mut file = open_locked(path)?;
        let text = text_of(&mut file)?;
        let (new, told) = change(&text)?;
        match new.strip_prefix(text.as_slice()) {
            Some([]) => return Ok(told),
            Some(more) => return add(&mut file, text.len(), more).map(|()| told),
            None if replace_content(path, &mut file, &text, &new)? => return Ok(told),
            None => {}
        }
    }
    Err(io::Error::other("another program writes to it all the time"))
}

fn text_of(file: &mut File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut text)?;
    Ok(text)
}

/// Adds `more` after the first `length` bytes, or nothing: half a line would swallow the next one.
fn add(file: &mut File, length: usize, more: &[u8]) -> io::Result<()> {
    let added = file.write_all(more).and_then(|()| file.sync_all());
    let length = length as u64;
    if added.is_err() && file.metadata().is_ok_and(|now| now.len() <= length + more.len() as u64) {
        let _ = file.set_len(length);
    }
    added
}

pub(super) fn cannot_write(file: &Path, error: &io::Error) -> Failure {
    Failure::new(
        FailureKind::Config,
        format!("{} cannot be written: {error}", file.display()),
        "check its permissions and the space on its disk",
    )
}

/// `~/.ssh` is made with mode 0700 when it is missing, as ssh(1) does.
fn make_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && !parent.exists() => {
            system::make_private_dir(parent)
        }
        _ => Ok(()),
    }
}

/// Opens for reading and appending, made with mode 0600 when missing, and takes its lock.
fn open_locked(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    system::private(&mut options);
    for _ in 0..LOCK_TRIES {
        let file = options.open(path)?;
        match file.try_lock() {
            // While we waited, the file may have been replaced by another; a lock on the old one is worth
            // nothing.
            Ok(()) if system::is_same_file(&file, path) => return Ok(file),
            Ok(()) | Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            // Some network file systems know no locks; ssh(1) takes none at all.
            Err(TryLockError::Error(_)) => return Ok(file),
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "another program holds its lock"))
}

/// Writes beside the file that `path` leads to and renames, so that a full disk leaves the old one. Does nothing,
/// and says so, where it has no longer the text that was changed.
fn replace_content(path: &Path, old: &mut File, text: &[u8], content: &[u8]) -> io::Result<bool> {
    let target = path.canonicalize()?;
    let beside = target.parent().unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(beside)?;
    new.write_all(content)?;
    system::take_the_place_of(&old.metadata()?, new.as_file())?;
    new.as_file().sync_all()?;
    if text_of(old)? != text || !system::is_same_file(old, path) {
        return Ok(false);
    }
    new.persist(&target).map_err(|error| error.error)?;
    Ok(true)
}

/// How names are to be written: as HashKnownHosts says, else as most names of `text` are.
pub(super) fn is_hashed(text: &[u8], asked: Option<bool>) -> bool {
    asked.unwrap_or_else(|| {
        let (mut hashed, mut plain) = (0_usize, 0_usize);
        for (_, line) in lines_of(text) {
            if let Ok(Some(line)) = Line::parse(&line) {
                if line.is_hashed() { hashed += 1 } else { plain += 1 }
            }
        }
        hashed > plain
    })
}

/// Adds to `text` a line that gives `name` this key, unless it has one.
///
/// # Errors
/// The system has no random numbers to hide the name by.
pub(super) fn append(text: &mut Vec<u8>, name: &str, key: &PublicKey, hashed: bool) -> io::Result<()> {
    let says_so = |line: &str| {
        let line = Line::parse(line).ok().flatten();
        line.is_some_and(|line| {
            line.marker.is_none() && line.names(name) && line.key.key_data() == key.key_data()
        })
    };
    if lines_of(text).any(|(_, line)| says_so(&line)) {
        return Ok(());
    }
    let host = match hashed {
        true => hash_name(name).ok_or_else(|| io::Error::other("the system has no random numbers"))?,
        false => name.to_owned(),
    };
    let key = PublicKey::new(key.key_data().clone(), "").to_openssh().map_err(io::Error::other)?;
    // A line that was not ended would swallow the one that is appended.
    if !text.is_empty() && !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    text.extend_from_slice(format!("{host} {key}\n").as_bytes());
    Ok(())
}

/// `text` without those plain keys of `names` that `goes` says, and on which lines they stood. A line of several
/// names loses only these; patterns stay, since they speak of other hosts too.
pub(super) fn without(text: &[u8], names: &[&str], goes: impl Fn(&PublicKey) -> bool) -> (Vec<u8>, Vec<u32>) {
    let mut kept = Vec::with_capacity(text.len());
    let mut struck = Vec::new();
    for (number, raw) in (1_u32..).zip(text.split_inclusive(|byte| *byte == b'\n')) {
        let lossy = String::from_utf8_lossy(raw);
        let rest = match Line::parse(&lossy) {
            Ok(Some(line)) if line.marker.is_none() && goes(&line.key) => strike(raw, &line, names),
            Ok(_) | Err(_) => None,
        };
        match rest {
            Some(rest) => {
                kept.extend_from_slice(&rest);
                struck.push(number);
            }
            None => kept.extend_from_slice(raw),
        }
    }
    (kept, struck)
}

/// What is left of a line without `names`; `None` if it has none of them.
fn strike(raw: &[u8], line: &Line<'_>, names: &[&str]) -> Option<Vec<u8>> {
    if line.is_hashed() {
        return names.iter().any(|name| line.names(name)).then(Vec::new);
    }
    let all: Vec<&str> = line.hosts.split(',').collect();
    let is_other = |host: &&str| !names.contains(&host.to_lowercase().as_str());
    let others: Vec<&str> = all.iter().copied().filter(is_other).collect();
    if others.len() == all.len() {
        return None;
    }
    // What only excludes names nobody.
    if others.iter().all(|other| other.starts_with('!') || other.is_empty()) {
        return Some(Vec::new());
    }
    let start = raw.iter().position(|byte| !b" \t".contains(byte))?;
    let rest = raw.get(start..)?.strip_prefix(line.hosts.as_bytes())?;
    Some([&raw[..start], others.join(",").as_bytes(), rest].concat())
}
