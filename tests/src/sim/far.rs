//! Everything outside of this machine's daemon: servers, the network between, the agent, known_hosts.
//!
//! It knows nothing of tunnels. Each thing remembers when it changed last, so that the rules can say since
//! when the world has been fair.

use std::collections::BTreeMap;
use std::time::Duration;

use super::chance::Chance;

/// A moment, counted from the beginning of the simulation.
pub type At = Duration;

/// Whether a server is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// It serves.
    On,
    /// The machine is there, the server is not: it refuses.
    Refuses,
    /// Nothing is there: nobody answers.
    Gone,
}

/// What a login there takes beside a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// Nothing.
    Nothing,
    /// A person who is there.
    Somebody,
    /// A person who is away.
    Nobody,
    /// A code that somebody types, good once; asked for when the server is there already.
    Code,
    /// A passphrase that somebody types, wanted before the server hears of us.
    Passphrase,
}

impl Asks {
    /// Whether somebody has to type something.
    pub fn is_typed(self) -> bool {
        matches!(self, Asks::Code | Asks::Passphrase)
    }
}

/// One server, and the way to it.
#[derive(Clone, Debug)]
pub struct Host {
    /// Whether it is there.
    pub power: Power,
    /// Counts its lives: a session of an earlier one is unknown.
    pub life: u32,
    /// It hangs, and will go on.
    pub frozen: bool,
    /// The way to it swallows everything.
    pub cut: bool,
    /// Counts how often something between here and there forgot its connections.
    pub nat: u32,
    /// The round trip.
    pub rtt: Duration,
    /// Packets in a hundred that are lost, at least.
    pub loss: usize,
    /// Until its version line comes.
    pub banner: Duration,
    /// The number of its host key.
    pub key: u32,
    /// The account is locked.
    pub locked: bool,
    /// Our keys are not in its authorized_keys.
    pub stranger: bool,
    /// What a login takes.
    pub asks: Asks,
    /// When any of this changed last.
    pub changed_at: At,
}

impl Host {
    fn new(chance: &mut Chance) -> Host {
        let rtt = match chance.below(6) {
            0 => chance.millis(300, 2000),
            1 => chance.millis(50, 300),
            _ => chance.millis(0, 50),
        };
        Host {
            power: Power::On,
            life: 0,
            frozen: false,
            cut: false,
            nat: 0,
            rtt,
            loss: chance.below(6),
            banner: Duration::ZERO,
            key: 1,
            locked: false,
            stranger: chance.one_in(12),
            asks: if chance.one_in(5) { Asks::Somebody } else { Asks::Nothing },
            changed_at: At::ZERO,
        }
    }

    /// Whether whoever dials it gets an answer in good time, be it a refusal of the keys.
    pub fn is_fair(&self) -> bool {
        self.power == Power::On
            && !self.frozen
            && !self.cut
            && !self.locked
            && self.asks != Asks::Nobody
            && self.rtt <= Duration::from_millis(500)
            && self.banner <= Duration::from_secs(1)
    }
}

/// The world outside.
#[derive(Clone, Debug)]
pub struct Far {
    /// The servers.
    pub hosts: Vec<Host>,
    /// This machine is connected.
    pub online: bool,
    /// The number of its address.
    pub address: u32,
    /// When the network changed last.
    pub net_changed_at: At,
    /// An agent with keys is there.
    pub agent: bool,
    /// Counts what could be offered.
    pub credentials: u32,
    /// When that changed last.
    pub agent_changed_at: At,
    /// The keys on file, by host; and how often they changed.
    pub known: BTreeMap<usize, u32>,
    /// Counts the changes of known_hosts.
    pub known_version: u32,
    /// When known_hosts changed last.
    pub known_changed_at: At,
    /// Local ports that somebody else has.
    pub taken: BTreeMap<u16, ()>,
}

impl Far {
    /// A world in which everything works.
    pub fn new(chance: &mut Chance, hosts: usize) -> Far {
        let hosts: Vec<Host> = (0..hosts).map(|_| Host::new(chance)).collect();
        let known = (0..hosts.len()).filter(|_| !chance.one_in(4)).map(|host| (host, 1)).collect();
        Far {
            hosts,
            online: true,
            address: 1,
            net_changed_at: At::ZERO,
            agent: true,
            credentials: 1,
            agent_changed_at: At::ZERO,
            known,
            known_version: 1,
            known_changed_at: At::ZERO,
            taken: BTreeMap::new(),
        }
    }

    /// Half of the servers ask for what somebody types, unless `seed` is 0. Drawn apart from everything else.
    pub fn ask_for_answers(&mut self, seed: u64) {
        let mut chance = Chance::new(seed);
        for host in self.hosts.iter_mut().filter(|_| seed > 0) {
            host.asks =
                chance.pick(&[host.asks, host.asks, Asks::Code, Asks::Passphrase]).unwrap_or(host.asks);
        }
    }

    /// Whether `host` can be dialled from here, and nothing has changed since that moment.
    pub fn fair_since(&self, host: usize) -> Option<At> {
        let there = self.hosts.get(host)?;
        let fair = self.online && self.agent && there.is_fair();
        fair.then(|| {
            there.changed_at.max(self.net_changed_at).max(self.agent_changed_at).max(self.known_changed_at)
        })
    }

    /// How long an answer from `host` takes just now. A lost packet is sent again, each time later; more than
    /// three in a row are not lost.
    pub fn answer_time(&self, chance: &mut Chance, host: usize) -> Duration {
        let Some(there) = self.hosts.get(host) else { return Duration::ZERO };
        let jitter = chance.part(there.rtt / 4);
        let mut time = there.rtt + jitter;
        let mut again = Duration::from_millis(200).max(there.rtt + there.rtt / 2);
        for _ in 0..3 {
            // A question and its answer: either can be lost.
            if !chance.percent(there.loss * 2) {
                break;
            }
            time += again;
            again *= 2;
        }
        time
    }

    /// Somebody writes down a host key.
    pub fn trust(&mut self, now: At, host: usize) {
        let Some(there) = self.hosts.get(host) else { return };
        self.known.insert(host, there.key);
        self.known_version += 1;
        self.known_changed_at = now;
    }
}
