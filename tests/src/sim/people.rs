//! What users do at random, with files and with `nbctl`; and the odd thing that no shell should do and core
//! must bear: a word about a link that is over, a look that comes too early.

use std::time::Duration;

use nbtunnel_core::{
    Change, Failure, FailureKind, FleetInput, ForwardSpec, HostKeyPolicy, Input, LinkReport, ListenAt, Nudge,
    Order, Policy, Route, Start, Step, Target, TunnelSpec, WaitFor, WaitId,
};

use nbtunnel_core::tunnel::Desire;

use super::Checked;
use super::event::Event;
use super::machine::Machine;
use super::shell::{Sim, moment};

/// How a file may be edited.
const EDITS: usize = 6;

impl<M: Machine> Sim<M> {
    pub(super) fn somebody_does_something(&mut self) -> Checked {
        let slot = self.chance.below(self.rooms.len());
        match self.chance.below(20) {
            0..8 => self.order(slot),
            8..12 => self.edit(slot),
            12 => self.write_file(slot),
            13 => self.remove_file(slot),
            14..16 => self.wait(slot),
            16 => self.trust(slot),
            17 => self.say_something_stale(slot),
            18 => self.look_too_early(),
            _ => {
                self.far_end_says(slot);
                Ok(())
            }
        }
    }

    fn a_spec(&mut self, slot: usize) -> TunnelSpec {
        let start = [Start::Login, Start::Login, Start::Demand, Start::Manual];
        let start = self.chance.pick(&start).unwrap_or(Start::Login);
        let mut spec = TunnelSpec {
            route: self.a_route(),
            forwards: self.some_forwards(),
            remotes: self.some_remotes(),
            notebooks: Vec::new(),
            start,
            tags: Vec::new(),
            policy: self.a_policy(),
        };
        self.some_notebooks(slot, &mut spec);
        spec
    }

    fn a_route(&mut self) -> Route {
        let host = self.chance.below(self.far.hosts.len());
        let host_key = if self.chance.one_in(3) { HostKeyPolicy::AcceptNew } else { HostKeyPolicy::Strict };
        Route { host_key: Some(host_key), ..Route::to(format!("h{host}")) }
    }

    fn some_forwards(&mut self) -> Vec<ForwardSpec> {
        let count = self.chance.below(4);
        let first = self.chance.below(12);
        let ports = (0..count).map(|n| 6000 + u16::try_from((first + n * 5) % 12).unwrap_or(0));
        ports
            .map(|port| ForwardSpec::new(ListenAt::Loopback(port), Target::Tcp("localhost".into(), 7000)))
            .collect()
    }

    fn a_policy(&mut self) -> Policy {
        // Long enough to see whether somebody who waits for a notebook is led there.
        let hold = if self.style.notebooks { 300 } else { 30 };
        let hold = if self.chance.one_in(6) { 0 } else { hold };
        let renew_after = if self.chance.one_in(4) { 1800 } else { 0 };
        Policy {
            keepalive: Duration::from_secs(if self.chance.one_in(3) { 20 } else { 10 }),
            connect_timeout: Duration::from_secs(20),
            hold: Duration::from_secs(hold),
            idle: Duration::from_secs(if self.chance.one_in(2) { 60 } else { 900 }),
            renew_after: Duration::from_secs(renew_after),
            drain: self.style.drain,
            ..Policy::default()
        }
    }

    /// A file is written: a new tunnel, or another one under the same name.
    pub(super) fn write_file(&mut self, slot: usize) -> Checked {
        let spec = self.a_spec(slot);
        self.apply(slot, spec)
    }

    pub(super) fn apply(&mut self, slot: usize, spec: TunnelSpec) -> Checked {
        let (now, room) = (self.now, &mut self.rooms[slot]);
        let was_down = room.desire() == Desire::Down;
        let (name, before) = (room.name.clone(), room.spec.replace(spec.clone()));
        let is_down = room.desire() == Desire::Down;
        if was_down || is_down || before.as_ref().is_none_or(|before| before.route != spec.route) {
            room.unpark(now);
            if before.is_none_or(|before| !before.route.leads_where(&spec.route)) {
                room.authenticated = false;
            }
        }
        room.changed_at = now;
        room.encourage(now);
        self.seat_notebooks(slot);
        // Whoever reads the files cannot know what is still being cleared away.
        let change = match self.machine.tunnels().contains_key(&name) {
            true => Change::Respec(name, Box::new(spec)),
            false => Change::Add(name, Box::new(spec)),
        };
        self.tell(FleetInput::Apply(vec![change]))?;
        self.clear_seats(slot)
    }

    fn edit(&mut self, slot: usize) -> Checked {
        let Some(mut spec) = self.rooms[slot].spec.clone() else { return self.write_file(slot) };
        match self.chance.below(EDITS) {
            0 => spec.tags = if spec.tags.is_empty() { vec!["lab".into()] } else { Vec::new() },
            1 => {
                (spec.forwards, spec.remotes) = (self.some_forwards(), self.some_remotes());
                spec.notebooks.clear();
                self.some_notebooks(slot, &mut spec);
            }
            2 => spec.route = self.a_route(),
            3 => spec.policy = self.a_policy(),
            4 => spec.start = self.a_spec(slot).start,
            _ => {
                for forward in spec.forwards.iter_mut().filter(|of| of.target.notebook().is_none()) {
                    forward.target = Target::Tcp("localhost".into(), 7000 + self.chance.below(5) as u16);
                }
            }
        }
        if self.rooms[slot].spec.as_ref() == Some(&spec) {
            return Ok(());
        }
        self.apply(slot, spec)
    }

    fn remove_file(&mut self, slot: usize) -> Checked {
        let (now, room) = (self.now, &mut self.rooms[slot]);
        if room.spec.take().is_none() {
            return Ok(());
        }
        room.order = None;
        room.unpark(now);
        room.authenticated = false;
        let name = room.name.clone();
        self.tell(FleetInput::Apply(vec![Change::Remove(name)]))
    }

    fn order(&mut self, slot: usize) -> Checked {
        if self.rooms[slot].spec.is_none() {
            return Ok(());
        }
        let all = [Order::Start, Order::Start, Order::Stop, Order::Restart];
        let order = self.chance.pick(&all).unwrap_or(Order::Start);
        let (now, room) = (self.now, &mut self.rooms[slot]);
        room.order = Some(if order == Order::Stop { Order::Stop } else { Order::Start });
        room.unpark(now);
        let name = room.name.clone();
        self.tell(FleetInput::Tunnel(name, Input::Order(order)))?;
        if !self.chance.one_in(3) {
            return Ok(());
        }
        self.begin_to_wait(slot, if order == Order::Stop { WaitFor::Down } else { WaitFor::Up })
    }

    fn wait(&mut self, slot: usize) -> Checked {
        let wait = if self.chance.one_in(3) { WaitFor::Down } else { WaitFor::Up };
        self.begin_to_wait(slot, wait)
    }

    fn begin_to_wait(&mut self, slot: usize, wait: WaitFor) -> Checked {
        if self.rooms[slot].spec.is_none() {
            return Ok(());
        }
        let id = WaitId(self.number());
        let (now, room) = (self.now, &mut self.rooms[slot]);
        room.waits.insert(id, (wait, now));
        let name = room.name.clone();
        if self.chance.one_in(3) {
            let patience = self.chance.secs(1, 120);
            self.push(patience, Event::HangsUp(slot, id));
        }
        self.tell(FleetInput::Tunnel(name, Input::Wait(id, wait)))
    }

    pub(super) fn hang_up(&mut self, slot: usize, id: WaitId) -> Checked {
        let name = self.rooms[slot].name.clone();
        let room = &mut self.rooms[slot];
        let wished = room.seats.values_mut().any(|seat| seat.wishes.remove(&id).is_some());
        if wished {
            return self.tell(FleetInput::Tunnel(name, Input::Unwait(id)));
        }
        if !room.waits.contains_key(&id) {
            return Ok(());
        }
        // As the daemon does when a client is gone: first the person, then the wait, if that is not over by then.
        if let Some(left) = self.person_goes(slot, id) {
            self.tell(FleetInput::Tunnel(name.clone(), left))?;
        }
        if self.rooms[slot].waits.remove(&id).is_none() {
            return Ok(());
        }
        self.tell(FleetInput::Tunnel(name, Input::Unwait(id)))
    }

    /// A human looks at the host key that was shown, and writes it down.
    pub(super) fn trust(&mut self, slot: usize) -> Checked {
        let Some(parked) = self.rooms[slot].parked else { return Ok(()) };
        if !matches!(parked.kind, FailureKind::HostKeyUnknown | FailureKind::HostKeyChanged) {
            return Ok(());
        }
        let host = self.rooms[slot].host();
        self.write_known(host);
        let (now, room) = (self.now, &mut self.rooms[slot]);
        room.unpark(now);
        let name = room.name.clone();
        self.tell(FleetInput::Tunnel(name, Input::Nudge(Nudge::Operator)))
    }

    fn say_something_stale(&mut self, slot: usize) -> Checked {
        let past: Vec<_> = self.rooms[slot].past.iter().copied().collect();
        let Some(epoch) = self.chance.pick(&past) else { return Ok(()) };
        let failure = || Failure::new(FailureKind::AuthRefused, "it was refused", "");
        let report = match self.chance.below(10) {
            0 => LinkReport::Step(Step::Authenticate),
            1 => LinkReport::Up,
            2 => LinkReport::Answers(Duration::from_millis(5)),
            3 => LinkReport::Heard,
            4 => LinkReport::AddressGone,
            5 => LinkReport::Drained,
            6 => LinkReport::Worn,
            7 => LinkReport::Asked,
            8 => LinkReport::Closed,
            _ => LinkReport::Lost(failure()),
        };
        let name = self.rooms[slot].name.clone();
        self.tell(FleetInput::Tunnel(name, Input::Link(epoch, report)))
    }

    fn look_too_early(&mut self) -> Checked {
        if self.machine.poll_timeout().is_some_and(|(at, _)| at <= moment(self.now)) {
            return Ok(());
        }
        self.told.early = true;
        self.tell(FleetInput::Timeout)
    }
}
