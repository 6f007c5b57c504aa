//! What the world does at random, and how it mends.

use std::time::Duration;

use nbtunnel_core::{Epoch, LinkReport, Nudge};

use super::Checked;
use super::dial::Path;
use super::event::Event;
use super::far::{Asks, Power};
use super::machine::Machine;
use super::room::Stage;
use super::shell::Sim;

/// A network change is told so long after it.
const NETWORK_SETTLES: Duration = Duration::from_millis(750);
/// A wake is told within this.
const WAKE_IS_SEEN: u64 = 250;

/// What mends by itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mend {
    /// A server serves again.
    Serves(usize),
    /// A server goes on.
    Thaws(usize),
    /// The way there is free.
    Heals(usize),
    /// The account is unlocked.
    Unlocks(usize),
    /// A person is there again, the path is as fast as it was.
    Eases(usize),
    /// The network is there.
    Online,
    /// The agent is there.
    Agent,
    /// A port is free.
    Port(u16),
}

impl<M: Machine> Sim<M> {
    /// Something happens, and something else will after a while.
    pub(super) fn fate(&mut self) -> Checked {
        let again = self.style.pace.mul_f64(0.05 + (self.chance.below(200) as f64) / 100.0);
        // While the machine stands still nobody is there to do anything.
        self.push_at(self.awake_at.max(self.now) + again, Event::Fate);
        if self.now < self.awake_at {
            return Ok(());
        }
        let host = self.chance.below(self.far.hosts.len());
        if self.style.answers && self.chance.one_in(6) {
            return self.somebody_unlocks();
        }
        if self.style.notebooks && self.chance.one_in(3) {
            return self.notebook_fate();
        }
        match self.chance.below(1000) {
            0..350 => {
                let slot = self.chance.below(self.rooms.len());
                self.arrive(slot);
            }
            350..640 => return self.somebody_does_something(),
            640..760 => self.server_fails(host),
            760..830 => self.path_fails(host),
            830..860 => self.host_turns_odd(host),
            860..900 => self.network_changes(),
            900..940 => self.link_suffers(),
            940..955 => self.agent_changes(),
            955..970 => self.port_is_taken(),
            970..988 => self.machine_stands_still(),
            988..991 => return self.crash(),
            991..996 => self.calm(),
            _ => self.everything_wears(),
        }
        Ok(())
    }

    /// How long something lasts: at most so many seconds, less where much happens, so that no world is broken
    /// all of the time.
    fn a_while(&mut self, seconds: u64) -> Duration {
        let part = (self.style.pace.as_secs_f64() / 5.0).min(1.0);
        self.chance.secs(0, seconds).mul_f64(part)
    }

    /// Everything is mended, and nothing new happens for a good while.
    pub(super) fn calm(&mut self) {
        self.queue.retain(|_, event| !matches!(event, Event::Fate | Event::Mend(_)));
        for host in 0..self.far.hosts.len() {
            for mend in [Mend::Serves(host), Mend::Thaws(host), Mend::Heals(host), Mend::Unlocks(host)] {
                self.mend(mend);
            }
            self.mend(Mend::Eases(host));
        }
        self.calm_servers();
        let ports: Vec<u16> = self.far.taken.keys().copied().collect();
        for mend in ports.into_iter().map(Mend::Port).chain([Mend::Online, Mend::Agent]) {
            self.mend(mend);
        }
        for slot in 0..self.rooms.len() {
            if self.chance.one_in(2) {
                let later = self.chance.secs(0, 60);
                self.push(later, Event::Trust(slot));
            }
        }
        let lasting = self.chance.secs(200, 1500);
        self.push(lasting, Event::Fate);
    }

    /// From now on it is not what it was for those who are connected to it.
    fn disturb(&mut self, host: usize) {
        let now = self.now;
        if let Some(there) = self.far.hosts.get_mut(host) {
            there.changed_at = now;
        }
        for link in self.rooms.iter_mut().flat_map(|room| room.links.values_mut()) {
            if link.host == host {
                link.pure = false;
            }
        }
    }

    fn disturb_network(&mut self) {
        self.far.net_changed_at = self.now;
        for link in self.rooms.iter_mut().flat_map(|room| room.links.values_mut()) {
            link.pure = false;
        }
    }

    /// The server tells those whom it can reach that it is over.
    fn hang_up_on_everybody(&mut self, host: usize) {
        let mut told: Vec<(usize, Epoch)> = Vec::new();
        for (slot, room) in self.rooms.iter().enumerate() {
            let links = room.links.iter().filter(|(_, link)| link.host == host);
            told.extend(
                links
                    .filter(|(_, link)| link.stage > Stage::Tcp && link.stage != Stage::Over)
                    .filter(|(epoch, _)| self.path(slot, **epoch) == Path::Alive)
                    .map(|(epoch, _)| (slot, *epoch)),
            );
        }
        let takes = self.far.hosts.get(host).map_or(Duration::ZERO, |there| there.rtt / 2);
        for (slot, epoch) in told {
            self.push(takes, Event::Killed(slot, epoch));
        }
    }

    fn server_fails(&mut self, host: usize) {
        self.disturb(host);
        let choice = self.chance.below(5);
        if choice < 3 {
            // A process that ends closes its connections; a machine that loses power does not.
            if choice != 1 {
                self.hang_up_on_everybody(host);
            }
            let lasting = if choice == 2 { Duration::ZERO } else { self.a_while(150) };
            if let Some(there) = self.far.hosts.get_mut(host) {
                there.power = if choice == 1 { Power::Gone } else { Power::Refuses };
                there.life += 1;
            }
            self.push(lasting, Event::Mend(Mend::Serves(host)));
        } else {
            let lasting = self.a_while(45);
            if let Some(there) = self.far.hosts.get_mut(host) {
                there.frozen = true;
            }
            self.push(lasting, Event::Mend(Mend::Thaws(host)));
        }
    }

    fn path_fails(&mut self, host: usize) {
        self.disturb(host);
        let (choice, lasting) = (self.chance.below(3), self.a_while(200));
        let Some(there) = self.far.hosts.get_mut(host) else { return };
        if choice == 0 {
            there.nat += 1;
        } else {
            there.cut = true;
            self.push(lasting, Event::Mend(Mend::Heals(host)));
        }
    }

    fn host_turns_odd(&mut self, host: usize) {
        self.disturb(host);
        let choice = self.chance.below(5);
        let (rtt, banner, locked) =
            (self.chance.millis(0, 5000), self.chance.secs(0, 25), self.chance.secs(30, 2400));
        let Some(there) = self.far.hosts.get_mut(host) else { return };
        match choice {
            0 => there.key += 1,
            1 => {
                there.locked = true;
                self.push(locked, Event::Mend(Mend::Unlocks(host)));
            }
            2 if there.asks == Asks::Somebody => there.asks = Asks::Nobody,
            3 => there.banner = banner,
            _ => there.rtt = rtt,
        }
        let lasting = self.a_while(900);
        self.push(lasting, Event::Mend(Mend::Eases(host)));
    }

    fn network_changes(&mut self) {
        self.disturb_network();
        if self.chance.one_in(3) {
            self.far.address += 1;
            self.push(NETWORK_SETTLES, Event::Nudged(Nudge::Network));
        } else {
            self.far.online = false;
            let lasting = self.a_while(120);
            self.push(lasting, Event::Mend(Mend::Online));
            self.push(NETWORK_SETTLES, Event::Nudged(Nudge::Network));
        }
    }

    fn link_suffers(&mut self) {
        let slot = self.chance.below(self.rooms.len());
        let links: Vec<Epoch> = self.rooms[slot].links.keys().copied().collect();
        let Some(epoch) = self.chance.pick(&links) else { return };
        let carries = self.rooms[slot].carried_by(epoch) > 0;
        match self.chance.below(3) {
            0 => {
                self.rooms[slot].changed_at = self.now;
                self.push(Duration::ZERO, Event::Killed(slot, epoch));
            }
            1 if carries => {
                self.rooms[slot].changed_at = self.now;
                self.clog(slot, epoch, true);
                let lasting = self.a_while(200);
                self.push(lasting, Event::Reads(slot, epoch));
            }
            _ => self.wear(slot, epoch),
        }
    }

    fn wear(&mut self, slot: usize, epoch: Epoch) {
        let Some(link) = self.rooms[slot].links.get_mut(&epoch) else { return };
        if link.stage == Stage::Up && !link.worn {
            link.worn = true;
            self.report(slot, epoch, LinkReport::Worn);
        }
    }

    fn everything_wears(&mut self) {
        for slot in 0..self.rooms.len() {
            let links: Vec<Epoch> = self.rooms[slot].links.keys().copied().collect();
            links.into_iter().for_each(|epoch| self.wear(slot, epoch));
        }
    }

    fn agent_changes(&mut self) {
        self.far.agent = !self.far.agent;
        self.credentials_changed();
        if !self.far.agent {
            let lasting = self.a_while(600);
            self.push(lasting, Event::Mend(Mend::Agent));
        }
    }

    fn credentials_changed(&mut self) {
        self.far.credentials += 1;
        self.far.agent_changed_at = self.now;
        self.let_them_look();
    }

    fn port_is_taken(&mut self) {
        let port = 6000 + u16::try_from(self.chance.below(12)).unwrap_or(0);
        self.far.taken.insert(port, ());
        let lasting = self.a_while(300);
        self.push(lasting, Event::Mend(Mend::Port(port)));
    }

    fn machine_stands_still(&mut self) {
        match self.chance.below(3) {
            0 => {
                let lasting = self.chance.millis(100, 60_000);
                self.trace.line(format_args!("{:?} frozen for {lasting:?}", self.now));
                self.stand_still(lasting, false);
            }
            kind => {
                let lasting =
                    if kind == 1 { self.chance.secs(1, 900) } else { self.chance.secs(900, 4 * 86_400) };
                self.trace.line(format_args!("{:?} asleep for {lasting:?}", self.now));
                self.stand_still(lasting, true);
                self.while_asleep(lasting);
                let seen = self.chance.millis(0, WAKE_IS_SEEN);
                self.push(lasting + seen, Event::Nudged(Nudge::Woke));
            }
        }
    }

    /// The longer it slept, the more has changed when it wakes.
    fn while_asleep(&mut self, lasting: Duration) {
        self.disturb_network();
        let long = lasting > Duration::from_secs(600);
        for host in 0..self.far.hosts.len() {
            if self.chance.percent(if long { 60 } else { 10 }) {
                self.disturb(host);
                let forgot = self.chance.one_in(2);
                if let Some(there) = self.far.hosts.get_mut(host) {
                    if forgot { there.nat += 1 } else { there.life += 1 }
                }
            }
        }
        if self.chance.percent(if long { 50 } else { 5 }) {
            self.far.address += 1;
            self.push(lasting + NETWORK_SETTLES, Event::Nudged(Nudge::Network));
        }
    }

    pub(super) fn mend(&mut self, mend: Mend) {
        match mend {
            Mend::Serves(host) | Mend::Thaws(host) | Mend::Heals(host) | Mend::Unlocks(host) => {
                self.disturb(host);
                let Some(there) = self.far.hosts.get_mut(host) else { return };
                match mend {
                    Mend::Serves(_) => there.power = Power::On,
                    Mend::Thaws(_) => there.frozen = false,
                    Mend::Heals(_) => there.cut = false,
                    _ => there.locked = false,
                }
            }
            Mend::Eases(host) => {
                self.disturb(host);
                let rtt = self.chance.millis(0, 400);
                let Some(there) = self.far.hosts.get_mut(host) else { return };
                there.rtt = there.rtt.min(rtt);
                there.banner = Duration::ZERO;
                if there.asks == Asks::Nobody {
                    there.asks = Asks::Somebody;
                }
            }
            Mend::Online if !self.far.online => {
                self.far.online = true;
                self.disturb_network();
                if self.chance.one_in(3) {
                    self.far.address += 1;
                }
                self.push(NETWORK_SETTLES, Event::Nudged(Nudge::Network));
            }
            Mend::Agent if !self.far.agent => {
                self.far.agent = true;
                self.credentials_changed();
            }
            Mend::Port(port) => drop(self.far.taken.remove(&port)),
            Mend::Online | Mend::Agent => {}
        }
    }
}
