//! What a link that is up tells: answers, that something was heard, silence, its end. And what it was told.

use std::time::Duration;

use nbtunnel_core::{Epoch, Failure, FailureKind, FleetInput, Input, LinkReport};

use super::Checked;
use super::dial::Path;
use super::event::Event;
use super::machine::Machine;
use super::room::{Known, Question, Stage};
use super::shell::Sim;

/// A question is given up after this.
const ASKS_AT_MOST: Duration = Duration::from_secs(60);
/// The system ends a connection whose bytes are not acknowledged for so long.
const UNACKNOWLEDGED: Duration = Duration::from_secs(90);
/// The same where logging in took a person.
const UNACKNOWLEDGED_WITH_PERSON: Duration = Duration::from_secs(16 * 60);
/// What is told at most once a second.
const SECOND: Duration = Duration::from_secs(1);
/// A connection that gets nothing back for so long has stalled.
const STALL: Duration = nbtunnel_core::io::STALL;

pub(super) fn disconnected() -> Failure {
    Failure::new(FailureKind::Disconnected, "the connection was ended", "")
}

impl<M: Machine> Sim<M> {
    /// A report is on its way; those of one link stay in order.
    pub(super) fn report(&mut self, slot: usize, epoch: Epoch, report: LinkReport) {
        let soon = self.now + self.chance.millis(0, 2);
        let Some(link) = self.rooms[slot].links.get_mut(&epoch) else { return };
        link.told_at = link.told_at.max(soon);
        let at = link.told_at;
        self.push_at(at, Event::Said(slot, epoch, report));
    }

    /// A report arrives at the loop.
    pub(super) fn said(&mut self, slot: usize, epoch: Epoch, report: LinkReport) -> Checked {
        let over = matches!(report, LinkReport::Lost(_) | LinkReport::Closed);
        if over {
            let room = &mut self.rooms[slot];
            room.past.push_back(epoch);
            if room.past.len() > 4 {
                room.past.pop_front();
            }
        }
        let name = self.rooms[slot].name.clone();
        self.tell(FleetInput::Tunnel(name, Input::Link(epoch, report)))
    }

    pub(super) fn ask(&mut self, slot: usize, epoch: Epoch) {
        let (address, number) = (self.far.address, self.number());
        let now = self.now;
        let Some(link) = self.rooms[slot].links.get_mut(&epoch) else { return };
        if link.known == Known::Up {
            link.silent_since = link.silent_since.or(Some(now));
        }
        if link.stage != Stage::Up {
            return;
        }
        if link.question.is_some() {
            link.asked_again = true;
            return;
        }
        if link.bound_to.0 != address {
            return self.report(slot, epoch, LinkReport::AddressGone);
        }
        link.question = Some(Question { number, asked_at: now });
        link.unacknowledged = link.unacknowledged.or(Some(now));
        let (host, clogged) = (link.host, link.clogged);
        let busy = self.is_busy(slot, epoch);
        let mut takes = self.far.answer_time(&mut self.chance, host);
        if busy && !clogged && self.chance.one_in(20) {
            // It waits behind a lot of other bytes.
            takes += self.chance.secs(3, 40);
        }
        self.push(takes, Event::Answer(slot, epoch, number));
        self.push(ASKS_AT_MOST, Event::GaveUpAsking(slot, epoch, number));
        if busy {
            self.push(SECOND, Event::Tick(slot, epoch, number));
        }
    }

    fn is_busy(&self, slot: usize, epoch: Epoch) -> bool {
        self.rooms[slot].clients.iter().any(|client| client.link == Some(epoch) && client.busy)
    }

    /// The question `number` of a link, if it is the one under way.
    fn question(&self, slot: usize, epoch: Epoch, number: u64) -> Option<Question> {
        let link = self.rooms[slot].links.get(&epoch).filter(|link| link.stage == Stage::Up)?;
        link.question.filter(|question| question.number == number)
    }

    pub(super) fn answer(&mut self, slot: usize, epoch: Epoch, number: u64) {
        let Some(question) = self.question(slot, epoch, number) else { return };
        let took = self.now - question.asked_at;
        match self.path(slot, epoch) {
            Path::Alive => {
                let Some(link) = self.rooms[slot].links.get_mut(&epoch) else { return };
                link.question = None;
                link.unacknowledged = None;
                let again = std::mem::take(&mut link.asked_again);
                self.report(slot, epoch, LinkReport::Answers(took));
                if again {
                    self.ask(slot, epoch);
                }
            }
            Path::Broken => self.lose(slot, epoch, disconnected()),
            Path::Silent if self.is_out_of_patience(slot, epoch) => self.lose(slot, epoch, disconnected()),
            Path::Silent => {
                let again = (took / 2).clamp(Duration::from_millis(200), Duration::from_secs(20));
                self.push(again, Event::Answer(slot, epoch, number));
            }
        }
    }

    /// The system has sent it again for long enough. What hangs or does not read still acknowledges.
    fn is_out_of_patience(&self, slot: usize, epoch: Epoch) -> bool {
        let Some(link) = self.rooms[slot].links.get(&epoch) else { return false };
        let acknowledged = link.clogged || self.far.hosts.get(link.host).is_some_and(|there| there.frozen);
        let limit = if link.asked { UNACKNOWLEDGED_WITH_PERSON } else { UNACKNOWLEDGED };
        !acknowledged && link.unacknowledged.is_some_and(|since| self.now >= since + limit)
    }

    pub(super) fn tick(&mut self, slot: usize, epoch: Epoch, number: u64) {
        if self.question(slot, epoch, number).is_none() {
            return;
        }
        if !self.is_busy(slot, epoch) {
            // Nothing is before the answer any more.
            return self.answer(slot, epoch, number);
        }
        if self.path(slot, epoch) == Path::Alive {
            self.report(slot, epoch, LinkReport::Heard);
        }
        self.push(SECOND, Event::Tick(slot, epoch, number));
    }

    pub(super) fn gave_up_asking(&mut self, slot: usize, epoch: Epoch, number: u64) {
        if self.question(slot, epoch, number).is_none() {
            return;
        }
        if let Some(link) = self.rooms[slot].links.get_mut(&epoch) {
            link.question = None;
            if std::mem::take(&mut link.asked_again) {
                self.ask(slot, epoch);
            }
        }
    }

    /// A connection that talks all the time notices silence by itself.
    pub(super) fn stall(&mut self, slot: usize, epoch: Epoch) {
        if !self.is_busy(slot, epoch) {
            return;
        }
        let path = self.path(slot, epoch);
        let now = self.now;
        let Some(link) = self.rooms[slot].links.get_mut(&epoch) else { return };
        match (path, link.stalled) {
            (Path::Alive, _) => link.stalled = None,
            (Path::Silent, None) => link.stalled = Some((now, false)),
            (Path::Silent, Some((since, false))) if now >= since + STALL => {
                link.stalled = Some((since, true));
                self.report(slot, epoch, LinkReport::Unanswered);
            }
            (Path::Silent, Some(_)) => {}
            (Path::Broken, _) => return self.lose(slot, epoch, disconnected()),
        }
        self.push(Duration::from_millis(1500), Event::Stall(slot, epoch));
    }

    /// A local program stops reading, or reads again.
    pub(super) fn clog(&mut self, slot: usize, epoch: Epoch, clogged: bool) {
        let Some(link) = self.rooms[slot].links.get_mut(&epoch) else { return };
        if link.stage == Stage::Up && link.clogged != clogged {
            link.clogged = clogged;
            link.pure = false;
            self.report(slot, epoch, LinkReport::Clogged(clogged));
        }
    }

    pub(super) fn tell_if_drained(&mut self, slot: usize, epoch: Epoch) {
        let carries = self.rooms[slot].carried_by(epoch) > 0;
        let Some(link) = self.rooms[slot].links.get(&epoch) else { return };
        if link.stage == Stage::Up && link.draining.is_some() && !carries {
            self.report(slot, epoch, LinkReport::Drained);
        }
    }

    /// It is to end. That takes a moment, seldom longer, very seldom for ever.
    pub(super) fn close(&mut self, slot: usize, epoch: Epoch) {
        let path = self.path(slot, epoch);
        let Some(link) = self.rooms[slot].links.get(&epoch) else { return };
        let (host, stage) = (link.host, link.stage);
        if stage == Stage::Over {
            return;
        }
        // The daemon lets go of the session first: only the goodbye may take long, and whoever wants the session does
        // not wait for that.
        self.leave_session(slot, epoch);
        let takes = match stage {
            _ if self.chance.one_in(200) => return self.connections_end(slot, epoch),
            _ if self.chance.one_in(50) => self.chance.secs(1, 12),
            Stage::Up if path == Path::Alive => self.far.answer_time(&mut self.chance, host).min(SECOND),
            Stage::Up => SECOND,
            _ => self.chance.millis(0, 3),
        };
        self.connections_end(slot, epoch);
        self.push(takes, Event::Closed(slot, epoch));
    }

    pub(super) fn lose(&mut self, slot: usize, epoch: Epoch, why: Failure) {
        let shared = self.rooms[slot].links.get(&epoch).and_then(|link| link.shared);
        self.end(slot, epoch, LinkReport::Lost(why));
        if let Some(number) = shared {
            self.session_ends(number);
        }
    }

    /// It is over, and that is the last that it says.
    pub(super) fn end(&mut self, slot: usize, epoch: Epoch, last: LinkReport) {
        let Some(link) = self.rooms[slot].links.get_mut(&epoch) else { return };
        if link.stage == Stage::Over {
            return;
        }
        link.stage = Stage::Over;
        link.question = None;
        self.connections_end(slot, epoch);
        self.report(slot, epoch, last);
    }
}
