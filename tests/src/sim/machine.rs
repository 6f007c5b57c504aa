//! What is under test: the real fleet, or one with a bug planted between it and the simulated shell.

use std::collections::BTreeMap;

use nbtunnel_core::io::Timer;
use nbtunnel_core::{Fleet, FleetInput, Moment, Name, Order, Output, Tunnel};

/// Anything that decides as a fleet does.
pub trait Machine: Clone {
    /// The one that comes after a crash of the daemon, knowing only what users said.
    fn reborn(&self, seed: u64, remembered: BTreeMap<Name, Order>) -> Self;
    /// See [`Fleet::handle`].
    fn handle(&mut self, now: Moment, input: FleetInput);
    /// See [`Fleet::poll_output`].
    fn poll_output(&mut self) -> Option<(Name, Output)>;
    /// See [`Fleet::poll_timeout`].
    fn poll_timeout(&self) -> Option<Timer>;
    /// See [`Fleet::tunnels`].
    fn tunnels(&self) -> &BTreeMap<Name, Tunnel>;
    /// See [`Fleet::remembered`].
    fn remembered(&self) -> &BTreeMap<Name, Order>;
}

impl Machine for Fleet {
    fn reborn(&self, seed: u64, remembered: BTreeMap<Name, Order>) -> Self {
        Fleet::new(seed, remembered)
    }

    fn handle(&mut self, now: Moment, input: FleetInput) {
        Fleet::handle(self, now, input);
    }

    fn poll_output(&mut self) -> Option<(Name, Output)> {
        Fleet::poll_output(self)
    }

    fn poll_timeout(&self) -> Option<Timer> {
        Fleet::poll_timeout(self)
    }

    fn tunnels(&self) -> &BTreeMap<Name, Tunnel> {
        Fleet::tunnels(self)
    }

    fn remembered(&self) -> &BTreeMap<Name, Order> {
        Fleet::remembered(self)
    }
}
