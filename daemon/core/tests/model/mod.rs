//! A second opinion of what a tunnel should be doing, without timers, backoff, listeners, probes or what
//! drains. It is told why a timer fired, what the listeners do in the world and whether much drains; the rest it works out itself.

use nbtunnel_core::{
    LinkReport as Says, TimerReason as Timer, Verdict::Park, WakesOn as On, tunnel::Desire, *,
};

use self::Link::{Closing, Dialling, Parked, Queued, Rest, Up, Waiting};
use crate::run::{Listening, Phase};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Link {
    Rest,
    Queued,
    Dialling(Step),
    Up,
    Waiting,
    Parked(FailureKind),
    Closing,
}

/// What is known of the session that is the link, or is to be it.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    epoch: u64,
    asked: bool,
    /// Somebody typed an answer for it, or for a session that it shares.
    login: bool,
    /// A person is being asked.
    asking: bool,
    suspect: bool,
    worn: bool,
    clogged: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Model {
    spec: TunnelSpec,
    order: Option<Order>,
    removing: bool,
    link: Link,
    known: Known,
    /// What is to follow the link; `Rest` if nothing is. `Parked`: nothing can before something changes.
    next: Link,
    next_known: Known,
    /// The next waits because a renewal failed, which is no reason once the link does not serve.
    renewing: bool,
    newest: u64,
    held: u32,
    open: u32,
    /// Who may be asked.
    asker: Option<AskerId>,
    /// What the link took a person for is open elsewhere.
    joins: bool,
    /// An attempt failed since failures were last forgotten: the next failure is not retried at once.
    failed: bool,
}

impl Model {
    pub(crate) fn new(spec: TunnelSpec, first_epoch: u64) -> Self {
        let (known, newest) = (Known::default(), first_epoch - 1);
        let (order, removing, failed, renewing, held, open) = (None, false, false, false, 0, 0);
        let (link, next, next_known, asker) = (Rest, Rest, known, None);
        Model {
            spec,
            order,
            removing,
            link,
            known,
            next,
            next_known,
            renewing,
            newest,
            held,
            open,
            asker,
            joins: false,
            failed,
        }
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
            (Queued | Dialling(_), _) => Phase::Trying,
            (Up, _) => Phase::Up,
            (Parked(_), _) => Phase::Parked,
        }
    }

    pub(crate) fn gate(&self) -> Gate {
        match self.link {
            _ if self.desire() == Desire::Down => Gate::Reset,
            Up if !self.known.suspect && !self.known.clogged => Gate::Serve(Epoch(self.known.epoch)),
            Parked(why) if !why.wants_an_answer() => Gate::Reset,
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
                let stays = self.spec.route.leads_where(&new.route) && link == Up;
                let differs = self.spec.route != new.route;
                self.next = if differs { Rest } else { self.next };
                self.close(differs && !stays);
                self.forget(differs && !stays);
                (self.spec, self.removing) = ((**new).clone(), false);
            }
            (Input::Unlock(asker), link) if !self.removing => self.unlock(*asker, link),
            (Input::Left(asker), _) if self.asker == Some(*asker) => self.asker = None,
            (Input::Opened, link) => {
                self.changed(FailureKind::wants_an_answer);
                if link == Up && self.known.login {
                    self.joins = true;
                    self.next = if matches!(self.next, Waiting | Parked(_)) { Rest } else { self.next };
                }
            }
            (Input::Nudge(nudge), link) => self.nudged(*nudge, link, listening.dials_lately),
            (Input::Activity { held, open }, _) => (self.held, self.open) = (*held, *open),
            (Input::Go, Queued) => self.link = Dialling(Step::Resolve),
            (Input::Go, _) if self.next == Queued => self.next = Dialling(Step::Resolve),
            (Input::CredentialsChanged, _) => self.changed(|why| why.verdict() == Park(On::Credentials)),
            (Input::FilesRead, _) => self.changed(|why| why == FailureKind::Config),
            (Input::KnownHostsChanged, _) => self.changed(|why| why.verdict() == Park(On::KnownHosts)),
            (Input::Link(epoch, said), link) if epoch.0 == self.known.epoch => self.heard(said, link),
            (Input::Link(epoch, said), _) if epoch.0 == self.next_known.epoch => self.heard_of_next(said),
            (Input::Timeout, _) => self.timed_out(fired),
            _ => {}
        }
        self.asker = self.asker.filter(|_| self.desire() != Desire::Down);
        match (self.link, self.desire()) {
            (Waiting | Parked(_), Desire::Down) => self.forget(true),
            (_, Desire::Down) => self.close(true),
            (Queued, _) if !self.needed() => self.link = Rest,
            (Rest, _) if listening.settled => self.try_again(true),
            _ => {}
        }
        let in_the_way = self.next == Waiting && self.renewing && (self.known.suspect || self.known.clogged);
        self.next = if in_the_way { Rest } else { self.next };
        self.next = match (self.next, self.wants_next(listening.full)) {
            (Rest, true) => self.enqueue_next(),
            (Dialling(_), false) => {
                self.renewing = false;
                Waiting
            }
            (Queued, false) => Rest,
            (next, _) => next,
        };
    }

    fn wants_next(&self, full: bool) -> bool {
        let (Known { asked, suspect, worn, clogged, .. }, up) = (self.known, self.desire() == Desire::Up);
        let somebody = self.held > 0 || self.asker.is_some();
        let spent = (worn && !full || clogged) && (up || somebody || self.open > 0);
        self.link == Up
            && (!asked || self.asker.is_some() || self.joins)
            && self.desire() != Desire::Down
            && (suspect && self.needed() || spent)
    }

    fn nudged(&mut self, nudge: Nudge, link: Link, dials_lately: bool) {
        self.failed = false;
        self.forget(nudge == Nudge::Operator);
        let stuck = |link: Link| match (nudge, link) {
            (Nudge::Woke, Dialling(step)) if !dials_lately => (Step::Tcp..Step::Authenticate).contains(&step),
            (Nudge::Network, Dialling(step)) => step == Step::Tcp,
            _ => false,
        };
        if stuck(self.link) {
            self.enqueue();
        }
        match self.next {
            next if stuck(next) => self.next = self.enqueue_next(),
            Waiting => self.next = Rest,
            _ => {}
        }
        self.try_again(nudge != Nudge::Operator && link == Waiting);
    }

    fn unlock(&mut self, asker: AskerId, link: Link) {
        self.order = if self.desire() == Desire::Down { Some(Order::Start) } else { self.order };
        if link == Up && !self.known.suspect {
            return;
        }
        (self.asker, self.joins) = (Some(asker), self.joins && link != Up);
        self.next = Rest;
        self.forget(true);
        if let Dialling(_) = link {
            self.enqueue();
        }
    }

    fn changed(&mut self, concerns: fn(FailureKind) -> bool) {
        let concerned = |link| matches!(link, Parked(why) if concerns(why));
        self.next = if concerned(self.next) { Rest } else { self.next };
        if concerned(self.link) {
            (self.link, self.failed) = (Rest, false);
        }
    }

    fn heard(&mut self, said: &Says, link: Link) {
        match (said, link) {
            (Says::Step(step), Dialling(before)) if follows(before, *step) => {
                (self.link, self.known.asking) = (Dialling(*step), false);
            }
            (Says::Asking(whom), Dialling(_)) => self.known.asking = *whom == Asks::Person,
            (Says::Asked, Dialling(_)) => (self.known.asked, self.known.login) = (true, false),
            (Says::Typed(_), Dialling(_)) => self.known.login = true,
            (Says::Up, Dialling(_)) => (self.link, self.asker, self.joins) = (Up, None, false),
            (Says::Answers(_) | Says::Heard, Up) => self.known.suspect = false,
            (Says::AddressGone, Up) => self.known.suspect = true,
            (Says::Worn, Up) => self.known.worn = true,
            (Says::Clogged(clogged), Up) if *clogged != self.known.clogged => {
                (self.known.clogged, self.known.suspect) = (*clogged, false);
            }
            (Says::Lost(_) | Says::Closed, Closing) => self.link = Rest,
            (Says::Lost(why), Dialling(_) | Up) => self.lose(why.kind),
            (Says::Closed, Dialling(_) | Up) => self.lose(FailureKind::Disconnected),
            _ => {}
        }
    }

    fn heard_of_next(&mut self, said: &Says) {
        match (said, self.next) {
            (Says::Step(step), Dialling(before)) if follows(before, *step) => {
                (self.next, self.next_known.asking) = (Dialling(*step), false);
            }
            (Says::Asking(whom), Dialling(_)) => self.next_known.asking = *whom == Asks::Person,
            (Says::Asked, Dialling(_)) => (self.next_known.asked, self.next_known.login) = (true, false),
            (Says::Typed(_), Dialling(_)) => self.next_known.login = true,
            (Says::Up, Dialling(_)) => {
                (self.known, self.next, self.asker, self.joins) = (self.next_known, Rest, None, false);
            }
            (Says::Lost(why), Dialling(_)) => self.lose_next(why.kind),
            (Says::Closed, Dialling(_)) => self.lose_next(FailureKind::Disconnected),
            _ => {}
        }
    }

    fn timed_out(&mut self, fired: Option<Timer>) {
        match (fired, self.link) {
            (Some(Timer::StepDeadline), Up) => self.lose_next(overdue(self.next_known)),
            (Some(Timer::StepDeadline), _) => self.lose(overdue(self.known)),
            (Some(Timer::Patience), _) => self.lose(FailureKind::DeadPeer),
            (Some(Timer::ProbeDeadline), _) => self.known.suspect = true,
            (Some(Timer::Renew), _) => self.known.worn = true,
            (Some(Timer::Retry), Up) => self.next = Rest,
            (Some(Timer::Retry), Waiting) => self.try_again(true),
            (Some(Timer::Retry | Timer::CloseDeadline), _) => self.link = Rest,
            (Some(Timer::Steady), _) => self.failed = false,
            (reason, _) => self.close(reason == Some(Timer::Idle)),
        }
    }

    fn needed(&self) -> bool {
        let somebody = self.held > 0 || self.asker.is_some();
        self.desire() == Desire::Up || self.desire() == Desire::OnDemand && somebody
    }

    fn enqueue(&mut self) {
        self.newest += 1;
        (self.link, self.known) = (Queued, Known { epoch: self.newest, ..Known::default() });
    }

    fn enqueue_next(&mut self) -> Link {
        self.newest += 1;
        self.next_known = Known { epoch: self.newest, ..Known::default() };
        Queued
    }

    fn try_again(&mut self, really: bool) {
        match self.needed() {
            _ if !really => {}
            true => self.enqueue(),
            false => self.link = Rest,
        }
    }

    fn close(&mut self, really: bool) {
        self.next = if really { Rest } else { self.next };
        self.link = match self.link {
            link if !really => link,
            Dialling(_) | Up | Closing => Closing,
            Rest | Queued | Waiting | Parked(_) => Rest,
        };
    }

    fn forget(&mut self, really: bool) {
        self.failed &= !really;
        self.next = if really && matches!(self.next, Waiting | Parked(_)) { Rest } else { self.next };
        self.close(really && matches!(self.link, Waiting | Parked(_)));
    }

    fn lose(&mut self, why: FailureKind) {
        let why = match std::mem::replace(&mut self.next, Rest) {
            next @ (Queued | Dialling(_)) => {
                (self.link, self.known) = (next, self.next_known);
                return;
            }
            Parked(why) => why,
            _ => why,
        };
        match why.verdict() {
            Park(_) => (self.link, self.asker) = (Parked(why), None),
            Verdict::Retry if self.failed => self.link = Waiting,
            Verdict::Retry => self.try_again(true),
        }
        self.failed |= why.verdict() == Verdict::Retry;
    }

    fn lose_next(&mut self, why: FailureKind) {
        if self.joins && self.asker.is_none() && why.wants_an_answer() {
            (self.joins, self.next) = (false, Rest);
            return;
        }
        self.renewing = !self.known.suspect && !self.known.clogged;
        self.next = match why.verdict() {
            Park(_) => {
                self.asker = None;
                Parked(why)
            }
            Verdict::Retry if !self.renewing && !self.failed => Rest,
            Verdict::Retry => Waiting,
        };
        self.failed |= !self.renewing && why.verdict() == Verdict::Retry;
    }
}

/// What it means that a session did not do its step in time.
fn overdue(known: Known) -> FailureKind {
    if known.asking { FailureKind::AnswerNeeded } else { FailureKind::TimedOut }
}

/// Steps come in order, and begin anew at the next machine on the way.
fn follows(before: Step, step: Step) -> bool {
    step >= before || (before, step) == (Step::Authenticate, Step::Tcp)
}
