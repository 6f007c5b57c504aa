//! One line of a known_hosts file, by sshd(8), SSH_KNOWN_HOSTS FILE FORMAT: whom it speaks of, and the key. What
//! ssh(1) cannot read is not read here either, so that both know the same hosts. Pure.

use aws_lc_rs::hmac;
use russh::keys::PublicKey;
use russh::keys::ssh_key::known_hosts::{HostPatterns, Marker};

/// One line of a known_hosts file.
pub(super) struct Line<'a> {
    pub(super) marker: Option<Marker>,
    /// The field of names, as written.
    pub(super) hosts: &'a str,
    patterns: HostPatterns,
    pub(super) key: PublicKey,
}

/// A line whose key was not looked at yet: of many hosts, few are asked about.
pub(super) struct Addressed<'a> {
    marker: Option<Marker>,
    hosts: &'a str,
    patterns: HostPatterns,
    rest: &'a str,
}

/// How long the salt of a hashed name is.
const SALT: usize = 20;

impl<'a> Line<'a> {
    /// Parses a line; `None` for an empty one or a comment.
    ///
    /// # Errors
    /// A few words that say what is wrong with it.
    pub(super) fn parse(line: &'a str) -> Result<Option<Line<'a>>, &'static str> {
        Addressed::parse(line)?.map(Addressed::with_key).transpose()
    }
}

impl<'a> Addressed<'a> {
    /// Parses whom a line speaks of; `None` for an empty one or a comment.
    ///
    /// # Errors
    /// A few words that say what is wrong with it.
    pub(super) fn parse(line: &'a str) -> Result<Option<Addressed<'a>>, &'static str> {
        let mut rest = line.trim_end_matches(['\r', '\n']);
        rest = rest.trim_start_matches([' ', '\t']);
        if rest.is_empty() || rest.starts_with('#') {
            return Ok(None);
        }
        let mut marker = None;
        if rest.starts_with('@') {
            // A tab ends a marker only where no blank follows later: ssh(1) does not read such a line.
            let end = rest.find(' ').or_else(|| rest.find('\t')).ok_or("it has too few fields")?;
            let (word, after) = rest.split_at(end);
            marker = Some(word.parse().map_err(|_| "its marker is not known")?);
            rest = after.trim_start_matches([' ', '\t']);
            if rest.starts_with('@') {
                return Err("it has two markers");
            }
        }
        let hosts = next_field(&mut rest);
        let patterns = hosts.parse().map_err(|_| "its host field cannot be read")?;
        if let HostPatterns::HashedName { salt, .. } = &patterns
            && salt.len() != SALT
        {
            return Err("its host field cannot be read");
        }
        Ok(Some(Addressed { marker, hosts, patterns, rest }))
    }

    /// The same with its key.
    ///
    /// # Errors
    /// A few words that say what is wrong with it.
    pub(super) fn with_key(self) -> Result<Line<'a>, &'static str> {
        let Addressed { marker, hosts, patterns, mut rest } = self;
        let algorithm = next_field(&mut rest);
        let base64 = next_field(&mut rest);
        if base64.is_empty() || algorithm.starts_with('#') {
            return Err("it has too few fields");
        }
        // These name signatures, of keys whose type is `ssh-rsa` (RFC 8332 §3); ssh(1) reads them.
        let algorithm =
            if matches!(algorithm, "rsa-sha2-256" | "rsa-sha2-512") { "ssh-rsa" } else { algorithm };
        let key = PublicKey::from_openssh(&format!("{algorithm} {base64}"));
        Ok(Line { marker, hosts, patterns, key: key.map_err(|_| "its key cannot be read")? })
    }

    /// As [`Line::names`].
    pub(super) fn names(&self, name: &str) -> bool {
        speaks_of(&self.patterns, name)
    }
}

impl Line<'_> {
    /// Whether the name is hashed.
    pub(super) fn is_hashed(&self) -> bool {
        matches!(self.patterns, HostPatterns::HashedName { .. })
    }

    /// Whether it speaks of hosts by wildcards.
    pub(super) fn is_pattern(&self) -> bool {
        !self.is_hashed() && self.hosts.contains(['*', '?'])
    }

    /// Whether the line speaks of `name`, which is in lower case.
    pub(super) fn names(&self, name: &str) -> bool {
        speaks_of(&self.patterns, name)
    }
}

fn speaks_of(patterns: &HostPatterns, name: &str) -> bool {
    match patterns {
        HostPatterns::HashedName { salt, hash } => {
            hmac::verify(&hash_key(salt), name.as_bytes(), hash).is_ok()
        }
        HostPatterns::Patterns(patterns) => {
            let mut found = false;
            for pattern in patterns {
                let pattern = pattern.to_ascii_lowercase();
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

fn next_field<'a>(rest: &mut &'a str) -> &'a str {
    let end = rest.find([' ', '\t']).unwrap_or(rest.len());
    let (field, after) = rest.split_at(end);
    *rest = after.trim_start_matches([' ', '\t']);
    field
}

/// The key of the hash of a name: SHA-1, as the format has it; it hides names, and proves nothing.
fn hash_key(salt: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt)
}

/// `name` as HashKnownHosts writes it, with a new salt; `None` when the system has no random numbers.
pub(super) fn hash_name(name: &str) -> Option<String> {
    let mut salt = [0; SALT];
    aws_lc_rs::rand::fill(&mut salt).ok()?;
    let tag = hmac::sign(&hash_key(&salt), name.as_bytes());
    let hash = tag.as_ref().try_into().ok()?;
    Some(HostPatterns::HashedName { salt: salt.to_vec(), hash }.to_string())
}

/// A host as known_hosts names it: in lower case, `[host]:port` unless the port is 22.
pub(super) fn lookup_name(host: &str, port: u16) -> String {
    let host = host.to_ascii_lowercase();
    if port == 22 { host } else { format!("[{host}]:{port}") }
}

/// The lines of the known_hosts file `text`, with their numbers from 1.
pub(super) fn lines_of<'a>(text: &'a [u8]) -> impl Iterator<Item = (u32, std::borrow::Cow<'a, str>)> {
    (1_u32..).zip(text.split(|byte| *byte == b'\n')).map(|(n, line)| (n, String::from_utf8_lossy(line)))
}

/// The numbers, from 1, of the lines of the known_hosts file `text` that speak of `name` (`host` or
/// `[host]:port`). Never panics, whatever `text` is.
pub fn lines_that_name(text: &[u8], name: &str) -> Vec<u32> {
    let name = name.to_ascii_lowercase();
    let speaks = |line: &str| matches!(Line::parse(line), Ok(Some(line)) if line.names(&name));
    lines_of(text).filter(|(_, line)| speaks(line)).map(|(number, _)| number).collect()
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
mod tests {
    use super::*;

    #[test]
    fn patterns_match_in_time_that_does_not_explode() {
        assert!(!glob(&("a*".repeat(50) + "c"), &"a".repeat(5000)));
        assert!(glob("*", "") && glob("a*c", "abbc") && !glob("a*c", "abb") && glob("**", "x"));
    }
}
