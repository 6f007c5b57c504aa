//! How a link comes up: step by step, each time looking at what the world is like by then.

use std::time::Duration;

use nbtunnel_core::{Epoch, Failure, FailureKind, HostKeyPolicy, LinkReport, Step};

use super::Checked;
use super::desk::key;
use super::event::Event;
use super::far::{Asks, Power};
use super::machine::Machine;
use super::room::Stage;
use super::shell::Sim;

/// A question that nobody answers is given up after this.
const NOBODY_ANSWERS: Duration = Duration::from_secs(120);

/// What became of a step.
pub(super) enum Went {
    /// The next one began; what is told of it, and how long it takes at least.
    On(Stage, Option<Step>, Duration),
    /// Nothing yet: look again later.
    Nowhere,
    /// It failed.
    Wrong(FailureKind),
}

impl<M: Machine> Sim<M> {
    pub(super) fn dial(&mut self, slot: usize, epoch: Epoch) -> Checked {
        let Some((host, stage)) = self.rooms[slot].links.get(&epoch).map(|link| (link.host, link.stage))
        else {
            return Ok(());
        };
        if self.is_given_up(slot, epoch) {
            return Ok(());
        }
        let went = match stage {
            Stage::Resolve => match self.reception(slot, epoch, host) {
                Some(went) => went,
                None => self.resolve(slot, host),
            },
            Stage::Aboard => self.aboard(host),
            Stage::Tcp => self.connect(slot, epoch, host),
            Stage::Banner => self.on_the_way(slot, epoch, Stage::KeyExchange, Some(Step::KeyExchange), 2),
            Stage::KeyExchange => self.exchange_keys(slot, epoch, host),
            Stage::Authenticate(0) if self.asks_at(slot, epoch, host) => {
                self.ask_person(slot, epoch, host)?
            }
            Stage::Authenticate(tries) => self.log_in(slot, epoch, host, tries),
            Stage::Person(until) if self.now < until => Went::Nowhere,
            Stage::Person(_) => self.answered(slot, epoch),
            Stage::Up | Stage::Over => return Ok(()),
        };
        match went {
            Went::On(stage, step, takes) => {
                if let Some(link) = self.rooms[slot].links.get_mut(&epoch) {
                    link.stage = stage;
                }
                match step {
                    Some(step) => self.report(slot, epoch, LinkReport::Step(step)),
                    None if stage == Stage::Up => self.is_up(slot, epoch),
                    None => {}
                }
                self.push(takes, Event::Dial(slot, epoch));
            }
            Went::Nowhere => {
                // As often as TCP sends again what got no answer.
                let since = self.rooms[slot].links.get(&epoch).map_or(self.now, |link| link.connected_at);
                let again = ((self.now - since) / 2).clamp(Duration::from_secs(1), Duration::from_secs(30));
                self.push(again, Event::Dial(slot, epoch));
            }
            Went::Wrong(kind) => self.lose(slot, epoch, Failure::new(kind, "the attempt failed", "")),
        }
        Ok(())
    }

    fn resolve(&mut self, slot: usize, host: usize) -> Went {
        self.rooms[slot].looked = Some((self.far.credentials, self.far.known_version));
        if !self.far.agent {
            return Went::Wrong(FailureKind::NoCredentials);
        }
        if !self.far.online {
            let kinds = [FailureKind::Dns, FailureKind::Unreachable];
            return self.chance.pick(&kinds).map_or(Went::Nowhere, Went::Wrong);
        }
        Went::On(Stage::Tcp, Some(Step::Tcp), self.far.answer_time(&mut self.chance, host))
    }

    fn connect(&mut self, slot: usize, epoch: Epoch, host: usize) -> Went {
        let Some(there) = self.far.hosts.get(host) else { return Went::Wrong(FailureKind::Internal) };
        if !self.far.online {
            return Went::Wrong(FailureKind::Unreachable);
        }
        if there.cut || there.power == Power::Gone {
            return Went::Nowhere;
        }
        if there.power == Power::Refuses {
            return Went::Wrong(FailureKind::Refused);
        }
        // A server that hangs is still taken for one by its kernel.
        let (bound_to, banner) = ((self.far.address, there.life, there.nat), there.banner);
        if let Some(link) = self.rooms[slot].links.get_mut(&epoch) {
            link.bound_to = bound_to;
        }
        let takes = self.far.answer_time(&mut self.chance, host) + banner;
        Went::On(Stage::Banner, Some(Step::Banner), takes)
    }

    /// Goes on if the server answers.
    pub(super) fn on_the_way(
        &mut self,
        slot: usize,
        epoch: Epoch,
        stage: Stage,
        step: Option<Step>,
        trips: u32,
    ) -> Went {
        match self.path(slot, epoch) {
            Path::Alive => {
                let host = self.rooms[slot].links.get(&epoch).map_or(0, |link| link.host);
                let takes = self.far.answer_time(&mut self.chance, host) * trips;
                Went::On(stage, step, takes)
            }
            Path::Silent => Went::Nowhere,
            Path::Broken => Went::Wrong(FailureKind::Disconnected),
        }
    }

    fn exchange_keys(&mut self, slot: usize, epoch: Epoch, host: usize) -> Went {
        let shown = self.far.hosts.get(host).map(|there| there.key);
        let on_file = self.far.known.get(&host).copied();
        let accepts = self.rooms[slot].spec.as_ref().and_then(|spec| spec.route.host_key);
        if self.path(slot, epoch) == Path::Alive && shown != on_file {
            if on_file.is_some() {
                return Went::Wrong(FailureKind::HostKeyChanged);
            }
            if accepts != Some(HostKeyPolicy::AcceptNew) {
                return Went::Wrong(FailureKind::HostKeyUnknown);
            }
            self.write_known(host);
        }
        let tries = u8::try_from(self.chance.below(3)).unwrap_or(0);
        self.on_the_way(slot, epoch, Stage::Authenticate(tries), Some(Step::Authenticate), 2)
    }

    fn log_in(&mut self, slot: usize, epoch: Epoch, host: usize, tries: u8) -> Went {
        if self.path(slot, epoch) == Path::Alive {
            let Some(there) = self.far.hosts.get(host) else { return Went::Wrong(FailureKind::Internal) };
            if tries == 0 && (there.locked || there.stranger) {
                return Went::Wrong(FailureKind::AuthRefused);
            }
            if tries == 0 && there.asks == Asks::Nobody {
                if self.chance.one_in(3) {
                    return Went::Wrong(FailureKind::AnswerNeeded);
                }
                return Went::On(Stage::Person(self.now + NOBODY_ANSWERS), None, NOBODY_ANSWERS);
            }
            if tries == 0 && there.asks == Asks::Somebody {
                if let Some(link) = self.rooms[slot].links.get_mut(&epoch) {
                    link.asked = true;
                }
                let takes = self.chance.millis(500, 6000);
                return Went::On(Stage::Person(self.now + takes), None, takes);
            }
        }
        match tries.checked_sub(1) {
            Some(left) => {
                self.on_the_way(slot, epoch, Stage::Authenticate(left), Some(Step::Authenticate), 1)
            }
            None => self.on_the_way(slot, epoch, Stage::Up, None, 0),
        }
    }

    /// A person has answered, or nobody has for too long.
    fn answered(&mut self, slot: usize, epoch: Epoch) -> Went {
        if self.rooms[slot].links.get(&epoch).is_some_and(|link| link.asked) || self.is_right(slot, epoch) {
            return self.on_the_way(slot, epoch, Stage::Up, None, 0);
        }
        let asker = self.rooms[slot].links.get(&epoch).and_then(|link| link.asker.map(|_| link.host));
        asker.map_or(Went::Wrong(FailureKind::AnswerNeeded), |host| self.needs(slot, epoch, host))
    }

    fn is_up(&mut self, slot: usize, epoch: Epoch) {
        self.opens(slot, epoch);
        let asked = self.rooms[slot].links.get(&epoch).is_some_and(|link| link.asked);
        if asked {
            self.report(slot, epoch, LinkReport::Asked);
        }
        let shared = self.rooms[slot].links.get(&epoch).filter(|link| link.shared.is_some());
        if let Some(host) = shared.map(|link| link.host) {
            self.report(slot, epoch, LinkReport::Typed(key(host)));
        }
        self.report(slot, epoch, LinkReport::Up);
    }
}

/// What becomes of a packet that a link sends now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// It is answered.
    Alive,
    /// Nothing comes back.
    Silent,
    /// The server knows of no such connection, and says so.
    Broken,
}

impl<M: Machine> Sim<M> {
    pub(super) fn path(&self, slot: usize, epoch: Epoch) -> Path {
        let Some(link) = self.rooms[slot].links.get(&epoch) else { return Path::Silent };
        self.path_of(link.host, link.bound_to, link.clogged)
    }

    /// The same of any connection to `host`.
    pub(super) fn path_of(&self, host: usize, bound_to: (u32, u32, u32), clogged: bool) -> Path {
        let Some(there) = self.far.hosts.get(host) else { return Path::Silent };
        let (address, life, nat) = bound_to;
        if !self.far.online || there.cut || address != self.far.address || nat != there.nat {
            return Path::Silent;
        }
        match there.power {
            Power::Gone => Path::Silent,
            Power::Refuses => Path::Broken,
            Power::On if life != there.life => Path::Broken,
            Power::On if there.frozen || clogged => Path::Silent,
            Power::On => Path::Alive,
        }
    }
}
