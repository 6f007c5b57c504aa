//! What differs between systems: modes of files, socket options, where the agent is.

#[cfg(unix)]
#[path = "system_unix.rs"]
mod here;
#[cfg(windows)]
#[path = "system_windows.rs"]
mod here;

pub(super) use here::*;
