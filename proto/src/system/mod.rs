//! What differs between systems: where things are, who the peer is, how the listener is made.
//! Each system's file offers the same functions; nothing else in this crate asks which system it is.

#[cfg(target_os = "macos")]
mod macos;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
mod windows_sid;

#[cfg(unix)]
pub(crate) use unix::*;
#[cfg(windows)]
pub(crate) use windows::*;
