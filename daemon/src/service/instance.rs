//! One daemon per socket, and one per config directory, by locks that the system takes back from the dead.
//!
//! A lock file is never removed: whoever still held the removed one and whoever made a new one would both
//! believe to be alone.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A lock, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why there is no lock.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another daemon holds it.
    #[error("nbtunneld is already running{} for this {what}: {}", show_pid(*.pid), .of.display())]
    Running {
        /// `socket` or `config directory`.
        what: &'static str,
        /// Which one.
        of: PathBuf,
        /// The process that holds it, where that can be read.
        pid: Option<u32>,
    },
    /// The lock file cannot be made or locked.
    #[error("the lock file {} cannot be used: {error}", .path.display())]
    Unusable {
        /// The lock file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
}

impl LockError {
    /// What to do about it, in one sentence.
    pub fn hint(&self) -> &'static str {
        match self {
            LockError::Running { .. } => {
                "use that one through nbctl, stop it first, or give this one another --config-dir and --socket"
            }
            LockError::Unusable { .. } => {
                "look at the directory's owner and mode, and at the space on its disk"
            }
        }
    }
}

fn show_pid(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

impl Lock {
    /// Locks `socket` by a file in `dir`, which exists: the socket's own directory, or the runtime
    /// directory where sockets have none (a named pipe).
    ///
    /// # Errors
    /// Another daemon has it, or the file cannot be used.
    pub fn for_socket(dir: &Path, socket: &Path) -> Result<Lock, LockError> {
        let name = socket.file_name().unwrap_or_default().to_string_lossy();
        Self::take(&dir.join(format!("{name}.lock")), "socket", socket)
    }

    /// Locks `config_dir` by a file in `runtime_dir`, which exists. The config directory itself may be
    /// read-only, or not there yet.
    ///
    /// # Errors
    /// Another daemon has it, or the file cannot be used.
    pub fn for_config_dir(runtime_dir: &Path, config_dir: &Path) -> Result<Lock, LockError> {
        let lock = runtime_dir.join(format!("config-{}.lock", tag(config_dir)));
        Self::take(&lock, "config directory", &real_path(config_dir))
    }

    fn take(path: &Path, what: &'static str, of: &Path) -> Result<Lock, LockError> {
        let unusable = |error| LockError::Unusable { path: path.to_owned(), error };
        // Not truncated: until it is locked, what stands there is another's.
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = opened.map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Running { what, of: of.to_owned(), pid: read_pid(&mut file) });
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        // The number is a courtesy: without it (a full disk) the lock holds all the same.
        let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        if let Err(error) = written {
            tracing::debug!(%error, "the lock file does not say who holds it");
        }
        Ok(Lock { _file: file })
    }
}

/// What names of files say instead of a directory: the same for every way to write its path.
pub(crate) fn tag(dir: &Path) -> String {
    format!("{:016x}", fnv1a(real_path(dir).as_os_str().as_encoded_bytes()))
}

/// The path without links, also where its last parts do not exist yet.
fn real_path(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // Collected anew, since joining an empty rest leaves a '/' at the end.
    let real = |dir: &Path| -> Option<PathBuf> {
        Some(dir.canonicalize().ok()?.join(path.strip_prefix(dir).ok()?).components().collect())
    };
    path.ancestors().find_map(real).unwrap_or_else(|| path.clone())
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// FNV-1a, 64 bits: the same in every version of us, unlike the standard library's hashers.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_is_the_first() {
        let temp = tempfile::tempdir().unwrap();
        let socket = temp.path().join("control.sock");
        let first = Lock::for_socket(temp.path(), &socket).unwrap();
        let second = Lock::for_socket(temp.path(), &socket).unwrap_err();
        let expected = format!(
            "nbtunneld is already running (pid {}) for this socket: {}",
            std::process::id(),
            socket.display()
        );
        assert_eq!(second.to_string(), expected);
        Lock::for_socket(temp.path(), &temp.path().join("other.sock")).unwrap();
        drop(first);
        assert!(temp.path().join("control.sock.lock").exists(), "a lock file is never removed");
        // Another test's child may hold the descriptor between its fork and its exec.
        let freed = (0..500).any(|_| {
            let lock = Lock::for_socket(temp.path(), &socket);
            if lock.is_err() {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            lock.is_ok()
        });
        assert!(freed, "the lock stays taken");
    }

    #[test]
    fn a_config_directory_is_the_same_by_any_name() {
        let temp = tempfile::tempdir().unwrap();
        let config = temp.path().join("config");
        std::fs::create_dir(&config).unwrap();
        let _first = Lock::for_config_dir(temp.path(), &config).unwrap();
        let same = temp.path().join("config/../config");
        assert!(matches!(Lock::for_config_dir(temp.path(), &same), Err(LockError::Running { .. })));
        let later = config.join("not/yet");
        assert_eq!(real_path(&same.join("not/yet")), real_path(&later));
        let _before = Lock::for_config_dir(temp.path(), &later).unwrap();
        std::fs::create_dir_all(&later).unwrap();
        assert!(Lock::for_config_dir(temp.path(), &later).is_err(), "made meanwhile");
        Lock::for_config_dir(temp.path(), &temp.path().join("another")).unwrap();
    }

    #[test]
    fn the_locks_of_the_dead_are_free() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("s.lock"), "99999999\n").unwrap();
        let lock = Lock::for_socket(temp.path(), Path::new("s")).unwrap();
        drop(lock);
        assert_eq!(
            std::fs::read_to_string(temp.path().join("s.lock")).unwrap(),
            format!("{}\n", std::process::id())
        );
    }

    #[test]
    fn a_directory_that_is_not_there_is_said() {
        let error = Lock::for_socket(Path::new("/nonexistent/nbtunnel"), Path::new("s")).unwrap_err();
        assert!(matches!(error, LockError::Unusable { .. }) && !error.hint().is_empty());
    }
}
