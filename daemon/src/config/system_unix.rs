//! What only Unix has: the passwd entry, an open that never blocks, the places of ssh's own files.

#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr};
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, Socket, Type};

/// The home directory and the name in this user's passwd entry, if there is one (`getpwuid_r(3)`).
pub(super) fn passwd_entry() -> Option<(PathBuf, String)> {
    let mut buffer = vec![0 as libc::c_char; 16 << 10];
    loop {
        let mut found = std::ptr::null_mut();
        // SAFETY: an all-zero `passwd` (null pointers, numbers) is a valid value, and getpwuid_r overwrites it.
        let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
        // SAFETY: every pointer is to a local that outlives the call, and the length is that of the buffer.
        let code = unsafe {
            libc::getpwuid_r(libc::getuid(), &mut entry, buffer.as_mut_ptr(), buffer.len(), &mut found)
        };
        if code == libc::ERANGE && buffer.len() < 1 << 20 {
            buffer.resize(buffer.len() * 4, 0);
            continue;
        }
        if code != 0 || found.is_null() || entry.pw_dir.is_null() || entry.pw_name.is_null() {
            return None;
        }
        // SAFETY: a found entry's strings are NUL-terminated and lie in `buffer`, which is still alive.
        let (home, name) = unsafe { (CStr::from_ptr(entry.pw_dir), CStr::from_ptr(entry.pw_name)) };
        let home = PathBuf::from(OsStr::from_bytes(home.to_bytes()));
        return Some((home, name.to_string_lossy().into_owned()));
    }
}

/// Opens for reading, and never waits for somebody at the other end of a FIFO.
pub(super) fn open_without_waiting(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

/// The release of the kernel, as `uname -r` tells it.
pub(super) fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Whether its mode lets anybody but its owner in.
pub(super) fn is_exposed(metadata: &Metadata) -> bool {
    metadata.permissions().mode() & 0o077 != 0
}

/// Whether somebody could listen there, as an error if not. It does not listen itself: nobody is let in and cut off, and
/// on Linux (SO_REUSEADDR, socket(7)) a child between fork and exec, which holds the socket a moment longer, is in nobody's
/// way.
pub(super) fn may_bind(at: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&at.into())
}
