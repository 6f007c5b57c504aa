//! What differs between systems: who may share a port, Unix sockets, errors that mean exhaustion, and who
//! owns a socket. Every file offers the same names.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(super) use unix::*;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(super) use windows::*;

#[cfg(target_os = "linux")]
#[path = "diag_linux.rs"]
mod diag;

#[cfg_attr(target_os = "linux", path = "owner_linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "owner_other.rs")]
mod owner;
pub(super) use owner::*;
