//! Servers that are started at the far end: never two of them, by any user's line, and ended again.
#![cfg(target_os = "linux")]

mod background;
mod claims;
mod lines;
mod login;
mod shells;
mod start;
mod submitting;
mod yard;
