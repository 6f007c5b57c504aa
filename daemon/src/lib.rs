//! The shell of nbtunnel: does what `nbtunnel-core` decides, and tells it what happened.
//!
//! The binary is `nbtunneld`; this library exists so that the tests can reach the parts.

pub mod config;
pub mod forward;
pub mod service;
pub mod ssh;
pub mod wake;
