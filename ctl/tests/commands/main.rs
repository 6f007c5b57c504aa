//! The real nbctl against a daemon's end of the socket that answers from a script, and a stand-in for
//! `nbtunneld --check`: exit codes, JSON, what is written and what is left alone.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic)]

mod adding;
mod asking;
mod faces;
mod keys;
mod notebooks;
mod pasting;
mod support;
mod writing;

/// What people paste.
const LINE: &str = "ssh -N -f -L localhost:6000:localhost:7000 username@dest.ination.com";
