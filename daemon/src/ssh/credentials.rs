//! What could be offered to a server, and the snapshot by which a change of it is noticed. Looks only at
//! this machine: the agent and the key files; asks no server.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use nbtunnel_core::{Failure, FailureKind};
use russh::keys::agent::AgentIdentity;
use russh::keys::{Algorithm, Error, HashAlg, PrivateKey, PublicKey, decode_secret_key};

use super::hop::{Hop, Plan};
use super::system;

/// No private key is larger.
const MAX_KEY: u64 = 1 << 20;

/// What could be offered and what the known_hosts files were, at one moment. Two of them differ when
/// something changed that may help a parked tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Fingerprints of what the agent holds; `None` when none answers.
    pub agent: Option<Vec<String>>,
    /// The identity files.
    pub keys: Vec<FileMark>,
    /// The known_hosts files, the system's too.
    pub known_hosts: Vec<FileMark>,
}

/// By what a change of a file is noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileMark {
    /// The file.
    pub path: PathBuf,
    /// `None` when there is none.
    pub mark: Option<Mark>,
}

/// Of a file that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When it was last written to, where the system tells.
    pub modified: Option<SystemTime>,
    /// Its length in bytes.
    pub length: u64,
    /// Its permission bits; 0 where there are none.
    pub mode: u32,
    /// Whether we may open it.
    pub readable: bool,
}

impl FileMark {
    /// Looks at a file. Blocks on the file system.
    fn of(path: &Path) -> FileMark {
        let mark = std::fs::metadata(path).ok().map(|metadata| Mark {
            modified: metadata.modified().ok(),
            length: metadata.len(),
            mode: system::mode(&metadata),
            readable: metadata.is_file() && File::open(path).is_ok(),
        });
        FileMark { path: path.to_owned(), mark }
    }
}

impl Snapshot {
    /// Looks at the files of a plan. Blocks on the file system.
    pub(super) fn of(plan: &Plan, agent: Option<&[AgentIdentity]>) -> Snapshot {
        let hops = || plan.jumps.iter().chain([&plan.server]);
        let keys = hops().flat_map(|hop| &hop.login.identity_files);
        let known =
            hops().flat_map(|hop| hop.host_keys.known_hosts.iter().chain(&hop.host_keys.system_known_hosts));
        Snapshot {
            agent: agent.map(|held| held.iter().map(agent_fingerprint).collect()),
            keys: keys.map(|path| FileMark::of(path)).collect(),
            known_hosts: known.map(|path| FileMark::of(path)).collect(),
        }
    }

    /// The same files, as they are now. Blocks on the file system.
    pub(super) fn again(&self, agent: Option<&[AgentIdentity]>) -> Snapshot {
        let again = |marks: &[FileMark]| marks.iter().map(|mark| FileMark::of(&mark.path)).collect();
        Snapshot {
            agent: agent.map(|held| held.iter().map(agent_fingerprint).collect()),
            keys: again(&self.keys),
            known_hosts: again(&self.known_hosts),
        }
    }
}

fn agent_fingerprint(identity: &AgentIdentity) -> String {
    match identity {
        AgentIdentity::PublicKey { key, .. } => fingerprint(key),
        AgentIdentity::Certificate { certificate, .. } => {
            format!("{} (certificate {})", fingerprint(&identity.public_key()), certificate.serial())
        }
    }
}

pub(super) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// Whether keys of this kind are in a security token, which signs when it is touched (`PROTOCOL.u2f` of
/// OpenSSH). That one of them need not be touched, its public half does not tell.
pub(super) fn is_in_token(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256)
}

/// What one attempt can offer, in the order in which it is offered.
#[derive(Default)]
pub(super) struct Offer {
    /// What the agent holds of the keys that are named.
    pub(super) named: Vec<AgentIdentity>,
    /// Key files that the agent does not hold already.
    pub(super) files: Vec<KeyFile>,
    /// What else the agent holds.
    pub(super) strangers: Vec<AgentIdentity>,
    /// Files that cannot be used, a sentence each.
    pub(super) notes: Vec<String>,
}

/// A private key from a file.
pub(super) enum KeyFile {
    /// It can be used as it is.
    Ready {
        /// Where it is from.
        path: PathBuf,
        /// The key. It lives as long as the attempt.
        key: Arc<PrivateKey>,
    },
    /// Somebody would have to say its passphrase.
    Encrypted {
        /// Where it is.
        path: PathBuf,
    },
}

/// Looks at what could be offered to `hop`.
pub(super) async fn look(held: Option<Vec<AgentIdentity>>, hop: &Hop) -> Offer {
    let hop = hop.clone();
    let looked = tokio::task::spawn_blocking(move || Offer::load(&hop, held.unwrap_or_default()));
    looked.await.unwrap_or_default()
}

impl Offer {
    /// Keys that are named go first, so that an agent full of others does not use up the server's
    /// MaxAuthTries. ssh(1) has named files that the agent does not hold go last, which is the same as never
    /// with such an agent; nothing here can say IdentitiesOnly to prevent it.
    fn load(hop: &Hop, held: Vec<AgentIdentity>) -> Offer {
        let mut offer = Offer::default();
        let mut publics: Vec<PublicKey> = Vec::new();
        for path in &hop.login.identity_files {
            let found = load_key(path).unwrap_or_else(|note| {
                offer.notes.push(note);
                Found::default()
            });
            let is_it =
                |key: &PublicKey, held: &AgentIdentity| held.public_key().key_data() == key.key_data();
            let in_agent = found.public.as_ref().is_some_and(|key| held.iter().any(|held| is_it(key, held)));
            match (found.file, found.only_names) {
                (Some(file), _) if !in_agent => offer.files.push(file),
                (None, Some(what)) if !in_agent => offer.notes.push(format!("{} {what}", path.display())),
                _ => {}
            }
            publics.extend(found.public);
        }
        let is_named =
            |held: &AgentIdentity| publics.iter().any(|key| key.key_data() == held.public_key().key_data());
        (offer.named, offer.strangers) = held.into_iter().partition(is_named);
        offer
    }

    /// Why it makes no sense to dial, if there is nothing that could be offered without a human.
    pub(super) fn shortfall(&self, hop: &Hop) -> Option<Failure> {
        let in_agent = !self.named.is_empty() || !self.strangers.is_empty();
        if in_agent || self.files.iter().any(|file| matches!(file, KeyFile::Ready { .. })) {
            return None;
        }
        Some(self.needs_answer().unwrap_or_else(|| no_credentials(hop, &self.notes)))
    }

    /// The failure that names the encrypted key files, if there are any.
    pub(super) fn needs_answer(&self) -> Option<Failure> {
        let encrypted: Vec<String> = self
            .files
            .iter()
            .filter_map(|file| match file {
                KeyFile::Encrypted { path } => Some(path.display().to_string()),
                KeyFile::Ready { .. } => None,
            })
            .collect();
        let first = encrypted.first()?;
        Some(Failure::new(
            FailureKind::PassphraseNeeded,
            format!("the key {} is protected by a passphrase", encrypted.join(", ")),
            format!("add it to the SSH agent: ssh-add {first}"),
        ))
    }
}

fn no_credentials(hop: &Hop, notes: &[String]) -> Failure {
    let files: Vec<String> = hop.login.identity_files.iter().map(|path| path.display().to_string()).collect();
    let mut message = "there is nothing to log in with: no SSH agent holds a key".to_owned();
    if files.is_empty() {
        message += ", and no key file is named";
    } else {
        message += &format!(", and no key could be read from {}", files.join(", "));
    }
    for note in notes {
        message += &format!("; {note}");
    }
    Failure::new(
        FailureKind::NoCredentials,
        message,
        "start the agent and run ssh-add, or make a key with ssh-keygen; the tunnel then connects by itself",
    )
}

/// What an identity file, and the public key beside it, hold.
#[derive(Default)]
struct Found {
    file: Option<KeyFile>,
    public: Option<PublicKey>,
    /// The file itself cannot sign: it only names a key of the agent's. Says what it is.
    only_names: Option<&'static str>,
}

const PUBLIC: &str = "is a public key, and no SSH agent holds the private one";
const IN_TOKEN: &str = "is a key in a security token, and no SSH agent holds it (ssh-add asks the token)";

/// Loads a key file. That there is none is no news: the usual names are tried blindly. A public key beside
/// it may still name one that only the agent holds.
fn load_key(path: &Path) -> Result<Found, String> {
    let shown = path.display();
    let Ok(metadata) = std::fs::metadata(path) else {
        return Ok(Found { public: public_beside(path), ..Found::default() });
    };
    if !metadata.is_file() {
        return Err(format!("{shown} is no key file"));
    }
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_KEY + 1).read_to_string(&mut text));
    read.map_err(|error| format!("{shown} cannot be read: {error}"))?;
    if text.len() as u64 > MAX_KEY {
        return Err(format!("{shown} is no key file"));
    }
    // Public keys may be read by everybody.
    if let Ok(key) = PublicKey::from_openssh(text.trim()) {
        return Ok(Found { public: Some(key), only_names: Some(PUBLIC), ..Found::default() });
    }
    if system::is_exposed(&metadata) {
        return Err(format!("{shown} was not used, since others can read it (chmod 600 {shown})"));
    }
    // An OpenSSH key names its public half even when it is encrypted.
    if let Ok(key) = PrivateKey::from_openssh(&text)
        && key.is_encrypted()
    {
        let public = key.public_key().clone();
        return Ok(Found::of(KeyFile::Encrypted { path: path.to_owned() }, Some(public)));
    }
    match decode_secret_key(&text, None) {
        Ok(key) if is_in_token(&key.algorithm()) => {
            let public = Some(key.public_key().clone());
            Ok(Found { public, only_names: Some(IN_TOKEN), ..Found::default() })
        }
        Ok(key) => {
            let public = key.public_key().clone();
            Ok(Found::of(KeyFile::Ready { path: path.to_owned(), key: Arc::new(key) }, Some(public)))
        }
        Err(Error::KeyIsEncrypted) => Ok(encrypted(path)),
        Err(_) if text.contains("ENCRYPTED") => Ok(encrypted(path)),
        Err(_) => Err(format!("{shown} holds no key of a kind that is known here")),
    }
}

/// An encrypted file of an older format; its public half may lie beside it.
fn encrypted(path: &Path) -> Found {
    Found::of(KeyFile::Encrypted { path: path.to_owned() }, public_beside(path))
}

fn public_beside(path: &Path) -> Option<PublicKey> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".pub");
    let metadata = std::fs::metadata(&beside).ok()?;
    // Opening a pipe would block, and a key is never so large.
    (metadata.is_file() && metadata.len() <= MAX_KEY).then(|| russh::keys::load_public_key(&beside).ok())?
}

impl Found {
    fn of(file: KeyFile, public: Option<PublicKey>) -> Found {
        Found { file: Some(file), public, only_names: None }
    }
}
