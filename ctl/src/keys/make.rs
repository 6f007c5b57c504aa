//! Makes a key pair and writes it as ssh-keygen(1) does. Chance comes from the system alone.

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData, RsaKeypair};
use ssh_key::{Cipher, HashAlg, Kdf, LineEnding, PrivateKey, PublicKey};
use zeroize::Zeroizing;

use crate::exit::{CommandError, Exit};

/// How much work each guess of a passphrase takes: what ssh-keygen(1) of OpenSSH 10 asks for (`-a`).
const ROUNDS: u32 = 24;

/// In bytes, that of OpenSSH.
const SALT: usize = 16;

/// What to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ed25519,
    /// With so many bits.
    Rsa(u32),
}

/// A pair, as the files are to have it.
pub(crate) struct Pair {
    /// The text of the private key file.
    pub private: Zeroizing<String>,
    /// The public half, with its comment.
    pub public: PublicKey,
}

impl Kind {
    /// The name under which ssh(1) looks for it.
    pub(crate) fn file_name(self) -> &'static str {
        match self {
            Kind::Ed25519 => "id_ed25519",
            Kind::Rsa(_) => "id_rsa",
        }
    }
}

/// Makes a pair; with a passphrase the private half is of no use to who does not know it. Takes seconds for RSA.
///
/// # Errors
/// When the system has no randomness.
pub(crate) fn make(kind: Kind, comment: &str, passphrase: Option<&str>) -> Result<Pair, CommandError> {
    let pair = match kind {
        Kind::Ed25519 => {
            let mut seed = Zeroizing::new([0; Ed25519PrivateKey::BYTE_SIZE]);
            getrandom::fill(&mut *seed).map_err(|error| no_chance(&error))?;
            KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed))
        }
        Kind::Rsa(bits) => {
            // What is asked for below cannot fail once it was there: see getrandom(2).
            getrandom::fill(&mut [0; 32]).map_err(|error| no_chance(&error))?;
            let pair = RsaKeypair::random(&mut UnwrapErr(SysRng), usize::try_from(bits).unwrap_or_default());
            KeypairData::Rsa(pair.map_err(|error| failed(&error))?)
        }
    };
    let open = PrivateKey::new(pair, comment).map_err(|error| failed(&error))?;
    let public = open.public_key().clone();
    let private = match passphrase {
        None => open,
        Some(passphrase) => {
            let (mut salt, mut check) = (vec![0; SALT], [0; 4]);
            getrandom::fill(&mut salt)
                .and_then(|()| getrandom::fill(&mut check))
                .map_err(|e| no_chance(&e))?;
            let kdf = Kdf::Bcrypt { salt, rounds: ROUNDS };
            open.encrypt_with(Cipher::Aes256Ctr, kdf, u32::from_ne_bytes(check), passphrase)
                .map_err(|error| failed(&error))?
        }
    };
    let private = private.to_openssh(LineEnding::LF).map_err(|error| failed(&error))?;
    Ok(Pair { private, public })
}

/// `SHA256:…`, as ssh-keygen(1) and the daemon show it.
pub(crate) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

fn no_chance(error: &getrandom::Error) -> CommandError {
    let message = format!("this system gives no random numbers: {error}");
    CommandError::new(Exit::Failed, message, "make the key on another machine, and copy it here")
}

fn failed(error: &ssh_key::Error) -> CommandError {
    let message = format!("the key could not be made: {error}");
    CommandError::new(Exit::Failed, message, "make one with ssh-keygen, and report this")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pair: &Pair) -> PrivateKey {
        PrivateKey::from_openssh(pair.private.as_str()).unwrap()
    }

    #[test]
    fn a_key_opens_with_its_passphrase_alone() {
        let pair = make(Kind::Ed25519, "me@here", Some("correct horse")).unwrap();
        let locked = read(&pair);
        assert!(locked.is_encrypted() && !pair.private.contains("me@here"));
        assert!(locked.decrypt("wrong horse").is_err());
        let open = locked.decrypt("correct horse").unwrap();
        assert_eq!(open.public_key(), &pair.public);
        assert_eq!(pair.public.comment().as_str_lossy(), "me@here");
    }

    #[test]
    fn no_two_keys_are_the_same() {
        let [one, two] = [(), ()].map(|()| make(Kind::Ed25519, "", None).unwrap());
        assert_ne!(one.public.key_data(), two.public.key_data());
        assert_ne!(*one.private, *two.private);
    }

    #[test]
    fn an_rsa_key_has_as_many_bits_as_were_asked_for() {
        let pair = make(Kind::Rsa(2048), "", None).unwrap();
        assert_eq!(pair.public.key_data().rsa().unwrap().key_size(), 2048);
        assert!(!read(&pair).is_encrypted());
    }
}
