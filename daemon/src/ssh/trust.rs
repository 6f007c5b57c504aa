//! Writes a host key to the user's known_hosts file once a person agreed to it, or the policy did.

use std::path::PathBuf;

use nbtunnel_core::{Failure, FailureKind};
use russh::keys::PublicKey;

use super::hop::Hop;
use super::hostkey::{Judged, OfferedKey, Shown, judge, refusal};
use super::known_file::{append, cannot_write, change, is_hashed, turn, without};
use super::known_hosts::{KnownHosts, Names, Verdict};
use super::known_text::is_nowhere;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The file that now has the key.
    pub file: PathBuf,
    /// The lines that it replaced, as `file:line`.
    pub replaced: Vec<String>,
}

/// Puts exactly the key that was shown to `tunnel` into the first known_hosts file of `hop`. With `replace`, the
/// keys on file for that host go from all files of the user's; other names on their lines stay.
///
/// # Errors
/// The key is revoked, or another one is on file and `replace` is not set, or the file cannot be written.
/// Then the file is as it was.
pub fn trust(tunnel: &str, hop: &Hop, offered: &OfferedKey, replace: bool) -> Result<Written, Failure> {
    let key = PublicKey::from_openssh(&offered.public_key)
        .map_err(|_| Failure::new(FailureKind::Internal, "the host key that was shown cannot be read", ""))?;
    let file = hop.host_keys.known_hosts.first().filter(|file| !is_nowhere(file)).ok_or_else(no_file)?;
    let _turn = turn();
    // What counts is what is on file now, not what was when the key was shown.
    let now = judge(hop, offered.address.clone(), &Shown::from(key.clone()), 0);
    match now.verdict {
        Verdict::Known => return Ok(Written { file: file.clone(), replaced: Vec::new() }),
        Verdict::Revoked { .. } => return Err(refusal(&now, &now.offered.hop, tunnel)),
        Verdict::Changed { .. } | Verdict::AddressChanged { .. } if !replace => {
            return Err(refusal(&now, &now.offered.hop, tunnel));
        }
        Verdict::Changed { .. } | Verdict::AddressChanged { .. } | Verdict::Unknown => {}
    }
    let names = Names::of(hop, offered.address.clone());
    if !is_writable(&names.name) {
        return Err(unwritable(&names.name));
    }
    match write(hop, &names, &key, &now)? {
        Some(written) => Ok(written),
        None => {
            let now = judge(hop, offered.address.clone(), &Shown::from(key), 0);
            Err(refusal(&now, &now.offered.hop, tunnel))
        }
    }
}

fn no_file() -> Failure {
    Failure::new(
        FailureKind::Config,
        "there is no known_hosts file to write to: ssh_config or the tunnel's file says none, or /dev/null",
        "name one with known_hosts in the tunnel's file",
    )
}

/// Whether a name means only itself in a known_hosts file: the rule of ssh(1), which brackets that hold a port
/// are no breach of.
fn is_writable(name: &str) -> bool {
    let host = name.strip_prefix('[').and_then(|rest| rest.rsplit_once("]:")).map_or(name, |(host, _)| host);
    let is_special = |c: char| "@?*#[]|'\"\\,!".contains(c) || c.is_whitespace() || c.is_control();
    !host.is_empty() && !host.contains(is_special)
}

fn unwritable(name: &str) -> Failure {
    Failure::new(
        FailureKind::Config,
        format!("{:?} cannot be written to a known_hosts file", name),
        "give the host a plain name with HostKeyAlias, and trust it again",
    )
}

/// Nothing where another program wrote another key since we looked, which nobody agreed to replace.
fn write(hop: &Hop, names: &Names, key: &PublicKey, now: &Judged) -> Result<Option<Written>, Failure> {
    let goes = !matches!(now.verdict, Verdict::Unknown);
    // An address is only written where another key was on file for it.
    let address = names.address.as_deref().filter(|_| goes);
    let wanted: Vec<&str> = [Some(names.name.as_str()), address].into_iter().flatten().collect();
    let files = if goes { hop.host_keys.known_hosts.as_slice() } else { &hop.host_keys.known_hosts[..1] };
    let mut replaced = Vec::new();
    for (place, file) in files.iter().enumerate() {
        let changed = change(file, |text| {
            let (mut kept, struck) = match goes {
                true => without(text, &wanted, |other| other.key_data() != key.key_data()),
                // Only now is the file ours.
                false => match KnownHosts::verdict_of(text, file, names, key) {
                    Verdict::Changed { .. } | Verdict::Revoked { .. } => return Ok((text.to_vec(), None)),
                    _ => (text.to_vec(), Vec::new()),
                },
            };
            if place == 0 {
                let hashed = is_hashed(text, hop.host_keys.hash);
                for name in &wanted {
                    append(&mut kept, name, key, hashed)?;
                }
            }
            Ok((kept, Some(struck)))
        });
        let Some(struck) = changed.map_err(|error| cannot_write(file, &error))? else { return Ok(None) };
        replaced.extend(struck.into_iter().map(|line| format!("{}:{line}", file.display())));
    }
    Ok(Some(Written { file: files[0].clone(), replaced }))
}

/// For `accept-new`: writes a key that is not on file, and says so in a sentence.
///
/// # Errors
/// By now another key is on file, or this one is revoked: two logins met the host at the same time, and it
/// showed each another key. Then it is not to be trusted, and stands beside the one that came first.
pub(super) fn accept_new(
    tunnel: &str,
    hop: &Hop,
    offered: &OfferedKey,
) -> Result<String, Box<(Failure, OfferedKey)>> {
    match trust(tunnel, hop, offered, false) {
        Err(failure) if failure.kind == FailureKind::HostKeyChanged => {
            let key = PublicKey::from_openssh(&offered.public_key);
            let now = key.map(|key| judge(hop, offered.address.clone(), &key.into(), 0).offered);
            let now = now
                .map_or_else(|_| offered.clone(), |now| OfferedKey { doubt: offered.doubt.clone(), ..now });
            Err(Box::new((failure, now)))
        }
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
