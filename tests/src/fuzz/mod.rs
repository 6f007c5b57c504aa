//! What reads text or bytes from outside, fed with anything: each target takes any bytes and panics when something
//! that must hold does not. `tests/fuzz` hands them to cargo-fuzz; `tests/tests/fuzz.rs` replays what was kept and
//! goes on from there for a while, on any toolchain.

mod forwards;
mod frames;
mod known_hosts;
pub mod mutate;
mod socks;
mod ssh_g;
mod ssh_line;

/// One thing that is fed.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: of the fuzz target, and of the directory of its corpus.
    pub name: &'static str,
    /// Feeds it. Panics when something that must hold does not.
    pub feed: fn(&[u8]),
    /// Words that mean something to it.
    pub words: &'static [&'static str],
}

/// All of them.
pub const TARGETS: [Target; 6] =
    [forwards::TARGET, frames::TARGET, known_hosts::TARGET, socks::TARGET, ssh_g::TARGET, ssh_line::TARGET];

/// The target of that name.
///
/// # Panics
/// There is none.
pub fn target(name: &str) -> Target {
    let found = TARGETS.into_iter().find(|target| target.name == name);
    found.unwrap_or_else(|| panic!("there is no fuzz target {name}"))
}
