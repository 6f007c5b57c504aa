//! The listeners of a tunnel: bound before the first dial, and kept while the tunnel is away.

use std::time::Duration;

use super::faring::Faring;
use super::{Desire, Tunnel};
use crate::failure::{Failure, FailureKind};
use crate::forward::ForwardSpec;
use crate::io::{About, ForwardId, ListenerReport, Output, Timer, TimerReason, Transition};
use crate::moment::Moment;

/// A listener answers by then.
const BIND_DEADLINE: Duration = Duration::from_secs(20);
/// A close of a listener answers by then.
const UNBIND_DEADLINE: Duration = Duration::from_secs(3);
/// A listener that failed is tried again after this, doubling.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// … up to this.
const LONGEST_RETRY: Duration = Duration::from_secs(8);

/// One forward and its listener.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Forward {
    pub(super) spec: ForwardSpec,
    /// The number of its listener; a new one for each bind, so that late words about an old one are stale.
    pub(super) id: Option<ForwardId>,
    pub(super) listener: Listener,
    /// How often in a row it could not be bound.
    failed_binds: u32,
    /// Why not the last time: that holds until it is bound.
    last_failure: Option<Failure>,
    /// How its connections fare.
    pub(super) faring: Faring,
}

/// The state of one listener.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Listener {
    /// Not there.
    Idle,
    Binding {
        deadline: Moment,
    },
    Bound {
        listens: Vec<String>,
        note: Option<String>,
    },
    Failed {
        why: Failure,
        retry_at: Moment,
    },
    /// Being closed; `why` says what failed, if that is the reason.
    Unbinding {
        deadline: Moment,
        why: Option<Failure>,
    },
}

impl Forward {
    pub(super) fn new(spec: ForwardSpec) -> Self {
        let (listener, faring) = (Listener::Idle, Faring::default());
        Forward { spec, id: None, listener, failed_binds: 0, last_failure: None, faring }
    }

    pub(super) fn timer(&self) -> Option<Timer> {
        match &self.listener {
            Listener::Idle | Listener::Bound { .. } => None,
            Listener::Binding { deadline } | Listener::Unbinding { deadline, .. } => {
                Some((*deadline, TimerReason::BindDeadline))
            }
            Listener::Failed { retry_at, .. } => Some((*retry_at, TimerReason::BindRetry)),
        }
    }

    pub(super) fn problem(&self) -> Option<&Failure> {
        match &self.listener {
            Listener::Failed { why, .. } | Listener::Unbinding { why: Some(why), .. } => Some(why),
            Listener::Binding { .. } => self.last_failure.as_ref().or(self.faring.problem()),
            Listener::Idle | Listener::Bound { .. } | Listener::Unbinding { .. } => self.faring.problem(),
        }
    }

    fn fail(&mut self, now: Moment, why: Failure) {
        let delay = FIRST_RETRY.saturating_mul(1 << self.failed_binds.min(8)).min(LONGEST_RETRY);
        self.failed_binds = self.failed_binds.saturating_add(1);
        self.id = None;
        self.last_failure = Some(why.clone());
        self.listener = Listener::Failed { why, retry_at: now + delay };
    }
}

impl Tunnel {
    /// Whether no listener is still on its way: each is bound or failed for now.
    pub(super) fn listeners_settled(&self) -> bool {
        self.leaving.is_empty()
            && self.forwards.iter().all(|forward| match forward.listener {
                Listener::Bound { .. } | Listener::Failed { .. } => true,
                // One that failed before and is being tried again holds nobody up.
                Listener::Binding { .. } => forward.failed_binds > 0,
                Listener::Idle | Listener::Unbinding { .. } => false,
            })
    }

    /// Whether dialling is in vain because not every listener is there.
    pub(super) fn lacks_a_listener(&self) -> bool {
        let bound = |forward: &Forward| matches!(forward.listener, Listener::Bound { .. });
        self.spec.policy.all_or_nothing && !self.forwards.iter().all(bound)
    }

    /// Why a forward does not listen, if one does not.
    pub(super) fn listener_failure(&self) -> Option<&Failure> {
        self.forwards.iter().find_map(|forward| match &forward.listener {
            Listener::Failed { why, .. } => Some(why),
            Listener::Idle
            | Listener::Binding { .. }
            | Listener::Bound { .. }
            | Listener::Unbinding { .. } => None,
        })
    }

    /// Whether a listener failed because somebody else had its address.
    pub(crate) fn waits_for_an_address(&self) -> bool {
        self.forwards.iter().any(|forward| {
            matches!(&forward.listener, Listener::Failed { why, .. } if why.kind == FailureKind::PortInUse)
        })
    }

    /// Whether nothing of any listener is left.
    pub(super) fn listeners_gone(&self) -> bool {
        self.leaving.is_empty()
            && self
                .forwards
                .iter()
                .all(|forward| matches!(forward.listener, Listener::Idle | Listener::Failed { .. }))
    }

    pub(super) fn listener_reported(&mut self, now: Moment, id: ForwardId, report: ListenerReport) {
        self.leaving.retain(|forward| {
            forward.id != Some(id) || !matches!(report, ListenerReport::Unbound | ListenerReport::Failed(_))
        });
        let Some(forward) = self.forwards.iter_mut().find(|forward| forward.id == Some(id)) else { return };
        let about = About::Forward(forward.spec.to_string());
        let transition = match (report, &forward.listener) {
            (ListenerReport::Bound { listens, note }, Listener::Binding { .. }) => {
                let mended = forward.failed_binds > 0;
                (forward.failed_binds, forward.last_failure) = (0, None);
                forward.listener = Listener::Bound { listens, note };
                mended.then_some(Transition { about, from: "failed", to: "bound", why: None, retry_in: None })
            }
            (ListenerReport::Failed(why), Listener::Binding { .. } | Listener::Bound { .. }) => {
                let news = forward.failed_binds == 0;
                forward.fail(now, why.clone());
                let retry_in = forward.timer().map(|(at, _)| at.since(now));
                news.then_some(Transition { about, from: "binding", to: "failed", why: Some(why), retry_in })
            }
            (ListenerReport::Unbound | ListenerReport::Failed(_), Listener::Unbinding { why, .. }) => {
                match why.clone() {
                    Some(why) => forward.fail(now, why),
                    None => {
                        forward.id = None;
                        forward.listener = Listener::Idle;
                    }
                }
                None
            }
            (ListenerReport::Unbound, Listener::Binding { .. } | Listener::Bound { .. }) => {
                // Closed though nobody asked: bind it again.
                forward.id = None;
                forward.listener = Listener::Idle;
                None
            }
            (ListenerReport::Bound { .. }, _)
            | (
                ListenerReport::Unbound | ListenerReport::Failed(_),
                Listener::Idle | Listener::Failed { .. },
            ) => None,
        };
        if let Some(transition) = transition {
            self.emit(Output::Announce(transition));
        }
    }

    pub(super) fn listeners_timed_out(&mut self, now: Moment) {
        self.leaving.retain(|forward| forward.timer().is_none_or(|(at, _)| at > now));
        let mut given_up = Vec::new();
        for forward in &mut self.forwards {
            match &forward.listener {
                Listener::Binding { deadline } if *deadline <= now => {
                    let why = Failure::new(
                        FailureKind::TimedOut,
                        format!("could not listen at {} in time", forward.spec.listen),
                        "it is tried again by itself",
                    );
                    forward.listener =
                        Listener::Unbinding { deadline: now + UNBIND_DEADLINE, why: Some(why) };
                    given_up.extend(forward.id);
                }
                Listener::Unbinding { deadline, why } if *deadline <= now => match why.clone() {
                    Some(why) => forward.fail(now, why),
                    None => {
                        forward.id = None;
                        forward.listener = Listener::Idle;
                    }
                },
                Listener::Failed { retry_at, .. } if *retry_at <= now => forward.listener = Listener::Idle,
                Listener::Idle
                | Listener::Binding { .. }
                | Listener::Bound { .. }
                | Listener::Failed { .. }
                | Listener::Unbinding { .. } => {}
            }
        }
        for id in given_up {
            self.emit(Output::Unbind(id));
        }
    }

    /// Tries failed listeners now whose failure is of a kind that `concerns`.
    pub(super) fn retry_listeners(&mut self, now: Moment, concerns: impl Fn(FailureKind) -> bool) {
        for forward in &mut self.forwards {
            if let Listener::Failed { why, retry_at } = &mut forward.listener
                && concerns(why.kind)
            {
                *retry_at = now.min(*retry_at);
            }
        }
        self.listeners_timed_out(now);
    }

    /// Makes the forwards those of the spec, touching only what differs.
    pub(super) fn respec_forwards(&mut self, now: Moment) {
        let mut old = std::mem::take(&mut self.forwards);
        let mut kept: Vec<Option<Forward>> = self
            .spec
            .forwards
            .iter()
            .map(|spec| old.iter().position(|forward| forward.spec == *spec).map(|at| old.remove(at)))
            .collect();
        for (slot, spec) in kept.iter_mut().zip(&self.spec.forwards) {
            // The same listener, leading elsewhere from now on.
            if slot.is_none()
                && let Some(at) = old.iter().position(|forward| leads_alike(&forward.spec, spec))
            {
                let mut forward = old.remove(at);
                let before = std::mem::replace(&mut forward.spec, spec.clone());
                let listens = matches!(forward.listener, Listener::Binding { .. } | Listener::Bound { .. });
                let id = forward.id.filter(|_| listens);
                if before.target != spec.target {
                    forward.faring.forget_denial();
                    self.outputs.extend(id.map(|id| Output::Retarget(id, spec.target.clone())));
                }
                if before.owner_only != spec.owner_only {
                    self.outputs.extend(id.map(|id| Output::OwnerOnly(id, spec.owner_only)));
                }
                *slot = Some(forward);
            }
        }
        self.forwards = kept
            .into_iter()
            .zip(&self.spec.forwards)
            .map(|(kept, spec)| kept.unwrap_or_else(|| Forward::new(spec.clone())))
            .collect();
        for mut forward in old {
            match forward.listener {
                Listener::Binding { .. } | Listener::Bound { .. } => {
                    self.outputs.extend(forward.id.map(Output::Unbind));
                    forward.listener = Listener::Unbinding { deadline: now + UNBIND_DEADLINE, why: None };
                    self.leaving.push(forward);
                }
                Listener::Unbinding { .. } => self.leaving.push(forward),
                Listener::Idle | Listener::Failed { .. } => {}
            }
        }
    }

    /// Brings the listeners nearer to what is wanted.
    pub(super) fn settle_listeners(&mut self, now: Moment) {
        let wanted = self.desire() != Desire::Down;
        // What is being closed may hold the address that something new wants.
        let closing = !self.leaving.is_empty();
        let mut outputs = Vec::new();
        for forward in &mut self.forwards {
            match (&forward.listener, wanted) {
                (Listener::Idle, true) if !closing => {
                    let id = ForwardId(self.next_forward);
                    self.next_forward += 1;
                    forward.id = Some(id);
                    forward.listener = Listener::Binding { deadline: now + BIND_DEADLINE };
                    forward.faring.forget_doubt();
                    outputs.push(Output::Bind(id, forward.spec.clone()));
                }
                (Listener::Binding { .. } | Listener::Bound { .. }, false) => {
                    outputs.extend(forward.id.map(Output::Unbind));
                    forward.listener = Listener::Unbinding { deadline: now + UNBIND_DEADLINE, why: None };
                }
                (Listener::Failed { .. }, false) => forward.listener = Listener::Idle,
                (Listener::Unbinding { .. }, false) => {
                    if let Listener::Unbinding { why, .. } = &mut forward.listener {
                        *why = None;
                    }
                }
                (Listener::Idle, _)
                | (
                    Listener::Binding { .. }
                    | Listener::Bound { .. }
                    | Listener::Failed { .. }
                    | Listener::Unbinding { .. },
                    true,
                ) => {}
            }
            if !wanted {
                (forward.failed_binds, forward.last_failure) = (0, None);
                forward.faring = Faring::default();
            }
        }
        self.outputs.extend(outputs);
    }
}

/// Whether a listener for `one` can serve `other` by leading elsewhere: one that leads to a notebook stays with it.
fn leads_alike(one: &ForwardSpec, other: &ForwardSpec) -> bool {
    one.listen == other.listen && one.target.notebook() == other.target.notebook()
}
