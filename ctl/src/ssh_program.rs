//! Which ssh is asked what ssh_config says (`ssh -G`): the same that the daemon asks.

use std::ffi::OsString;

/// What `$NBTUNNEL_SSH` names, else whatever the PATH has.
pub(crate) fn ssh() -> OsString {
    std::env::var_os("NBTUNNEL_SSH").filter(|named| !named.is_empty()).unwrap_or_else(|| "ssh".into())
}
