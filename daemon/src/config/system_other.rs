//! Stands in for the Unix file elsewhere: no passwd, no FIFOs among the files, no uname.

use std::fs::{File, Metadata};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

/// There is no passwd.
pub(super) fn passwd_entry() -> Option<(PathBuf, String)> {
    None
}

/// Opens for reading.
pub(super) fn open_without_waiting(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// No kernel with a name is asked for.
pub(super) fn kernel_release() -> String {
    String::new()
}

/// What lets others in is no mode there; files below a user's own directories do not.
pub(super) fn is_exposed(_: &Metadata) -> bool {
    false
}

/// Whether somebody could listen there, as an error if not.
pub(super) fn may_bind(at: SocketAddr) -> io::Result<()> {
    TcpListener::bind(at).map(drop)
}
