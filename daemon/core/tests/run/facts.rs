//! What is known of one listener or one link of the world, and of what is said about it.

use nbtunnel_core::tunnel::Desire;
use nbtunnel_core::{
    ForwardSpec, Health, Input, LinkReport, ListenAt, ListenerReport, Moment, Nudge, Order, Settled, State,
    Tunnel, WaitFor,
};

use super::ledger::CLOSE_DEADLINE;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ListenerFact {
    Asked {
        at: Moment,
    },
    Bound,
    /// `failed`: because it could not be bound in time.
    Closing {
        at: Moment,
        failed: bool,
    },
    Gone,
}

#[derive(Clone, Debug)]
pub(crate) struct Listener {
    pub(crate) spec: ForwardSpec,
    pub(crate) fact: ListenerFact,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum LinkFact {
    Dialling,
    Up { probed: bool },
    Draining { probed: bool },
    Closing { at: Moment },
    Ended,
}

impl LinkFact {
    pub(super) fn is_live(self) -> bool {
        matches!(self, LinkFact::Dialling | LinkFact::Up { .. } | LinkFact::Draining { .. })
    }
}

impl Listener {
    /// Takes in what is said of it; `failed` are the addresses where the last one failed.
    pub(super) fn reported(&mut self, report: &ListenerReport, failed: &mut Vec<ListenAt>) {
        let listen = &self.spec.listen;
        match (self.fact, report) {
            (ListenerFact::Asked { .. }, ListenerReport::Bound { .. }) => {
                self.fact = ListenerFact::Bound;
                failed.retain(|failed| failed != listen);
            }
            (ListenerFact::Asked { .. } | ListenerFact::Bound, ListenerReport::Failed(_))
            | (
                ListenerFact::Closing { failed: true, .. },
                ListenerReport::Failed(_) | ListenerReport::Unbound,
            ) => {
                failed.push(listen.clone());
                self.fact = ListenerFact::Gone;
            }
            (_, ListenerReport::Failed(_) | ListenerReport::Unbound) => self.fact = ListenerFact::Gone,
            (_, ListenerReport::Bound { .. }) => {}
        }
    }

    /// It listens, or will.
    pub(super) fn listens(&self) -> bool {
        matches!(self.fact, ListenerFact::Asked { .. } | ListenerFact::Bound)
    }

    /// It may hold its address.
    pub(super) fn is_there(&self, now: Moment) -> bool {
        self.listens() || matches!(self.fact, ListenerFact::Closing { at, .. } if at + CLOSE_DEADLINE > now)
    }

    pub(super) fn forget_failure(&mut self) {
        if let ListenerFact::Closing { failed, .. } = &mut self.fact {
            *failed = false;
        }
    }
}

/// What comes from outside and makes it sensible to try at once.
pub(super) fn is_encouraging(input: &Input) -> bool {
    matches!(
        input,
        Input::Order(Order::Start | Order::Stop | Order::Restart)
            | Input::Nudge(Nudge::Woke | Nudge::Network | Nudge::Operator)
            | Input::Unlock(_)
            | Input::Opened
            | Input::Respec(_)
            | Input::Remove
            | Input::CredentialsChanged
            | Input::KnownHostsChanged
            | Input::FilesRead
    )
}

/// What only a session says that has not logged in yet.
pub(super) fn is_of_a_dial(report: &LinkReport) -> bool {
    matches!(
        report,
        LinkReport::Step(_)
            | LinkReport::Asking(_)
            | LinkReport::Needs(_)
            | LinkReport::Asked
            | LinkReport::Typed(_)
            | LinkReport::Up
    )
}

pub(super) fn overlap(one: &ListenAt, other: &ListenAt) -> bool {
    let port = |listen: &ListenAt| match listen {
        ListenAt::Loopback(port) | ListenAt::Any(port) | ListenAt::Address(_, port) => Some(*port),
        ListenAt::Socket(_) => None,
    };
    // Every address that is drawn here is a loopback address.
    one == other || port(one).is_some() && port(one) == port(other)
}

/// Whether each forward listens, on whichever side.
pub(crate) fn all_listen(tunnel: &Tunnel) -> bool {
    tunnel.view(Moment::ZERO).forwards.iter().all(|forward| !forward.listens.is_empty())
}

/// Whether each forward listens that listens on this side.
pub(crate) fn all_listen_here(tunnel: &Tunnel) -> bool {
    let here = tunnel.spec().forwards.len();
    tunnel.view(Moment::ZERO).forwards.iter().take(here).all(|forward| !forward.listens.is_empty())
}

pub(super) fn is_true(wait: WaitFor, settled: &Settled, after: &Tunnel) -> bool {
    let listens = if after.state() == State::Idle { all_listen_here(after) } else { all_listen(after) };
    match (wait, settled) {
        (WaitFor::Up, Settled::Overtaken) => after.desire() == Desire::Down,
        (WaitFor::Down, Settled::Overtaken) => after.desire() != Desire::Down,
        (WaitFor::Down, Settled::Reached) => after.state() == State::Stopped,
        (WaitFor::Up, Settled::Reached) => matches!(after.state(), State::Up | State::Idle) && listens,
        (WaitFor::Up, Settled::Stuck(_)) => {
            let is_left =
                after.view(Moment::ZERO).health == Some(Health::Suspect) && after.refusal().is_some();
            after.state() == State::Parked || !listens || is_left
        }
        (WaitFor::Down, Settled::Stuck(_)) => false,
    }
}
