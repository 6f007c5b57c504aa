//! What comes from outside and changes what is wanted, or what is worth trying: users' words, other files,
//! hints that the world changed.

use super::Tunnel;
use super::link::Link;
use super::successor::Successor;
use crate::failure::FailureKind;
use crate::io::{Nudge, Order, Output};
use crate::moment::Moment;
use crate::spec::TunnelSpec;

impl Tunnel {
    pub(super) fn ordered(&mut self, now: Moment, order: Order) {
        if self.removing {
            return;
        }
        match order {
            Order::Start => {
                self.order = Some(Order::Start);
                self.forget_failures();
                self.retry_listeners(now, |_| true);
                self.retry_remotes(now);
            }
            Order::Restart => {
                self.order = Some(Order::Start);
                self.forget_failures();
                self.retry_listeners(now, |_| true);
                self.retry_remotes(now);
                self.close_link(now);
            }
            Order::Stop => self.order = Some(Order::Stop),
        }
    }

    pub(super) fn respec(&mut self, now: Moment, spec: TunnelSpec) {
        self.removing = false;
        let old = std::mem::replace(&mut self.spec, spec);
        if old.policy != self.spec.policy {
            let policy = self.spec.policy.clone();
            self.emit(Output::Repolicy(policy));
        }
        if old.route != self.spec.route {
            // It dials with what the file said before.
            self.withdraw_successor();
            // An up link stays when the new words only concern the next login.
            let same_place = old.route.leads_where(&self.spec.route);
            if !(same_place && self.link.is_up()) {
                self.close_link(now);
                self.forget_failures();
            }
            if !same_place {
                self.authenticated = false;
            }
        }
        self.respec_forwards(now);
        self.respec_notebooks(now);
        self.respec_remotes();
    }

    pub(super) fn nudged(&mut self, now: Moment, nudge: Nudge) {
        self.backoff.reset();
        self.retry_listeners(now, |_| true);
        self.retry_remotes(now);
        if let Link::Live(session) = &mut self.link
            && session.nudged(now)
        {
            let epoch = session.epoch();
            self.emit(Output::Probe(epoch));
        }
        self.nudge_draining(now);
        self.redial(now, nudge);
        if nudge == Nudge::Operator || !matches!(self.successor, Successor::Refused { .. }) {
            self.encourage_successor();
        }
        match nudge {
            Nudge::Woke | Nudge::Network => self.link.retry_now(now),
            Nudge::Operator => self.forget_failures(),
        }
    }

    /// Forgets what went wrong: a tunnel that waits or is parked begins anew.
    pub(super) fn forget_failures(&mut self) {
        self.backoff.reset();
        self.refusals = 0;
        self.encourage_successor();
        if let Link::Waiting { .. } | Link::Parked { .. } = self.link {
            self.link = Link::None;
        }
    }

    /// Begins anew if it is parked for a reason that `concerns` what changed.
    pub(super) fn unpark(&mut self, concerns: impl Fn(FailureKind) -> bool) {
        self.unrefuse_successor(&concerns);
        if let Link::Parked { why, .. } = &self.link
            && concerns(why.kind)
        {
            self.backoff.reset();
            self.link = Link::None;
        }
    }
}
