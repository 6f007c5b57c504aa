//! Logins that take a person: who may be asked, what is waited for, and how one answer serves all tunnels that need
//! it. What is asked and answered never comes here.

use super::link::Link;
use super::{Desire, Tunnel};
use crate::failure::{Failure, FailureKind};
use crate::io::{About, AskerId, Epoch, LoginKey, Order, Output, Timer, TimerReason, Transition};
use crate::moment::Moment;
use crate::session::Session;

impl Tunnel {
    /// Somebody is there to answer. What is up and answers needs no answer; what dials without that person begins
    /// anew. Who unlocks wants it up, whatever was said before.
    pub(super) fn unlock(&mut self, now: Moment, asker: AskerId) {
        if self.removing {
            return;
        }
        if self.desire() == Desire::Down {
            self.order = Some(Order::Start);
        }
        match &self.link {
            Link::Live(session) if session.is_up() && !session.is_suspect() => {}
            // Where it took a person, the successor was waiting for this one.
            Link::Live(session) if session.is_up() => {
                (self.asker, self.joins) = (Some(asker), false);
                self.withdraw_successor();
                self.forget_failures();
            }
            Link::Live(session) => {
                let dials = (!session.is_queued()).then(|| session.epoch());
                self.asker = Some(asker);
                self.forget_failures();
                if let Some(epoch) = dials {
                    self.emit(Output::Close(epoch));
                    self.connect(now);
                }
            }
            Link::None | Link::Waiting { .. } | Link::Parked { .. } | Link::Closing { .. } => {
                self.asker = Some(asker);
                self.forget_failures();
            }
        }
    }

    /// Nobody is there any more. What dials with that person learns it by itself, at its next question.
    pub(super) fn left(&mut self, asker: AskerId) {
        if self.asker == Some(asker) {
            self.asker = None;
        }
    }

    /// Whether somebody is there to answer.
    pub fn has_asker(&self) -> bool {
        self.asker.is_some()
    }

    /// The login that it needs an answer for, while nothing else helps it.
    pub fn needs(&self) -> Option<&LoginKey> {
        self.needs.as_ref().filter(|_| self.refusal().is_some_and(|why| why.kind.wants_an_answer()))
    }

    /// Whether it would go on by `login`, now that this is open: it needs that, or came up by it before.
    pub fn is_helped_by(&self, login: &LoginKey) -> bool {
        self.needs() == Some(login) || self.link.session().and_then(Session::login) == Some(login)
    }

    /// Somebody opened the login that helps it.
    pub(super) fn login_opened(&mut self) {
        self.unpark(FailureKind::wants_an_answer);
        if self.link.session().is_some_and(|link| link.login().is_some()) {
            self.joins = true;
            self.encourage_successor();
        }
    }

    /// The session is over that a person had let in. That is told once it is certain that only a person helps.
    pub(super) fn lost_login(&mut self, failure: &Failure) {
        let took_a_person = self.link.session().is_some_and(|link| link.is_up() && link.took_a_person());
        if took_a_person {
            self.lost_login = Some(failure.clone());
        }
    }

    /// Tells of a lost login, when that is parked for a person.
    pub(super) fn tell_lost_login(&mut self) {
        if !matches!(&self.link, Link::Parked { why, .. } if why.kind.wants_an_answer()) {
            return;
        }
        if let Some(why) = self.lost_login.take() {
            self.emit(Output::Announce(Transition {
                about: About::Login,
                from: "open",
                to: "lost",
                why: Some(why),
                retry_in: None,
            }));
        }
    }

    /// Whether `epoch` is one of those that are in the world and not over.
    pub(crate) fn knows(&self, epoch: Epoch) -> bool {
        let sessions = [self.link.session(), self.successor.session()];
        sessions.into_iter().flatten().any(|session| session.epoch() == epoch && !session.is_queued())
    }

    pub(super) fn idle_timer(&self) -> Option<Timer> {
        // The next login would take that person again.
        let is_cheap = self.link.session().is_some_and(|link| link.is_up() && !link.took_a_person());
        (self.desire() == Desire::OnDemand
            && is_cheap
            && self.held == 0
            && self.open == 0
            && !self.wants_a_notebook())
        .then(|| (self.unused_since + self.spec.policy.idle, TimerReason::Idle))
    }
}
