//! People at terminals who unlock tunnels: they answer, right or wrong, or not at all, or go. And what must hold of
//! whoever is asked.

use std::time::Duration;

use nbtunnel_core::session::ANSWER_DEADLINE;
use nbtunnel_core::tunnel::Desire;
use nbtunnel_core::{AskerId, FleetInput, Input, LinkReport, Order, WaitFor, WaitId};

use super::desk::{Session, key};
use super::event::Event;
use super::machine::Machine;
use super::room::{Known, Link, Parked, Person, Stage};
use super::shell::Sim;
use super::{Checked, hold};

/// Words between the shell and core take no longer than this.
const WOKEN_WITHIN: Duration = Duration::from_secs(10);

impl<M: Machine> Sim<M> {
    /// `nbctl unlock`, which starts the tunnel and waits for it.
    pub(super) fn somebody_unlocks(&mut self) -> Checked {
        let slot = self.chance.below(self.rooms.len());
        if self.rooms[slot].spec.is_none() || self.rooms[slot].person.is_some() {
            return Ok(());
        }
        let (id, wait) = (AskerId(self.number()), WaitId(self.number()));
        let takes = if self.chance.one_in(6) { Duration::from_secs(7200) } else { self.chance.secs(1, 60) };
        let person = Person { id, wait, knows: !self.chance.one_in(6), takes };
        let (now, room) = (self.now, &mut self.rooms[slot]);
        if room.desire() == Desire::Down {
            room.order = Some(Order::Start);
        }
        room.unpark(now);
        room.person = Some(person);
        let name = room.name.clone();
        if self.chance.one_in(4) {
            let patience = self.chance.secs(0, 60);
            self.push(patience, Event::HangsUp(slot, wait));
        }
        self.see("unlock");
        self.tell(FleetInput::Tunnel(name.clone(), Input::Unlock(id)))?;
        self.rooms[slot].waits.insert(wait, (WaitFor::Up, now));
        self.tell(FleetInput::Tunnel(name, Input::Wait(wait, WaitFor::Up)))
    }

    /// Whoever waited for `wait` goes, if somebody did; what they are asked has no answer. Says
    /// what core is to be told then.
    pub(super) fn person_goes(&mut self, slot: usize, wait: WaitId) -> Option<Input> {
        let room = &mut self.rooms[slot];
        let person = room.person.take_if(|person| person.wait == wait)?;
        let asked = room
            .links
            .iter()
            .filter(|(_, link)| link.asker == Some(person.id) && matches!(link.stage, Stage::Person(_)));
        let asked: Vec<_> = asked.map(|(epoch, _)| *epoch).collect();
        for epoch in asked {
            self.see("left");
            self.push(Duration::ZERO, Event::Typed(slot, epoch));
        }
        Some(Input::Left(person.id))
    }

    /// Only who is there may be asked: not who went, and not in the background.
    pub(super) fn check_asker(&self, slot: usize, asker: Option<AskerId>) -> Checked {
        let person = self.rooms[slot].person.map(|person| person.id);
        hold("only_who_is_there_is_asked", asker.is_none() || asker == person, || {
            format!("t{slot} dials with {asker:?}, but there is {person:?}")
        })
    }

    /// Whoever is asked has time, and is not given up as a server is.
    pub(super) fn check_given_up(
        &self,
        link: Option<&Link>,
        input: &FleetInput,
        said: impl Fn() -> String,
    ) -> Checked {
        let asked = link.filter(|link| link.known == Known::Dialling).and_then(|link| link.asking_since);
        let late = asked.is_none_or(|since| since + ANSWER_DEADLINE <= self.now);
        hold("whoever_is_asked_has_time", *input != FleetInput::Timeout || late, said)
    }

    /// Nobody is asked for what is open and answers.
    pub(super) fn check_prompt(&self, slot: usize, host: usize) -> Checked {
        let healthy = self.rooms[slot].links.values().find(|link| {
            let asked = link.asked && link.host == host && link.known == Known::Up && link.draining.is_none();
            asked && link.silent_since.is_none() && !link.address_gone && !link.known_clogged
        });
        hold("nobody_is_asked_for_what_is_open", healthy.is_none(), || format!("t{slot} has {healthy:?}"))
    }

    /// Somebody answered for all who need the same login.
    pub(super) fn take_in_opened(&mut self, report: &LinkReport) {
        let LinkReport::Opened(opened) = report else { return };
        let now = self.now;
        for room in self.rooms.iter_mut().filter(|room| key(room.host()) == *opened) {
            let tunnel = self.machine.tunnels().get(&room.name);
            let woken = tunnel.is_some_and(|tunnel| tunnel.state() != nbtunnel_core::State::Parked);
            if woken && room.parked.is_some_and(|parked| parked.kind.wants_an_answer()) {
                room.parked = None;
                room.changed_at = now;
                room.encourage(now);
            }
        }
    }

    /// One answer serves all: nobody stays parked for what is open.
    pub(super) fn check_is_woken(&self, slot: usize, parked: Parked, open: Option<Session>) -> Checked {
        let room = &self.rooms[slot];
        let late = open.is_some_and(|session| {
            session.opened_at.max(room.changed_at).max(self.awake_at) + WOKEN_WITHIN < self.now
        });
        hold("one_answer_serves_all", room.desire() == Desire::Down || !late, || {
            format!("t{slot} at {:?} is {parked:?}, though there is {open:?}", self.now)
        })
    }
}
