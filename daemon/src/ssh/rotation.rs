//! Host keys that a server says it has, too (`hostkeys-00@openssh.com` of `PROTOCOL` in OpenSSH): those that are
//! not on file are stored once it proved that it holds them, and those that it no longer has go. Where the files
//! say anything else than "this host, these keys", they are left alone, as ssh(1) does (UpdateHostKeys).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::keys::{HashAlg, PublicKey};
use tokio::time::timeout;

use super::algorithms::accepts;
use super::handler::Shared;
use super::hop::{Hop, UpdateHostKeys};
use super::known_file::{append, change, is_hashed, turn, without};
use super::known_hosts::Names;
use super::known_line::{Line, lines_of};
use super::known_text::read_file;
use super::logged_in::Session;

/// How long a server may take to prove that it holds its keys.
const PROOF_DEADLINE: Duration = Duration::from_secs(60);

/// A line with more names than a host and its address was written by a person.
const MAX_NAMES: usize = 2;

/// What would change in the files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Update {
    /// Keys to store, once they are proved.
    new: Vec<PublicKey>,
    /// Keys on file that the server no longer has.
    old: Vec<PublicKey>,
}

/// Waits for what the server of a session announces, until the session is over, and stores what it may. To be
/// started for each session once it is logged in.
pub(super) async fn follow(shared: Arc<Shared>, session: Session) {
    let update = shared.to.host_keys.update;
    if update == UpdateHostKeys::No || !shared.may_update() {
        return;
    }
    let announced = tokio::select! {
        () = shared.gone.cancelled() => return,
        announced = shared.announced.wait() => announced.clone(),
    };
    let (to, keys) = (Arc::clone(&shared.to), announced.clone());
    let address = shared.address();
    let names = Names::of(&to, address);
    let for_reading = names.clone();
    let considered = tokio::task::spawn_blocking(move || consider(&to, &for_reading, &keys)).await;
    let (hop, reporter) = (&shared.hop, &shared.reporter);
    let wanted = match considered {
        Ok(Ok(wanted)) => wanted,
        Ok(Err(why)) => return tracing::debug!("the host keys of {hop} stay as they are: {why}"),
        Err(_) => return,
    };
    if wanted == Update::default() {
        return;
    }
    if update == UpdateHostKeys::Ask {
        return reporter.note(&format!(
            "{hop} has other host keys than those on file ({}); to store them, run `ssh -p {} {}` once, which asks, or set UpdateHostKeys to yes",
            wanted.told(),
            shared.to.port,
            shared.to.name
        ));
    }
    let what = format!("{hop} {}", wanted.told());
    if !wanted.new.is_empty() {
        if !may_ask(&what) {
            return tracing::debug!("{hop} is not asked again to prove its host keys");
        }
        let proof = async { session.read().await.hostkeys_prove(wanted.new.clone()).await };
        let proved = tokio::select! {
            proved = timeout(PROOF_DEADLINE, proof) => proved,
            // Perhaps because of the question.
            () = shared.gone.cancelled() => return,
        };
        if !matches!(proved, Ok(Ok(()))) {
            return reporter.note(&format!(
                "{hop} announced host keys and did not prove that it holds them; nothing was stored"
            ));
        }
        proved_at_last(&what);
    }
    let (to, told) = (Arc::clone(&shared.to), wanted.told());
    let stored = tokio::task::spawn_blocking(move || store(&to, &names, &announced, &wanted)).await;
    match stored {
        Ok(Ok(files)) => {
            let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
            reporter.note(&format!(
                "the host keys of {hop} on file were brought up to date in {}: {told}",
                files.join(", ")
            ));
        }
        Ok(Err(why)) => reporter.note(&format!("the new host keys of {hop} could not be stored: {why}")),
        Err(_) => {}
    }
}

/// How often each server was asked in vain, and for what.
static ASKED: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());

/// So many servers are remembered, and each is asked so often: one that ends its session over the question is let
/// alone then.
const MAX_ASKED: usize = 1024;
const ASK_AT_MOST: u32 = 3;

/// Whether to ask for `what` once more.
fn may_ask(what: &str) -> bool {
    let mut asked = ASKED.lock().unwrap_or_else(PoisonError::into_inner);
    if asked.len() >= MAX_ASKED {
        asked.clear();
    }
    let times = asked.entry(what.to_owned()).or_default();
    *times += 1;
    *times <= ASK_AT_MOST
}

fn proved_at_last(what: &str) {
    ASKED.lock().unwrap_or_else(PoisonError::into_inner).remove(what);
}

impl Update {
    fn told(&self) -> String {
        let print = |key: &PublicKey| format!("{} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256));
        let new = self.new.iter().map(|key| format!("new {}", print(key)));
        new.chain(self.old.iter().map(|key| format!("gone {}", print(key)))).collect::<Vec<_>>().join(", ")
    }
}

/// What is to be done about the keys that were `announced`.
///
/// # Errors
/// Why nothing may be done, for the log of a developer.
fn consider(hop: &Hop, names: &Names, announced: &[PublicKey]) -> Result<Update, String> {
    let mut keys: Vec<&PublicKey> = Vec::new();
    for key in announced.iter().filter(|key| accepts(hop, &key.algorithm())) {
        if keys.iter().any(|other| other.key_data() == key.key_data()) {
            return Err("a key is announced twice".to_owned());
        }
        keys.push(key);
    }
    if keys.is_empty() {
        return Err("no key that we may use is announced".to_owned());
    }
    let is_announced = |key: &PublicKey| keys.iter().any(|other| other.key_data() == key.key_data());
    let (mut seen, mut old, mut others) = (Vec::new(), Vec::<PublicKey>::new(), Vec::new());
    for file in &hop.host_keys.known_hosts {
        let text = read_file(file)?;
        for (number, line) in lines_of(&text) {
            let Ok(Some(line)) = Line::parse(&line) else { continue };
            let place = || format!("{}:{number}", file.display());
            let is_ours =
                line.names(&names.name) || names.address.as_ref().is_some_and(|name| line.names(name));
            if !is_ours {
                if is_announced(&line.key) {
                    return Err(format!("one of its keys is under another name at {}", place()));
                }
                others.push(line.key);
            } else if line.marker.is_some() || line.is_pattern() || line.hosts.split(',').count() > MAX_NAMES
            {
                return Err(format!("{} was written by a person", place()));
            } else if is_announced(&line.key) {
                seen.push(line.key);
            } else {
                old.push(line.key);
            }
        }
    }
    if old.iter().any(|key| others.iter().any(|other| other.key_data() == key.key_data())) {
        return Err("a key that it no longer has is under another name, too".to_owned());
    }
    let is_seen = |key: &PublicKey| seen.iter().any(|other| other.key_data() == key.key_data());
    let new = keys.into_iter().filter(|key| !is_seen(key)).cloned().collect();
    Ok(Update { new, old })
}

/// Does what was decided, if that is still what is to be done.
fn store(hop: &Hop, names: &Names, announced: &[PublicKey], proved: &Update) -> Result<Vec<PathBuf>, String> {
    let _turn = turn();
    if consider(hop, names, announced)? != *proved {
        return Err("the files changed meanwhile".to_owned());
    }
    let wanted: Vec<&str> =
        [Some(&names.name), names.address.as_ref()].into_iter().flatten().map(String::as_str).collect();
    let goes = |key: &PublicKey| proved.old.iter().any(|old| old.key_data() == key.key_data());
    let mut written = Vec::new();
    for (place, file) in hop.host_keys.known_hosts.iter().enumerate() {
        let changed = change(file, |text| {
            let (mut kept, _) = without(text, &wanted, goes);
            if place == 0 {
                let hashed = is_hashed(text, hop.host_keys.hash);
                for key in &proved.new {
                    for name in &wanted {
                        append(&mut kept, name, key, hashed)?;
                    }
                }
            }
            let is_changed = kept != text;
            Ok((kept, is_changed))
        });
        if changed.map_err(|error| format!("{} cannot be written: {error}", file.display()))? {
            written.push(file.clone());
        }
    }
    Ok(written)
}

#[cfg(test)]
#[cfg(unix)]
#[path = "rotation_tests.rs"]
mod tests;
