//! Servers that are asked to listen: some take their time, some deny, and none does both at one place.

use nbtunnel_core::{
    Epoch, Failure, FailureKind, Input, ListenAt, ListenId, Output, RemoteReport, RemoteSpec, Target,
};

use super::event::Event;
use super::machine::Machine;
use super::room::Known;
use super::shell::Sim;
use super::{Checked, hold};

impl<M: Machine> Sim<M> {
    /// Those of a new file.
    pub(super) fn some_remotes(&mut self) -> Vec<RemoteSpec> {
        let count = if self.chance.one_in(2) { 0 } else { self.chance.below(3) };
        let ports = (0..count).map(|n| 8000 + u16::try_from(n).unwrap_or(0));
        let mut remotes: Vec<RemoteSpec> = ports
            .map(|port| RemoteSpec {
                listen: ListenAt::Loopback(port),
                target: Target::Tcp("localhost".into(), 3000),
            })
            .collect();
        if self.chance.one_in(3) {
            remotes.push(RemoteSpec { listen: ListenAt::Loopback(0), target: Target::Socks });
        }
        remotes
    }

    pub(super) fn listen(&mut self, slot: usize, epoch: Epoch, id: ListenId, spec: &RemoteSpec) {
        let denied = || Failure::new(FailureKind::ForwardingDenied, "the server does not listen there", "");
        let report = match (self.chance.below(8), spec.listen.port()) {
            (0, _) => RemoteReport::Denied(denied()),
            (_, Some(0)) => RemoteReport::Listens { port: 40_000 },
            (_, port) => RemoteReport::Listens { port: port.unwrap_or(0) },
        };
        let remotes = &mut self.rooms[slot].remotes;
        match report {
            RemoteReport::Denied(_) => drop(remotes.remove(&id.forward)),
            RemoteReport::Listens { .. } | RemoteReport::Closed => {
                remotes.insert(id.forward, (epoch, id));
            }
        }
        // Some never say anything.
        if !self.chance.one_in(40) {
            self.answer_request(slot, epoch, id, report);
        }
    }

    pub(super) fn unlisten(&mut self, slot: usize, epoch: Epoch, id: ListenId) {
        let remotes = &mut self.rooms[slot].remotes;
        if remotes.get(&id.forward) == Some(&(epoch, id)) {
            remotes.remove(&id.forward);
        }
        self.answer_request(slot, epoch, id, RemoteReport::Closed);
    }

    fn answer_request(&mut self, slot: usize, epoch: Epoch, id: ListenId, report: RemoteReport) {
        let takes = match self.chance.below(10) {
            0 => self.chance.millis(500, 3000),
            _ => self.chance.millis(0, 100),
        };
        self.see(match report {
            RemoteReport::Listens { .. } => "listens there",
            RemoteReport::Denied(_) => "denied there",
            RemoteReport::Closed => "closed there",
        });
        self.push(takes, Event::Tell(slot, Input::Remote(epoch, id, report)));
    }

    /// Whether core may ask for that.
    pub(super) fn check_remote(&self, slot: usize, output: &Output, said: impl Fn() -> String) -> Checked {
        let room = &self.rooms[slot];
        match output {
            Output::Listen(epoch, id, spec) => {
                let up =
                    room.links.get(epoch).is_some_and(|link| link.known == Known::Up && link.may_serve());
                hold("a_server_is_asked_only_while_it_serves", up, &said)?;
                let named = room.spec.as_ref().is_some_and(|file| {
                    file.remotes.iter().any(|remote| {
                        remote.target == spec.target
                            && (remote.listen == spec.listen || remote.listen.port() == Some(0))
                    })
                });
                hold("asks_for_what_the_file_says", named, &said)?;
                let before = room.remotes.get(&id.forward);
                let is_up = |of| room.links.get(of).is_some_and(|link| link.known == Known::Up);
                let lives = before.is_some_and(|(of, _)| of != epoch && is_up(of));
                hold("only_one_server_listens_for_a_forward", !lives, &said)
            }
            Output::Unlisten(epoch, _) => {
                let up = room.links.get(epoch).is_some_and(|link| link.known == Known::Up);
                hold("only_what_is_up_is_asked_to_let_go", up, &said)
            }
            _ => Ok(()),
        }
    }
}
