//! What is to follow the link while it still may answer: a second session beside one that is suspect, worn or
//! left unread. Whichever answers first keeps the tunnel.

use std::time::Duration;

use super::draining::Draining;
use super::link::Link;
use super::{Desire, Tunnel};
use crate::failure::{Failure, FailureKind, Verdict};
use crate::io::{About, Epoch, LinkReport, Output, Timer, TimerReason, Transition};
use crate::moment::Moment;
use crate::session::{Due, Session};

/// Two sessions that follow one link are dialled at least so far apart: a path that answers every other probe
/// is not met with a login each time.
const APART: Duration = Duration::from_secs(10);
/// A renewal that failed is tried again after this: what is to be renewed still works.
const RENEWAL_RETRY: Duration = Duration::from_secs(10 * 60);

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Successor {
    None,
    /// It dials, or waits for its turn.
    Live(Session),
    /// The last one failed or was not needed; not before `until`.
    /// `renewal`: the link still served then, so that is no reason once it does not.
    Waiting {
        until: Moment,
        renewal: bool,
    },
    /// It cannot come up until something changes. The link is kept for as long as it lasts.
    Refused {
        why: Failure,
    },
}

impl Successor {
    pub(super) fn session(&self) -> Option<&Session> {
        match self {
            Successor::Live(session) => Some(session),
            Successor::None | Successor::Waiting { .. } | Successor::Refused { .. } => None,
        }
    }

    pub(super) fn epoch(&self) -> Option<Epoch> {
        self.session().map(Session::epoch)
    }
}

impl Tunnel {
    /// Whether the link should be followed by another session.
    pub(super) fn wants_successor(&self) -> bool {
        let Link::Live(link) = &self.link else { return false };
        // Who is there answers for what does not, and is not asked for what does.
        let may_be_asked = self.asker.is_some() && link.is_suspect();
        if !link.is_up() || link.took_a_person() && !may_be_asked && !self.joins {
            return false;
        }
        let (somebody_waits, somebody_is_there) = match self.desire() {
            Desire::Down => (false, false),
            Desire::OnDemand => {
                let somebody_waits = self.held > 0 || self.asker.is_some();
                (somebody_waits, somebody_waits || self.open > 0)
            }
            Desire::Up => (true, true),
        };
        // What works is not followed at the cost of what an older session still carries.
        let renews = link.is_worn() && !self.drains_full();
        link.is_suspect() && somebody_waits || (renews || link.is_clogged()) && somebody_is_there
    }

    pub(super) fn successor_timer(&self) -> Option<Timer> {
        match &self.successor {
            Successor::Live(session) => session.timer(&self.spec.policy),
            Successor::Waiting { until, .. } => Some((*until, TimerReason::Retry)),
            Successor::None | Successor::Refused { .. } => None,
        }
    }

    /// Begins, or takes back, what the link needs.
    pub(super) fn settle_successor(&mut self, now: Moment) {
        let serves = self.link.session().is_some_and(Session::serves);
        if matches!(&self.successor, Successor::Waiting { until, renewal } if *until <= now || *renewal && !serves)
        {
            self.successor = Successor::None;
        }
        let wanted = self.wants_successor();
        match &self.successor {
            Successor::None if wanted => self.successor = Successor::Live(self.next_session(now)),
            Successor::Live(_) if !wanted => {
                if self.withdraw_successor() {
                    self.successor = Successor::Waiting { until: now + APART, renewal: false };
                }
            }
            Successor::None | Successor::Live(_) | Successor::Waiting { .. } | Successor::Refused { .. } => {}
        }
    }

    /// Ends the successor's dial, if there is one. Returns whether something of it was in the world.
    pub(super) fn withdraw_successor(&mut self) -> bool {
        let before = std::mem::replace(&mut self.successor, Successor::None);
        match before.session() {
            Some(session) if !session.is_queued() => {
                self.emit(Output::Close(session.epoch()));
                true
            }
            Some(_) | None => false,
        }
    }

    /// What kept a successor from being tried has changed.
    pub(super) fn encourage_successor(&mut self) {
        match self.successor {
            Successor::Waiting { .. } | Successor::Refused { .. } => self.successor = Successor::None,
            Successor::None | Successor::Live(_) => {}
        }
    }

    /// The same, if what it was refused for `concerns` what changed.
    pub(super) fn unrefuse_successor(&mut self, concerns: impl Fn(FailureKind) -> bool) {
        if let Successor::Refused { why } = &self.successor
            && concerns(why.kind)
        {
            self.successor = Successor::None;
        }
    }

    pub(super) fn successor_reported(&mut self, now: Moment, report: LinkReport) {
        let Successor::Live(session) = &mut self.successor else { return };
        match report {
            LinkReport::Step(step) => session.stepped(now, step, &self.spec.policy),
            LinkReport::Asking(asks) => session.asking(now, asks, &self.spec.policy),
            LinkReport::Asked => session.asked(),
            LinkReport::Typed(login) => session.typed(login),
            LinkReport::Needs(key) => self.needs = Some(key),
            LinkReport::Up => self.succeed(now),
            LinkReport::Lost(failure) => self.successor_failed(now, failure),
            LinkReport::Closed => self.successor_failed(now, Failure::closed()),
            LinkReport::Opened(_)
            | LinkReport::Answers(_)
            | LinkReport::Heard
            | LinkReport::Unanswered
            | LinkReport::AddressGone
            | LinkReport::Clogged(_)
            | LinkReport::Worn
            | LinkReport::Drained => {}
        }
    }

    pub(super) fn successor_timed_out(&mut self, now: Moment) {
        let Successor::Live(session) = &mut self.successor else { return };
        if let Some(Due::Overdue(failure)) = session.due(now, &self.spec.policy) {
            let epoch = session.epoch();
            self.emit(Output::Close(epoch));
            self.successor_failed(now, failure);
        }
    }

    fn successor_failed(&mut self, now: Moment, failure: Failure) {
        if self.joins && self.asker.is_none() && failure.kind.wants_an_answer() {
            // What was open is not any more.
            (self.joins, self.successor) = (false, Successor::None);
            return;
        }
        let link = self.link.session();
        let word = link_word(link.is_some_and(Session::is_suspect));
        // While it does not, whoever comes is held: then there is as much hurry as without a link.
        let serves = link.is_some_and(Session::serves);
        let mut transition = Transition {
            about: About::Link,
            from: word,
            to: word,
            why: Some(failure.clone()),
            retry_in: None,
        };
        self.successor = match failure.verdict() {
            Verdict::Retry => {
                let delay = if serves { RENEWAL_RETRY } else { self.backoff.next_delay() };
                transition.retry_in = Some(delay);
                Successor::Waiting { until: now + delay, renewal: serves }
            }
            Verdict::Park(_) => {
                self.asker = None;
                Successor::Refused { why: failure }
            }
        };
        self.emit(Output::Announce(transition));
    }

    /// The successor is up: it is the link from now on. What the old one carries is not cut off while there is
    /// hope for it.
    fn succeed(&mut self, now: Moment) {
        let Successor::Live(session) = std::mem::replace(&mut self.successor, Successor::None) else {
            return;
        };
        let old = std::mem::replace(&mut self.link, Link::Live(session));
        let renewal = match old {
            Link::Live(old) if !old.is_suspect() => {
                self.drain(now, Draining::for_good(old, now, &self.spec.policy));
                true
            }
            Link::Live(old) if old.has_no_address() => {
                self.emit(Output::Close(old.epoch()));
                false
            }
            Link::Live(old) => {
                self.drain(now, Draining::on_trial(old, now));
                false
            }
            Link::None | Link::Waiting { .. } | Link::Parked { .. } | Link::Closing { .. } => false,
        };
        self.link_came_up(now, !renewal);
        let (from, to) = if renewal { ("ok", "renewed") } else { ("suspect", "replaced") };
        self.suspicion_told = false;
        self.emit(Output::Announce(Transition { about: About::Link, from, to, why: None, retry_in: None }));
    }
}

/// How a link that is up is doing, in one word.
pub(super) const fn link_word(suspect: bool) -> &'static str {
    if suspect { "suspect" } else { "ok" }
}
