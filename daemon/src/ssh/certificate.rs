//! A host's certificate: what it has to be besides signed by an authority on file (`PROTOCOL.certkeys` of
//! OpenSSH). Pure.

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, Certificate, HashAlg};

/// Whether `certificate` holds at `now_s` (seconds since 1970) for a host that is called `name`. That its
/// authority is one of ours is for the caller to see.
///
/// # Errors
/// What is wrong with it, in a few words with the certificate as their subject.
pub(super) fn check(certificate: &Certificate, name: &str, now_s: u64) -> Result<(), String> {
    if certificate.cert_type() != CertType::Host {
        return Err("is one for users, not for hosts".to_owned());
    }
    if now_s < certificate.valid_after() {
        return Err("is not valid yet".to_owned());
    }
    if now_s >= certificate.valid_before() {
        return Err("has expired".to_owned());
    }
    let principals = certificate.valid_principals();
    // As in ssh(1), one without names is for every host.
    if !principals.is_empty() && !principals.iter().any(|principal| principal == name) {
        return Err(format!("is for {}, not for {name}", super::classify::quote(&principals.join(", "))));
    }
    // None is defined for hosts, and one that is not known forbids (PROTOCOL.certkeys, "Critical options").
    if !certificate.critical_options().is_empty() {
        return Err("has critical options that are not known here".to_owned());
    }
    if matches!(certificate.signature().algorithm(), Algorithm::Rsa { hash: None }) {
        return Err("is signed with SHA-1".to_owned());
    }
    let authority = certificate.signature_key().fingerprint(HashAlg::Sha256);
    certificate.validate_at(now_s, [&authority]).map_err(|_| "has a signature that is not right".to_owned())
}
