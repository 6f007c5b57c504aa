//! Finds public halves: in the file beside a private key, in the private key itself, in the agent.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use ssh_key::{PrivateKey, PublicKey};
use tokio::process::Command;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::place::public_path;
use crate::exit::{CommandError, Exit};

/// No key file is larger.
const MAX_KEY: u64 = 1 << 20;

/// How long an agent may take to say what it holds.
const AGENT: Duration = Duration::from_secs(5);

/// A public half, and where it was found.
#[derive(Debug)]
pub(crate) struct Found {
    /// The public half.
    pub public: PublicKey,
    /// The key file; `None` for a key that only the agent has.
    pub file: Option<PathBuf>,
    /// Something about it that somebody should know.
    pub note: Option<String>,
}

/// Whether both lead to the same file; one that is not there is no other's.
pub(crate) fn same_file(one: &Path, two: &Path) -> bool {
    matches!((one.canonicalize(), two.canonicalize()), (Ok(one), Ok(two)) if one == two)
}

/// Whether at least the public half of `path` is there.
pub(crate) fn has_public(path: &Path) -> bool {
    public_path(path).is_file()
}

/// The private key that `path` means, which may name its public half.
pub(crate) fn private_path(path: &Path) -> PathBuf {
    let private = path.with_extension("");
    if path.extension() == Some(OsStr::new("pub")) && private.is_file() { private } else { path.to_owned() }
}

/// The public half of the key in `path`.
///
/// # Errors
/// There is none, and how to get one.
pub(crate) fn of_file(path: &Path) -> Result<Found, CommandError> {
    let path = private_path(path);
    let beside = public_path(&path);
    let text = match read(&path) {
        Ok(text) => Some(text),
        // Who has the private half in an agent or a token may have no file of it.
        Err(error) if beside.is_file() => (error.kind() == io::ErrorKind::NotFound).then(Zeroizing::default),
        Err(error) => return Err(CommandError::file("read", &path, &error)),
    };
    let text = text.unwrap_or_default();
    let own = of_text(&text);
    let pasted = read(&beside).ok().and_then(|text| PublicKey::from_openssh(text.trim()).ok());
    let (public, note) = match (own, pasted) {
        (Some(own), Some(pasted)) if own.key_data() == pasted.key_data() => (pasted, None),
        (Some(own), Some(_)) => {
            let text = format!("{} is the public half of another key, and is left out", beside.display());
            (own, Some(text))
        }
        (Some(own), None) => (own, None),
        (None, Some(pasted)) => (pasted, None),
        (None, None) => return Err(unreadable(&path)),
    };
    Ok(Found { public, file: Some(path), note })
}

/// The public half that stands in a key file: of a public key itself, or of a private one, which need not be opened.
fn of_text(text: &str) -> Option<PublicKey> {
    let public = PublicKey::from_openssh(text.trim()).ok();
    public.or_else(|| Some(PrivateKey::from_openssh(text).ok()?.public_key().clone()))
}

fn unreadable(path: &Path) -> CommandError {
    let shown = path.display();
    CommandError::new(
        Exit::Failed,
        format!(
            "the public half of {shown} is not to be seen: it is no OpenSSH key, and {shown}.pub has none"
        ),
        format!("write it with `ssh-keygen -y -f {shown} > {shown}.pub`, if it is a key"),
    )
}

fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    // Something else, as a FIFO, might keep us waiting.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    // Room for all of it: what grows leaves copies behind.
    let room = usize::try_from(metadata.len().min(MAX_KEY)).unwrap_or_default() + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    File::open(path)?.take(MAX_KEY).read_to_end(&mut bytes)?;
    Ok(Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()))
}

/// What the agent of this session holds, if there is one and it says so in time.
pub(crate) async fn in_agent() -> Vec<Found> {
    // On Windows it has a place of its own.
    if !cfg!(windows) && std::env::var_os("SSH_AUTH_SOCK").is_none_or(|socket| socket.is_empty()) {
        return Vec::new();
    }
    let mut asking = Command::new("ssh-add");
    asking.arg("-L").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let Ok(Ok(said)) = timeout(AGENT, asking.output()).await else { return Vec::new() };
    let text = String::from_utf8_lossy(&said.stdout);
    let keys = text.lines().filter_map(|line| PublicKey::from_openssh(line.trim()).ok());
    keys.map(|public| Found { public, file: None, note: None }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::make::{Kind, Pair, make};
    use crate::keys::place::place;

    fn key(comment: &str, passphrase: Option<&str>) -> Pair {
        make(Kind::Ed25519, comment, passphrase).unwrap()
    }

    #[test]
    fn the_public_half_is_found_in_the_file_beside_or_in_the_private_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let pair = key("mine", Some("secret words"));
        place(&path, &pair).unwrap();
        for named in [path.clone(), public_path(&path)] {
            let found = of_file(&named).unwrap();
            assert_eq!(found.public.to_openssh().unwrap(), pair.public.to_openssh().unwrap());
            assert_eq!((found.file, found.note), (Some(path.clone()), None));
        }
        fs::remove_file(public_path(&path)).unwrap();
        // An encrypted key names it all the same; only its comment is a secret.
        assert_eq!(of_file(&path).unwrap().public.key_data(), pair.public.key_data());
        // And with the public half alone, the private one may be in an agent.
        fs::write(public_path(&path), pair.public.to_openssh().unwrap()).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(of_file(&path).unwrap().public, pair.public);
        assert_eq!(of_file(&public_path(&path)).unwrap().public, pair.public);
    }

    #[test]
    fn a_public_half_that_belongs_to_another_key_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let pair = key("mine", None);
        place(&path, &pair).unwrap();
        fs::write(public_path(&path), key("other", None).public.to_openssh().unwrap()).unwrap();
        let found = of_file(&path).unwrap();
        assert_eq!(found.public.key_data(), pair.public.key_data());
        assert!(found.note.unwrap().contains("key.pub is the public half of another key"));
    }

    #[test]
    fn what_is_no_key_is_said_to_be_none() {
        let dir = tempfile::tempdir().unwrap();
        assert!(of_file(&dir.path().join("none")).unwrap_err().message.contains("none cannot be read"));
        assert!(of_file(dir.path()).unwrap_err().message.contains("it is no file"));
        let path = dir.path().join("pem");
        for text in
            ["", "\u{0}\u{1}", "-----BEGIN RSA PRIVATE KEY-----\nx\n", "-----BEGIN OPENSSH PRIVATE KEY-----"]
        {
            fs::write(&path, text).unwrap();
            assert!(of_file(&path).unwrap_err().hint.contains("ssh-keygen -y"), "{text:?}");
        }
    }

    #[test]
    fn a_damaged_file_is_no_key_and_nothing_worse() {
        for pair in [key("mine", None), key("mine", Some("secret words"))] {
            let whole = pair.private.as_bytes();
            let mut chance = 1_u64;
            for _ in 0..3000 {
                chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let mut damaged = whole.to_vec();
                let at = (chance >> 33) as usize % damaged.len();
                if chance >> 20 & 3 == 0 {
                    damaged.truncate(at)
                } else {
                    damaged[at] = (chance >> 24) as u8
                }
                // What is read of it may be another key, but never ends us.
                let _ = of_text(&String::from_utf8_lossy(&damaged));
            }
        }
    }
}
