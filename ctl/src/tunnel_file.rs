//! Tunnel files on disk: their names, and how one comes to be or changes without ever being half there.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::exit::{CommandError, Exit};

/// Longest name, in bytes.
const MAX_NAME: usize = 64;

/// Checks a name against the rules of the configuration.
///
/// # Errors
/// [`Exit::Usage`] with the rule that it breaks.
pub(crate) fn check_name(name: &str) -> Result<(), CommandError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let why = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_NAME {
        "it is longer than 64 characters"
    } else if !name.chars().all(allowed) {
        "it has other characters than letters, digits, '.', '_' and '-'"
    } else if name.starts_with(['.', '-']) || name.ends_with('.') {
        "it begins with '.' or '-', or ends with '.'"
    } else if is_device(name) {
        "it is the name of a device on Windows"
    } else {
        return Ok(());
    };
    Err(CommandError::new(
        Exit::Usage,
        format!("{name:?} cannot be the name of a tunnel: {why}"),
        "give a name such as alice or lab-1",
    ))
}

/// Microsoft, "Naming Files, Paths, and Namespaces".
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).to_ascii_uppercase();
    let numbered =
        |prefix: &str| stem.strip_prefix(prefix).is_some_and(|rest| matches!(rest.as_bytes(), [b'1'..=b'9']));
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL") || numbered("COM") || numbered("LPT")
}

/// A name made from a host: the first label of a name, a whole address with dashes.
pub(crate) fn name_from_host(host: &str) -> String {
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    let base = if is_address { host } else { host.split('.').next().unwrap_or(host) };
    let dashed: String = base
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_lowercase() } else { '-' })
        .take(MAX_NAME)
        .collect();
    let name = dashed.trim_matches('-');
    match check_name(name) {
        Ok(()) => name.to_owned(),
        Err(_) if name.is_empty() => "tunnel".to_owned(),
        Err(_) => format!("{name}-1"),
    }
}

/// Where the file of a tunnel is.
pub(crate) fn path_of(config_dir: &Path, name: &str) -> PathBuf {
    config_dir.join("tunnels").join(format!("{name}.toml"))
}

/// The names that are taken; none if there is no directory yet.
///
/// # Errors
/// When the directory cannot be read.
pub(crate) fn names(config_dir: &Path) -> Result<Vec<String>, CommandError> {
    let dir = config_dir.join("tunnels");
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(CommandError::file("read", &dir, &error)),
    };
    let name = |entry: fs::DirEntry| entry.file_name().to_str()?.strip_suffix(".toml").map(str::to_owned);
    Ok(entries.filter_map(Result::ok).filter_map(name).collect())
}

/// The name among `taken` that is `name` but for the case of its letters: some disks do not tell them apart.
pub(crate) fn clash<'a>(taken: &'a [String], name: &str) -> Option<&'a String> {
    taken.iter().find(|other| other.eq_ignore_ascii_case(name))
}

/// The first of `name-2`, `name-3`, … that is free.
pub(crate) fn free_name(taken: &[String], name: &str) -> String {
    let room = &name[..name.len().min(MAX_NAME - 6)];
    (2..).map(|n: u32| format!("{room}-{n}")).find(|free| clash(taken, free).is_none()).unwrap_or_default()
}

/// The file of a tunnel that has to be there.
///
/// # Errors
/// [`Exit::NoSuchTunnel`].
pub(crate) fn existing(config_dir: &Path, name: &str) -> Result<PathBuf, CommandError> {
    let path = path_of(config_dir, name);
    // A name that breaks the rules has no file, and must not lead out of the directory.
    if check_name(name).is_ok() && fs::symlink_metadata(&path).is_ok() {
        return Ok(path);
    }
    let mut taken = names(config_dir)?;
    taken.sort();
    let hint = match taken.as_slice() {
        [] => "make one with `nbctl add`".to_owned(),
        few if few.len() <= 10 => format!("there are: {}", few.join(", ")),
        many => format!("there are {}; `nbctl status` shows them", many.len()),
    };
    Err(CommandError::new(
        Exit::NoSuchTunnel,
        format!("no tunnel {name:?} in {}", config_dir.join("tunnels").display()),
        hint,
    ))
}

/// A file on its way: complete on disk, under its own name but in a hidden directory beside its place, where
/// nobody reads it. Dropping it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Draft {
    dir: tempfile::TempDir,
    path: PathBuf,
}

impl Draft {
    /// Writes `text` to a draft for `place`, mode 0600.
    ///
    /// # Errors
    /// What the disk says; nothing is left behind then.
    pub(crate) fn write(place: &Path, text: &[u8]) -> Result<Draft, CommandError> {
        let parent = place.parent().unwrap_or(Path::new("."));
        let failed = |error: io::Error| CommandError::file("written", place, &bare(error));
        let dir = tempfile::Builder::new().prefix(".nbctl-").tempdir_in(parent).map_err(failed)?;
        let path = dir.path().join(place.file_name().unwrap_or_default());
        let mut file = create_private(&path).map_err(failed)?;
        file.write_all(text).and_then(|()| file.sync_all()).map_err(failed)?;
        Ok(Draft { dir, path })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it into its place, which has to be free.
    ///
    /// # Errors
    /// What the disk says; [`io::ErrorKind::AlreadyExists`] when somebody was faster.
    pub(crate) fn place_new(self, place: &Path) -> io::Result<()> {
        tempfile::TempPath::try_from_path(&self.path)?
            .persist_noclobber(place)
            .map_err(|error| error.error)?;
        sync_dir_of(place);
        Ok(())
    }

    /// Puts it in the place of what is there.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn place_over(self, place: &Path) -> io::Result<()> {
        // Windows only makes last what was opened for writing.
        File::options().append(true).open(&self.path)?.sync_all()?;
        fs::rename(&self.path, place)?;
        sync_dir_of(place);
        Ok(())
    }

    /// Puts it in the place of a file, which keeps its mode, unless there `is_secret` what is for nobody else. The file is
    /// none that only links to another.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn put(self, place: &Path, is_secret: bool) -> Result<(), CommandError> {
        let failed = |error: io::Error| CommandError::file("written", place, &error);
        let draft = match (self.path.parent().and_then(Path::parent), place.parent()) {
            (Some(here), Some(there)) if here.canonicalize().ok().as_deref() == Some(there) => self,
            // A link led here, perhaps to another disk: write beside the file.
            _ => {
                let text = fs::read(&self.path);
                Draft::write(place, &text.map_err(|error| CommandError::file("read", &self.path, &error))?)?
            }
        };
        if !is_secret {
            let mode = fs::metadata(place).map(|meta| meta.permissions());
            mode.and_then(|mode| fs::set_permissions(&draft.path, mode)).map_err(failed)?;
        }
        draft.place_over(place).map_err(failed)
    }

    /// Leaves it where it is, for the user.
    pub(crate) fn keep(self) -> PathBuf {
        let _ = self.dir.keep();
        self.path
    }
}

/// What the system said, without the name of the draft that nobody knows.
fn bare(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|outer| outer.source()?.downcast_ref::<io::Error>()?.raw_os_error());
    inner.map_or(error, io::Error::from_raw_os_error)
}

fn create_private(path: &Path) -> io::Result<File> {
    let named = path.file_name().unwrap_or_default();
    let file = tempfile::Builder::new()
        .prefix(named)
        .rand_bytes(0)
        .tempfile_in(path.parent().unwrap_or(Path::new(".")))?;
    Ok(file.keep().map_err(|error| error.error)?.0)
}

/// Makes a rename last. Not every system can open a directory; there the rename is as safe as it gets.
fn sync_dir_of(place: &Path) {
    if let Some(dir) = place.parent().and_then(|dir| File::open(dir).ok()) {
        let _ = dir.sync_all();
    }
}

/// Makes the directory of tunnel files, 0700 where it is new.
///
/// # Errors
/// What the disk says.
pub(crate) fn make_dir(config_dir: &Path) -> Result<(), CommandError> {
    let dir = config_dir.join("tunnels");
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(&dir).map_err(|error| CommandError::file("made", &dir, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_gives_a_name_that_is_allowed() {
        let cases = [
            ("dest.ination.com", "dest"),
            ("10.0.0.1", "10-0-0-1"),
            ("fe80::1", "fe80--1"),
            ("::1", "1"),
            ("Login-Node", "login-node"),
            ("con.example.org", "con-1"),
            ("ünï", "n"),
            ("ü", "tunnel"),
            ("lab_2", "lab_2"),
        ];
        for (host, name) in cases {
            assert_eq!(name_from_host(host), name, "{host}");
            assert!(check_name(name).is_ok(), "{name}");
        }
        assert!(check_name(&name_from_host(&"x".repeat(200))).is_ok());
    }

    #[test]
    fn a_free_name_is_found_whatever_the_case() {
        let taken = ["Alice".to_owned(), "alice-2".to_owned()];
        assert_eq!(clash(&taken, "alice"), Some(&taken[0]));
        assert_eq!(free_name(&taken, "alice"), "alice-3");
        assert!(check_name(&free_name(&taken, &"x".repeat(64))).is_ok());
    }

    #[test]
    fn a_draft_never_takes_a_place_that_is_taken_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("a.toml");
        Draft::write(&place, b"one").unwrap().place_new(&place).unwrap();
        let late = Draft::write(&place, b"two").unwrap().place_new(&place).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&place).unwrap(), b"one");
        Draft::write(&place, b"three").unwrap().place_over(&place).unwrap();
        drop(Draft::write(&place, b"four").unwrap());
        assert_eq!(fs::read(&place).unwrap(), b"three");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_name_never_leads_out_of_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("nbtunnel.toml"), "").unwrap();
        make_dir(dir.path()).unwrap();
        assert_eq!(existing(dir.path(), "../nbtunnel").unwrap_err().exit, Exit::NoSuchTunnel);
    }
}
