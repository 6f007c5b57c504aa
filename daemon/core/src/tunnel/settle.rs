//! Brings what is nearer to what is wanted, after every input. Doing it twice changes nothing.

use super::link::Link;
use super::listeners::Listener;
use super::successor::link_word;
use super::{Desire, Tunnel};
use crate::failure::Failure;
use crate::io::{About, Gate, Output, Settled, Transition, WaitFor};
use crate::moment::Moment;
use crate::session::Session;
use crate::view::State;

impl Tunnel {
    pub(super) fn settle(&mut self, now: Moment) {
        self.settle_listeners(now);
        self.settle_all_or_nothing(now);
        self.settle_link(now);
        self.settle_successor(now);
        self.settle_remotes(now);
        let gate = self.gate_wanted();
        self.settle_notebooks(now, gate);
        self.settle_gate(gate);
        self.announce(now);
        self.tell_lost_login();
        self.announce_suspicion();
        self.answer_waits();
        if self.removing && self.link == Link::None && self.listeners_gone() {
            self.emit(Output::Gone);
        }
    }

    fn gate_wanted(&self) -> Gate {
        match &self.link {
            _ if self.desire() == Desire::Down => Gate::Reset,
            Link::Live(session) if session.serves() => Gate::Serve(session.epoch()),
            Link::Parked { why, .. } if !why.kind.wants_an_answer() => Gate::Reset,
            Link::None
            | Link::Live(_)
            | Link::Waiting { .. }
            | Link::Parked { .. }
            | Link::Closing { .. } => Gate::Hold,
        }
    }

    fn settle_gate(&mut self, gate: Gate) {
        if self.gate != Some(gate) {
            self.gate = Some(gate);
            self.emit(Output::Gate(gate));
        }
    }

    fn announce(&mut self, now: Moment) {
        let state = self.state();
        if state == State::Up {
            self.because = None;
        }
        // A failure is told even where the word stays: a first retry follows at once.
        if state == self.announced && self.because.is_none() {
            return;
        }
        let retry_in = self.retry_at().map(|at| at.since(now));
        let transition = Transition {
            about: About::Tunnel,
            from: self.announced.word(),
            to: state.word(),
            why: self.because.take(),
            retry_in,
        };
        if state != self.announced {
            self.announced = state;
            self.announced_at = now;
        }
        self.emit(Output::Announce(transition));
    }

    /// Tells when a link that is up stops answering, and when it answers again.
    fn announce_suspicion(&mut self) {
        let suspect = self.link.session().is_some_and(Session::is_suspect);
        let before = std::mem::replace(&mut self.suspicion_told, suspect);
        if before != suspect && self.link.is_up() {
            let (from, to) = (link_word(before), link_word(suspect));
            self.emit(Output::Announce(Transition {
                about: About::Link,
                from,
                to,
                why: None,
                retry_in: None,
            }));
        }
    }

    fn answer_waits(&mut self) {
        if self.waits.is_empty() {
            return;
        }
        let (answered, still): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waits)
            .into_iter()
            .map(|(id, wait)| (id, wait, self.settled(wait)))
            .partition(|(_, _, settled)| settled.is_some());
        self.waits = still.into_iter().map(|(id, wait, _)| (id, wait)).collect();
        for (id, _, settled) in answered {
            self.outputs.extend(settled.map(|settled| Output::Answer(id, settled)));
        }
    }

    /// How `wait` ended, if it did.
    fn settled(&self, wait: WaitFor) -> Option<Settled> {
        let desire = self.desire();
        match wait {
            WaitFor::Down if desire != Desire::Down => Some(Settled::Overtaken),
            WaitFor::Down => (self.state() == State::Stopped).then_some(Settled::Reached),
            WaitFor::Up if desire == Desire::Down => Some(Settled::Overtaken),
            WaitFor::Up => match &self.link {
                Link::Parked { why, .. } => Some(Settled::Stuck(why.clone())),
                Link::Live(session) if session.is_up() && !session.is_suspect() => {
                    match self.listeners_verdict()? {
                        Settled::Reached => self.remotes_verdict(),
                        stuck @ (Settled::Stuck(_) | Settled::Overtaken) => Some(stuck),
                    }
                }
                // The person who was asked was no help, and nobody else is tried.
                Link::Live(session) if session.is_suspect() && session.took_a_person() => {
                    self.refusal().map(|why| Settled::Stuck(why.clone()))
                }
                Link::None | Link::Waiting { .. }
                    if self.state() == State::Idle || self.lacks_a_listener() =>
                {
                    self.listeners_verdict()
                }
                Link::None | Link::Live(_) | Link::Waiting { .. } | Link::Closing { .. } => None,
            },
        }
    }

    /// Whether the listeners are there, once that can be said.
    fn listeners_verdict(&self) -> Option<Settled> {
        let mut stuck: Option<&Failure> = None;
        for forward in &self.forwards {
            match &forward.listener {
                Listener::Bound { .. } => {}
                Listener::Failed { why, .. } => stuck = stuck.or(Some(why)),
                Listener::Idle | Listener::Binding { .. } | Listener::Unbinding { .. } => return None,
            }
        }
        Some(stuck.map_or(Settled::Reached, |why| Settled::Stuck(why.clone())))
    }
}
