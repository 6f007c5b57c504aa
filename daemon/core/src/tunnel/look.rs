//! The one word that users see, and all the rest of it: derived from the parts whenever somebody looks.

use super::link::Link;
use super::listeners::{Forward, Listener};
use super::remotes::Remote;
use super::successor::Successor;
use super::{Desire, Tunnel};
use crate::failure::{Failure, FailureKind};
use crate::moment::Moment;
use crate::session::Session;
use crate::view::{ForwardView, State, TunnelView, Wanted};

impl Tunnel {
    /// What it is doing, in one word.
    pub fn state(&self) -> State {
        match &self.link {
            Link::Live(session) if session.is_up() => State::Up,
            Link::Live(_) => State::Connecting,
            Link::Waiting { .. } if !self.is_unneeded() => State::Waiting,
            Link::Parked { .. } => State::Parked,
            Link::Closing { .. } => State::Closing,
            Link::None | Link::Waiting { .. } => match self.desire() {
                Desire::Down if self.listeners_gone() => State::Stopped,
                Desire::Down => State::Closing,
                Desire::OnDemand if self.listeners_settled() => State::Idle,
                Desire::OnDemand | Desire::Up => State::Binding,
            },
        }
    }

    /// How often it came up again after it had been up.
    pub fn reconnects(&self) -> u64 {
        self.ups.saturating_sub(1)
    }

    /// What users see of it at `now`.
    pub fn view(&self, now: Moment) -> TunnelView {
        let session = self.link.session();
        let asking = self.dialling();
        TunnelView {
            spec: self.spec.clone(),
            wanted: match self.desire() {
                Desire::Up => Wanted::Up,
                Desire::OnDemand => Wanted::Demand,
                Desire::Down => Wanted::Down,
            },
            state: self.state(),
            step: session.and_then(Session::step),
            asks: asking.and_then(Session::asks).unwrap_or_default(),
            answer_in: asking.and_then(Session::answer_by).map(|at| at.since(now)),
            health: session.and_then(Session::health),
            since: now.since(self.announced_at),
            attempt: self.backoff.attempt(),
            retry_in: self.retry_at().map(|at| at.since(now)),
            draining: self.draining_count(),
            reconnects: self.reconnects(),
            rtt: session.and_then(Session::rtt),
            problem: self.problem(),
            forwards: self
                .forwards
                .iter()
                .map(Forward::view)
                .chain(self.remotes.iter().map(Remote::view))
                .collect(),
            notebooks: self.notebook_views(),
        }
    }

    /// What is wrong with the link, if something is.
    pub fn problem(&self) -> Option<Failure> {
        match &self.link {
            Link::Waiting { why, .. } if !self.is_unneeded() => Some(why.clone()),
            // A server that never answers would otherwise look as if nothing were wrong most of the time.
            Link::Live(session) if !session.is_up() && self.backoff.attempt() > 0 => self.failed_with.clone(),
            Link::Live(session) if session.is_suspect() => {
                Some(self.refusal().cloned().unwrap_or_else(|| silent(session.took_a_person())))
            }
            Link::None if self.lacks_a_listener() => self.listener_failure().cloned(),
            Link::None
            | Link::Waiting { .. }
            | Link::Live(_)
            | Link::Parked { .. }
            | Link::Closing { .. } => self.refusal().cloned(),
        }
    }

    /// Why there is no other login before something changes: it is parked, or its link could not be followed.
    pub fn refusal(&self) -> Option<&Failure> {
        match (&self.link, &self.successor) {
            (Link::Parked { why, .. }, _) | (Link::Live(_), Successor::Refused { why }) => Some(why),
            (Link::None | Link::Live(_) | Link::Waiting { .. } | Link::Closing { .. }, _) => None,
        }
    }

    /// When it tries again by itself, if it does.
    pub(super) fn retry_at(&self) -> Option<Moment> {
        match &self.link {
            Link::Waiting { until, .. } => (!self.is_unneeded()).then_some(*until),
            Link::Parked { retry_at, .. } => *retry_at,
            Link::Live(session) if session.is_suspect() => match &self.successor {
                Successor::Waiting { until, .. } if self.wants_successor() => Some(*until),
                Successor::None
                | Successor::Live(_)
                | Successor::Waiting { .. }
                | Successor::Refused { .. } => None,
            },
            Link::None | Link::Live(_) | Link::Closing { .. } => None,
        }
    }
}

/// What is wrong with a link that is suspect.
fn silent(took_a_person: bool) -> Failure {
    let hint = if took_a_person {
        "it is waited for, since another login needs you; to log in anew at once, restart the tunnel"
    } else {
        "another session is tried by itself; new connections wait for whichever answers first"
    };
    Failure::new(FailureKind::DeadPeer, "the server does not answer", hint)
}

impl Forward {
    fn view(&self) -> ForwardView {
        let (listens, note) = match &self.listener {
            Listener::Bound { listens, note } => (listens.clone(), note.clone()),
            Listener::Idle
            | Listener::Binding { .. }
            | Listener::Failed { .. }
            | Listener::Unbinding { .. } => (Vec::new(), None),
        };
        ForwardView {
            kind: self.spec.kind(),
            id: self.id,
            listen: self.spec.listen.to_string(),
            target: self.spec.target.to_string(),
            listens,
            note,
            problem: self.problem().cloned(),
        }
    }
}
