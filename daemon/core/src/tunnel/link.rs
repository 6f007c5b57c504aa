//! The link of a tunnel: the one session that takes new connections, and what comes after it.

use super::successor::Successor;
use super::{CLOSE_DEADLINE, Desire, REFUSAL_RETRIES, Tunnel};
use crate::failure::{Failure, FailureKind, Verdict, WakesOn};
use crate::io::{Epoch, LinkReport, Nudge, Output, Timer, TimerReason};
use crate::moment::Moment;
use crate::session::{Due, Session};
use crate::spec::Policy;

/// The link of a tunnel.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Link {
    /// Nothing, and nothing in the way of a new one.
    None,
    /// A session that dials or carries.
    Live(Session),
    /// The last attempt failed; the next is timed.
    Waiting { until: Moment, why: Failure },
    /// Trying again cannot help until something changes.
    Parked { why: Failure, wakes_on: WakesOn, retry_at: Option<Moment> },
    /// An orderly close is under way. What comes after it is whatever is wanted by then.
    Closing { epoch: Epoch, deadline: Moment },
}

impl Link {
    pub(super) fn epoch(&self) -> Option<Epoch> {
        match self {
            Link::Live(session) => Some(session.epoch()),
            Link::Closing { epoch, .. } => Some(*epoch),
            Link::None | Link::Waiting { .. } | Link::Parked { .. } => None,
        }
    }

    pub(super) fn session(&self) -> Option<&Session> {
        match self {
            Link::Live(session) => Some(session),
            Link::None | Link::Waiting { .. } | Link::Parked { .. } | Link::Closing { .. } => None,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.session().is_some_and(Session::is_up)
    }

    pub(super) fn retry_now(&mut self, now: Moment) {
        if let Link::Waiting { until, .. } = self {
            *until = now.min(*until);
        }
    }

    pub(super) fn timer(&self, policy: &Policy) -> Option<Timer> {
        match self {
            Link::None => None,
            Link::Live(session) => session.timer(policy),
            Link::Waiting { until, .. } => Some((*until, TimerReason::Retry)),
            Link::Parked { retry_at, .. } => retry_at.map(|at| (at, TimerReason::Retry)),
            Link::Closing { deadline, .. } => Some((*deadline, TimerReason::CloseDeadline)),
        }
    }
}

impl Tunnel {
    /// A new session that waits for its turn; the fleet says when it may dial.
    pub(super) fn next_session(&mut self, now: Moment) -> Session {
        let epoch = Epoch(self.next_epoch);
        self.next_epoch += 1;
        Session::queued(epoch, now)
    }

    pub(super) fn connect(&mut self, now: Moment) {
        self.needs = None;
        self.link = Link::Live(self.next_session(now));
    }

    pub(super) fn go(&mut self, now: Moment) {
        let sessions = match (&mut self.link, &mut self.successor) {
            (Link::Live(link), Successor::Live(successor)) => [Some(link), Some(successor)],
            (Link::Live(link), _) => [Some(link), None],
            (_, _) => [None, None],
        };
        for session in sessions.into_iter().flatten() {
            if session.go(now, &self.spec.policy) {
                let route = Box::new(self.spec.route.clone());
                self.outputs.push_back(Output::Connect(session.epoch(), route, self.asker));
                return;
            }
        }
    }

    fn came_up(&mut self, now: Moment) {
        if matches!(&self.link, Link::Live(session) if !session.is_up() && !session.is_queued()) {
            self.link_came_up(now, true);
        }
    }

    /// The session that is the link now has logged in. `anew`: there was none that answered before.
    pub(super) fn link_came_up(&mut self, now: Moment, anew: bool) {
        let Link::Live(session) = &mut self.link else { return };
        session.came_up(now);
        // The first probe tells the round trip, on which the later deadlines depend.
        let epoch = session.epoch();
        self.emit(Output::Probe(epoch));
        // Where a forward may end it at once, coming up alone says little.
        if !self.spec.policy.all_or_nothing {
            self.backoff.ease();
        }
        (self.asker, self.needs, self.lost_login) = (None, None, None);
        self.joins = false;
        self.authenticated = true;
        self.refusals = 0;
        self.ups += u64::from(anew);
        self.unused_since = now;
        self.forget_far_problems();
    }

    pub(super) fn link_reported(&mut self, now: Moment, report: LinkReport) {
        let policy = &self.spec.policy;
        match (&mut self.link, report) {
            (_, LinkReport::Lost(failure)) => self.link_ended(now, Some(failure)),
            (_, LinkReport::Closed) => self.link_ended(now, None),
            (Link::Live(session), report) => match report {
                LinkReport::Step(step) => session.stepped(now, step, policy),
                LinkReport::Asking(asks) => session.asking(now, asks, policy),
                LinkReport::Needs(key) if !session.is_up() => self.needs = Some(key),
                LinkReport::Asked => session.asked(),
                LinkReport::Typed(login) => session.typed(login),
                LinkReport::Up => self.came_up(now),
                LinkReport::Answers(took) => session.answered(now, took, policy),
                LinkReport::Heard => session.heard(now),
                LinkReport::Unanswered => {
                    if session.unanswered(now) {
                        let epoch = session.epoch();
                        self.emit(Output::Probe(epoch));
                    }
                }
                LinkReport::AddressGone => session.lost_its_address(now),
                LinkReport::Clogged(clogged) => session.clogged(now, clogged, policy),
                LinkReport::Worn => session.wear_out(),
                LinkReport::Needs(_)
                | LinkReport::Opened(_)
                | LinkReport::Drained
                | LinkReport::Lost(_)
                | LinkReport::Closed => {}
            },
            (Link::None | Link::Waiting { .. } | Link::Parked { .. } | Link::Closing { .. }, _) => {}
        }
    }

    /// Ends everything that there is of it in an orderly way; forgets what was waited for otherwise.
    pub(super) fn close_link(&mut self, now: Moment) {
        self.withdraw_successor();
        self.close_draining();
        match &mut self.link {
            Link::Live(session) => {
                let epoch = session.epoch();
                if session.is_queued() {
                    // Nothing of it is in the world yet.
                    self.link = Link::None;
                    return;
                }
                self.link = Link::Closing { epoch, deadline: now + CLOSE_DEADLINE };
                self.emit(Output::Close(epoch));
            }
            Link::Waiting { .. } | Link::Parked { .. } => self.link = Link::None,
            Link::None | Link::Closing { .. } => {}
        }
    }

    /// Begins a dial anew of which nothing will hardly come.
    pub(super) fn redial(&mut self, now: Moment, nudge: Nudge) {
        let stuck = |session: &Session| session.is_stuck_after(nudge, now).then(|| session.epoch());
        if let Some(epoch) = self.link.session().and_then(stuck) {
            self.emit(Output::Close(epoch));
            self.connect(now);
        }
        if let Some(epoch) = self.successor.session().and_then(stuck) {
            self.emit(Output::Close(epoch));
            self.successor = Successor::Live(self.next_session(now));
        }
    }

    /// The session is over: by itself (`Some`), or because it was closed.
    pub(super) fn link_ended(&mut self, now: Moment, lost: Option<Failure>) {
        if let Some(failure) = &lost {
            self.lost_login(failure);
        }
        match std::mem::replace(&mut self.link, Link::None) {
            Link::Closing { .. } => {}
            // A link that says it was closed though nobody asked is a lost one.
            Link::Live(_) => self.lose(now, lost.unwrap_or_else(Failure::closed)),
            other @ (Link::None | Link::Waiting { .. } | Link::Parked { .. }) => self.link = other,
        }
    }

    /// What a failure leads to: the successor, another attempt, or none until something changes.
    pub(super) fn lose(&mut self, now: Moment, failure: Failure) {
        self.because = Some(failure.clone());
        self.failed_with = Some(failure.clone());
        let failure = match std::mem::replace(&mut self.successor, Successor::None) {
            Successor::Live(session) => {
                self.link = Link::Live(session);
                return;
            }
            Successor::Refused { why } => why,
            Successor::None | Successor::Waiting { .. } => failure,
        };
        self.link = match failure.verdict() {
            Verdict::Retry => {
                let until = now + self.backoff.next_delay();
                Link::Waiting { until, why: failure }
            }
            Verdict::Park(wakes_on) => {
                // What was answered did not help: whoever is there is told so, and may try again.
                self.asker = None;
                // Keys that worked earlier were refused: an account that is locked for a while, a home
                // directory that is not mounted yet. Try again, seldom; a first refusal is final.
                let retry_at = (failure.kind == FailureKind::AuthRefused && self.authenticated)
                    .then(|| REFUSAL_RETRIES.get(self.refusals).map(|delay| now + *delay))
                    .flatten();
                if retry_at.is_some() {
                    self.refusals += 1;
                }
                Link::Parked { why: failure, wakes_on, retry_at }
            }
        };
    }

    pub(super) fn link_timed_out(&mut self, now: Moment) {
        // A session may have several things due at once; each is done at most once per moment.
        while let Link::Live(session) = &mut self.link {
            let epoch = session.epoch();
            match session.due(now, &self.spec.policy) {
                None => break,
                Some(Due::Probe) => self.emit(Output::Probe(epoch)),
                Some(Due::Steady) => self.backoff.reset(),
                Some(Due::Old) => {}
                Some(Due::Overdue(failure)) => {
                    // Nobody answers over there: what it says from now on is stale.
                    self.emit(Output::Close(epoch));
                    self.lost_login(&failure);
                    self.lose(now, failure);
                }
            }
        }
        match &self.link {
            Link::Closing { deadline, .. } if *deadline <= now => self.link_ended(now, None),
            Link::Parked { retry_at: Some(at), .. } if *at <= now => self.link = Link::None,
            Link::None
            | Link::Live(_)
            | Link::Waiting { .. }
            | Link::Parked { .. }
            | Link::Closing { .. } => {}
        }
        if let Some((at, TimerReason::Idle)) = self.idle_timer()
            && at <= now
        {
            self.close_link(now);
        }
    }

    /// Brings the link nearer to what is wanted.
    pub(super) fn settle_link(&mut self, now: Moment) {
        let desire = self.desire();
        let unneeded = self.is_unneeded();
        if desire == Desire::Down {
            (self.asker, self.lost_login) = (None, None);
        }
        match (&self.link, desire) {
            (Link::None, Desire::Down) => self.close_draining(),
            (Link::Closing { .. }, _) => {}
            (Link::Live(_), Desire::Down) => self.close_link(now),
            (Link::Waiting { .. } | Link::Parked { .. }, Desire::Down) => {
                self.close_link(now);
                self.backoff.reset();
            }
            (Link::None, _) if self.lacks_a_listener() => {}
            (Link::None, Desire::Up) if self.listeners_settled() => self.connect(now),
            (Link::None, Desire::OnDemand) if !unneeded && self.listeners_settled() => self.connect(now),
            // Its failures are kept: whoever comes and goes all the time makes it dial no more often.
            (Link::Waiting { until, .. }, _) if *until <= now && (unneeded || self.lacks_a_listener()) => {
                self.link = Link::None;
            }
            (Link::Waiting { until, .. }, _) if *until <= now => self.connect(now),
            (Link::Live(session), _) if unneeded && session.is_queued() => {
                self.link = Link::None;
            }
            (Link::None | Link::Waiting { .. } | Link::Live(_) | Link::Parked { .. }, _) => {}
        }
    }

    pub(super) fn session_reported(&mut self, now: Moment, epoch: Epoch, report: LinkReport) {
        let sessions = [self.link.session(), self.successor.session()];
        // A session that is queued is not in the world yet: nothing can be true that is said of it.
        if sessions.into_iter().flatten().any(|session| session.epoch() == epoch && session.is_queued()) {
            return;
        }
        if self.link.epoch() == Some(epoch) {
            self.link_reported(now, report);
        } else if self.successor.epoch() == Some(epoch) {
            self.successor_reported(now, report);
        } else {
            self.draining_reported(now, epoch, &report);
        }
    }
}
