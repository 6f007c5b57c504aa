//! SSH keys on this machine, as nbctl deals with them: making a pair, putting it on disk, and finding public halves.
//! Logs in nowhere; the daemon does.

pub(crate) mod find;
pub(crate) mod home;
pub(crate) mod make;
pub(crate) mod place;
