//! What the known_hosts files say of one host: the format of sshd(8), section SSH_KNOWN_HOSTS FILE FORMAT, and
//! the verdicts of ssh(1). Only reads; `trust` and `rotation` write.
//!
//! A line that cannot be read is skipped with a note and never hides the others.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use russh::keys::ssh_key::known_hosts::Marker;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey};

use super::algorithms::HostKeyName;
use super::certificate;
use super::hop::Hop;
use super::hostkey::randomart;
use super::known_line::{Addressed, lines_of, lookup_name};
use super::known_text::each_line;

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
    /// The drawing of `ssh-keygen -lv`, several lines.
    pub randomart: String,
    /// The names of its line, where these speak of other hosts too: `--replace` leaves it as it is.
    pub pattern: Option<String>,
    /// It stands in a file that is only read (`GlobalKnownHostsFile`).
    pub read_only: bool,
}

impl Recorded {
    /// `file:line`.
    pub fn place(&self) -> String {
        format!("{}:{}", self.file.display(), self.line)
    }
}

/// What the files say of a key that a host showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is on file, or the authority that signed its certificate is.
    Known,
    /// No key of this host is on file.
    Unknown,
    /// Other keys of this host are on file. As in ssh(1), it does not matter of which type they are.
    Changed {
        /// Those keys.
        recorded: Vec<Recorded>,
    },
    /// It is on file for the name, and another one is for the address (`CheckHostIP`).
    AddressChanged {
        /// The keys of the address.
        recorded: Vec<Recorded>,
    },
    /// It, or the authority that signed its certificate, stands in a `@revoked` line.
    Revoked {
        /// That line.
        by: Recorded,
    },
}

/// Under which names a machine is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// With its port, unless that is 22; or its alias, which has no port.
    pub(super) name: String,
    /// Without its port, where that differs.
    bare: Option<String>,
    /// Its address, where that has to be on file with the same key.
    pub(super) address: Option<String>,
}

impl Names {
    pub(super) fn of(hop: &Hop, address: Option<String>) -> Names {
        let name = match &hop.host_keys.alias {
            Some(alias) => alias.to_ascii_lowercase(),
            None => lookup_name(&hop.host, hop.port),
        };
        let bare = lookup_name(&hop.host, 22);
        let has_bare = hop.host_keys.alias.is_none() && bare != name;
        Names { name, bare: has_bare.then_some(bare), address }
    }
}

/// The name of the address `peer` where `CheckHostIP` has it looked up: not on this machine, and not where the
/// host is an address anyway.
pub(super) fn address_name(hop: &Hop, peer: Option<IpAddr>) -> Option<String> {
    let peer = peer.filter(|peer| hop.host_keys.check_ip && !peer.is_loopback())?.to_string();
    (hop.dialling.proxy_command.is_none() && peer != hop.host.to_ascii_lowercase())
        .then(|| lookup_name(&peer, hop.port))
}

/// The name that a host's certificate has to be for.
fn principal(hop: &Hop) -> String {
    hop.host_keys.alias.as_ref().unwrap_or(&hop.host).to_ascii_lowercase()
}

/// The lines of all files that name a host.
#[derive(Debug, Default)]
pub(super) struct KnownHosts {
    /// Lines that name the host as it is looked up.
    exact: Vec<Entry>,
    /// Lines that name the host without its port. ssh(1) accepts a key from there too, and so do we; they
    /// are never held against a key.
    portless: Vec<Entry>,
    /// Lines that name its address.
    address: Vec<Entry>,
    principal: String,
    /// What could not be read, a sentence each.
    pub(super) notes: Vec<String>,
}

#[derive(Clone, Debug)]
struct Entry {
    marker: Option<Marker>,
    key: PublicKey,
    file: PathBuf,
    line: u32,
    pattern: Option<String>,
    read_only: bool,
}

/// What was found of a key that was shown.
pub(super) struct Finding {
    pub(super) verdict: Verdict,
    /// Why the certificate that it came with did not count.
    pub(super) doubt: Option<String>,
    /// It is a plain key on file in a file of the user's: the server may bring that up to date.
    pub(super) may_update: bool,
}

impl KnownHosts {
    /// Reads the user's files, then the system's. Blocks on the file system.
    pub(super) fn read(hop: &Hop, names: &Names) -> KnownHosts {
        let mut all = KnownHosts { principal: principal(hop), ..KnownHosts::default() };
        let users = hop.host_keys.known_hosts.iter().map(|file| (file, false));
        for (file, read_only) in users.chain(hop.host_keys.system_known_hosts.iter().map(|file| (file, true)))
        {
            let mut broken = 0;
            let read = each_line(file, |number, line| {
                if let Err(why) = all.take_in(file, read_only, number, line, names) {
                    broken += 1;
                    if broken <= MAX_NOTES {
                        all.notes.push(format!("{}:{number} was skipped: {why}", file.display()));
                    }
                }
            });
            all.notes.extend(read.err());
            if broken > MAX_NOTES {
                let more = broken - MAX_NOTES;
                all.notes.push(format!("{more} more lines of {} were skipped", file.display()));
            }
        }
        all
    }

    /// What `text` says of `key`, were it the only file.
    pub(super) fn verdict_of(text: &[u8], file: &Path, names: &Names, key: &PublicKey) -> Verdict {
        let mut only = KnownHosts::default();
        for (number, line) in lines_of(text) {
            let _ = only.take_in(file, false, number, &line, names);
        }
        only.verdict(key)
    }

    /// A line that speaks of other hosts is none of our business, whatever its key is.
    fn take_in(
        &mut self,
        file: &Path,
        read_only: bool,
        number: u32,
        line: &str,
        names: &Names,
    ) -> Result<(), &'static str> {
        let Some(line) = Addressed::parse(line)? else { return Ok(()) };
        let is_exact = line.names(&names.name);
        let is_portless = !is_exact && names.bare.as_ref().is_some_and(|bare| line.names(bare));
        let is_address = names.address.as_ref().is_some_and(|address| line.names(address));
        if !is_exact && !is_portless && !is_address {
            return Ok(());
        }
        let line = line.with_key()?;
        let entry = Entry {
            marker: line.marker,
            pattern: line.is_pattern().then(|| line.hosts.to_owned()),
            key: line.key,
            file: file.to_owned(),
            line: number,
            read_only,
        };
        if is_address {
            self.address.push(entry.clone());
        }
        if is_exact {
            self.exact.push(entry);
        } else if is_portless {
            self.portless.push(entry);
        }
        Ok(())
    }

    /// What the files say of `key`, which came in `certificate`, if in one. `now_s` is the time since 1970.
    pub(super) fn finding(&self, key: &PublicKey, certificate: Option<&Certificate>, now_s: u64) -> Finding {
        let mut doubt = None;
        if let Some(certificate) = certificate {
            match self.vouched(key, certificate, now_s) {
                Ok(verdict) => return Finding { verdict, doubt: None, may_update: false },
                Err(why) => doubt = why,
            }
        }
        // As in ssh(1), a certificate that does not count is as good as the key in it.
        let verdict = self.verdict(key);
        let first = self.exact.iter().find(|entry| entry.is(None, key.key_data()));
        let may_update = verdict == Verdict::Known && first.is_some_and(|entry| !entry.read_only);
        if verdict == Verdict::Known && certificate.is_none() {
            match revoked(&self.address, key.key_data()) {
                Some(entry) => {
                    return Finding {
                        verdict: Verdict::Revoked { by: entry.recorded() },
                        doubt,
                        may_update: false,
                    };
                }
                None if contradicts(&self.address, key) => {
                    let recorded = plain(&self.address);
                    return Finding {
                        verdict: Verdict::AddressChanged { recorded },
                        doubt,
                        may_update: false,
                    };
                }
                None => {}
            }
        }
        Finding { verdict, doubt, may_update }
    }

    /// Whether an authority on file vouches for the host, or a line revokes what it showed. `Err`: neither, and
    /// why, unless there is no authority at all.
    fn vouched(
        &self,
        key: &PublicKey,
        certificate: &Certificate,
        now_s: u64,
    ) -> Result<Verdict, Option<String>> {
        let is_authority = |entry: &&Entry| entry.marker == Some(Marker::CertAuthority);
        let has_own = self.exact.iter().any(|entry| is_authority(&entry));
        for entries in [&self.exact, &self.portless] {
            let by =
                revoked(entries, key.key_data()).or_else(|| revoked(entries, certificate.signature_key()));
            if let Some(entry) = by {
                return Ok(Verdict::Revoked { by: entry.recorded() });
            }
            if has_own {
                break;
            }
        }
        let mut authorities = if has_own { &self.exact } else { &self.portless }.iter().filter(is_authority);
        let Some(first) = authorities.clone().next() else { return Err(None) };
        let signed = authorities.find(|entry| entry.key.key_data() == certificate.signature_key());
        let Some(authority) = signed else {
            let by = certificate.signature_key().fingerprint(HashAlg::Sha256);
            return Err(Some(format!(
                "its certificate is signed by {by}, which is not the authority of {}",
                first.recorded().place()
            )));
        };
        match certificate::check(certificate, &self.principal, now_s) {
            Ok(()) => Ok(Verdict::Known),
            Err(why) => Err(Some(format!(
                "its certificate, by the authority of {}, {why}",
                authority.recorded().place()
            ))),
        }
    }

    /// What the files say of `shown` as a plain key, whatever its address is.
    pub(super) fn verdict(&self, shown: &PublicKey) -> Verdict {
        for entries in [&self.exact, &self.portless] {
            if let Some(entry) = revoked(entries, shown.key_data()) {
                return Verdict::Revoked { by: entry.recorded() };
            }
            if entries.iter().any(|entry| entry.is(None, shown.key_data())) {
                return Verdict::Known;
            }
            if std::ptr::eq(entries, &self.exact) && contradicts(entries, shown) {
                return Verdict::Changed { recorded: self.recorded() };
            }
        }
        Verdict::Unknown
    }

    /// The plain keys on file for this host and port.
    pub(super) fn recorded(&self) -> Vec<Recorded> {
        plain(&self.exact)
    }

    /// `names`, with what can be recognised first, as ssh(1) does it: as they are, where the type of the first is
    /// on file; else certificates where an authority is on file, and the types on file, before the others.
    pub(super) fn order(&self, names: Vec<HostKeyName>) -> Vec<HostKeyName> {
        let is_known = |name: &HostKeyName| {
            let plain = self.exact.iter().filter(|entry| entry.marker.is_none());
            plain.into_iter().any(|entry| same_key_type(&entry.key.algorithm(), &name.algorithm))
        };
        if names.first().is_some_and(is_known) {
            return names;
        }
        let has_authority = self.has_authority();
        let is_first = |name: &HostKeyName| is_known(name) || name.is_certificate && has_authority;
        let (mut first, last): (Vec<_>, Vec<_>) = names.into_iter().partition(is_first);
        first.extend(last);
        first
    }

    /// Whether a `@cert-authority` line names the host.
    pub(super) fn has_authority(&self) -> bool {
        self.exact.iter().any(|entry| entry.marker == Some(Marker::CertAuthority))
    }
}

impl Entry {
    fn is(&self, marker: Option<Marker>, key: &KeyData) -> bool {
        self.marker == marker && self.key.key_data() == key
    }

    fn recorded(&self) -> Recorded {
        let fingerprint = self.key.fingerprint(HashAlg::Sha256);
        Recorded {
            file: self.file.clone(),
            line: self.line,
            algorithm: self.key.algorithm().to_string(),
            fingerprint: fingerprint.to_string(),
            randomart: randomart(&self.key),
            pattern: self.pattern.clone(),
            read_only: self.read_only,
        }
    }
}

fn revoked<'a>(entries: &'a [Entry], key: &KeyData) -> Option<&'a Entry> {
    entries.iter().find(|entry| entry.is(Some(Marker::Revoked), key))
}

/// Whether plain keys are there, and `key` is none of them.
fn contradicts(entries: &[Entry], key: &PublicKey) -> bool {
    let mut plain = entries.iter().filter(|entry| entry.marker.is_none()).peekable();
    plain.peek().is_some() && plain.all(|entry| entry.key.key_data() != key.key_data())
}

fn plain(entries: &[Entry]) -> Vec<Recorded> {
    entries.iter().filter(|entry| entry.marker.is_none()).map(Entry::recorded).collect()
}

/// RSA keys have one type and several signature algorithms (RFC 8332).
pub(super) fn same_key_type(a: &Algorithm, b: &Algorithm) -> bool {
    a == b || matches!((a, b), (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }))
}

#[cfg(test)]
#[cfg(unix)]
#[path = "known_hosts_tests.rs"]
mod tests;
