//! What must hold of every single thing that core says, judged by what is known of the world alone.

use std::collections::VecDeque;
use std::time::Duration;

use nbtunnel_core::fleet::{TURN_LASTS, TURNS};
use nbtunnel_core::tunnel::Desire;
use nbtunnel_core::{
    Asks, Epoch, FailureKind, FleetInput, Gate, Input, LinkReport, Order, Output, Settled, State, WaitFor,
};

use super::far::At;
use super::machine::Machine;
use super::room::{Client, Known, Link, Room};
use super::shell::{Sim, moment};
use super::{Checked, hold};

/// A link that does not answer is given up after this.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// The same where logging in took a person.
const PATIENCE_WITH_PERSON: Duration = Duration::from_secs(15 * 60);
/// Delays follow the backoff: no minute has more attempts …
const ATTEMPTS_A_MINUTE: usize = 20;
/// … and so many more for each encouragement, which begins the backoff anew: with one every ten seconds there are
/// attempts 0, 0, 0.5, 1.5, 3.5 and 7.5 s after each. Fewer would not do for any number of them in a minute.
const ATTEMPTS_WHEN_ENCOURAGED: usize = 5;
/// A refusal of keys that worked earlier is tried again after these.
const REFUSAL_RETRIES: [u64; 4] = [60, 300, 900, 1800];
/// So many timeouts at one moment are none too many: each may make another due at once.
const TIMEOUTS_AT_ONCE: usize = 3;

/// What is remembered of what core was told.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// The next timeout comes too early.
    pub(super) early: bool,
    /// A timer was overdue before the input: whatever came of it may have come of that.
    overdue: bool,
    /// The input is about a link that is over, or cannot be true.
    stale: bool,
    /// When timeouts were told, in the last minute.
    timeouts: VecDeque<At>,
}

impl<M: Machine> Sim<M> {
    pub(super) fn before_telling(&mut self, input: &FleetInput) -> Checked {
        let timer = self.machine.poll_timeout();
        self.told.overdue = timer.is_some_and(|(at, _)| at <= moment(self.now));
        self.told.stale = false;
        match input {
            FleetInput::Tunnel(name, input) => {
                if let Some(slot) = self.slots.get(name).copied() {
                    self.told.stale = self.rooms[slot].is_stale(input) | self.hear_of_notebook(slot, input);
                    self.rooms[slot].hear(input, self.now);
                }
                Ok(())
            }
            FleetInput::Nudge(_) => {
                let now = self.now;
                self.rooms.iter_mut().for_each(|room| room.encourage(now));
                Ok(())
            }
            FleetInput::Timeout => {
                self.notebooks_timed_out();
                self.count_timeout()
            }
            FleetInput::Apply(_) => Ok(()),
        }
    }

    fn count_timeout(&mut self) -> Checked {
        let (now, timeouts) = (self.now, &mut self.told.timeouts);
        if !self.told.early {
            timeouts.push_back(now);
        }
        while timeouts.front().is_some_and(|at| *at + Duration::from_secs(60) < now) {
            timeouts.pop_front();
        }
        let at_once = timeouts.iter().rev().take_while(|at| **at == now).count();
        // A notebook that is gone is looked for twice a second for a while.
        let each = if self.style.notebooks { 640 } else { 40 };
        let few = each * self.rooms.len() + 60;
        hold("nothing_spins", at_once <= TIMEOUTS_AT_ONCE && timeouts.len() <= few, || {
            format!("{at_once} timeouts at one moment, {} in a minute", timeouts.len())
        })
    }

    pub(super) fn after_telling(&mut self, input: &FleetInput, outputs: &[(usize, Output)]) -> Checked {
        let early = std::mem::take(&mut self.told.early);
        if early {
            hold("an_early_timeout_changes_nothing", outputs.is_empty(), || format!("{outputs:?}"))?;
        }
        if self.told.stale && !self.told.overdue {
            hold("what_is_stale_changes_nothing", outputs.is_empty(), || {
                format!("{input:?} led to {outputs:?}")
            })?;
        }
        if *input == FleetInput::Timeout {
            let timer = self.machine.poll_timeout();
            let later = timer.is_none_or(|(at, _)| at > moment(self.now));
            hold("no_timer_lies_in_the_past", later, || format!("{timer:?} at {:?}", self.now))?;
        }
        let few = 64 + 24 * self.rooms.len();
        hold("nothing_spins", outputs.len() <= few, || format!("{} outputs at once", outputs.len()))?;
        if let FleetInput::Tunnel(name, Input::Link(epoch, report)) = input
            && let Some(slot) = self.slots.get(name).copied()
        {
            self.take_in(slot, *epoch, report);
            self.take_in_opened(report);
        }
        Ok(())
    }

    /// What core knows of a link now.
    fn take_in(&mut self, slot: usize, epoch: Epoch, report: &LinkReport) {
        let now = self.now;
        self.see(word(report));
        let room = &mut self.rooms[slot];
        let Some(link) = room.links.get_mut(&epoch) else { return };
        match report {
            LinkReport::Up if link.known == Known::Dialling => {
                link.known = Known::Up;
                link.up_at = now;
                room.authenticated = true;
                room.refusals = 0;
            }
            LinkReport::Answers(_) => link.silent_since = None,
            LinkReport::Heard => link.silent_since = link.silent_since.map(|_| now),
            LinkReport::Clogged(clogged) => {
                link.known_clogged = *clogged;
                link.silent_since = link.silent_since.filter(|_| !clogged).map(|_| now);
            }
            LinkReport::Asking(asks) => link.asking_since = (*asks == Asks::Person).then_some(now),
            LinkReport::Step(_) => link.asking_since = None,
            LinkReport::Drained => link.drained = true,
            LinkReport::AddressGone => link.address_gone = true,
            LinkReport::Lost(_) | LinkReport::Closed => {
                if link.asked {
                    room.changed_at = now;
                }
                room.links.remove(&epoch);
            }
            LinkReport::Up
            | LinkReport::Needs(_)
            | LinkReport::Opened(_)
            | LinkReport::Typed(_)
            | LinkReport::Asked
            | LinkReport::Unanswered
            | LinkReport::Worn => {}
        }
    }

    /// Whether core may say that.
    pub(super) fn check_output(&mut self, slot: usize, output: &Output, input: &FleetInput) -> Checked {
        if let Some((begun, name)) = super::notebook_rules::begun(self.now, output) {
            return self.check_task(slot, begun, name);
        }
        let room = &self.rooms[slot];
        let said = || format!("t{slot}: {output:?} after {}", super::trace::input(input));
        match output {
            Output::Connect(epoch, route, asker) => {
                hold("what_is_not_wanted_never_connects", room.desire() != Desire::Down, said)?;
                let right = room.spec.as_ref().is_some_and(|spec| spec.route == **route);
                hold("it_dials_where_the_file_says", right, said)?;
                hold("epochs_only_grow", *epoch > room.newest, said)?;
                self.check_asker(slot, *asker)?;
                self.check_attempt(slot, asker.is_some())
            }
            Output::Bind(..) => hold("what_is_not_wanted_never_binds", room.desire() != Desire::Down, said),
            Output::Gate(Gate::Serve(epoch)) => {
                hold("only_what_is_up_serves", room.links.get(epoch).is_some_and(Link::may_serve), said)
            }
            Output::Probe(epoch) | Output::Drain(epoch) => {
                let up = room.links.get(epoch).is_some_and(|link| link.known == Known::Up);
                hold("only_what_is_up_is_asked_or_drained", up, said)
            }
            Output::Close(epoch) => {
                let live = room.links.get(epoch).filter(|link| link.known != Known::Closing);
                hold("only_what_lives_is_closed", live.is_some(), said)?;
                self.check_given_up(live, input, said)?;
                match live.filter(|link| link.known == Known::Up) {
                    Some(link) => self.check_close(slot, link, input),
                    None => Ok(()),
                }
            }
            Output::Retarget(id, target) => self.check_target(slot, *id, target),
            Output::Answer(id, settled) => {
                if let Some(checked) = self.check_wish_answered(slot, *id, settled) {
                    return checked;
                }
                let wait = room.waits.get(id);
                hold("a_wait_is_answered_once", wait.is_some(), said)?;
                let tunnel = self.machine.tunnels().get(&room.name);
                let state = tunnel.map(|tunnel| tunnel.state());
                let is_true = wait.is_some_and(|(wait, _)| is_true(*wait, settled, room, state));
                hold("an_answer_is_true", is_true, said)
            }
            Output::Gone => {
                let left = room.links.values().any(|link| link.known != Known::Closing);
                hold("gone_when_nothing_is_left", room.spec.is_none() && !left, said)
            }
            Output::Listen(..) | Output::Unlisten(..) => self.check_remote(slot, output, said),
            Output::Unbind(_)
            | Output::OwnerOnly(..)
            | Output::Forget(_)
            | Output::Repolicy(_)
            | Output::Notebook(..)
            | Output::Gate(_)
            | Output::Announce(_) => Ok(()),
        }
    }

    fn check_attempt(&mut self, slot: usize, with_person: bool) -> Checked {
        let now = self.now;
        let live = self.rooms.iter().flat_map(|room| room.links.values());
        let young = live.filter(|l| l.known == Known::Dialling && l.connected_at + TURN_LASTS > now).count();
        hold("few_dial_at_a_time", young < TURNS, || format!("{young} dial when t{slot} begins"))?;
        let held = self.machine.tunnels().get(&self.rooms[slot].name).map_or(0, |tunnel| tunnel.held());
        let room = &mut self.rooms[slot];
        let mut links = room.links.values();
        let dials = links.clone().any(|link| link.known == Known::Dialling);
        hold("one_successor_at_a_time", !dials, || format!("t{slot} dials already: {:?}", room.links))?;
        // Where somebody opened the same login anew, another one takes nobody. What only drains gets no new connection
        // any more: once the link that followed it is lost, there is no other way up than to dial.
        let open = |link: &Link| self.desks.get(link.host).is_some_and(|desk| desk.opened_since(link));
        let needs = |link: &Link| link.may_serve() && link.asked && !open(link);
        let kept = with_person || !links.clone().any(needs);
        hold("a_link_that_needs_a_person_is_kept", kept, || format!("t{slot}: {:?}", room.links))?;
        let needed = room.desire() == Desire::Up
            || held > 0
            || with_person
            || room.seats.values().any(|seat| !seat.wishes.is_empty())
            || links.any(|link| link.known == Known::Up);
        hold("on_demand_dials_for_somebody", needed, || format!("t{slot} dials for nobody"))?;
        let waits = room.parked.filter(|parked| parked.due.is_none_or(|due| due > now));
        hold("a_parked_tunnel_waits", waits.is_none(), || format!("t{slot} dials, parked as {waits:?}"))?;
        if room.parked.take().is_some() {
            // Only from now on it can come up.
            room.changed_at = now;
        }
        let minute = Duration::from_secs(60);
        room.attempts.retain(|at| *at + minute > now);
        room.encouraged.retain(|at| *at + minute > now);
        room.attempts.push_back(now);
        let most = ATTEMPTS_A_MINUTE + ATTEMPTS_WHEN_ENCOURAGED * room.encouraged.len();
        let few = room.attempts.len() <= most;
        hold("attempts_are_bounded", few, || format!("{} in a minute for t{slot}", room.attempts.len()))
    }

    /// Whether there is a good reason to end a link that is up.
    fn check_close(&self, slot: usize, link: &Link, input: &FleetInput) -> Checked {
        let (now, room) = (self.now, &self.rooms[slot]);
        let by_user = matches!(
            input,
            FleetInput::Apply(_) | FleetInput::Tunnel(_, Input::Order(Order::Restart | Order::Stop))
        );
        let patience = if link.asked { PATIENCE_WITH_PERSON } else { PATIENCE };
        let silent = link.silent_since.map_or(Duration::ZERO, |since| now - since);
        // What was followed by another link has as long again as it was silent.
        let grace = link.draining.zip(link.silent_since).is_some_and(|(draining, since)| {
            now - draining + Duration::from_secs(1) >= draining.saturating_sub(since).min(PATIENCE)
        });
        let unused = room.desire() == Desire::OnDemand && room.clients.is_empty();
        let good = by_user
            || room.desire() == Desire::Down
            || unused
            || link.drained
            || link.address_gone
            || grace
            || silent + Duration::from_secs(5) >= patience
            || link.draining.is_some_and(|since| now >= since + self.style.drain);
        let rule = if link.pure { "a_link_on_a_living_path_is_kept" } else { "patience_is_kept" };
        hold(rule, good, || {
            format!("t{slot} closes {link:?} at {now:?} after {}", super::trace::input(input))
        })
    }

    /// Nobody who was held in a fair world is turned away.
    pub(super) fn check_hold_over(&self, slot: usize, client: &Client) -> Checked {
        if client.notebook.is_some() {
            // Its server may not be there.
            return Ok(());
        }
        let room = &self.rooms[slot];
        let since =
            self.fair_since(slot).filter(|since| *since + self.comes_up_within(slot) < client.came_at);
        let waited = room.spec.as_ref().is_some_and(|spec| client.came_at + spec.policy.hold <= self.now);
        let served = since.is_none() || !waited || room.parked.is_some();
        hold("held_connections_are_served", served, || {
            format!("t{slot}: {client:?} though fair since {since:?}")
        })
    }
}

impl Room {
    fn is_stale(&self, input: &Input) -> bool {
        let Input::Link(epoch, report) = input else { return false };
        let over = matches!(report, LinkReport::Lost(_) | LinkReport::Closed);
        self.links.get(epoch).is_none_or(|link| link.known == Known::Closing && !over)
    }

    /// What of an input makes trying sensible.
    fn hear(&mut self, input: &Input, now: At) {
        let kind = self.parked.map(|parked| parked.kind);
        let wakes = match input {
            Input::CredentialsChanged => matches!(
                kind,
                Some(FailureKind::NoCredentials | FailureKind::AuthRefused | FailureKind::PassphraseNeeded)
            ),
            Input::KnownHostsChanged => {
                matches!(kind, Some(FailureKind::HostKeyUnknown | FailureKind::HostKeyChanged))
            }
            _ => false,
        };
        if wakes {
            self.parked = None;
            self.encourage(now);
        }
    }

    /// When a tunnel that is parked for `kind` tries again by itself. Counts that.
    pub(super) fn refused_until(&mut self, now: At, kind: FailureKind) -> Option<At> {
        let refused = kind == FailureKind::AuthRefused && self.authenticated;
        let delay = REFUSAL_RETRIES.get(self.refusals).filter(|_| refused)?;
        self.refusals += 1;
        Some(now + Duration::from_secs(*delay))
    }
}

fn word(report: &LinkReport) -> &'static str {
    match report {
        LinkReport::Step(_) => "Step",
        LinkReport::Asking(_) => "Asking",
        LinkReport::Needs(_) => "Needs",
        LinkReport::Opened(_) => "Opened",
        LinkReport::Typed(_) => "Typed",
        LinkReport::Asked => "Asked",
        LinkReport::Up => "Up",
        LinkReport::Answers(_) => "Answers",
        LinkReport::Heard => "Heard",
        LinkReport::Unanswered => "Unanswered",
        LinkReport::AddressGone => "AddressGone",
        LinkReport::Clogged(_) => "Clogged",
        LinkReport::Worn => "Worn",
        LinkReport::Drained => "Drained",
        LinkReport::Lost(failure) => failure.kind.code(),
        LinkReport::Closed => "Closed",
    }
}

fn is_true(wait: WaitFor, settled: &Settled, room: &Room, state: Option<State>) -> bool {
    let down = room.desire() == Desire::Down;
    match (wait, settled) {
        (WaitFor::Up, Settled::Overtaken) => down,
        (WaitFor::Down, Settled::Overtaken) => !down,
        (WaitFor::Down, Settled::Reached) => matches!(state, Some(State::Stopped) | None),
        (WaitFor::Up, Settled::Reached) => matches!(state, Some(State::Up | State::Idle)),
        (WaitFor::Up, Settled::Stuck(_)) => matches!(state, Some(State::Parked | State::Up | State::Idle)),
        (WaitFor::Down, Settled::Stuck(_)) => false,
    }
}
