//! What the known_hosts files say of one host: the format of sshd(8), section SSH_KNOWN_HOSTS FILE FORMAT,
//! and the verdicts of ssh(1). Only reads; `trust` writes.
//!
//! A line that cannot be read is skipped with a note and never hides the others. `@cert-authority` lines
//! are no plain keys: this version does not ask for host certificates, so they neither help nor harm.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use russh::keys::ssh_key::known_hosts::{HostPatterns, Marker};
use russh::keys::{Algorithm, HashAlg, PublicKey};

use super::hop::Hop;

/// No known_hosts file of a person is larger; what is, is not read.
const MAX_FILE: u64 = 16 << 20;

/// How many broken lines of one file are told of, one by one.
const MAX_NOTES: usize = 3;

/// A key that is on file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The known_hosts file.
    pub file: PathBuf,
    /// Its line, from 1.
    pub line: u32,
    /// For example `ssh-ed25519`.
    pub algorithm: String,
    /// `SHA256:…`.
    pub fingerprint: String,
}

/// What the files say of a key that a host showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is on file.
    Known,
    /// No key of this host is on file.
    Unknown,
    /// Other keys of this host are on file. As in ssh(1), it does not matter of which type they are.
    Changed {
        /// Those keys.
        recorded: Vec<Recorded>,
    },
    /// It stands in a `@revoked` line.
    Revoked,
}

/// The lines of all files that name a host.
#[derive(Debug, Default)]
pub(super) struct KnownHosts {
    /// Lines that name the host as it is looked up: with its port, unless that is 22.
    exact: Vec<Entry>,
    /// Lines that name the host without its port. ssh(1) accepts a key from there too, and so do we; they
    /// are never held against a key.
    portless: Vec<Entry>,
    /// What could not be read, a sentence each.
    pub(super) notes: Vec<String>,
}

#[derive(Debug)]
struct Entry {
    marker: Option<Marker>,
    key: PublicKey,
    file: PathBuf,
    line: u32,
}

impl KnownHosts {
    /// Reads the user's files, then the system's. Blocks on the file system.
    pub(super) fn read(hop: &Hop) -> KnownHosts {
        let mut all = KnownHosts::default();
        let name = lookup_name(&hop.host, hop.port);
        let bare = lookup_name(&hop.host, 22);
        for file in hop.host_keys.known_hosts.iter().chain(&hop.host_keys.system_known_hosts) {
            match read_file(file) {
                Ok(text) => all.take_in(file, &text, &name, &bare),
                Err(note) => all.notes.push(note),
            }
        }
        all
    }

    fn take_in(&mut self, file: &Path, text: &[u8], name: &str, bare: &str) {
        let mut broken = 0;
        for (number, line) in (1_u32..).zip(text.split(|byte| *byte == b'\n')) {
            let line = String::from_utf8_lossy(line);
            match Line::parse(&line) {
                Ok(None) => {}
                Ok(Some(parsed)) => {
                    let entry = || Entry {
                        marker: parsed.marker,
                        key: parsed.key.clone(),
                        file: file.to_owned(),
                        line: number,
                    };
                    if parsed.names(name) {
                        self.exact.push(entry());
                    } else if name != bare && parsed.names(bare) {
                        self.portless.push(entry());
                    }
                }
                Err(why) => {
                    broken += 1;
                    if broken <= MAX_NOTES {
                        self.notes.push(format!("{}:{number} was skipped: {why}", file.display()));
                    }
                }
            }
        }
        if broken > MAX_NOTES {
            self.notes.push(format!("{} more lines of {} were skipped", broken - MAX_NOTES, file.display()));
        }
    }

    /// What the files say of `shown`.
    pub(super) fn verdict(&self, shown: &PublicKey) -> Verdict {
        let same = |entry: &&Entry| entry.key.key_data() == shown.key_data();
        if self.exact.iter().filter(same).any(|e| e.marker == Some(Marker::Revoked)) {
            return Verdict::Revoked;
        }
        let recorded = self.recorded();
        if self.exact.iter().filter(same).any(|e| e.marker.is_none()) {
            return Verdict::Known;
        }
        if !recorded.is_empty() {
            return Verdict::Changed { recorded };
        }
        if self.portless.iter().filter(same).any(|e| e.marker == Some(Marker::Revoked)) {
            return Verdict::Revoked;
        }
        if self.portless.iter().filter(same).any(|e| e.marker.is_none()) {
            return Verdict::Known;
        }
        Verdict::Unknown
    }

    /// The plain keys on file for this host and port.
    pub(super) fn recorded(&self) -> Vec<Recorded> {
        self.exact
            .iter()
            .filter(|entry| entry.marker.is_none())
            .map(|entry| Recorded {
                file: entry.file.clone(),
                line: entry.line,
                algorithm: entry.key.algorithm().to_string(),
                fingerprint: entry.key.fingerprint(HashAlg::Sha256).to_string(),
            })
            .collect()
    }

    /// `usual`, with the algorithms of keys on file first: a server with several keys then shows one that
    /// can be recognised.
    pub(super) fn order(&self, usual: &[Algorithm]) -> Vec<Algorithm> {
        let known: Vec<Algorithm> = [&self.exact, &self.portless]
            .into_iter()
            .map(|entries| entries.iter().filter(|e| e.marker.is_none()).map(|e| e.key.algorithm()).collect())
            .find(|types: &Vec<Algorithm>| !types.is_empty())
            .unwrap_or_default();
        let is_known = |usual: &&Algorithm| known.iter().any(|known| same_key_type(known, usual));
        let first = usual.iter().filter(is_known).cloned();
        let rest = usual.iter().filter(|algorithm| !is_known(algorithm)).cloned();
        first.chain(rest).collect()
    }
}

/// RSA keys have one type and several signature algorithms (RFC 8332).
fn same_key_type(a: &Algorithm, b: &Algorithm) -> bool {
    a == b || matches!((a, b), (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }))
}

/// A host as known_hosts names it: in lower case, `[host]:port` unless the port is 22.
pub(super) fn lookup_name(host: &str, port: u16) -> String {
    let host = host.to_lowercase();
    if port == 22 { host } else { format!("[{host}]:{port}") }
}

/// The content of a file; empty when there is none.
///
/// # Errors
/// One sentence that says why it cannot be read.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |why: &dyn std::fmt::Display| format!("{} cannot be read: {why}", path.display());
    let kind = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(&error)),
    };
    if !kind.is_file() {
        // `/dev/null` is the customary way to say "none"; opening a pipe would block.
        return if path == Path::new("/dev/null") {
            Ok(Vec::new())
        } else {
            Err(unreadable(&"it is no file"))
        };
    }
    let mut text = Vec::new();
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    file.take(MAX_FILE + 1).read_to_end(&mut text).map_err(|error| unreadable(&error))?;
    if text.len() as u64 > MAX_FILE {
        return Err(unreadable(&"it is larger than 16 MiB"));
    }
    Ok(text)
}

/// One line of a known_hosts file.
pub(super) struct Line<'a> {
    pub(super) marker: Option<Marker>,
    /// The field of names, as written.
    pub(super) hosts: &'a str,
    patterns: HostPatterns,
    pub(super) key: PublicKey,
}

impl<'a> Line<'a> {
    /// Parses a line; `None` for an empty one or a comment.
    ///
    /// # Errors
    /// A few words that say what is wrong with it.
    pub(super) fn parse(line: &'a str) -> Result<Option<Line<'a>>, &'static str> {
        let mut rest = line.trim_end_matches(['\r', '\n']);
        rest = rest.trim_start_matches([' ', '\t']);
        if rest.is_empty() || rest.starts_with('#') {
            return Ok(None);
        }
        let mut marker = None;
        if rest.starts_with('@') {
            marker = Some(next_field(&mut rest).parse().map_err(|_| "its marker is not known")?);
        }
        let hosts = next_field(&mut rest);
        let algorithm = next_field(&mut rest);
        let base64 = next_field(&mut rest);
        if base64.is_empty() {
            return Err("it has too few fields");
        }
        let patterns = hosts.parse().map_err(|_| "its host field cannot be read")?;
        let key = PublicKey::from_openssh(&format!("{algorithm} {base64}"));
        Ok(Some(Line { marker, hosts, patterns, key: key.map_err(|_| "its key cannot be read")? }))
    }

    /// Whether the name is hashed.
    pub(super) fn is_hashed(&self) -> bool {
        matches!(self.patterns, HostPatterns::HashedName { .. })
    }

    /// Whether the line speaks of `name`, as made by [`lookup_name`].
    pub(super) fn names(&self, name: &str) -> bool {
        match &self.patterns {
            HostPatterns::HashedName { salt, hash } => {
                hmac::verify(&hash_key(salt), name.as_bytes(), hash).is_ok()
            }
            HostPatterns::Patterns(patterns) => {
                let mut found = false;
                for pattern in patterns {
                    let pattern = pattern.to_lowercase();
                    match pattern.strip_prefix('!') {
                        // One negated match is final, wherever it stands (ssh_config(5), PATTERNS).
                        Some(negated) if glob(negated, name) => return false,
                        Some(_) => {}
                        None => found |= glob(&pattern, name),
                    }
                }
                found
            }
        }
    }
}

fn next_field<'a>(rest: &mut &'a str) -> &'a str {
    let end = rest.find([' ', '\t']).unwrap_or(rest.len());
    let (field, after) = rest.split_at(end);
    *rest = after.trim_start_matches([' ', '\t']);
    field
}

/// The key of the hash of a name: SHA-1, as the format has it; it hides names, and proves nothing.
pub(super) fn hash_key(salt: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt)
}

/// `*` and `?`, as in ssh_config(5), PATTERNS. Linear in the name for each `*`.
fn glob(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p, n));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match retry {
                // Let the last `*` swallow one more character.
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    p = star + 1;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
#[cfg(unix)]
#[path = "known_hosts_tests.rs"]
mod tests;
