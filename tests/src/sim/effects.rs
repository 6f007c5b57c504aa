//! Carries out what core asks for, as the daemon's shell does.

use std::time::Duration;

use nbtunnel_core::io::About;
use nbtunnel_core::{Output, State};

use super::event::Event;
use super::machine::Machine;
use super::room::{Known, Link};
use super::shell::Sim;

impl<M: Machine> Sim<M> {
    pub(super) fn carry_out(&mut self, slot: usize, output: Output) {
        match output {
            Output::Bind(id, spec) => self.bind(slot, id, spec),
            Output::Unbind(id) => self.unbind(slot, id),
            Output::Retarget(id, target) => {
                let room = &mut self.rooms[slot];
                if let Some(listener) = room.listeners.get_mut(&id) {
                    listener.spec.target = target;
                }
                let seat = room.listeners.get(&id).and_then(|listener| room.seat_of(listener));
                if let Some(name) = seat.map(|seat| seat.spec.name.clone()) {
                    self.watch_place(slot, &name);
                    self.lead(slot, &name);
                }
            }
            Output::OwnerOnly(id, owner_only) => {
                if let Some(listener) = self.rooms[slot].listeners.get_mut(&id) {
                    listener.spec.owner_only = owner_only;
                }
            }
            Output::Listen(epoch, id, spec) => self.listen(slot, epoch, id, &spec),
            Output::Unlisten(epoch, id) => self.unlisten(slot, epoch, id),
            Output::Forget(id) => drop(self.rooms[slot].remotes.remove(&id)),
            Output::Connect(epoch, _, asker) => {
                let host = self.rooms[slot].host();
                let pure = self.far.fair_since(host).is_some();
                let room = &mut self.rooms[slot];
                room.newest = epoch;
                room.links.insert(epoch, Link::new(self.now, host, pure, asker));
                self.push(Duration::ZERO, Event::Dial(slot, epoch));
            }
            Output::Probe(epoch) => self.ask(slot, epoch),
            Output::Drain(epoch) => {
                let now = self.now;
                if let Some(link) = self.rooms[slot].links.get_mut(&epoch) {
                    link.draining = Some(now);
                }
                self.tell_if_drained(slot, epoch);
            }
            Output::Close(epoch) => {
                let room = &mut self.rooms[slot];
                if let Some(link) = room.links.get_mut(&epoch) {
                    link.known = Known::Closing;
                    if link.asked {
                        // Only from now on another one may come up.
                        room.changed_at = self.now;
                    }
                }
                self.close(slot, epoch);
            }
            Output::Gate(gate) => self.set_gate(slot, gate),
            Output::Announce(transition) => {
                self.see(transition.to);
                if transition.about == About::Tunnel {
                    self.look_out(slot, transition.to == State::Parked.word());
                }
            }
            Output::Answer(id, _) => {
                let room = &mut self.rooms[slot];
                room.waits.remove(&id);
                for seat in room.seats.values_mut() {
                    seat.wishes.remove(&id);
                }
                if let Some(left) = self.person_goes(slot, id) {
                    self.push(Duration::ZERO, Event::Tell(slot, left));
                }
            }
            Output::Gone => {
                let room = &mut self.rooms[slot];
                // What is left of its links in the world has nobody who listens.
                room.links.clear();
                room.seats.clear();
                room.person = None;
                room.clients.clear();
                room.watch = None;
                room.looked = None;
            }
            Output::Notebook(epoch, name, id, task) => self.begin_task(slot, epoch, name, id, task),
            Output::Repolicy(_) => {}
        }
    }
}
