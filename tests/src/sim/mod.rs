//! A simulated world that drives the real core: virtual time, one seed, no threads.
//!
//! [`far`] is what lies outside, `weather` and `people` change it at random, `shell` and its parts do what
//! the daemon's shell does, and `rules` are checked after every single input. `cargo sim -- --seed N` runs it
//! by hand.

mod answers;
pub mod chance;
mod desk;
mod dial;
mod effects;
mod event;
pub mod far;
mod local;
pub mod machine;
mod notebook_rules;
mod notebooks;
mod people;
mod probe;
mod quiet;
mod remotes;
pub mod room;
mod rules;
pub mod seat;
pub mod servers;
mod shell;
mod state_rules;
mod trace;
mod weather;

use std::collections::BTreeMap;
use std::fmt;

use nbtunnel_core::Fleet;

pub use machine::Machine;
pub use shell::{Sim, Style};

/// How a run ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How many inputs core took in.
    pub steps: u64,
    /// How many days passed.
    pub days: u64,
    /// How often something happened: what links told, what states came, what was asked for.
    pub seen: BTreeMap<&'static str, u64>,
    /// How many local connections were carried.
    pub carried: u64,
    /// One number for all that happened.
    pub trace: u64,
}

/// A rule that did not hold, and all that is needed to see it again.
#[derive(Clone, Debug)]
pub struct Broken {
    /// Its name.
    pub rule: &'static str,
    /// What was seen.
    pub said: String,
    /// Where: to be filled in by the run.
    pub seed: u64,
    /// After how many steps.
    pub step: u64,
    /// The last that happened.
    pub last: Vec<String>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.last {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "{} does not hold: {}", self.rule, self.said)?;
        write!(f, "to see it again: cargo sim -- --seed {} --steps {}", self.seed, self.step)
    }
}

impl std::error::Error for Broken {}

/// Whether a rule holds.
type Checked = Result<(), Box<Broken>>;

fn hold(rule: &'static str, holds: bool, said: impl FnOnce() -> String) -> Checked {
    if holds {
        return Ok(());
    }
    Err(Box::new(Broken { rule, said: said(), seed: 0, step: 0, last: Vec::new() }))
}

/// Runs the real core in the world of `seed` for so many steps.
///
/// # Errors
/// The first rule that does not hold.
pub fn run(seed: u64, steps: u64) -> Result<Report, Box<Broken>> {
    run_with(Fleet::new(seed, Default::default()), seed, steps)
}

/// The same with any machine.
///
/// # Errors
/// The first rule that does not hold.
pub fn run_with<M: Machine>(machine: M, seed: u64, steps: u64) -> Result<Report, Box<Broken>> {
    let mut sim = Sim::new(machine, seed, Style::of(seed));
    sim.run(steps)
}
