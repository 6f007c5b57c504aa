//! All tunnels together: routes inputs by name, orders the handshakes, remembers what users said.
//!
//! Driven by the shell's one loop, which calls [`Fleet::handle`], drains [`Fleet::poll_output`] and sleeps
//! until [`Fleet::poll_timeout`].
//!
//! # Invariants
//!
//! Beside those of every tunnel (see [`crate::tunnel`]), checked by the same random runs:
//! - `few_dial_at_a_time`: at most [`TURNS`] dials are younger than [`TURN_LASTS`]; `no_turn_is_wasted`;
//!   `whoever_is_waited_for_dials_first`; everybody gets a turn.
//! - `epochs_only_increase`, also over the removal and return of a name.
//! - `orders_are_remembered`: what would be kept over a restart is what each tunnel goes by;
//!   `gone_is_forgotten` with the tunnel.
//! - `the_same_seed_does_the_same`, given the same inputs.
//! - `an_early_timeout_changes_nothing`, `a_timeout_is_followed_by_a_later_one`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::forward::RemoteSpec;
use crate::io::{Epoch, Input, LinkReport, ListenerReport, Nudge, Order, Output, Timer, TimerReason};
use crate::moment::Moment;
use crate::notebook::TaskId;
use crate::reconcile::Change;
use crate::spec::{Name, TunnelSpec};
use crate::tunnel::Tunnel;

/// At most so many handshakes at a time, so that hundreds of tunnels that wake together do not starve each
/// other or run into a server's `MaxStartups`.
pub const TURNS: usize = 8;
/// A dial that takes longer is waiting, not working: it gives its turn to another.
pub const TURN_LASTS: Duration = Duration::from_secs(2);

/// What happened, to one tunnel or to all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FleetInput {
    /// The configuration changed.
    Apply(Vec<Change>),
    /// Something happened to one tunnel. A name that is not there changes nothing.
    Tunnel(Name, Input),
    /// Something happened that concerns every tunnel.
    Nudge(Nudge),
    /// Time passed.
    Timeout,
}

/// The state machine of all tunnels.
#[derive(Clone, Debug, PartialEq)]
pub struct Fleet {
    tunnels: BTreeMap<Name, Tunnel>,
    remembered: BTreeMap<Name, Order>,
    /// The ports that servers chose before a restart of the daemon.
    ports: BTreeMap<Name, Vec<(RemoteSpec, u16)>>,
    seed: u64,
    /// Beyond every epoch that was used by tunnels that are gone.
    next_epoch: u64,
    /// The same for tasks of notebooks.
    next_task: TaskId,
    /// When each tunnel wants to be woken: looked at after every event, so there is no asking them all.
    timers: BTreeSet<(Timer, Name)>,
    timer_of: BTreeMap<Name, Timer>,
    queued: BTreeSet<(Moment, Name)>,
    dialling: BTreeMap<Name, Moment>,
    outputs: VecDeque<(Name, Output)>,
}

impl Fleet {
    /// An empty fleet. `remembered` is what users said before a restart of the daemon.
    pub fn new(seed: u64, remembered: BTreeMap<Name, Order>) -> Self {
        Fleet {
            tunnels: BTreeMap::new(),
            remembered,
            ports: BTreeMap::new(),
            seed,
            next_epoch: 1,
            next_task: TaskId(0),
            timers: BTreeSet::new(),
            timer_of: BTreeMap::new(),
            queued: BTreeSet::new(),
            dialling: BTreeMap::new(),
            outputs: VecDeque::new(),
        }
    }

    /// The same, which asks servers first for the ports that they chose before a restart of the daemon.
    #[must_use]
    pub fn with_ports(self, ports: BTreeMap<Name, Vec<(RemoteSpec, u16)>>) -> Self {
        Fleet { ports, ..self }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Moment, input: FleetInput) {
        match input {
            FleetInput::Apply(changes) => {
                for change in changes {
                    self.apply(now, change);
                }
            }
            FleetInput::Tunnel(name, input) => self.tell(now, &name, input),
            FleetInput::Nudge(nudge) => self.tell_all(now, &Input::Nudge(nudge)),
            FleetInput::Timeout => {
                let due = self.timers.iter().take_while(|((at, _), _)| *at <= now);
                let due: Vec<Name> = due.map(|(_, name)| name.clone()).collect();
                for name in due {
                    self.tell(now, &name, Input::Timeout);
                }
            }
        }
        self.give_turns(now);
    }

    /// The next thing to be done, and for which tunnel; to be drained after every [`Fleet::handle`].
    pub fn poll_output(&mut self) -> Option<(Name, Output)> {
        self.outputs.pop_front()
    }

    /// When it wants [`FleetInput::Timeout`], and why.
    pub fn poll_timeout(&self) -> Option<Timer> {
        let turn = (!self.queued.is_empty()).then(|| self.next_turn()).flatten();
        self.timers.first().map(|(timer, _)| *timer).into_iter().chain(turn).min()
    }

    /// When so few dials will be young that another may begin. Those that gave up their turn earlier do not
    /// count: waiting for one of them would be waiting for the past.
    fn next_turn(&self) -> Option<Timer> {
        let mut since: Vec<Moment> = self.dialling.values().copied().collect();
        since.sort_unstable_by(|one, other| other.cmp(one));
        since.get(TURNS - 1).map(|since| (*since + TURN_LASTS, TimerReason::Turn))
    }

    /// The tunnels, by name. One that was removed stays until nothing of it is left.
    pub fn tunnels(&self) -> &BTreeMap<Name, Tunnel> {
        &self.tunnels
    }

    /// What users said, to be kept over a restart of the daemon.
    pub fn remembered(&self) -> &BTreeMap<Name, Order> {
        &self.remembered
    }

    fn apply(&mut self, now: Moment, change: Change) {
        match change {
            Change::Add(name, spec) | Change::Respec(name, spec) => {
                if self.tunnels.contains_key(&name) {
                    self.tell(now, &name, Input::Respec(spec));
                } else {
                    self.add(now, name, *spec);
                }
            }
            Change::Remove(name) => {
                self.remembered.remove(&name);
                self.tell(now, &name, Input::Remove);
            }
        }
    }

    fn add(&mut self, now: Moment, name: Name, spec: TunnelSpec) {
        let order = self.remembered.get(&name).copied();
        let mut tunnel =
            Tunnel::new(now, spec, Epoch(self.next_epoch), self.seed ^ hash(name.as_str()), order);
        tunnel.number_tasks_from(self.next_task);
        // Once: another tunnel that takes the name later never had them.
        if let Some(ports) = self.ports.remove(&name) {
            tunnel.recall_ports(&ports);
        }
        self.tunnels.insert(name.clone(), tunnel);
        self.collect(now, &name);
    }

    fn tell_all(&mut self, now: Moment, input: &Input) {
        let names: Vec<Name> = self.tunnels.keys().cloned().collect();
        for name in names {
            self.tell(now, &name, input.clone());
        }
    }

    fn tell(&mut self, now: Moment, name: &Name, input: Input) {
        let Some(tunnel) = self.tunnels.get_mut(name) else { return };
        let freed = matches!(input, Input::Listener(_, ListenerReport::Unbound));
        let ordered = matches!(input, Input::Order(_) | Input::Unlock(_));
        let opened = match &input {
            Input::Link(epoch, LinkReport::Opened(key)) if tunnel.knows(*epoch) => Some(key.clone()),
            _ => None,
        };
        tunnel.handle(now, input);
        if ordered
            && !tunnel.is_leaving()
            && let Some(order) = tunnel.order()
        {
            self.remembered.insert(name.clone(), order);
        }
        self.collect(now, name);
        if freed {
            let waiting = self.tunnels.iter().filter(|(_, tunnel)| tunnel.waits_for_an_address());
            let waiting: Vec<Name> = waiting.map(|(name, _)| name.clone()).collect();
            for name in waiting {
                self.tell(now, &name, Input::AddressesFreed);
            }
        }
        if let Some(key) = opened {
            let waiting = self.tunnels.iter().filter(|(_, tunnel)| tunnel.is_helped_by(&key));
            let waiting: Vec<Name> = waiting.map(|(name, _)| name.clone()).collect();
            for name in waiting {
                self.tell(now, &name, Input::Opened);
            }
        }
    }

    /// Takes over what a tunnel wants done, and where it stands in the queue.
    fn collect(&mut self, now: Moment, name: &Name) {
        let Some(tunnel) = self.tunnels.get_mut(name) else { return };
        let mut gone = false;
        while let Some(output) = tunnel.poll_output() {
            gone |= output == Output::Gone;
            self.outputs.push_back((name.clone(), output));
        }
        self.next_epoch = self.next_epoch.max(tunnel.next_epoch().0);
        self.next_task = self.next_task.max(tunnel.next_task());
        let queued_since = tunnel.queued_since();
        let dialling_since = tunnel.dialling_since();
        let timer = tunnel.poll_timeout().filter(|_| !gone);
        if self.timer_of.get(name) != timer.as_ref() {
            if let Some(before) = self.timer_of.remove(name) {
                self.timers.remove(&(before, name.clone()));
            }
            if let Some(timer) = timer {
                self.timers.insert((timer, name.clone()));
                self.timer_of.insert(name.clone(), timer);
            }
        }
        if gone {
            // What still waits for it is answered: a removed tunnel wants nothing.
            self.tunnels.remove(name);
        }
        if queued_since.is_none() || gone {
            self.queued.retain(|(_, queued)| queued != name);
        }
        match dialling_since {
            Some(since) if !gone => {
                self.dialling.insert(name.clone(), since);
            }
            Some(_) | None => {
                self.dialling.remove(name);
            }
        }
        if let Some(since) = queued_since
            && !gone
        {
            self.queued.retain(|(_, queued)| queued != name);
            self.queued.insert((since.min(now), name.clone()));
        }
    }

    /// Lets queued links dial while there are turns: first those that somebody waits for.
    fn give_turns(&mut self, now: Moment) {
        loop {
            let busy = self.dialling.values().filter(|since| **since + TURN_LASTS > now).count();
            if busy >= TURNS {
                return;
            }
            let waited_for = |name: &Name| self.tunnels.get(name).is_some_and(|tunnel| tunnel.held() > 0);
            let next = self
                .queued
                .iter()
                .find(|(_, name)| waited_for(name))
                .or_else(|| self.queued.first())
                .map(|(_, name)| name.clone());
            let Some(name) = next else { return };
            self.tell(now, &name, Input::Go);
        }
    }
}

/// FNV-1a (Fowler, Noll, Vo): spreads names over seeds.
fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}
