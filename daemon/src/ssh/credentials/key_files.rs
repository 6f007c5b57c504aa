//! What identity files, and the public keys and certificates beside them, hold: every format of ssh that is known
//! here. A private key that others can read is refused, as ssh(1) does.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::keys::{Certificate, Error, PrivateKey, PublicKey, decode_secret_key};
use secrecy::{ExposeSecret, SecretString};

use super::is_in_token;
use crate::ssh::system;

/// No private key is larger.
const MAX_KEY: u64 = 1 << 20;

const PUBLIC: &str = "is a public key, and no SSH agent holds the private one";
const OLD_WAY: &str = "is encrypted in an old way that is not known here (ssh-keygen -p writes it anew)";
const IN_TOKEN: &str = "is a key in a security token, and no SSH agent holds it (ssh-add asks the token)";

/// What an identity file, and what lies beside it, hold.
#[derive(Default)]
pub(super) struct KeyFile {
    pub(super) secret: Option<Secret>,
    pub(super) public: Option<PublicKey>,
    /// The file itself cannot sign: it only names a key of the agent's. Says what it is.
    pub(super) only_names: Option<&'static str>,
}

/// A private half.
#[derive(Clone)]
pub(super) enum Secret {
    Open(Arc<PrivateKey>),
    /// Somebody would have to say its passphrase.
    Locked,
}

/// Loads a key file. That there is none is no news: the usual names are tried blindly. A public key beside
/// it may still name one that only the agent holds.
///
/// # Errors
/// Why it cannot be used, in a sentence.
pub(super) fn load_key(path: &Path) -> Result<KeyFile, String> {
    let shown = path.display();
    let Ok(metadata) = std::fs::metadata(path) else {
        return Ok(KeyFile { public: public_beside(path), ..KeyFile::default() });
    };
    if !metadata.is_file() {
        return Err(format!("{shown} is no key file"));
    }
    let text = read(path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    // Public keys may be read by everybody.
    if let Ok(key) = PublicKey::from_openssh(text.trim()) {
        return Ok(KeyFile { public: Some(key), only_names: Some(PUBLIC), secret: None });
    }
    if system::is_exposed(&metadata) {
        return Err(format!("{shown} was not used, since others can read it (chmod 600 {shown})"));
    }
    if is_locked_in_an_old_way(&text) {
        return Ok(KeyFile { public: public_beside(path), only_names: Some(OLD_WAY), secret: None });
    }
    // An OpenSSH key names its public half even when it is encrypted.
    if let Ok(key) = PrivateKey::from_openssh(&text)
        && key.is_encrypted()
    {
        return Ok(KeyFile::locked(Some(key.public_key().clone())));
    }
    match decode_secret_key(&text, None) {
        Ok(key) if is_in_token(&key.algorithm()) => {
            let public = Some(key.public_key().clone());
            Ok(KeyFile { public, only_names: Some(IN_TOKEN), secret: None })
        }
        Ok(key) => {
            let public = Some(key.public_key().clone());
            Ok(KeyFile { public, only_names: None, secret: Some(Secret::Open(Arc::new(key))) })
        }
        // The public half of an encrypted file of an older format may lie beside it.
        Err(Error::KeyIsEncrypted) => Ok(KeyFile::locked(public_beside(path))),
        Err(_) if is_locked_otherwise(&text) => Ok(KeyFile::locked(public_beside(path))),
        Err(_) => Err(format!("{shown} holds no key of a kind that is known here")),
    }
}

/// PEM says so in a header or in its name, PuTTY in a line.
fn is_locked_otherwise(text: &str) -> bool {
    let says = |line: &str| {
        line.starts_with("-----BEGIN ENCRYPTED")
            || line.starts_with("Proc-Type: 4,ENCRYPTED")
            || line.strip_prefix("Encryption: ").is_some_and(|how| how.trim() != "none")
    };
    text.lines().any(says)
}

/// Of the ciphers of PEM only one is known here, and for RSA keys alone.
fn is_locked_in_an_old_way(text: &str) -> bool {
    let cipher = text.lines().find_map(|line| line.strip_prefix("DEK-Info: "));
    cipher.is_some_and(|cipher| !cipher.starts_with("AES-128-CBC") || !text.contains("BEGIN RSA "))
}

impl KeyFile {
    fn locked(public: Option<PublicKey>) -> KeyFile {
        KeyFile { secret: Some(Secret::Locked), public, only_names: None }
    }
}

/// Why a key file was not unlocked.
pub(in crate::ssh) enum Locked {
    /// The passphrase is another one.
    WrongPassphrase,
    /// It will never be, in a sentence.
    Unusable(String),
}

/// Decrypts a key file. Blocks, on the file system and for as long as the key derivation takes.
///
/// # Errors
/// Why not.
pub(in crate::ssh) fn unlock(path: &Path, passphrase: &SecretString) -> Result<PrivateKey, Locked> {
    let text = read(path)
        .map_err(|error| Locked::Unusable(format!("{} cannot be read: {error}", path.display())))?;
    // A wrong passphrase leaves noise, which fails in one of many ways.
    decode_secret_key(&text, Some(passphrase.expose_secret())).map_err(|_| Locked::WrongPassphrase)
}

fn read(path: &Path) -> io::Result<String> {
    // Opening a pipe would block.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut text = String::new();
    File::open(path)?.take(MAX_KEY + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_KEY {
        return Err(io::Error::other("it is too long for a key"));
    }
    Ok(text)
}

/// Where a certificate for the key `path` lies: `id_ed25519-cert.pub`, also where the public half is named.
pub(in crate::ssh) fn certificate_beside(path: &Path) -> PathBuf {
    let name = path.as_os_str().to_string_lossy();
    PathBuf::from(format!("{}-cert.pub", name.strip_suffix(".pub").unwrap_or(&name)))
}

/// Loads a certificate; `None` if there is no such file.
///
/// # Errors
/// Why it cannot be used, in a sentence.
pub(super) fn load_certificate(path: &Path) -> Result<Option<Certificate>, String> {
    let shown = path.display();
    // Opening a pipe would block.
    if !std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file()) {
        return Ok(None);
    }
    let text = read(path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let certificate =
        Certificate::from_openssh(text.trim()).map_err(|_| format!("{shown} holds no certificate"))?;
    if certificate.cert_type().is_user() {
        Ok(Some(certificate))
    } else {
        Err(format!("{shown} is a certificate of a server, not of a user"))
    }
}

fn public_beside(path: &Path) -> Option<PublicKey> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".pub");
    let metadata = std::fs::metadata(&beside).ok()?;
    // Opening a pipe would block, and a key is never so large.
    (metadata.is_file() && metadata.len() <= MAX_KEY).then(|| russh::keys::load_public_key(&beside).ok())?
}
