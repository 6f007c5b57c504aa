//! What happens on this machine beside links: listeners, the connections that come to them, the lookout.

use std::time::Duration;

use nbtunnel_core::{
    Epoch, Failure, FailureKind, FleetInput, ForwardId, ForwardReport, ForwardSpec, Gate, Input, ListenAt,
    ListenerReport, State, Verdict, WakesOn,
};

use super::Checked;
use super::event::Event;
use super::machine::Machine;
use super::room::{Client, Listener, Listening};
use super::shell::Sim;

/// So many connections of one tunnel are simulated at most.
pub(super) const CLIENTS: usize = 6;

fn port(spec: &ForwardSpec) -> u16 {
    match &spec.listen {
        ListenAt::Loopback(port) | ListenAt::Any(port) | ListenAt::Address(_, port) => *port,
        ListenAt::Socket(_) => 0,
    }
}

impl<M: Machine> Sim<M> {
    pub(super) fn bind(&mut self, slot: usize, id: ForwardId, spec: ForwardSpec) {
        let listener = Listener { spec, listening: Listening::Binding };
        self.rooms[slot].listeners.insert(id, listener);
        let takes = match self.chance.below(60) {
            0 => self.chance.secs(1, 40),
            _ => self.chance.millis(0, 20),
        };
        self.push(takes, Event::Binds(slot, id));
    }

    pub(super) fn binds(&mut self, slot: usize, id: ForwardId) {
        let Some(listener) = self.rooms[slot].listeners.get(&id) else { return };
        if listener.listening != Listening::Binding {
            return;
        }
        let port = port(&listener.spec);
        let ours = self.rooms.iter().flat_map(|room| room.listeners.values());
        let taken = self.far.taken.contains_key(&port)
            || ours
                .filter(|other| other.listening != Listening::Binding)
                .any(|other| self::port(&other.spec) == port);
        let report = if taken {
            self.rooms[slot].listeners.remove(&id);
            ListenerReport::Failed(Failure::new(FailureKind::PortInUse, "somebody else listens there", ""))
        } else {
            if let Some(listener) = self.rooms[slot].listeners.get_mut(&id) {
                listener.listening = Listening::Bound;
            }
            ListenerReport::Bound { listens: vec![format!("127.0.0.1:{port}")], note: None }
        };
        self.push(Duration::ZERO, Event::Tell(slot, Input::Listener(id, report)));
    }

    pub(super) fn unbind(&mut self, slot: usize, id: ForwardId) {
        let Some(listener) = self.rooms[slot].listeners.get_mut(&id) else { return };
        listener.listening = Listening::Closing;
        let takes = match self.chance.below(60) {
            0 => self.chance.secs(1, 10),
            _ => self.chance.millis(0, 5),
        };
        self.push(takes, Event::Unbinds(slot, id));
        let room = &self.rooms[slot];
        let notebook = room.listeners.get(&id).and_then(|listener| room.seat_of(listener));
        if let Some(name) = notebook.map(|seat| seat.spec.name.clone()) {
            let is_reset = |client: &Client| client.link.is_none() && client.notebook.as_ref() == Some(&name);
            self.change_clients(slot, |clients| clients.retain(|client| !is_reset(client)));
        }
        if self.rooms[slot].listeners.values().all(|other| other.listening == Listening::Closing) {
            // What was held there is reset.
            self.change_clients(slot, |clients| clients.retain(|client| client.link.is_some()));
        }
    }

    pub(super) fn unbinds(&mut self, slot: usize, id: ForwardId) {
        if self.rooms[slot].listeners.remove(&id).is_some() {
            let input = Input::Listener(id, ListenerReport::Unbound);
            self.push(Duration::ZERO, Event::Tell(slot, input));
        }
    }

    /// Changes the local connections, and tells core when either count leaves zero or comes back to it.
    pub(super) fn change_clients(&mut self, slot: usize, change: impl FnOnce(&mut Vec<Client>)) {
        let before = self.rooms[slot].held_and_open();
        change(&mut self.rooms[slot].clients);
        let (held, open) = self.rooms[slot].held_and_open();
        if (before.0 == 0) != (held == 0) || (before.1 == 0) != (open == 0) {
            self.push(Duration::ZERO, Event::Tell(slot, Input::Activity { held, open }));
        }
        let draining: Vec<Epoch> = self.rooms[slot]
            .links
            .iter()
            .filter(|(_, link)| link.draining.is_some() && !link.drained)
            .map(|(epoch, _)| *epoch)
            .collect();
        for epoch in draining {
            if before.1 != open {
                self.tell_if_drained(slot, epoch);
            }
        }
    }

    pub(super) fn connections_end(&mut self, slot: usize, epoch: Epoch) {
        self.change_clients(slot, |clients| clients.retain(|client| client.link != Some(epoch)));
    }

    /// Somebody connects.
    pub(super) fn arrive(&mut self, slot: usize) {
        let room = &self.rooms[slot];
        let listens = room.listeners.values().any(|listener| listener.listening == Listening::Bound);
        if !listens || room.gate == Gate::Reset || room.clients.len() >= CLIENTS {
            return;
        }
        let hold = room.spec.as_ref().map_or(Duration::ZERO, |spec| spec.policy.hold);
        let link = serving(room.gate);
        if link.is_none() && hold.is_zero() {
            return;
        }
        let (number, busy) = (self.number(), self.chance.one_in(3));
        let client = Client { number, came_at: self.now, link, busy, notebook: None };
        self.change_clients(slot, |clients| clients.push(client));
        match link {
            Some(epoch) => self.carry(slot, epoch, number, busy),
            None => {
                // One in five loses patience before we do.
                let gives_up = self.chance.one_in(5).then(|| self.chance.secs(0, 20));
                self.push(gives_up.unwrap_or(hold), Event::HoldOver(slot, number));
                if gives_up.is_some() {
                    self.push(gives_up.unwrap_or(hold), Event::Leaves(slot, number));
                }
            }
        }
    }

    pub(super) fn carry(&mut self, slot: usize, epoch: Epoch, number: u64, busy: bool) {
        self.carried += 1;
        let stays = match self.chance.below(10) {
            0 => self.chance.secs(300, 7200),
            1..4 => self.chance.secs(10, 300),
            _ => self.chance.millis(1, 5000),
        };
        self.push(stays, Event::Leaves(slot, number));
        if busy {
            self.push(Duration::from_millis(1500), Event::Stall(slot, epoch));
        }
    }

    pub(super) fn leaves(&mut self, slot: usize, number: u64) {
        let client = self.rooms[slot].clients.iter().find(|client| client.number == number);
        if let Some(name) = client.and_then(|client| client.notebook.clone()) {
            self.watch_place(slot, &name);
        }
        self.change_clients(slot, |clients| clients.retain(|client| client.number != number));
    }

    /// The shell follows the gate at once: what is held goes through, or is reset.
    pub(super) fn set_gate(&mut self, slot: usize, gate: Gate) {
        let now = self.now;
        let room = &mut self.rooms[slot];
        room.gate = gate;
        room.served_since = serving(gate).map(|epoch| match room.served_since {
            Some((before, since)) if before == epoch => (epoch, since),
            _ => (epoch, now),
        });
        room.seats.values_mut().for_each(|seat| seat.over(now, gate));
        match gate {
            Gate::Hold => {}
            Gate::Reset => {
                self.change_clients(slot, |clients| clients.retain(|client| client.link.is_some()));
            }
            Gate::Serve(epoch) => {
                let held: Vec<(u64, bool)> = self.rooms[slot]
                    .clients
                    .iter()
                    .filter(|client| client.link.is_none() && client.notebook.is_none())
                    .map(|client| (client.number, client.busy))
                    .collect();
                if self.rooms[slot]
                    .links
                    .get(&epoch)
                    .is_none_or(|link| link.stage == super::room::Stage::Over)
                {
                    // It died this very moment: they are held on.
                    return;
                }
                self.change_clients(slot, |clients| {
                    let waits = |client: &&mut Client| client.link.is_none() && client.notebook.is_none();
                    clients.iter_mut().filter(waits).for_each(|client| client.link = Some(epoch));
                });
                for (number, busy) in held {
                    self.carry(slot, epoch, number, busy);
                }
                let names: Vec<_> = self.rooms[slot].seats.keys().cloned().collect();
                names.iter().for_each(|name| self.lead(slot, name));
            }
        }
    }

    /// Somebody was held as long as the file allows.
    pub(super) fn hold_over(&mut self, slot: usize, number: u64) -> Checked {
        let client = self.rooms[slot].clients.iter().find(|client| client.number == number);
        let Some(client) = client.filter(|client| client.link.is_none()).cloned() else { return Ok(()) };
        self.check_hold_over(slot, &client)?;
        self.leaves(slot, number);
        Ok(())
    }

    /// Sets the lookout on what a parked tunnel waits for, or takes it back.
    pub(super) fn look_out(&mut self, slot: usize, parked: bool) {
        let tunnel = self.machine.tunnels().get(&self.rooms[slot].name);
        let kind = tunnel
            .filter(|tunnel| parked && tunnel.state() == State::Parked)
            .and_then(|tunnel| tunnel.problem().map(|why| why.kind));
        let watched = kind.filter(|kind| kind.verdict() != Verdict::Park(WakesOn::Human));
        let room = &mut self.rooms[slot];
        room.watch = room.looked.zip(watched);
        if room.watch.is_some() {
            self.push(Duration::from_secs(1), Event::Look(slot));
        }
    }

    pub(super) fn look(&mut self, slot: usize) -> Checked {
        let room = &mut self.rooms[slot];
        let Some(((credentials, known), kind)) = room.watch else { return Ok(()) };
        let input = match kind.verdict() {
            Verdict::Park(WakesOn::Credentials) if credentials != self.far.credentials => {
                Input::CredentialsChanged
            }
            Verdict::Park(WakesOn::KnownHosts) if known != self.far.known_version => Input::KnownHostsChanged,
            Verdict::Park(_) | Verdict::Retry => return Ok(()),
        };
        room.watch = None;
        let name = room.name.clone();
        self.tell(FleetInput::Tunnel(name, input))
    }

    /// What is looked out for changed: each lookout sees it within a second.
    pub(super) fn let_them_look(&mut self) {
        for slot in 0..self.rooms.len() {
            if self.rooms[slot].watch.is_some() {
                let soon = self.chance.millis(0, 1000);
                self.push(soon, Event::Look(slot));
            }
        }
    }

    /// The host key of `host` as it is now is written down.
    pub(super) fn write_known(&mut self, host: usize) {
        self.far.trust(self.now, host);
        self.let_them_look();
    }

    /// The far end of a forward says something.
    pub(super) fn far_end_says(&mut self, slot: usize) {
        let room = &self.rooms[slot];
        // What a notebook's forward says comes of who connects to it.
        let plain = room.listeners.iter().filter(|(_, listener)| room.seat_of(listener).is_none());
        let ids: Vec<ForwardId> = plain.map(|(id, _)| *id).collect();
        let Some(id) = self.chance.pick(&ids) else { return };
        let refused = || Failure::new(FailureKind::Refused, "nobody listens over there", "");
        let report = match self.chance.below(3) {
            0 => ForwardReport::Denied(refused()),
            1 => ForwardReport::Served,
            _ => ForwardReport::SlowReader(None),
        };
        self.push(Duration::ZERO, Event::Tell(slot, Input::Forward(id, report)));
    }
}

fn serving(gate: Gate) -> Option<Epoch> {
    match gate {
        Gate::Serve(epoch) => Some(epoch),
        Gate::Hold | Gate::Reset => None,
    }
}
