//! Stands in for the Unix file elsewhere: no passwd, no FIFOs among the files.

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

/// There is no passwd.
pub(super) fn passwd_entry() -> Option<(PathBuf, String)> {
    None
}

/// Opens for reading.
pub(super) fn open_without_waiting(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// What lets others in is no mode there; files below a user's own directories do not.
pub(super) fn is_exposed(_: &Metadata) -> bool {
    false
}
