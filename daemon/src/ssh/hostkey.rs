//! A host key that a server showed and that was not simply on file: everything a human needs to decide.

use std::path::PathBuf;

use nbtunnel_core::{Failure, FailureKind};
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PublicKey};

use super::hop::Hop;
use super::known_hosts::{KnownHosts, Recorded, Verdict};

/// A host key as it was shown, beside what is on file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedKey {
    /// Which machine on the way showed it, as `host:port`.
    pub hop: String,
    /// For example `ssh-ed25519`.
    pub algorithm: String,
    /// `SHA256:…`.
    pub fingerprint: String,
    /// The drawing of `ssh-keygen -lv`, several lines.
    pub randomart: String,
    /// The key itself, as `algorithm base64`. Exactly this is written when it is trusted.
    pub public_key: String,
    /// The file that would be written; `None` when there is none.
    pub file: Option<PathBuf>,
    /// Other keys on file for that machine.
    pub recorded: Vec<Recorded>,
    /// It stands in a `@revoked` line: it cannot be trusted at all.
    pub revoked: bool,
}

/// A key judged against the files as they are now.
pub(super) struct Judged {
    pub(super) verdict: Verdict,
    pub(super) offered: OfferedKey,
    pub(super) notes: Vec<String>,
}

/// Reads the files that speak of `hop` and judges `key` by them. Blocks on the file system.
pub(super) fn judge(hop: &Hop, key: &PublicKey) -> Judged {
    let known = KnownHosts::read(hop);
    let verdict = known.verdict(key);
    let fingerprint = key.fingerprint(HashAlg::Sha256);
    let offered = OfferedKey {
        hop: hop.label(),
        algorithm: key.algorithm().to_string(),
        fingerprint: fingerprint.to_string(),
        randomart: fingerprint.to_randomart(&drawing_title(key)),
        public_key: PublicKey::new(key.key_data().clone(), "").to_openssh().unwrap_or_default(),
        file: hop.host_keys.known_hosts.first().cloned(),
        recorded: known.recorded(),
        revoked: verdict == Verdict::Revoked,
    };
    Judged { verdict, offered, notes: known.notes }
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

/// Why a key that is not simply known stops the link of `tunnel`.
pub(super) fn refusal(judged: &Judged, tunnel: &str) -> Failure {
    let OfferedKey { hop, algorithm, fingerprint, .. } = &judged.offered;
    match &judged.verdict {
        Verdict::Revoked => Failure::new(
            FailureKind::HostKeyChanged,
            format!("{hop} showed a host key that is marked @revoked: {algorithm} {fingerprint}"),
            "do not connect: whoever holds that key may not be your server; ask its administrator",
        ),
        Verdict::Changed { recorded } => {
            let on_file: Vec<String> = recorded
                .iter()
                .map(|r| format!("{} {} ({}:{})", r.algorithm, r.fingerprint, r.file.display(), r.line))
                .collect();
            Failure::new(
                FailureKind::HostKeyChanged,
                format!(
                    "{hop} showed another host key than the one on file: {algorithm} {fingerprint}, on file: {}",
                    on_file.join(", ")
                ),
                format!(
                    "if you know that the server was made again, run `nbctl trust --replace {tunnel}`; else ask its administrator"
                ),
            )
        }
        Verdict::Unknown | Verdict::Known => Failure::new(
            FailureKind::HostKeyUnknown,
            format!("the host key of {hop} is not on file: {algorithm} {fingerprint}"),
            format!(
                "run `nbctl trust {tunnel}` and compare the fingerprint with the one that you were given"
            ),
        ),
    }
}
