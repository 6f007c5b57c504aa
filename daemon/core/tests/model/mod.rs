//! A second opinion of what a tunnel should be doing, without timers, backoff, listeners or probes. It is
//! told why a timer fired and what the listeners do in the world; the rest it works out by itself.

use nbtunnel_core::{
    LinkReport as Says, TimerReason as Timer, Verdict::Park, WakesOn as On, tunnel::Desire, *,
};

use self::Link::{Closing, Dialling, Parked, Queued, Rest, Up, Waiting};
use crate::run::{Listening, Phase};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Link {
    Rest,
    Queued,
    Dialling,
    /// So many probes in a row were not answered.
    Up(u32),
    Waiting,
    Parked(FailureKind),
    Closing,
}

#[derive(Clone, Debug)]
pub(crate) struct Model {
    spec: TunnelSpec,
    order: Option<Order>,
    removing: bool,
    link: Link,
    /// Of the newest link.
    epoch: u64,
    held: u32,
    /// An attempt failed since failures were last forgotten: the next failure is not retried at once.
    failed: bool,
}

impl Model {
    pub(crate) fn new(spec: TunnelSpec, first_epoch: u64) -> Self {
        let (link, epoch) = (Rest, first_epoch - 1);
        Model { spec, order: None, removing: false, link, epoch, held: 0, failed: false }
    }

    pub(crate) fn desire(&self) -> Desire {
        match (self.removing, self.order, self.spec.start) {
            (true, ..) | (_, Some(Order::Stop), _) | (_, None, Start::Manual) => Desire::Down,
            (.., Start::Demand) => Desire::OnDemand,
            _ => Desire::Up,
        }
    }

    pub(crate) fn phase(&self, listening: Listening) -> Phase {
        match (self.link, self.desire()) {
            (Rest, Desire::Down) if listening.gone => Phase::Rest,
            (Rest, Desire::Down) | (Closing, _) => Phase::Closing,
            (Rest | Waiting, Desire::OnDemand) if listening.settled && !self.needed() => Phase::Rest,
            (Waiting, _) if self.needed() => Phase::Trying,
            (Rest | Waiting, _) => Phase::Binding,
            (Queued | Dialling, _) => Phase::Trying,
            (Up(_), _) => Phase::Up,
            (Parked(_), _) => Phase::Parked,
        }
    }

    pub(crate) fn gate(&self) -> Gate {
        match self.link {
            _ if self.desire() == Desire::Down => Gate::Reset,
            Up(0) => Gate::Serve(Epoch(self.epoch)),
            Parked(why) if why != FailureKind::AnswerNeeded => Gate::Reset,
            _ => Gate::Hold,
        }
    }

    pub(crate) fn handle(&mut self, input: &Input, fired: Option<Timer>, listening: Listening) {
        match (input, self.link) {
            (Input::Order(_), _) if self.removing => {}
            (Input::Order(order), _) => {
                self.order = Some(*order);
                self.forget(*order != Order::Stop);
                self.close(*order == Order::Restart);
            }
            (Input::Remove, _) => (self.removing, self.order) = (true, None),
            (Input::Respec(new), link) => {
                let stays = self.spec.route.leads_where(&new.route) && matches!(link, Up(_));
                let moved = self.spec.route != new.route && !stays;
                self.close(moved);
                self.forget(moved);
                (self.spec, self.removing) = ((**new).clone(), false);
            }
            (Input::Nudge(nudge), link) => {
                self.failed = false;
                self.forget(*nudge == Nudge::Operator);
                self.try_again(*nudge != Nudge::Operator && link == Waiting);
            }
            (Input::Activity { held, .. }, _) => self.held = *held,
            (Input::Go, Queued) => self.link = Dialling,
            (Input::CredentialsChanged, Parked(why)) => self.forget(why.verdict() == Park(On::Credentials)),
            (Input::KnownHostsChanged, Parked(why)) => self.forget(why.verdict() == Park(On::KnownHosts)),
            (Input::Link(epoch, _), _) if epoch.0 != self.epoch => {}
            (Input::Link(_, Says::Up), Dialling) => self.link = Up(0),
            (Input::Link(_, Says::Answers(_)), Up(_)) => self.link = Up(0),
            (Input::Link(_, Says::Lost(_) | Says::Closed), Closing) => self.link = Rest,
            (Input::Link(_, Says::Lost(why)), Dialling | Up(_)) => self.lose(why.kind),
            (Input::Link(_, Says::Closed), Dialling | Up(_)) => self.lose(FailureKind::Disconnected),
            (Input::Timeout, _) => self.timed_out(fired),
            _ => {}
        }
        match (self.link, self.desire()) {
            (Waiting | Parked(_), Desire::Down) => self.forget(true),
            (_, Desire::Down) => self.close(true),
            (Queued, _) if !self.needed() => self.link = Rest,
            (Rest, _) if listening.settled => self.try_again(true),
            _ => {}
        }
    }

    fn timed_out(&mut self, fired: Option<Timer>) {
        match (fired, self.link) {
            (Some(Timer::StepDeadline), _) => self.lose(FailureKind::TimedOut),
            (Some(Timer::ProbeDeadline), Up(2)) => self.lose(FailureKind::DeadPeer),
            (Some(Timer::ProbeDeadline), Up(missed)) => self.link = Up(missed + 1),
            (Some(Timer::Retry), Waiting) => self.try_again(true),
            (Some(Timer::Retry | Timer::CloseDeadline), _) => self.link = Rest,
            (Some(Timer::Steady), _) => self.failed = false,
            (reason, _) => self.close(reason == Some(Timer::Idle)),
        }
    }

    fn needed(&self) -> bool {
        self.desire() == Desire::Up || self.desire() == Desire::OnDemand && self.held > 0
    }

    fn try_again(&mut self, really: bool) {
        match self.needed() {
            _ if !really => {}
            true => (self.link, self.epoch) = (Queued, self.epoch + 1),
            false => self.link = Rest,
        }
    }

    fn close(&mut self, really: bool) {
        self.link = match self.link {
            link if !really => link,
            Dialling | Up(_) | Closing => Closing,
            Rest | Queued | Waiting | Parked(_) => Rest,
        };
    }

    fn forget(&mut self, really: bool) {
        self.failed &= !really;
        self.close(really && matches!(self.link, Waiting | Parked(_)));
    }

    fn lose(&mut self, why: FailureKind) {
        match why.verdict() {
            Park(_) => self.link = Parked(why),
            Verdict::Retry if self.failed => self.link = Waiting,
            Verdict::Retry => self.try_again(true),
        }
        self.failed |= why.verdict() == Verdict::Retry;
    }
}
