//! A host key that a server showed and that was not simply on file: everything a human needs to decide.

use std::path::PathBuf;

use nbtunnel_core::{Failure, FailureKind};
use russh::keys::{Algorithm, Certificate, EcdsaCurve, HashAlg, PublicKey, PublicKeyOrCertificate};

use super::hop::Hop;
use super::known_hosts::{Finding, KnownHosts, Names, Recorded, Verdict};

/// A host key as it was shown, beside what is on file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedKey {
    /// Which machine on the way showed it, as `host:port`.
    pub hop: String,
    /// Its alias (`HostKeyAlias`), where it is looked up and written under one.
    pub alias: Option<String>,
    /// Its address as it is looked up, where that has to be on file with the same key (`CheckHostIP`).
    pub address: Option<String>,
    /// For example `ssh-ed25519`.
    pub algorithm: String,
    /// `SHA256:…`.
    pub fingerprint: String,
    /// The drawing of `ssh-keygen -lv`, several lines.
    pub randomart: String,
    /// The key itself, as `algorithm base64`. Exactly this is written when it is trusted.
    pub public_key: String,
    /// Why the certificate that it came with did not count.
    pub doubt: Option<String>,
    /// The file that would be written; `None` when there is none.
    pub file: Option<PathBuf>,
    /// Other keys on file for that machine.
    pub recorded: Vec<Recorded>,
    /// The `@revoked` line that it stands in: it cannot be trusted at all.
    pub revoked: Option<Recorded>,
}

/// A key judged against the files as they are now.
pub(super) struct Judged {
    pub(super) verdict: Verdict,
    pub(super) offered: OfferedKey,
    pub(super) notes: Vec<String>,
    /// The server may bring what is on file up to date.
    pub(super) may_update: bool,
}

/// What a server showed: a key, perhaps in a certificate.
pub(super) struct Shown {
    pub(super) key: PublicKey,
    pub(super) certificate: Option<Certificate>,
}

impl From<&PublicKeyOrCertificate> for Shown {
    fn from(shown: &PublicKeyOrCertificate) -> Shown {
        match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => key.clone().into(),
            PublicKeyOrCertificate::Certificate(certificate) => Shown {
                key: PublicKey::new(certificate.public_key().clone(), ""),
                certificate: Some(certificate.clone()),
            },
        }
    }
}

impl From<PublicKey> for Shown {
    fn from(key: PublicKey) -> Shown {
        Shown { key, certificate: None }
    }
}

/// Reads the files that speak of `hop`, and of its `address` if that matters, and judges by them what it showed.
/// `now_s` is the time since 1970. Blocks on the file system.
pub(super) fn judge(hop: &Hop, address: Option<String>, shown: &Shown, now_s: u64) -> Judged {
    let Shown { key, certificate } = shown;
    let names = Names::of(hop, address);
    let known = KnownHosts::read(hop, &names);
    let Finding { verdict, doubt, may_update } = known.finding(key, certificate.as_ref(), now_s);
    let recorded = match &verdict {
        Verdict::AddressChanged { recorded } => recorded.clone(),
        _ => known.recorded(),
    };
    let offered = OfferedKey {
        hop: hop.label(),
        alias: hop.host_keys.alias.clone(),
        address: names.address,
        algorithm: key.algorithm().to_string(),
        fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
        randomart: randomart(key),
        public_key: PublicKey::new(key.key_data().clone(), "").to_openssh().unwrap_or_default(),
        doubt,
        file: hop.host_keys.known_hosts.first().cloned(),
        recorded,
        revoked: match &verdict {
            Verdict::Revoked { by } => Some(by.clone()),
            _ => None,
        },
    };
    Judged { verdict, offered, notes: known.notes, may_update }
}

/// The drawing of `ssh-keygen -lv`.
pub(super) fn randomart(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_randomart(&drawing_title(key))
}

/// `[ED25519 256]`, as above the drawing of ssh-keygen(1).
fn drawing_title(key: &PublicKey) -> String {
    match key.algorithm() {
        Algorithm::Ed25519 => "[ED25519 256]".into(),
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 } => "[ECDSA 256]".into(),
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 } => "[ECDSA 384]".into(),
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 } => "[ECDSA 521]".into(),
        Algorithm::Rsa { .. } => match key.key_data().rsa() {
            Some(rsa) => format!("[RSA {}]", rsa.key_size()),
            None => "[RSA]".into(),
        },
        other => format!("[{other}]"),
    }
}

/// Why a key that is not simply known stops the link of `tunnel` at `hop`, as users know that.
pub(super) fn refusal(judged: &Judged, hop: &str, tunnel: &str) -> Failure {
    let OfferedKey { alias, address, algorithm, fingerprint, doubt, .. } = &judged.offered;
    let shown = format!("{algorithm} {fingerprint}");
    let doubt = doubt.as_ref().map(|doubt| format!("; {doubt}")).unwrap_or_default();
    let ask_to_replace = format!(
        "if you know that the server was made again, run `nbctl trust --replace {tunnel}`; else ask its administrator"
    );
    match &judged.verdict {
        Verdict::Revoked { by } if by.fingerprint != *fingerprint => Failure::new(
            FailureKind::HostKeyChanged,
            format!(
                "the certificate of {hop} is signed by an authority that is marked @revoked at {}: {} {}",
                by.place(),
                by.algorithm,
                by.fingerprint
            ),
            "do not connect: whoever has that authority can pretend to be your server; ask its administrator",
        ),
        Verdict::Revoked { by } => Failure::new(
            FailureKind::HostKeyChanged,
            format!("{hop} showed a host key that is marked @revoked at {}: {shown}", by.place()),
            "do not connect: whoever holds that key may not be your server; ask its administrator",
        ),
        Verdict::Changed { recorded } => Failure::new(
            FailureKind::HostKeyChanged,
            format!(
                "{hop} showed another host key than the one on file: {shown}, on file: {}{doubt}",
                listed(recorded)
            ),
            ask_to_replace,
        ),
        Verdict::AddressChanged { recorded } => Failure::new(
            FailureKind::HostKeyChanged,
            format!(
                "the host key of {hop} is on file, but its address {} has another one (CheckHostIP): {}",
                address.as_deref().unwrap_or_default(),
                listed(recorded)
            ),
            ask_to_replace,
        ),
        Verdict::Unknown | Verdict::Known => {
            let alias = alias.as_ref().map(|alias| format!(" as {alias}")).unwrap_or_default();
            Failure::new(
                FailureKind::HostKeyUnknown,
                format!("the host key of {hop} is not on file{alias}: {shown}{doubt}"),
                format!(
                    "run `nbctl trust {tunnel}` and compare the fingerprint with the one that you were given"
                ),
            )
        }
    }
}

/// Where keys stand on file, and by which pattern if by one.
fn listed(recorded: &[Recorded]) -> String {
    let one = |key: &Recorded| {
        let pattern = key.pattern.as_ref().map(|pattern| format!(", for {pattern}")).unwrap_or_default();
        format!("{} {} ({}{pattern})", key.algorithm, key.fingerprint, key.place())
    };
    recorded.iter().map(one).collect::<Vec<_>>().join(", ")
}
