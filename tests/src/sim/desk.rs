//! Logins that somebody has to answer for, as the daemon's shell does them: what is known of each server, one login
//! under way at a time, and one session for all who need it. Here a login ends with the link that began it.

use std::time::Duration;

use nbtunnel_core::tunnel::Desire;
use nbtunnel_core::{Asks as Whom, Epoch, FailureKind, LinkReport, LoginKey};

use super::dial::{Path, Went};
use super::event::Event;
use super::far::{Asks, At};
use super::machine::Machine;
use super::room::{Known, Link, Stage};
use super::shell::Sim;
use super::{Checked, probe};

/// The system ends a connection that a person let in when its bytes are not acknowledged for so long.
const UNACKNOWLEDGED: Duration = Duration::from_secs(16 * 60);

/// What is known of the logins at one server.
#[derive(Clone, Debug, Default)]
pub(super) struct Desk {
    /// It is known to ask.
    asks: bool,
    /// Which link logs in.
    flight: Option<(usize, Epoch)>,
    /// What somebody let in.
    pub(super) session: Option<Session>,
    /// The number of the last one, over or not.
    newest: Option<u64>,
}

impl Desk {
    /// Whether somebody was let in since that link was.
    pub(super) fn opened_since(&self, link: &Link) -> bool {
        link.shared.is_some() && self.newest > link.shared
    }
}

/// A session that several links may share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    number: u64,
    pub(super) bound_to: (u32, u32, u32),
    pub(super) opened_at: At,
    /// When core hears that it is open.
    told_at: At,
    silent_since: Option<At>,
}

pub(super) fn key(host: usize) -> LoginKey {
    LoginKey(format!("h{host}"))
}

impl<M: Machine> Sim<M> {
    fn asks(&self, host: usize) -> Asks {
        self.far.hosts.get(host).map_or(Asks::Nothing, |there| there.asks)
    }

    /// What is there for a link that begins to dial, before anybody goes to the server; `None`: it goes there.
    pub(super) fn reception(&mut self, slot: usize, epoch: Epoch, host: usize) -> Option<Went> {
        let asks = self.asks(host);
        let asker = self.rooms[slot].links.get(&epoch)?.asker;
        if !asks.is_typed() || !self.far.agent {
            return None;
        }
        self.rooms[slot].looked = Some((self.far.credentials, self.far.known_version));
        if let Some(session) = self.desks[host].session
            && !self.rooms[slot].links.values().any(|link| link.shared == Some(session.number))
        {
            match self.path_of(host, session.bound_to, false) {
                Path::Alive => return Some(self.share(slot, epoch, session)),
                Path::Silent if asker.is_none() => {
                    let since = session.silent_since.unwrap_or(self.now);
                    if since + UNACKNOWLEDGED > self.now {
                        self.desks[host].session = Some(Session { silent_since: Some(since), ..session });
                        return Some(Went::Wrong(FailureKind::TimedOut));
                    }
                    self.session_ends(session.number);
                }
                Path::Silent => self.desks[host].session = None,
                Path::Broken => self.session_ends(session.number),
            }
        }
        if self.flight(host).is_some() {
            return Some(Went::On(Stage::Aboard, None, Duration::from_millis(300)));
        }
        match asker {
            Some(_) => self.desks[host].flight = Some((slot, epoch)),
            None if self.desks[host].asks || asks == Asks::Passphrase => {
                return Some(self.needs(slot, epoch, host));
            }
            // It is gone to, to learn that.
            None => {}
        }
        None
    }

    fn share(&mut self, slot: usize, epoch: Epoch, session: Session) -> Went {
        if let Some(link) = self.rooms[slot].links.get_mut(&epoch) {
            (link.asked, link.shared, link.bound_to) = (true, Some(session.number), session.bound_to);
            // The daemon tells that it is open before it gives it to anybody, and one queue takes what all links tell.
            link.told_at = link.told_at.max(session.told_at);
        }
        Went::On(Stage::Up, None, Duration::ZERO)
    }

    /// A login that was to be closed asks nobody any more and takes no session, however long its end takes: its tunnel
    /// may want that session by then.
    pub(super) fn is_given_up(&self, slot: usize, epoch: Epoch) -> bool {
        let link = self.rooms[slot].links.get(&epoch);
        link.is_some_and(|link| {
            link.known == Known::Closing && (link.asker.is_some() || self.asks(link.host).is_typed())
        })
    }

    pub(super) fn needs(&mut self, slot: usize, epoch: Epoch, host: usize) -> Went {
        self.report(slot, epoch, LinkReport::Needs(key(host)));
        Went::Wrong(match self.asks(host) {
            Asks::Passphrase => FailureKind::PassphraseNeeded,
            _ => FailureKind::AnswerNeeded,
        })
    }

    /// The login that is under way there.
    fn flight(&self, host: usize) -> Option<(usize, Epoch)> {
        self.desks[host].flight.filter(|(slot, epoch)| {
            let link = self.rooms[*slot].links.get(epoch);
            link.is_some_and(|link| link.known == Known::Dialling && link.stage < Stage::Up)
        })
    }

    /// Another login is waited for.
    pub(super) fn aboard(&mut self, host: usize) -> Went {
        let again = Duration::from_millis(300);
        match self.flight(host) {
            Some(_) => Went::On(Stage::Aboard, None, again),
            None => Went::On(Stage::Resolve, None, Duration::ZERO),
        }
    }

    /// Whether a login of that link is asked something now.
    pub(super) fn asks_at(&self, slot: usize, epoch: Epoch, host: usize) -> bool {
        let there = self.far.hosts.get(host);
        self.asks(host).is_typed()
            && self.path(slot, epoch) == Path::Alive
            && there.is_some_and(|there| !there.locked && !there.stranger)
    }

    /// The server asks, or a key does: whoever is there sees it.
    pub(super) fn ask_person(
        &mut self,
        slot: usize,
        epoch: Epoch,
        host: usize,
    ) -> Result<Went, Box<super::Broken>> {
        self.desks[host].asks = true;
        if self.rooms[slot].links.get(&epoch).is_none_or(|link| link.asker.is_none()) {
            // Somebody may have answered meanwhile, for another tunnel.
            return Ok(match self.desks[host].session {
                Some(_) => Went::On(Stage::Resolve, None, Duration::ZERO),
                None => self.needs(slot, epoch, host),
            });
        }
        self.check_prompt(slot, host)?;
        self.see("prompt");
        let waiting = self.rooms.iter().enumerate().flat_map(|(slot, room)| {
            let aboard =
                room.links.iter().filter(|(_, link)| link.host == host && link.stage == Stage::Aboard);
            aboard.map(move |(epoch, _)| (slot, *epoch))
        });
        let waiting: Vec<_> = waiting.chain([(slot, epoch)]).collect();
        for (slot, epoch) in waiting {
            self.report(slot, epoch, LinkReport::Needs(key(host)));
            self.report(slot, epoch, LinkReport::Asking(Whom::Person));
        }
        // Who does not answer at all is given up by core.
        let takes = self.rooms[slot].person.map_or(Duration::ZERO, |person| person.takes);
        self.push(takes, Event::Typed(slot, epoch));
        Ok(Went::On(Stage::Person(self.now + takes), None, takes))
    }

    /// They typed something, or went.
    pub(super) fn typed(&mut self, slot: usize, epoch: Epoch) {
        let now = self.now;
        if let Some(link) = self.rooms[slot].links.get_mut(&epoch)
            && matches!(link.stage, Stage::Person(_))
        {
            link.stage = Stage::Person(now);
            self.push(Duration::ZERO, Event::Dial(slot, epoch));
        }
    }

    /// Whether what was typed is right.
    pub(super) fn is_right(&mut self, slot: usize, epoch: Epoch) -> bool {
        let room = &mut self.rooms[slot];
        let Some(link) = room.links.get_mut(&epoch) else { return false };
        let right = room.person.is_some_and(|person| link.asker == Some(person.id) && person.knows);
        link.asked |= right;
        right
    }

    /// A link is up: what somebody typed for it is there for everybody.
    pub(super) fn opens(&mut self, slot: usize, epoch: Epoch) {
        let number = self.number();
        let Some(link) = self.rooms[slot].links.get_mut(&epoch) else { return };
        let host = link.host;
        if !self.far.hosts.get(host).is_some_and(|there| there.asks.is_typed()) || link.shared.is_some() {
            return;
        }
        link.shared = Some(number);
        let (bound_to, opened_at) = (link.bound_to, self.now);
        self.report(slot, epoch, LinkReport::Opened(key(host)));
        let told_at = self.rooms[slot].links.get(&epoch).map_or(opened_at, |link| link.told_at);
        let session = Session { number, bound_to, opened_at, told_at, silent_since: None };
        self.desks[host] = Desk { asks: true, flight: None, session: Some(session), newest: Some(number) };
    }

    /// The server or the network ended it, for all who share it.
    pub(super) fn session_ends(&mut self, number: u64) {
        for desk in &mut self.desks {
            desk.session = desk.session.filter(|session| session.number != number);
        }
        let over = self.rooms.iter().enumerate().flat_map(|(slot, room)| {
            let shared = room.links.iter().filter(|(_, link)| link.shared == Some(number));
            shared.map(move |(epoch, _)| (slot, *epoch))
        });
        let over: Vec<(usize, Epoch)> = over.collect();
        for (slot, epoch) in over {
            self.rooms[slot].changed_at = self.now;
            self.end(slot, epoch, LinkReport::Lost(probe::disconnected()));
        }
    }

    /// A link is closed; what it shared is kept while a tunnel wants it that leads there.
    pub(super) fn leave_session(&mut self, slot: usize, epoch: Epoch) {
        let Some(link) = self.rooms[slot].links.get_mut(&epoch) else { return };
        let (host, unacknowledged) = (link.host, link.unacknowledged);
        let Some(number) = link.shared.take() else { return };
        let wanted = self.rooms.iter().any(|room| room.host() == host && room.desire() != Desire::Down);
        let desk = &mut self.desks[host];
        if let Some(session) = desk.session.as_mut().filter(|session| session.number == number) {
            session.silent_since = session.silent_since.or(unacknowledged);
            desk.session = desk.session.filter(|_| wanted);
        }
    }

    /// What holds of this tunnel and whoever may be asked for it.
    pub(super) fn check_answers(&self, slot: usize) -> Checked {
        let room = &self.rooms[slot];
        let Some(parked) = room.parked.filter(|parked| parked.kind.wants_an_answer()) else { return Ok(()) };
        let host = room.host();
        let open = self.desks.get(host).and_then(|desk| desk.session);
        let open = open.filter(|session| self.path_of(host, session.bound_to, false) == Path::Alive);
        self.check_is_woken(slot, parked, open)
    }
}
