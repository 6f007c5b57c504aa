//! Writes a host key to the user's known_hosts file, and nothing else to it: every byte that does not
//! concern this host stays as it was. Blocks on the file system.
//!
//! Appending goes through symlinks and takes the file's lock; replacing writes beside and renames.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nbtunnel_core::{Failure, FailureKind};
use russh::keys::PublicKey;
use russh::keys::ssh_key::known_hosts::HostPatterns;

use super::hop::Hop;
use super::hostkey::{Judged, OfferedKey, judge, refusal};
use super::known_hosts::{Line, Verdict, hash_key, lookup_name};
use super::system;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The file that now has the key.
    pub file: PathBuf,
    /// The lines that it replaced, as `file:line`.
    pub replaced: Vec<String>,
}

/// Writers in this process take turns; the lock of the file is for other processes.
static TURN: Mutex<()> = Mutex::new(());

/// How often, and how long apart, the lock of another process is tried for: two seconds in all.
const LOCK_TRIES: u32 = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Puts exactly the key that was shown to `tunnel` into the first known_hosts file of `hop`. With `replace`, the
/// keys on file for that host go; other names on their lines stay.
///
/// # Errors
/// The key is revoked, or another one is on file and `replace` is not set, or the file cannot be written.
/// Then the file is as it was.
pub fn trust(tunnel: &str, hop: &Hop, offered: &OfferedKey, replace: bool) -> Result<Written, Failure> {
    let key = PublicKey::from_openssh(&offered.public_key)
        .map_err(|_| Failure::new(FailureKind::Internal, "the host key that was shown cannot be read", ""))?;
    let file = hop.host_keys.known_hosts.first().ok_or_else(no_file)?;
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // What counts is what is on file now, not what was when the key was shown.
    let now = judge(hop, &key);
    match now.verdict {
        Verdict::Known => return Ok(Written { file: file.clone(), replaced: Vec::new() }),
        Verdict::Revoked => return Err(refusal(&now, tunnel)),
        Verdict::Changed { .. } if !replace => return Err(refusal(&now, tunnel)),
        Verdict::Changed { .. } | Verdict::Unknown => {}
    }
    write(file, &lookup_name(&hop.host, hop.port), &key, &now).map_err(|error| cannot_write(file, &error))
}

fn no_file() -> Failure {
    Failure::new(
        FailureKind::Config,
        "there is no known_hosts file to write to",
        "name one with known_hosts in the tunnel's file",
    )
}

fn cannot_write(file: &Path, error: &io::Error) -> Failure {
    Failure::new(
        FailureKind::Config,
        format!("{} cannot be written: {error}", file.display()),
        "check its permissions and the space on its disk",
    )
}

fn write(path: &Path, name: &str, key: &PublicKey, now: &Judged) -> io::Result<Written> {
    make_directory(path)?;
    let mut file = open_locked(path)?;
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    Read::by_ref(&mut file).read_to_end(&mut text)?;
    let line = new_line(&text, name, key)?;
    if !matches!(now.verdict, Verdict::Changed { .. }) {
        file.write_all(&[separator(&text), &line].concat())?;
        file.sync_all()?;
        return Ok(Written { file: path.to_owned(), replaced: Vec::new() });
    }
    let (mut kept, replaced) = without(&text, name, path);
    kept.extend_from_slice(separator(&kept));
    kept.extend_from_slice(&line);
    replace_content(path, &file, &kept)?;
    Ok(Written { file: path.to_owned(), replaced })
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

/// A line that was not ended would swallow the one that is appended.
fn separator(text: &[u8]) -> &'static [u8] {
    if text.is_empty() || text.ends_with(b"\n") { b"" } else { b"\n" }
}

/// The line for the key; its name is hashed where most names of the file are (HashKnownHosts).
fn new_line(text: &[u8], name: &str, key: &PublicKey) -> io::Result<Vec<u8>> {
    let (mut hashed, mut plain) = (0_usize, 0_usize);
    for line in text.split(|byte| *byte == b'\n') {
        if let Ok(Some(line)) = Line::parse(&String::from_utf8_lossy(line)) {
            if line.is_hashed() { hashed += 1 } else { plain += 1 }
        }
    }
    let host = if hashed > plain { hash_name(name)? } else { name.to_owned() };
    let key = PublicKey::new(key.key_data().clone(), "").to_openssh().map_err(io::Error::other)?;
    Ok(format!("{host} {key}\n").into_bytes())
}

fn hash_name(name: &str) -> io::Result<String> {
    let mut salt = [0; 20];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| io::Error::other("the system has no random numbers"))?;
    let tag = aws_lc_rs::hmac::sign(&hash_key(&salt), name.as_bytes());
    let hash = tag.as_ref().try_into().map_err(io::Error::other)?;
    Ok(HostPatterns::HashedName { salt: salt.to_vec(), hash }.to_string())
}

/// `text` without the plain keys of `name`, and where they stood. A line of several names loses only that
/// one; patterns stay, since they speak of other hosts too.
fn without(text: &[u8], name: &str, path: &Path) -> (Vec<u8>, Vec<String>) {
    let mut kept = Vec::with_capacity(text.len());
    let mut replaced = Vec::new();
    for (number, raw) in (1_u32..).zip(text.split_inclusive(|byte| *byte == b'\n')) {
        let lossy = String::from_utf8_lossy(raw);
        let removed = match Line::parse(&lossy) {
            Ok(Some(line)) if line.marker.is_none() => strike(raw, &line, name),
            Ok(_) | Err(_) => None,
        };
        match removed {
            Some(rest) => {
                kept.extend_from_slice(&rest);
                replaced.push(format!("{}:{number}", path.display()));
            }
            None => kept.extend_from_slice(raw),
        }
    }
    (kept, replaced)
}

/// What is left of a line without `name`; `None` if it does not name it.
fn strike(raw: &[u8], line: &Line<'_>, name: &str) -> Option<Vec<u8>> {
    if line.is_hashed() {
        return line.names(name).then(Vec::new);
    }
    let names: Vec<&str> = line.hosts.split(',').collect();
    let others: Vec<&str> = names.iter().copied().filter(|other| other.to_lowercase() != name).collect();
    if others.len() == names.len() {
        return None;
    }
    if others.is_empty() {
        return Some(Vec::new());
    }
    let start = raw.iter().position(|byte| !b" \t".contains(byte))?;
    let rest = raw.get(start..)?.strip_prefix(line.hosts.as_bytes())?;
    Some([&raw[..start], others.join(",").as_bytes(), rest].concat())
}

/// Writes beside the file that `path` leads to and renames, so that a full disk leaves the old one.
fn replace_content(path: &Path, old: &File, content: &[u8]) -> io::Result<()> {
    let target = path.canonicalize()?;
    let beside = target.parent().unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(beside)?;
    new.write_all(content)?;
    new.as_file().set_permissions(old.metadata()?.permissions())?;
    new.as_file().sync_all()?;
    new.persist(&target).map_err(|error| error.error)?;
    Ok(())
}

/// For `accept-new`: writes a key that is not on file, and says so in a sentence.
///
/// # Errors
/// By now another key is on file, or this one is revoked: two logins met the host at the same time, and it
/// showed each another key. Then it is not to be trusted.
pub(super) fn accept_new(tunnel: &str, hop: &Hop, offered: &OfferedKey) -> Result<String, Failure> {
    match trust(tunnel, hop, offered, false) {
        Err(failure) if failure.kind == FailureKind::HostKeyChanged => Err(failure),
        Ok(written) => Ok(format!(
            "the host key of {} is new and was written to {}: {} {}",
            offered.hop,
            written.file.display(),
            offered.algorithm,
            offered.fingerprint
        )),
        // ssh(1) goes on too: the key is as good as one that was on file for this session.
        Err(failure) => Ok(format!(
            "the host key of {} is new and could not be written down: {}",
            offered.hop, failure.message
        )),
    }
}

#[cfg(test)]
#[cfg(unix)]
#[path = "trust_tests.rs"]
mod tests;
