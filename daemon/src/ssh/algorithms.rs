//! What is spoken with a machine: what its files ask for where they do, else what is usual here. A name that is
//! not known here is left out and told of; nothing is put in its place.

use std::borrow::Cow;

use nbtunnel_core::{Failure, FailureKind};
use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::{Preferred, cipher, compression, kex, mac};

use super::classify::quote;
use super::hop::Hop;
use super::known_hosts::{KnownHosts, same_key_type};

/// Host key algorithms, best first: the order of ssh(1). `ssh-rsa` with SHA-1 is not among them (RFC 8332), nor
/// is DSA.
const HOST_KEYS: [Algorithm; 6] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
];

/// Nothing here ends in SHA-1.
const KEX: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::ECDH_SHA2_NISTP256,
    kex::ECDH_SHA2_NISTP384,
    kex::ECDH_SHA2_NISTP521,
    kex::DH_GEX_SHA256,
    kex::DH_G16_SHA512,
    kex::DH_G18_SHA512,
    kex::DH_G14_SHA256,
];

/// No key exchanges, but said beside them: extensions (RFC 8308), and the guard against a cut beginning.
const KEX_EXTENSIONS: [kex::Name; 2] =
    [kex::EXTENSION_SUPPORT_AS_CLIENT, kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT];

/// The order of speed where AES is in hardware, which it is on every laptop.
const CIPHERS: &[cipher::Name] = &[
    cipher::AES_128_GCM,
    cipher::AES_256_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_128_CTR,
    cipher::AES_192_CTR,
    cipher::AES_256_CTR,
];

const MACS: &[mac::Name] = &[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM, mac::HMAC_SHA256, mac::HMAC_SHA512];

const PLAIN: &[compression::Name] = &[compression::NONE];

/// The order of ssh(1) with `Compression yes`.
const COMPRESSED: &[compression::Name] = &[compression::ZLIB_LEGACY, compression::ZLIB, compression::NONE];

/// How the names of certificates end (`PROTOCOL.certkeys` of OpenSSH).
const CERTIFICATE: &str = "-cert-v01@openssh.com";

/// A host key algorithm: by a plain key, or by a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostKeyName {
    pub(super) algorithm: Algorithm,
    pub(super) is_certificate: bool,
}

impl HostKeyName {
    fn read(name: &str) -> Option<HostKeyName> {
        let (plain, is_certificate) = match name.strip_suffix(CERTIFICATE) {
            Some(plain) => (plain, true),
            None => (name, false),
        };
        // Old servers have nothing else; it is spoken only where somebody names it.
        let sha1 = Algorithm::Rsa { hash: None };
        let algorithm = HOST_KEYS.into_iter().chain([sha1]).find(|known| known.as_str() == plain)?;
        Some(HostKeyName { algorithm, is_certificate })
    }

    /// Where it stands in the list of ssh(1).
    fn rank(&self) -> (bool, usize) {
        let place = HOST_KEYS.iter().position(|usual| *usual == self.algorithm);
        (!self.is_certificate, place.unwrap_or(HOST_KEYS.len()))
    }
}

/// All that is usual, certificates first.
fn usual_host_keys() -> Vec<HostKeyName> {
    let named = |is_certificate| {
        HOST_KEYS.into_iter().map(move |algorithm| HostKeyName { algorithm, is_certificate })
    };
    named(true).chain(named(false)).collect()
}

/// What is proposed to `hop`, with what is `known` of it, and what has to be told of that.
///
/// # Errors
/// `config`: nothing that is asked for is known here.
pub(super) fn preferred(hop: &Hop, known: &KnownHosts) -> Result<(Preferred, Vec<String>), Failure> {
    let asked = &hop.algorithms;
    let mut notes = Vec::new();
    let (key, host_key_certificates) = host_keys(hop, known, &mut notes)?;
    let mut kex = choose(hop, "KexAlgorithms", &asked.kex, read_kex, &mut notes)?.unwrap_or(KEX.to_vec());
    kex.extend(KEX_EXTENSIONS);
    let ciphers = choose(hop, "Ciphers", &asked.ciphers, read_cipher, &mut notes)?;
    let macs = choose(hop, "MACs", &asked.macs, read_mac, &mut notes)?;
    let preferred = Preferred {
        kex: Cow::Owned(kex),
        key: Cow::Owned(key),
        host_key_certificates: Cow::Owned(host_key_certificates),
        cipher: ciphers.map_or(Cow::Borrowed(CIPHERS), Cow::Owned),
        mac: macs.map_or(Cow::Borrowed(MACS), Cow::Owned),
        compression: Cow::Borrowed(if asked.compression { COMPRESSED } else { PLAIN }),
    };
    Ok((preferred, notes))
}

/// The plain algorithms and the certificates.
fn host_keys(
    hop: &Hop,
    known: &KnownHosts,
    notes: &mut Vec<String>,
) -> Result<(Vec<Algorithm>, Vec<Algorithm>), Failure> {
    let listed = choose(hop, "HostKeyAlgorithms", &hop.algorithms.host_keys, HostKeyName::read, notes)?;
    let names = match listed {
        // Whoever lists names means their order. One that has certificates and keeps the order of ssh(1) is its
        // own list with something taken away or added at the end, and that it puts in order itself.
        Some(listed) if !(listed.is_sorted_by_key(HostKeyName::rank) && listed[0].is_certificate) => listed,
        Some(usual) => known.order(usual),
        None => known.order(usual_host_keys()),
    };
    // The library names certificates before plain keys. Behind plain keys they only matter to hosts that an
    // authority vouches for.
    let is_early = |place: usize| names[..place].iter().all(|before| before.is_certificate);
    let certificates = names
        .iter()
        .enumerate()
        .filter(|(place, name)| name.is_certificate && (known.has_authority() || is_early(*place)));
    let certificates = certificates.map(|(_, name)| name.algorithm.clone()).collect();
    let plain = names.iter().filter(|name| !name.is_certificate).map(|name| name.algorithm.clone()).collect();
    Ok((plain, certificates))
}

/// The names of a list that are known here; `None` where there is no list.
fn choose<T>(
    hop: &Hop,
    keyword: &str,
    asked: &Option<Vec<String>>,
    read: fn(&str) -> Option<T>,
    notes: &mut Vec<String>,
) -> Result<Option<Vec<T>>, Failure> {
    let Some(asked) = asked else { return Ok(None) };
    let (mut chosen, mut unknown) = (Vec::new(), Vec::new());
    for name in asked {
        match read(name) {
            Some(known) => chosen.push(known),
            None => unknown.push(name.as_str()),
        }
    }
    let left_out = quote(&unknown.join(", "));
    if chosen.is_empty() {
        return Err(Failure::new(
            FailureKind::Config,
            format!("{keyword} of {} has nothing that is known here: {left_out}", hop.label()),
            format!("take {keyword} away, or add a name that both sides know"),
        ));
    }
    if !unknown.is_empty() {
        notes.push(format!(
            "{keyword} of {}: left out, since they are not known here: {left_out}",
            hop.label()
        ));
    }
    Ok(Some(chosen))
}

fn read_kex(name: &str) -> Option<kex::Name> {
    kex::Name::try_from(name).ok().filter(|name| *name != kex::NONE && !name.as_ref().contains("-info-"))
}

fn read_cipher(name: &str) -> Option<cipher::Name> {
    cipher::Name::try_from(name).ok().filter(|name| ![cipher::NONE, cipher::CLEAR].contains(name))
}

fn read_mac(name: &str) -> Option<mac::Name> {
    mac::Name::try_from(name).ok().filter(|name| *name != mac::NONE)
}

/// Whether `hop` may show keys of this type.
pub(super) fn accepts(hop: &Hop, algorithm: &Algorithm) -> bool {
    match &hop.algorithms.host_keys {
        None => HOST_KEYS.iter().any(|usual| same_key_type(usual, algorithm)),
        Some(listed) => listed
            .iter()
            .filter_map(|name| HostKeyName::read(name))
            .any(|name| !name.is_certificate && same_key_type(&name.algorithm, algorithm)),
    }
}

#[cfg(test)]
#[cfg(unix)]
#[path = "algorithms_tests.rs"]
mod tests;
