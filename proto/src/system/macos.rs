//! macOS: the per-user temporary directory, which the system makes 0700 and clears at logout.

// SAFETY of the whole file: `confstr` is the only foreign call; see there.
#![allow(unsafe_code)]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// `confstr(_CS_DARWIN_USER_TEMP_DIR)`, see confstr(3). `None` when the system does not tell.
pub(crate) fn user_temp_dir() -> Option<PathBuf> {
    let mut bytes = vec![0u8; 1024];
    // SAFETY: the buffer is ours, writable, and as long as we say; the call writes at most that much.
    let length =
        unsafe { libc::confstr(libc::_CS_DARWIN_USER_TEMP_DIR, bytes.as_mut_ptr().cast(), bytes.len()) };
    // The length counts the final NUL, and exceeds the buffer when it did not fit.
    let end = length.checked_sub(1).filter(|end| *end > 0 && *end < bytes.len())?;
    bytes.truncate(end);
    Some(PathBuf::from(OsString::from_vec(bytes)))
}
