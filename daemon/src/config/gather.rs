//! Takes the files in: names, bytes, and where each of them really lies. Judges no contents.
//!
//! Never blocks on what is no regular file, never reads more than a bounded part, never fails as a whole.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::links::{nearest_dir, trail};
use super::system;
use super::values::Flaw;

/// The largest file that is read.
pub(super) const MAX_FILE: u64 = 1 << 20;
/// The most tunnel files.
pub(super) const MAX_TUNNELS: usize = 2000;

/// A file's bytes, or why there are none.
pub(super) type Contents = Result<Vec<u8>, Flaw>;

/// Everything that was found, before anybody looked into it.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// The config directory.
    pub(super) dir: PathBuf,
    /// `nbtunnel.toml`, if it is there.
    pub(super) main: Option<Contents>,
    /// File names in `tunnels/` in their order, with what is in them.
    pub(super) tunnels: Vec<(String, Contents)>,
    /// Those of these files that others on this machine may read.
    pub(super) exposed: BTreeSet<String>,
    /// Names of further tunnel files, which were not read.
    pub(super) surplus: Vec<String>,
    /// Which directory could not be read, and why.
    pub(super) unreadable: Option<(String, Flaw)>,
    /// Directories below which everything matters, free of links; they may not exist.
    pub(super) roots: Vec<PathBuf>,
    /// Single places elsewhere whose change matters: links, and what they lead to.
    pub(super) places: BTreeSet<PathBuf>,
}

impl Gathered {
    /// Reads the directory. One that is not there is empty.
    pub(super) fn from_dir(dir: &Path) -> Gathered {
        let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        let tunnels_dir = dir.join("tunnels");
        let mut found = Gathered { dir: dir.clone(), ..Gathered::default() };
        found.root(&dir);
        found.root(&tunnels_dir);
        match names(&dir) {
            Ok(_) => {}
            Err(why) => found.unreadable = Some((String::new(), why)),
        }
        found.main = found.contents(&dir.join("nbtunnel.toml"));
        match names(&tunnels_dir) {
            Ok(names) => {
                let shown = |name: &OsString| name.to_string_lossy().into_owned();
                for name in names.iter().take(MAX_TUNNELS) {
                    if let Some(contents) = found.contents(&tunnels_dir.join(name)) {
                        if is_exposed(&tunnels_dir.join(name)) {
                            found.exposed.insert(shown(name));
                        }
                        found.tunnels.push((shown(name), contents));
                    }
                }
                found.surplus = names.iter().skip(MAX_TUNNELS).map(shown).collect();
            }
            Err(why) => found.unreadable = found.unreadable.take().or(Some(("tunnels".into(), why))),
        }
        found
    }

    /// A hash of all that was found: the same as before means that nothing needs to be done.
    pub(super) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let mut hash = |contents: &Contents| match contents {
            Ok(bytes) => (0u8, bytes).hash(&mut hasher),
            Err(flaw) => (1u8, &flaw.message).hash(&mut hasher),
        };
        self.main.iter().for_each(&mut hash);
        self.tunnels.iter().for_each(|(_, contents)| hash(contents));
        let names: Vec<&String> = self.tunnels.iter().map(|(name, _)| name).collect();
        let unreadable = self.unreadable.as_ref().map(|(dir, flaw)| (dir, &flaw.message));
        (self.main.is_some(), names, &self.surplus, &self.exposed, unreadable).hash(&mut hasher);
        hasher.finish()
    }

    /// The directories to watch, each non-recursively; where one is missing, the nearest above it.
    pub(super) fn watch_dirs(&self) -> BTreeSet<PathBuf> {
        let parents = self.places.iter().filter_map(|place| place.parent());
        let dirs = self.roots.iter().map(PathBuf::as_path).chain(parents);
        dirs.filter_map(nearest_dir).collect()
    }

    /// Takes the places of ssh_config among those that matter.
    pub(super) fn watch_too(&mut self, files: &BTreeSet<PathBuf>, dirs: &BTreeSet<PathBuf>) {
        files.iter().for_each(|file| self.places.extend(trail(file)));
        dirs.iter().for_each(|dir| self.root(dir));
    }

    fn root(&mut self, dir: &Path) {
        let mut trail = trail(dir);
        self.roots.extend(trail.pop());
        self.places.extend(trail);
    }

    fn contents(&mut self, path: &Path) -> Option<Contents> {
        let symlink = match path.symlink_metadata() {
            Ok(metadata) => metadata.is_symlink(),
            // Gone since the directory was listed, or never there.
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => return Some(Err(io_flaw(&error))),
        };
        if symlink {
            self.places.extend(trail(path));
        }
        match read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound && symlink => Some(Err(Flaw::new(
                "it is a symbolic link to a file that is not there",
                "make that file, or remove the link",
            ))),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => Some(Err(io_flaw(&error))),
            Ok(contents) => Some(contents),
        }
    }
}

/// Reads one file.
///
/// # Errors
/// What the system says; what is wrong with the file itself is in the contents.
pub(super) fn read(path: &Path) -> std::io::Result<Contents> {
    let is_file = |metadata: std::fs::Metadata| {
        let flaw = match metadata {
            m if m.is_file() => return Ok(()),
            m if m.is_dir() => Flaw::new("it is a directory, not a file", "rename or remove it"),
            _ => Flaw::new("it is not a regular file", "rename or remove it"),
        };
        Err(flaw)
    };
    // Looked at before the open, since opening a device can do something, and after it, since the path
    // may lead elsewhere by then.
    if let Err(flaw) = is_file(path.metadata()?) {
        return Ok(Err(flaw));
    }
    let file = system::open_without_waiting(path)?;
    if let Err(flaw) = is_file(file.metadata()?) {
        return Ok(Err(flaw));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Ok(Err(Flaw::new(
            "it is larger than 1 MiB",
            "a tunnel needs a few lines; is it the right file?",
        )));
    }
    Ok(Ok(bytes))
}

/// Whether others on this machine may read or write the file at `path`.
pub(super) fn is_exposed(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| system::is_exposed(&metadata))
}

/// The names in `dir` that are tunnel files, in order. Hidden files and what editors leave are not:
/// `.x.toml`, `.#x.toml`, `#x.toml#`, `x.toml~`, `x.toml.swp`, `4913`.
fn names(dir: &Path) -> Result<Vec<OsString>, Flaw> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        // What is below a file that should be a directory is that directory's problem.
        Err(error) if error.kind() == ErrorKind::NotFound => return dangling(dir),
        Err(error) => return Err(io_flaw(&error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(|error| io_flaw(&error))?.file_name();
        let bytes = name.as_encoded_bytes();
        if bytes.ends_with(b".toml") && !bytes.starts_with(b".") && !bytes.starts_with(b"#") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// A directory that is not there is empty; a link that leads nowhere is a mistake.
fn dangling(dir: &Path) -> Result<Vec<OsString>, Flaw> {
    match dir.symlink_metadata() {
        Ok(metadata) if metadata.is_symlink() => Err(Flaw::new(
            "it is a symbolic link to a directory that is not there",
            "make that directory, or remove the link",
        )),
        _ => Ok(Vec::new()),
    }
}

fn io_flaw(error: &std::io::Error) -> Flaw {
    let hint = match error.kind() {
        ErrorKind::PermissionDenied => "make it readable for yourself, as with chmod u+r",
        ErrorKind::NotADirectory => "a directory is needed there: move the file away",
        _ => "mend that, and it is read again by itself",
    };
    Flaw::new(format!("it cannot be read: {error}"), hint)
}
