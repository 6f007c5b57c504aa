//! What must hold of the state that core is in after every input, judged by what is known of the world.

use std::time::Duration;

use nbtunnel_core::session::ANSWER_DEADLINE;
use nbtunnel_core::tunnel::Desire;
use nbtunnel_core::{FailureKind, FleetInput, Gate, State, Tunnel, WaitFor};

use super::dial::Path;
use super::far::At;
use super::machine::Machine;
use super::room::{Known, Link, Parked, Room};
use super::rules::PATIENCE;
use super::shell::{Sim, moment};
use super::{Checked, hold};

/// In a fair world everything that is wanted is there after this: silence is noticed, its patience runs out,
/// the longest delay passes, a dial or two take their time.
const COMES_UP_WITHIN: Duration = Duration::from_secs(240);
/// The same where a link is kept because another one would need a person.
const WITH_PERSON: Duration = Duration::from_secs(15 * 60);
/// The longest that any step, bind, close or delay between two attempts lasts, and a little.
const UNDER_WAY: Duration = Duration::from_secs(37);
/// A server on a good path answers within this, whatever is lost on the way.
const ANSWERS_WITHIN: Duration = Duration::from_secs(15);
/// What is late by less than this is not late.
const SLACK: Duration = Duration::from_secs(10);

impl<M: Machine> Sim<M> {
    /// After every input, of those tunnels that it concerned.
    pub(super) fn check_touched(&mut self, input: &FleetInput) -> Checked {
        let touched = std::mem::take(&mut self.touched);
        for slot in &touched {
            let now = self.now;
            let room = &mut self.rooms[*slot];
            let Some(tunnel) = self.machine.tunnels().get(&room.name) else { continue };
            if tunnel.state() != State::Parked {
                room.parked = room.parked.filter(|_| !is_over(room));
            } else if room.parked.is_none()
                && let Some(kind) = tunnel.problem().map(|why| why.kind)
            {
                let due = room.refused_until(now, kind);
                room.parked = Some(Parked { kind, due });
            }
            let said = || format!("t{slot} after {}: {tunnel:?}", super::trace::input(input));
            check_room(room, said)?;
            check_waits(room, tunnel, said)?;
            check_timers(now, room, tunnel, said)?;
            room.check_seats(tunnel, said)?;
        }
        self.touched = touched;
        Ok(())
    }

    /// Since when nothing stands in the way of this tunnel.
    pub(super) fn fair_since(&self, slot: usize) -> Option<At> {
        let room = &self.rooms[slot];
        let clogged = room.links.values().any(|link| link.clogged);
        let far = self.far.fair_since(room.host()).filter(|_| !clogged)?;
        Some(far.max(room.changed_at).max(self.awake_at))
    }

    pub(super) fn comes_up_within(&self, slot: usize) -> Duration {
        let room = &self.rooms[slot];
        let typed = self.far.hosts.get(room.host()).is_some_and(|there| there.asks.is_typed());
        match room.links.values().any(|link| link.asked) {
            // The patience with the link, and then that with the session that it shared.
            _ if typed => COMES_UP_WITHIN + 2 * WITH_PERSON,
            true => COMES_UP_WITHIN + WITH_PERSON,
            false => COMES_UP_WITHIN,
        }
    }

    /// After every turn of the loop, of all tunnels.
    pub(super) fn check_everything(&self) -> Checked {
        for slot in 0..self.rooms.len() {
            let room = &self.rooms[slot];
            let since = self.awake_at.max(room.changed_at);
            // On trial first, then for good.
            let longest = PATIENCE + self.style.drain + SLACK;
            let late = room.links.iter().find(|(_, link)| {
                let over = link.draining.map(|draining| draining.max(since) + longest);
                link.known == Known::Up && over.is_some_and(|over| over < self.now)
            });
            hold("older_links_end_by_a_deadline", late.is_none(), || {
                format!("t{slot} at {:?}: {late:?}", self.now)
            })?;
            let late =
                room.parked.and_then(|parked| parked.due).map(|due| due.max(since) + UNDER_WAY + SLACK);
            let late = late.filter(|late| *late < self.now && room.desire() == Desire::Up);
            hold("refused_keys_are_tried_again", late.is_none(), || format!("t{slot}: {:?}", room.parked))?;
            self.check_answers(slot)?;
            self.check_notebooks(slot)?;
            if room.desire() == Desire::Up
                && let Some(since) = self.fair_since(slot)
                && since + self.comes_up_within(slot) < self.now
            {
                self.check_is_up(slot, since)?;
            }
        }
        Ok(())
    }

    fn check_is_up(&self, slot: usize, since: At) -> Checked {
        let room = &self.rooms[slot];
        let kind = room.parked.map(|parked| parked.kind);
        let host = room.host();
        let shown = self.far.hosts.get(host).map(|there| there.key);
        let rightly_parked = match kind {
            Some(FailureKind::AuthRefused | FailureKind::AnswerNeeded | FailureKind::PassphraseNeeded) => {
                true
            }
            Some(FailureKind::HostKeyUnknown | FailureKind::HostKeyChanged) => {
                self.far.known.get(&host).copied() != shown
            }
            Some(_) | None => false,
        };
        let carries = match room.gate {
            Gate::Serve(epoch) => {
                room.links.get(&epoch).is_some_and(|link| link.known == Known::Up)
                    && self.path(slot, epoch) == Path::Alive
            }
            // Packets may be lost: then it is suspect for a moment.
            Gate::Hold => room.links.iter().any(|(epoch, link)| {
                let asked = link.silent_since.is_some_and(|asked| asked + ANSWERS_WITHIN > self.now);
                asked && link.may_serve() && self.path(slot, *epoch) == Path::Alive
            }),
            Gate::Reset => false,
        };
        hold("what_is_wanted_and_possible_comes_up", rightly_parked || carries, || {
            let tunnel = self.machine.tunnels().get(&room.name);
            format!("t{slot} at {:?}, fair since {since:?}: {room:?}, {tunnel:?}", self.now)
        })
    }
}

/// Nothing is wanted of it any more.
fn is_over(room: &Room) -> bool {
    room.desire() == Desire::Down
}

fn check_room(room: &Room, said: impl Fn() -> String) -> Checked {
    let takers = room.links.values().filter(|link| link.may_serve()).count();
    hold("one_link_takes_connections", takers <= 1, &said)?;
    let serves = match room.gate {
        Gate::Serve(epoch) => room.links.get(&epoch).is_some_and(Link::may_serve),
        Gate::Hold | Gate::Reset => true,
    };
    hold("only_what_is_up_serves", serves, &said)?;
    if room.desire() != Desire::Down {
        return Ok(());
    }
    hold("what_is_not_wanted_resets", room.gate == Gate::Reset, &said)?;
    let live = room.links.values().any(|link| link.known != Known::Closing);
    hold("what_is_not_wanted_is_closed", !live, &said)
}

/// Nobody is left waiting for what has been reached or cannot be reached any more.
fn check_waits(room: &Room, tunnel: &Tunnel, said: impl Fn() -> String) -> Checked {
    let down = room.desire() == Desire::Down;
    for (wait, _) in room.waits.values() {
        let over = match (wait, tunnel.state()) {
            (WaitFor::Down, state) => state == State::Stopped || !down,
            (WaitFor::Up, _) if down => true,
            (WaitFor::Up, State::Parked) => true,
            // A link that is suspect is waited for.
            (WaitFor::Up, State::Up) if !matches!(room.gate, Gate::Serve(_)) => false,
            (WaitFor::Up, State::Up | State::Idle) => {
                let view = tunnel.view(moment(At::ZERO));
                view.forwards.iter().all(|forward| !forward.listens.is_empty())
            }
            (WaitFor::Up, _) => false,
        };
        hold("no_wait_is_lost", !over, &said)?;
    }
    Ok(())
}

fn check_timers(now: At, room: &Room, tunnel: &Tunnel, said: impl Fn() -> String) -> Checked {
    let timer = tunnel.poll_timeout().map(|(at, _)| at);
    let soon = timer.is_some_and(|at| at <= moment(now + UNDER_WAY));
    let dials = room.links.values().any(|link| link.known == Known::Dialling);
    let asking = room.links.values().any(|link| link.known == Known::Dialling && link.asking_since.is_some());
    let answer = timer.is_some_and(|at| at <= moment(now + ANSWER_DEADLINE));
    let in_time = match tunnel.state() {
        State::Binding | State::Waiting | State::Closing => soon,
        State::Connecting => soon || !dials || asking && answer,
        State::Up => timer.is_some() || room.links.values().any(|link| link.known_clogged),
        State::Stopped | State::Idle | State::Parked => true,
    };
    hold("what_is_under_way_has_a_timer", in_time, said)
}
