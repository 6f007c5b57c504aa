//! What could be offered to a server: what was found, what is missing, and by what a change of it is noticed. Looks
//! only at this machine: agents, files, tickets; asks no server.

mod key_files;
mod offer;
mod snapshot;

use std::path::{Path, PathBuf};

use nbtunnel_core::{Failure, FailureKind};
use russh::keys::{Algorithm, HashAlg, PublicKey};

pub(super) use key_files::{Locked, unlock};
pub(super) use offer::{Holder, Key, Offer};
pub(super) use snapshot::Survey;
pub use snapshot::{AgentMark, FileMark, Mark, Snapshot};

use super::agent::Agents;
use super::gssapi;
use super::hop::{Hop, LoginWith};

pub(super) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// Whether keys of this kind are in a security token, which signs when it is touched (`PROTOCOL.u2f` of
/// OpenSSH). That one of them need not be touched, its public half does not tell.
pub(super) fn is_in_token(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256)
}

/// Looks at what could be offered to `hop`.
pub(super) async fn look(agents: &Agents, hop: &Hop) -> Offer {
    let found = agents.find(hop.login.agent.as_ref()).await;
    let login = hop.login.clone();
    let looked = tokio::task::spawn_blocking(move || Offer::load(&login, found.held));
    let mut offer = looked.await.unwrap_or_default();
    offer.notes.splice(..0, found.notes);
    offer
}

/// `offer`, and beside each of its keys the file that names it, also where an agent signs.
pub(super) async fn with_files(offer: Offer, login: &LoginWith) -> (Offer, Vec<Option<PathBuf>>) {
    let files = login.identity_files.clone();
    let looked = tokio::task::spawn_blocking(move || {
        let of = |key: &Key| key.file().map(Path::to_owned).or_else(|| file_of(&files, key.public.as_ref()?));
        let of_each = offer.keys.iter().map(of).collect();
        (offer, of_each)
    });
    looked.await.unwrap_or_default()
}

/// The one of `files` that holds or names `public`.
fn file_of(files: &[PathBuf], public: &PublicKey) -> Option<PathBuf> {
    let names = |path: &&PathBuf| {
        let named = key_files::load_key(path).ok().and_then(|file| file.public);
        named.is_some_and(|named| named.key_data() == public.key_data())
    };
    files.iter().find(names).cloned()
}

impl Offer {
    /// Why it makes no sense to dial, if there is nothing that could be offered without a human.
    pub(super) fn shortfall(&self, hop: &Hop) -> Option<Failure> {
        if self.ticket.is_ready() || self.keys.iter().any(|key| !key.is_locked()) {
            return None;
        }
        Some(self.needs_answer().unwrap_or_else(|| no_credentials(hop, self)))
    }

    /// The failure that names the encrypted key files, if there are any.
    pub(super) fn needs_answer(&self) -> Option<Failure> {
        passphrase_needed(self.keys.iter().filter_map(Key::locked_in))
    }
}

/// The failure that names these key files, if there are any.
pub(super) fn passphrase_needed<'a>(paths: impl Iterator<Item = &'a std::path::Path>) -> Option<Failure> {
    let mut paths: Vec<String> = paths.map(|path| path.display().to_string()).collect();
    paths.dedup();
    let first = paths.first()?;
    Some(Failure::new(
        FailureKind::PassphraseNeeded,
        format!("the key {} is protected by a passphrase", paths.join(", ")),
        format!("add it to the SSH agent: ssh-add {first}"),
    ))
}

fn no_credentials(hop: &Hop, offer: &Offer) -> Failure {
    let files: Vec<String> = hop.login.identity_files.iter().map(|path| path.display().to_string()).collect();
    let mut message = "there is nothing to log in with: no SSH agent holds a key".to_owned();
    if hop.login.identities_only {
        message += " of those that are named (IdentitiesOnly)";
    }
    if files.is_empty() {
        message += ", and no key file is named";
    } else {
        message += &format!(", and no key could be read from {}", files.join(", "));
    }
    for note in &offer.notes {
        message += &format!("; {note}");
    }
    let mut hint = "start the agent and run ssh-add, or make a key with ssh-keygen".to_owned();
    if let Some(why) = offer.ticket.missing() {
        message += &format!("; {why}");
        if gssapi::IS_HERE {
            hint = format!("run kinit, or {hint}");
        }
    }
    Failure::new(FailureKind::NoCredentials, message, hint + "; the tunnel then connects by itself")
}
