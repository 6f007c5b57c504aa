//! What must hold for the machines, whatever the world does: random inputs in random order, checked after
//! every single one.
//!
//! The rules are those of "Invariants" in `nbtunnel_core::tunnel`, under the same names. `run` drives a machine
//! and checks them, `model` is a second, much smaller opinion of what it should be doing, `holds` are the
//! tests. A run that failed is kept in `regressions.txt` and tried first from then on.

#![allow(clippy::unwrap_used, reason = "what only tests use is a test")]

mod holds;
mod model;
mod run;
