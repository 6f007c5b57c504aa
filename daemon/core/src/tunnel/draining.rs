//! Sessions that were followed by another: they get no new channel, and end when nothing is carried any more,
//! at the latest at their deadline.

use std::time::Duration;

use super::Tunnel;
use crate::io::{Epoch, LinkReport, Output, Timer, TimerReason};
use crate::moment::Moment;
use crate::session::{Due, PATIENCE, Session, is_late};
use crate::spec::Policy;

/// No tunnel keeps more of them; beyond that the oldest is closed.
const MOST: usize = 8;

/// A server that stood still for so long and goes on finds its connections there.
const FREEZE: Duration = Duration::from_secs(25);

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Draining {
    session: Session,
    until: Moment,
    /// It did not answer when it was replaced, and has until then to do so.
    on_trial: bool,
}

impl Draining {
    /// One that works and was followed in time.
    pub(super) fn for_good(session: Session, now: Moment, policy: &Policy) -> Self {
        Draining { session, until: now + policy.drain, on_trial: false }
    }

    /// One that does not answer. TCP sends again after at most as long as it has been waiting already
    /// (RFC 6298 §5.5): if the path is back, the answer comes within that time.
    pub(super) fn on_trial(session: Session, now: Moment) -> Self {
        let silent = session.silent_for(now);
        let trial = (silent + session.soon()).max(FREEZE.saturating_sub(silent)).min(PATIENCE);
        Draining { session, until: now + trial, on_trial: true }
    }

    fn timer(&self, policy: &Policy) -> Moment {
        self.session.timer(policy).map_or(self.until, |(at, _)| at.min(self.until))
    }
}

impl Tunnel {
    /// Whether another one would push the oldest out.
    pub(super) fn drains_full(&self) -> bool {
        self.draining.len() >= MOST
    }

    /// How many sessions only finish what they carry.
    pub(super) fn draining_count(&self) -> usize {
        self.draining.len()
    }

    pub(super) fn draining_epochs(&self) -> impl Iterator<Item = Epoch> {
        self.draining.iter().map(|old| old.session.epoch())
    }

    pub(super) fn draining_timer(&self) -> Option<Timer> {
        let policy = &self.spec.policy;
        self.draining.iter().map(|old| (old.timer(policy), TimerReason::Drain)).min()
    }

    pub(super) fn drain(&mut self, now: Moment, old: Draining) {
        let epoch = old.session.epoch();
        if self.drains_full() {
            let oldest = self.draining.remove(0);
            self.emit(Output::Close(oldest.session.epoch()));
        }
        self.draining.push(old);
        self.emit(Output::Drain(epoch));
        self.draining_timed_out(now);
    }

    /// Something is said of a session that may be one of them.
    pub(super) fn draining_reported(&mut self, now: Moment, epoch: Epoch, report: &LinkReport) {
        let policy = &self.spec.policy;
        let Some(at) = self.draining.iter().position(|old| old.session.epoch() == epoch) else { return };
        let Some(old) = self.draining.get_mut(at) else { return };
        let session = &mut old.session;
        let answered = match report {
            LinkReport::Lost(_) | LinkReport::Closed => {
                self.draining.remove(at);
                return;
            }
            LinkReport::Drained => {
                self.draining.remove(at);
                self.emit(Output::Close(epoch));
                return;
            }
            LinkReport::Answers(took) => {
                session.answered(now, *took, policy);
                true
            }
            LinkReport::Heard => {
                session.heard(now);
                true
            }
            LinkReport::Unanswered => {
                if session.unanswered(now) {
                    self.emit(Output::Probe(epoch));
                }
                return;
            }
            LinkReport::AddressGone => {
                session.lost_its_address(now);
                if old.on_trial {
                    self.draining.remove(at);
                    self.emit(Output::Close(epoch));
                }
                return;
            }
            LinkReport::Clogged(clogged) => {
                session.clogged(now, *clogged, policy);
                // While it is left unread its answer cannot be heard: nothing is on trial then.
                *clogged
            }
            LinkReport::Step(_)
            | LinkReport::Asking(_)
            | LinkReport::Needs(_)
            | LinkReport::Opened(_)
            | LinkReport::Typed(_)
            | LinkReport::Asked
            | LinkReport::Up
            | LinkReport::Worn => return,
        };
        if answered && std::mem::take(&mut old.on_trial) {
            old.until = now + policy.drain;
        }
    }

    pub(super) fn nudge_draining(&mut self, now: Moment) {
        for old in &mut self.draining {
            if old.session.nudged(now) {
                self.outputs.push_back(Output::Probe(old.session.epoch()));
            }
        }
    }

    pub(super) fn draining_timed_out(&mut self, now: Moment) {
        let (policy, outputs) = (&self.spec.policy, &mut self.outputs);
        self.draining.retain_mut(|old| {
            let epoch = old.session.epoch();
            // It could not answer while nobody listened.
            if old.on_trial && is_late(old.until, now) {
                old.until = now + old.session.soon();
            }
            let mut over = old.until <= now;
            while !over && let Some(due) = old.session.due(now, policy) {
                match due {
                    Due::Probe => outputs.push_back(Output::Probe(epoch)),
                    Due::Steady | Due::Old => {}
                    Due::Overdue(_) => over = true,
                }
            }
            if over {
                outputs.push_back(Output::Close(epoch));
            }
            !over
        });
    }

    pub(super) fn close_draining(&mut self) {
        for old in self.draining.drain(..) {
            self.outputs.push_back(Output::Close(old.session.epoch()));
        }
    }
}
