//! Which keys and certificates are offered, and in which order: that of ssh(1), so that what works there works here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::keys::agent::AgentIdentity;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, HashAlg, PrivateKey, PublicKey};

use super::key_files::{Secret, certificate_beside, load_certificate, load_key};
use super::{fingerprint, is_in_token};
use crate::ssh::agent::{Candidate, Held};
use crate::ssh::classify::quote;
use crate::ssh::gssapi::Ticket;
use crate::ssh::hop::LoginWith;

/// So many keys does sshd(8) let somebody try (MaxAuthTries of sshd_config(5)).
const USUAL_TRIES: usize = 6;

/// What one attempt can offer.
#[derive(Default)]
pub(in crate::ssh) struct Offer {
    /// In the order in which they are offered.
    pub(in crate::ssh) keys: Vec<Key>,
    /// The agent that holds those which are in one.
    pub(in crate::ssh) agent: Option<Candidate>,
    /// What Kerberos has to offer.
    pub(in crate::ssh) ticket: Ticket,
    /// What cannot be used, a sentence each.
    pub(in crate::ssh) notes: Vec<String>,
}

/// A key to offer, or a certificate of one.
#[derive(Clone)]
pub(in crate::ssh) struct Key {
    /// Unknown for encrypted files of older formats.
    pub(in crate::ssh) public: Option<PublicKey>,
    /// Stands in the place of the public key.
    pub(in crate::ssh) certificate: Option<Arc<Certificate>>,
    pub(in crate::ssh) holder: Holder,
}

/// Who has the private half.
#[derive(Clone)]
pub(in crate::ssh) enum Holder {
    /// The agent, under this name.
    Agent(Arc<AgentIdentity>),
    /// A file, which was read. The key lives as long as the attempt.
    File { path: PathBuf, key: Arc<PrivateKey> },
    /// A file that somebody would have to say the passphrase of.
    Locked { path: PathBuf },
}

/// An identity file. What lies beside it may be all that there is.
struct Identity {
    path: PathBuf,
    secret: Option<Secret>,
    public: Option<PublicKey>,
    certificate: Option<Arc<Certificate>>,
}

impl Offer {
    /// Certificates that are named go first, then what the agent holds of the identity files, what else it holds, and
    /// the other identity files. Two things differ from ssh(1). An agent full of keys uses up what servers let one
    /// try before the files are reached: then these go first, where ssh would only get in with `IdentitiesOnly`.
    /// And keys in tokens that nobody named go last, since somebody would have to touch them.
    pub(in crate::ssh) fn load(login: &LoginWith, held: Option<Held>) -> Offer {
        let (agent, held) = match held {
            Some(Held { agent, identities }) => (Some(agent), identities),
            None => (None, Vec::new()),
        };
        let mut offer = Offer { agent, ticket: Ticket::look(login.gssapi), ..Offer::default() };
        let identities = offer.load_identities(login, &held);
        let mut keys = offer.load_certificates(login, &identities, &held);
        let (named, others): (Vec<Key>, Vec<Key>) =
            held.iter().map(Key::held).partition(|key| identities.iter().any(|identity| identity.names(key)));
        let others = if login.identities_only { Vec::new() } else { others };
        let (tokens, others): (Vec<Key>, Vec<Key>) = others.into_iter().partition(Key::is_in_token);
        let files: Vec<Key> = identities.iter().flat_map(|identity| identity.keys(&held)).collect();
        keys.extend(named);
        let distinct = unique(keys.iter().chain(&others).chain(&files).cloned().collect()).len();
        let rest = if distinct > USUAL_TRIES { [files, others] } else { [others, files] };
        keys.extend(rest.into_iter().flatten().chain(tokens));
        offer.keys = unique(keys);
        offer.keys.retain(|key| key.is_accepted_by(login.key_algorithms.as_deref()));
        offer
    }

    fn load_identities(&mut self, login: &LoginWith, held: &[AgentIdentity]) -> Vec<Identity> {
        let mut identities = Vec::new();
        for path in &login.identity_files {
            let file = match load_key(path) {
                Ok(file) => file,
                Err(note) => {
                    self.notes.push(note);
                    continue;
                }
            };
            let in_agent = file.public.as_ref().and_then(|key| plain(held, key.key_data()));
            if let (Some(what), None) = (file.only_names, in_agent) {
                self.notes.push(format!("{} {what}", path.display()));
            }
            // CertificateFile stands in the place of what lies beside the keys.
            let beside = login.certificate_files.is_empty().then(|| certificate_beside(path));
            let certificate = beside.and_then(|path| self.load_certificate(&path)).map(Arc::new);
            let (secret, public) = (file.secret, file.public);
            identities.push(Identity { path: path.clone(), secret, public, certificate });
        }
        identities
    }

    fn load_certificate(&mut self, path: &Path) -> Option<Certificate> {
        load_certificate(path).unwrap_or_else(|note| {
            self.notes.push(note);
            None
        })
    }

    /// What CertificateFile names, each with whoever has its private half.
    fn load_certificates(
        &mut self,
        login: &LoginWith,
        identities: &[Identity],
        held: &[AgentIdentity],
    ) -> Vec<Key> {
        let mut keys = Vec::new();
        for path in &login.certificate_files {
            let Some(certificate) = self.load_certificate(path).map(Arc::new) else { continue };
            let same = held.iter().find(|held| is_certificate(held, &certificate));
            let of = |identity: &&Identity| identity.data() == Some(certificate.public_key());
            let holder = same
                .map(|held| Holder::Agent(Arc::new(held.clone())))
                .or_else(|| agent_holder(held, certificate.public_key()))
                .or_else(|| identities.iter().find(of)?.holder());
            match holder {
                Some(holder) => keys.push(Key::certified(&certificate, holder)),
                None => self.notes.push(format!("the key of the certificate {} is nowhere", path.display())),
            }
        }
        keys
    }
}

impl Identity {
    fn data(&self) -> Option<&KeyData> {
        self.public.as_ref().map(PublicKey::key_data)
    }

    /// Whether a key of the agent's is this one.
    fn names(&self, key: &Key) -> bool {
        match &key.certificate {
            Some(certificate) => self.certificate.as_ref() == Some(certificate),
            None => self.data().is_some() && self.data() == key.data(),
        }
    }

    fn holder(&self) -> Option<Holder> {
        let path = self.path.clone();
        Some(match self.secret.clone()? {
            Secret::Open(key) => Holder::File { path, key },
            Secret::Locked => Holder::Locked { path },
        })
    }

    /// The key itself, and what its certificate makes of it.
    fn keys(&self, held: &[AgentIdentity]) -> Vec<Key> {
        let own = self.holder();
        let key = own.clone().map(|holder| Key { public: self.public.clone(), certificate: None, holder });
        let certified = self.certificate.as_ref().and_then(|certificate| {
            let holder = agent_holder(held, certificate.public_key()).or(own)?;
            Some(Key::certified(certificate, holder))
        });
        key.into_iter().chain(certified).collect()
    }
}

impl Key {
    fn held(identity: &AgentIdentity) -> Key {
        let certificate = match identity {
            AgentIdentity::PublicKey { .. } => None,
            AgentIdentity::Certificate { certificate, .. } => Some(Arc::new(certificate.clone())),
        };
        let public = Some(identity.public_key().into_owned());
        Key { public, certificate, holder: Holder::Agent(Arc::new(identity.clone())) }
    }

    fn certified(certificate: &Arc<Certificate>, holder: Holder) -> Key {
        let public = PublicKey::new(certificate.public_key().clone(), "");
        Key { public: Some(public), certificate: Some(Arc::clone(certificate)), holder }
    }

    fn data(&self) -> Option<&KeyData> {
        self.public.as_ref().map(PublicKey::key_data)
    }

    fn is_in_token(&self) -> bool {
        self.public.as_ref().is_some_and(|key| is_in_token(&key.algorithm()))
    }

    /// Whether a server would see the same.
    fn is_same(&self, other: &Key) -> bool {
        match (self.data(), other.data()) {
            (Some(one), Some(two)) => one == two && self.certificate == other.certificate,
            _ => self.locked_in().is_some() && self.locked_in() == other.locked_in(),
        }
    }

    /// The file that its private half is read from.
    pub(in crate::ssh) fn file(&self) -> Option<&Path> {
        match &self.holder {
            Holder::File { path, .. } | Holder::Locked { path } => Some(path),
            Holder::Agent(_) => None,
        }
    }

    /// Whether somebody would have to say its passphrase.
    pub(in crate::ssh) fn is_locked(&self) -> bool {
        self.locked_in().is_some()
    }

    /// The file that somebody would have to say the passphrase of.
    pub(in crate::ssh) fn locked_in(&self) -> Option<&Path> {
        match &self.holder {
            Holder::Locked { path } => Some(path),
            Holder::Agent(_) | Holder::File { .. } => None,
        }
    }

    /// As which algorithms `PubkeyAcceptedAlgorithms` lets it be offered; for RSA keys, with which hashes.
    pub(in crate::ssh) fn hashes(&self, accepted: Option<&[String]>) -> Vec<Option<HashAlg>> {
        let Some(public) = &self.public else { return vec![None] };
        let is_rsa = public.algorithm().is_rsa();
        let all = if is_rsa { vec![Some(HashAlg::Sha512), Some(HashAlg::Sha256)] } else { vec![None] };
        let Some(accepted) = accepted else { return all };
        let is_accepted = |hash: &Option<HashAlg>| {
            let algorithm = if is_rsa { Algorithm::Rsa { hash: *hash } } else { public.algorithm() };
            let name = match self.certificate {
                Some(_) => algorithm.to_certificate_type(),
                None => algorithm.as_str().to_owned(),
            };
            accepted.contains(&name)
        };
        all.into_iter().filter(is_accepted).collect()
    }

    fn is_accepted_by(&self, accepted: Option<&[String]>) -> bool {
        !self.hashes(accepted).is_empty()
    }

    /// What users see of it.
    pub(in crate::ssh) fn label(&self) -> String {
        let print = self.public.as_ref().map(fingerprint).unwrap_or_default();
        let what = match &self.certificate {
            Some(certificate) => {
                format!("certificate \"{}\" of {print}", quote(certificate.key_id()))
            }
            None => print,
        };
        match &self.holder {
            Holder::Agent(_) => format!("{what} (agent)"),
            Holder::File { path, .. } | Holder::Locked { path } => {
                format!("{} {what}", path.display()).trim_end().to_owned()
            }
        }
    }
}

/// Each once, where it comes first.
fn unique(keys: Vec<Key>) -> Vec<Key> {
    let mut unique: Vec<Key> = Vec::new();
    for key in keys {
        if unique.iter().all(|before| !before.is_same(&key)) {
            unique.push(key);
        }
    }
    unique
}

/// The key `data` as the agent holds it, without a certificate.
fn plain<'a>(held: &'a [AgentIdentity], data: &KeyData) -> Option<&'a AgentIdentity> {
    held.iter().find(|held| matches!(held, AgentIdentity::PublicKey { key, .. } if key.key_data() == data))
}

fn agent_holder(held: &[AgentIdentity], data: &KeyData) -> Option<Holder> {
    plain(held, data).map(|identity| Holder::Agent(Arc::new(identity.clone())))
}

fn is_certificate(held: &AgentIdentity, wanted: &Certificate) -> bool {
    matches!(held, AgentIdentity::Certificate { certificate, .. } if certificate == wanted)
}
