//! Puts a pair on disk: each file whole, both or none, and never over what is there.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::make::Pair;
use crate::exit::{CommandError, Exit};
use crate::tunnel_file::Draft;

/// Where the public half of the key in `path` lies.
pub(crate) fn public_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".pub");
    name.into()
}

/// Makes sure that neither file of the pair at `path` is there.
///
/// # Errors
/// One of them is.
pub(crate) fn check_free(path: &Path) -> Result<(), CommandError> {
    let public = public_path(path);
    // Also what leads nowhere is somebody's.
    let is_there = |path: &Path| fs::symlink_metadata(path).is_ok();
    if is_there(path) || is_there(&public) { Err(taken(path, &public)) } else { Ok(()) }
}

fn taken(path: &Path, public: &Path) -> CommandError {
    let what = match (fs::symlink_metadata(path).is_ok(), fs::symlink_metadata(public).is_ok()) {
        (true, false) => format!("{} is there already (and {} is not)", path.display(), public.display()),
        (false, true) => format!("{} is there already (and {} is not)", public.display(), path.display()),
        _ => format!("{} and {} are there already", path.display(), public.display()),
    };
    CommandError::new(
        Exit::Failed,
        format!("{what}; a key is never written over"),
        format!(
            "use that key (`nbctl key show {}`), give another name with --file, or move both files away",
            path.display()
        ),
    )
    .with_code("exists")
}

/// Makes the directory of `path` if it is `dir`, ssh's own; others are there or are a mistake.
///
/// # Errors
/// What the disk says.
pub(crate) fn make_dir(path: &Path, dir: Option<&Path>) -> Result<(), CommandError> {
    let Some(dir) = dir.filter(|dir| path.parent() == Some(dir)) else { return Ok(()) };
    let mut builder = fs::DirBuilder::new();
    // A home that is not there is not ours to make.
    builder.recursive(false);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(CommandError::file("made", dir, &error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes both files: the private one for its owner alone, the public one for everybody.
///
/// # Errors
/// What the disk says, or that somebody was faster; then neither is there.
pub(crate) fn place(path: &Path, pair: &Pair) -> Result<(), CommandError> {
    let public = public_path(path);
    let line = pair.public.to_openssh().map_err(|error| {
        let message = format!("the public key cannot be written down: {error}");
        CommandError::new(Exit::Failed, message, "give another --comment")
    })?;
    let private_draft = Draft::write(path, pair.private.as_bytes())?;
    let public_draft = Draft::write(&public, format!("{line}\n").as_bytes())?;
    readable_by_all(public_draft.path()).map_err(|error| CommandError::file("written", &public, &error))?;
    let put = |draft: Draft, at: &Path| {
        draft.place_new(at).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => taken(path, &public),
            _ => CommandError::file("written", at, &error),
        })
    };
    put(private_draft, path)?;
    put(public_draft, &public).inspect_err(|_| {
        // It was ours, made a moment ago, and nobody was told of it.
        let _ = fs::remove_file(path);
    })
}

#[cfg(unix)]
fn readable_by_all(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable_by_all(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::make::{Kind, make};

    #[test]
    fn a_pair_is_written_whole_or_not_at_all_and_never_over_anything() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let pair = make(Kind::Ed25519, "c", None).unwrap();
        // Somebody puts a file there after it was looked at.
        fs::write(public_path(&path), "theirs").unwrap();
        assert_eq!(place(&path, &pair).unwrap_err().code, "exists");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the private half was left behind");
        assert_eq!(fs::read_to_string(public_path(&path)).unwrap(), "theirs");
        fs::remove_file(public_path(&path)).unwrap();
        place(&path, &pair).unwrap();
        let refused = place(&path, &make(Kind::Ed25519, "c", None).unwrap()).unwrap_err();
        assert!(refused.message.contains("key and ") && refused.message.contains("key.pub"), "{refused:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), *pair.private);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[cfg(unix)]
    #[test]
    fn modes_are_those_that_ssh_wants() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let ssh = dir.path().join(".ssh");
        let path = ssh.join("key");
        make_dir(&path, Some(&ssh)).unwrap();
        place(&path, &make(Kind::Ed25519, "c", None).unwrap()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!([mode(&ssh), mode(&path), mode(&public_path(&path))], [0o700, 0o600, 0o644]);
        // What is there already is left as it is, and another place is not made.
        make_dir(&path, Some(&ssh)).unwrap();
        make_dir(&dir.path().join("other/key"), Some(&ssh)).unwrap();
        assert!(!dir.path().join("other").exists());
    }
}
