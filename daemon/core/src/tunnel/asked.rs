//! Logins that take a person: who may be asked, what is waited for, and how one answer serves all tunnels that need
//! it. What is asked and answered never comes here.

use super::link::Link;
use super::{Desire, Tunnel};
use crate::io::{AskerId, Epoch, LoginKey, Order, Output, Timer, TimerReason};
use crate::moment::Moment;

impl Tunnel {
    /// Somebody is there to answer. What is up needs no answer; what dials without that person begins anew.
    pub(super) fn unlock(&mut self, now: Moment, asker: AskerId) {
        if self.removing || self.link.is_up() {
            return;
        }
        if self.desire() == Desire::Down {
            self.order = Some(Order::Start);
        }
        self.asker = Some(asker);
        self.forget_failures();
        if let Link::Live(session) = &self.link {
            if !session.is_queued() {
                let epoch = session.epoch();
                self.emit(Output::Close(epoch));
            }
            self.connect(now);
        }
    }

    /// The login that it needs an answer for, while it is parked for one.
    pub fn needs(&self) -> Option<&LoginKey> {
        match &self.link {
            Link::Parked { why, .. } if why.kind.wants_an_answer() => self.needs.as_ref(),
            _ => None,
        }
    }

    /// Whether `epoch` is one of those that are in the world and not over.
    pub(crate) fn knows(&self, epoch: Epoch) -> bool {
        let sessions = [self.link.session(), self.successor.session()];
        sessions.into_iter().flatten().any(|session| session.epoch() == epoch && !session.is_queued())
    }

    pub(super) fn idle_timer(&self) -> Option<Timer> {
        (self.desire() == Desire::OnDemand && self.link.is_up() && self.held == 0 && self.open == 0)
            .then(|| (self.unused_since + self.spec.policy.idle, TimerReason::Idle))
    }
}
