//! The shell of nbtunnel: does what `nbtunnel-core` decides, and tells it what happened.
//!
//! The binary is `nbtunneld`; this library exists so that the tests can reach the parts.

pub mod args;
pub mod ask;
pub mod config;
pub mod control;
pub mod desktop;
pub mod driver;
pub mod effects;
pub mod event;
pub mod finding;
pub mod forward;
pub mod history;
pub mod history_file;
pub mod journal;
pub mod launch;
pub mod logging;
pub mod notebook;
pub mod orders;
pub mod service;
pub mod ssh;
pub mod ssh_config;
pub mod wake;

#[cfg(test)]
#[cfg(unix)]
mod test_program;
