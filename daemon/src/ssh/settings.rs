//! How our sessions are set up. Each setting that differs from the library's has its reason beside it.

use std::borrow::Cow;
use std::time::Duration;

use russh::client::Config;
use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::{Limits, Preferred, SshId, cipher, compression, kex, mac};

/// The version line with which we begin (RFC 4253 §4.2).
pub(super) const GREETING: &[u8] = concat!("SSH-2.0-nbtunnel_", env!("CARGO_PKG_VERSION"), "\r\n").as_bytes();

/// Host key algorithms, best first. `ssh-rsa` with SHA-1 is not among them (RFC 8332), nor is DSA.
pub(super) const HOST_KEYS: [Algorithm; 6] = [
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
    kex::EXTENSION_SUPPORT_AS_CLIENT,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
];

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

/// The settings of one session. `host_keys` is [`HOST_KEYS`] with the types on file first; into each channel
/// a server may send `window` bytes before it has to wait.
pub(super) fn settings(host_keys: Vec<Algorithm>, window: u32) -> Config {
    Config {
        // What `GREETING` said.
        client_id: SshId::Standard(Cow::Borrowed(concat!("SSH-2.0-nbtunnel_", env!("CARGO_PKG_VERSION")))),
        // A rekey that we start kills a busy session (more than two windows of data in flight count as an
        // attack); servers start theirs in time, and that works. The fields are set one by one because
        // the constructor refuses limits above 1 GiB.
        limits: Limits {
            rekey_write_limit: usize::MAX,
            rekey_read_limit: usize::MAX,
            rekey_time_limit: Duration::from_secs(10 * 365 * 24 * 60 * 60),
        },
        window_size: window,
        maximum_packet_size: 32768,
        preferred: Preferred {
            kex: Cow::Borrowed(KEX),
            key: Cow::Owned(host_keys),
            host_key_certificates: Cow::Borrowed(&[]),
            cipher: Cow::Borrowed(CIPHERS),
            mac: Cow::Borrowed(MACS),
            compression: Cow::Borrowed(&[compression::NONE]),
        },
        // Silence is core's business: it probes, and decides what an unanswered probe means.
        inactivity_timeout: None,
        keepalive_interval: None,
        ..Config::default()
    }
}
