//! A world in which nothing happens but what the test wants: for what is to be measured over a long time.

use std::collections::BTreeMap;
use std::time::Duration;

use nbtunnel_core::{Epoch, Fleet, TunnelSpec};

use super::event::Event;
use super::far::{Asks, At};
use super::shell::{Sim, Style};
use super::{Broken, Report};

impl Sim<Fleet> {
    /// A world with one good server and one tunnel to it, in which nothing happens by itself.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn quiet(seed: u64, spec: TunnelSpec) -> Result<Self, Box<Broken>> {
        let style = Style {
            hosts: 1,
            tunnels: 1,
            pace: Duration::ZERO,
            drain: spec.policy.drain,
            answers: false,
            notebooks: false,
        };
        let mut sim = Sim::new(Fleet::new(seed, BTreeMap::new()), seed, style);
        for host in &mut sim.far.hosts {
            (host.rtt, host.loss, host.stranger) = (Duration::from_millis(20), 0, false);
            host.asks = Asks::Nothing;
        }
        sim.far.trust(At::ZERO, 0);
        sim.apply(0, spec)?;
        Ok(sim)
    }

    /// The network ends every connection.
    pub fn cut_links(&mut self) {
        let links: Vec<Epoch> = self.rooms.iter().flat_map(|room| room.links.keys().copied()).collect();
        for epoch in links {
            self.rooms[0].changed_at = self.now;
            self.push(Duration::ZERO, Event::Killed(0, epoch));
        }
    }

    /// Lets so much time pass.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn pass(&mut self, lasting: Duration) -> Result<Report, Box<Broken>> {
        let until = self.now + lasting;
        while self.now < until {
            self.turn()?;
        }
        Ok(self.summary())
    }

    /// How much there is to be said of the core's whole state, in bytes.
    pub fn size_of_core(&self) -> usize {
        format!("{:?}", self.machine).len()
    }
}
