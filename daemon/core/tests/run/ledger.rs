//! What is in the world, worked out from inputs and outputs alone: which listeners and links there are, who
//! waits. Checks every output against it.

use std::collections::BTreeMap;
use std::time::Duration;

use nbtunnel_core::io::About;
use nbtunnel_core::tunnel::Desire;
use nbtunnel_core::{
    Epoch, ForwardId, ForwardSpec, Gate, Input, LinkReport, ListenAt, ListenerReport, Moment, Nudge, Order,
    Output, Settled, State, Transition, Tunnel, WaitFor, WaitId,
};

use super::{Checked, Listening, hold};

/// A listener, or the close of one, that does not answer counts as failed, or closed, after this.
pub(super) const BIND_DEADLINE: Duration = Duration::from_secs(20);
pub(super) const CLOSE_DEADLINE: Duration = Duration::from_secs(3);
/// With the shortest delays that chance allows, and one steady link in between, no minute has more.
const ATTEMPTS_A_MINUTE: usize = 18;

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
    Closing { at: Moment },
    Ended,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    listeners: BTreeMap<ForwardId, Listener>,
    links: BTreeMap<Epoch, LinkFact>,
    /// Forwards whose last listener failed.
    failed: Vec<ListenAt>,
    /// Those that nobody answered yet; the others are `None`.
    waits: BTreeMap<WaitId, Option<WaitFor>>,
    gate: Option<Gate>,
    word: Option<&'static str>,
    /// Since trying was last encouraged from outside.
    connects: Vec<Moment>,
}

impl Ledger {
    pub(crate) fn listeners(&self) -> &BTreeMap<ForwardId, Listener> {
        &self.listeners
    }

    pub(crate) fn links(&self) -> &BTreeMap<Epoch, LinkFact> {
        &self.links
    }

    pub(crate) fn gate(&self) -> Option<Gate> {
        self.gate
    }

    pub(super) fn word(&self) -> &'static str {
        self.word.unwrap_or(State::Stopped.word())
    }

    /// Whoever still waits, and for what.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (WaitId, WaitFor)> {
        self.waits.iter().filter_map(|(id, wait)| wait.map(|wait| (*id, wait)))
    }

    pub(super) fn newest_listener(&self) -> u32 {
        self.listeners.keys().next_back().map_or(0, |id| id.0)
    }

    /// A tunnel of the same name comes; epochs go on.
    pub(super) fn begin_anew(&mut self) {
        let links = std::mem::take(&mut self.links);
        *self = Ledger { links, ..Ledger::default() };
    }

    pub(crate) fn listening(&self, tunnel: &Tunnel) -> Listening {
        let alive = |listen: Option<&ListenAt>| {
            self.listeners
                .values()
                .rev()
                .find(|l| l.fact != ListenerFact::Gone && listen.is_none_or(|at| l.spec.listen == *at))
        };
        let wanted: Vec<&ListenAt> = tunnel.spec().forwards.iter().map(|forward| &forward.listen).collect();
        let leaving = self
            .listeners
            .values()
            .any(|l| l.fact != ListenerFact::Gone && !wanted.contains(&&l.spec.listen));
        let settled = !leaving
            && wanted.iter().all(|listen| match alive(Some(listen)).map(|l| l.fact) {
                Some(ListenerFact::Bound) => true,
                Some(ListenerFact::Asked { .. }) | None => self.failed.contains(listen),
                Some(ListenerFact::Closing { .. } | ListenerFact::Gone) => false,
            });
        Listening { settled, gone: alive(None).is_none() }
    }

    /// Whether `input` is about something that is over, that never was, or that it cannot be said of.
    pub(super) fn is_stale(&self, input: &Input, tunnel: &Tunnel) -> bool {
        match input {
            Input::Link(epoch, report) => match (self.links.get(epoch), report) {
                (None | Some(LinkFact::Ended), _)
                | (Some(LinkFact::Up { .. }), LinkReport::Step(_) | LinkReport::Up)
                | (Some(LinkFact::Dialling), LinkReport::Answers(_)) => true,
                (Some(LinkFact::Closing { .. }), report) => {
                    !matches!(report, LinkReport::Lost(_) | LinkReport::Closed)
                }
                (Some(LinkFact::Up { .. } | LinkFact::Dialling), _) => false,
            },
            Input::Listener(id, report) => match self.listeners.get(id).map(|l| l.fact) {
                None | Some(ListenerFact::Gone) => true,
                Some(ListenerFact::Bound | ListenerFact::Closing { .. }) => {
                    matches!(report, ListenerReport::Bound { .. })
                }
                Some(ListenerFact::Asked { .. }) => false,
            },
            Input::Forward(id, _) => {
                matches!(self.listeners.get(id).map(|l| l.fact), None | Some(ListenerFact::Gone))
            }
            Input::Go => tunnel.queued_since().is_none(),
            _ => false,
        }
    }

    /// Takes in what the world did.
    pub(super) fn happened(&mut self, now: Moment, input: &Input, before: &Tunnel) {
        match input {
            Input::Listener(id, report) => self.listener_reported(*id, report),
            Input::Link(epoch, report) => {
                if let Some(link) = self.links.get_mut(epoch) {
                    match (report, *link) {
                        (LinkReport::Lost(_) | LinkReport::Closed, _) => *link = LinkFact::Ended,
                        (LinkReport::Up, LinkFact::Dialling) => *link = LinkFact::Up { probed: false },
                        (LinkReport::Answers(_), LinkFact::Up { .. }) => {
                            *link = LinkFact::Up { probed: false }
                        }
                        (_, _) => {}
                    }
                }
            }
            Input::Respec(spec) => {
                let named = |listen: &ListenAt| spec.forwards.iter().any(|forward| forward.listen == *listen);
                self.failed.retain(named);
                for listener in self.listeners.values_mut().filter(|l| !named(&l.spec.listen)) {
                    listener.forget_failure();
                }
            }
            Input::Wait(id, wait) => {
                self.waits.insert(*id, Some(*wait));
            }
            Input::Unwait(id) => {
                self.waits.insert(*id, None);
            }
            _ => {}
        }
        let looks_at_deadlines = match input {
            Input::Order(order) => *order != Order::Stop && !before.is_leaving(),
            other => matches!(other, Input::Timeout | Input::Nudge(_) | Input::AddressesFreed),
        };
        if looks_at_deadlines {
            for listener in self.listeners.values_mut() {
                if let ListenerFact::Closing { at, failed } = listener.fact
                    && at + CLOSE_DEADLINE <= now
                {
                    listener.fact = ListenerFact::Gone;
                    self.failed.extend(failed.then(|| listener.spec.listen.clone()));
                }
            }
        }
        if *input == Input::Timeout {
            for link in self.links.values_mut() {
                if matches!(link, LinkFact::Closing { at } if *at + CLOSE_DEADLINE <= now) {
                    *link = LinkFact::Ended;
                }
            }
        }
        if is_encouraging(input) {
            self.connects.clear();
        }
    }

    fn listener_reported(&mut self, id: ForwardId, report: &ListenerReport) {
        let Some(listener) = self.listeners.get_mut(&id) else { return };
        let listen = &listener.spec.listen;
        match (listener.fact, report) {
            (ListenerFact::Asked { .. }, ListenerReport::Bound { .. }) => {
                listener.fact = ListenerFact::Bound;
                self.failed.retain(|failed| failed != listen);
            }
            (ListenerFact::Asked { .. } | ListenerFact::Bound, ListenerReport::Failed(_))
            | (
                ListenerFact::Closing { failed: true, .. },
                ListenerReport::Failed(_) | ListenerReport::Unbound,
            ) => {
                self.failed.push(listen.clone());
                listener.fact = ListenerFact::Gone;
            }
            (_, ListenerReport::Failed(_) | ListenerReport::Unbound) => listener.fact = ListenerFact::Gone,
            (_, ListenerReport::Bound { .. }) => {}
        }
    }

    /// To be called when all outputs were told.
    pub(super) fn settled(&mut self, after: &Tunnel) {
        if after.desire() == Desire::Down {
            self.failed.clear();
            self.listeners.values_mut().for_each(Listener::forget_failure);
        }
    }

    /// Takes in what the machine wants done, if it may.
    pub(super) fn told(&mut self, now: Moment, input: &Input, output: &Output, after: &Tunnel) -> Checked {
        let said = || format!("{output:?} after {input:?}: {after:?}");
        let down = after.desire() == Desire::Down;
        match output {
            Output::Bind(id, spec) => {
                hold("down_binds_and_connects_nothing", !down, said)?;
                hold("each_listener_has_its_own_number", self.listeners.keys().all(|old| old < id), said)?;
                hold("binds_what_the_file_says", after.spec().forwards.contains(spec), said)?;
                let taken = self.listeners.values().any(|l| {
                    let named = after.spec().forwards.iter().any(|f| f.listen == l.spec.listen);
                    l.is_there(now)
                        && overlap(&l.spec.listen, &spec.listen)
                        && (l.spec.listen == spec.listen || !named)
                });
                hold("an_address_is_free_before_it_is_bound_again", !taken, said)?;
                let fact = ListenerFact::Asked { at: now };
                self.listeners.insert(*id, Listener { spec: spec.clone(), fact });
            }
            Output::Unbind(id) => {
                let listener = self.listeners.get_mut(id).filter(|l| l.listens());
                hold("unbinds_what_listens", listener.is_some(), said)?;
                if let Some(listener) = listener {
                    let failed = !down
                        && !matches!(input, Input::Respec(_))
                        && matches!(listener.fact, ListenerFact::Asked { at } if at + BIND_DEADLINE <= now);
                    listener.fact = ListenerFact::Closing { at: now, failed };
                }
            }
            Output::Retarget(id, target) => {
                let listener = self.listeners.get_mut(id).filter(|l| l.listens());
                hold("retargets_what_listens", listener.is_some(), said)?;
                if let Some(listener) = listener {
                    listener.spec.target = target.clone();
                }
            }
            Output::Repolicy(policy) => {
                hold(
                    "tells_only_changes",
                    matches!(input, Input::Respec(_)) && after.spec().policy == *policy,
                    said,
                )?;
            }
            Output::Connect(epoch, route) => {
                hold("down_binds_and_connects_nothing", !down, said)?;
                hold("connects_only_after_go", *input == Input::Go, said)?;
                hold("epochs_only_increase", self.links.keys().all(|old| old < epoch), said)?;
                hold("connects_where_the_file_says", after.spec().route == **route, said)?;
                let alone = self.links.values().all(|link| match link {
                    LinkFact::Ended => true,
                    LinkFact::Closing { at } => *at + CLOSE_DEADLINE <= now,
                    LinkFact::Dialling | LinkFact::Up { .. } => false,
                });
                hold("at_most_one_live_link", alone, said)?;
                let needed = after.desire() == Desire::Up || after.held() > 0;
                hold("on_demand_connects_only_for_somebody", needed, said)?;
                self.connects.retain(|at| *at + Duration::from_secs(60) > now);
                self.connects.push(now);
                hold("attempts_are_bounded", self.connects.len() <= ATTEMPTS_A_MINUTE, said)?;
                self.links.insert(*epoch, LinkFact::Dialling);
            }
            Output::Probe(epoch) => {
                let link = self.links.get_mut(epoch).filter(|link| matches!(link, LinkFact::Up { .. }));
                hold("probes_what_is_up", link.is_some(), said)?;
                self.links.insert(*epoch, LinkFact::Up { probed: true });
            }
            Output::Drain(_) => {}
            Output::Close(epoch) => {
                let live = matches!(self.links.get(epoch), Some(LinkFact::Dialling | LinkFact::Up { .. }));
                hold("closes_what_is_live", live, said)?;
                // One that is given up is not waited for.
                let orderly = after.state() == State::Closing;
                self.links
                    .insert(*epoch, if orderly { LinkFact::Closing { at: now } } else { LinkFact::Ended });
            }
            Output::Gate(gate) => {
                hold("tells_only_changes", self.gate != Some(*gate), said)?;
                self.gate = Some(*gate);
            }
            Output::Announce(Transition { about: About::Tunnel, from, to, .. }) => {
                hold("transitions_form_a_chain", *from == self.word(), said)?;
                self.word = Some(to);
            }
            Output::Announce(_) => {}
            Output::Answer(id, settled) => {
                let wait = self.waits.insert(*id, None).flatten();
                hold("a_wait_is_answered_at_most_once", wait.is_some(), said)?;
                hold("an_answer_is_true", wait.is_some_and(|wait| is_true(wait, settled, after, now)), said)?;
            }
            Output::Gone => {
                let left =
                    self.listeners.values().any(|l| l.is_there(now)) || self.waiting().next().is_some();
                hold("gone_when_nothing_is_left", after.is_leaving() && !left, said)?;
            }
        }
        Ok(())
    }
}

impl Listener {
    /// It listens, or will.
    pub(super) fn listens(&self) -> bool {
        matches!(self.fact, ListenerFact::Asked { .. } | ListenerFact::Bound)
    }

    /// It may hold its address.
    fn is_there(&self, now: Moment) -> bool {
        self.listens() || matches!(self.fact, ListenerFact::Closing { at, .. } if at + CLOSE_DEADLINE > now)
    }

    fn forget_failure(&mut self) {
        if let ListenerFact::Closing { failed, .. } = &mut self.fact {
            *failed = false;
        }
    }
}

/// What comes from outside and makes it sensible to try at once.
fn is_encouraging(input: &Input) -> bool {
    matches!(
        input,
        Input::Order(Order::Start | Order::Stop | Order::Restart)
            | Input::Nudge(Nudge::Woke | Nudge::Network | Nudge::Operator)
            | Input::Respec(_)
            | Input::Remove
            | Input::CredentialsChanged
            | Input::KnownHostsChanged
    )
}

fn overlap(one: &ListenAt, other: &ListenAt) -> bool {
    let port = |listen: &ListenAt| match listen {
        ListenAt::Loopback(port) | ListenAt::Any(port) | ListenAt::Address(_, port) => Some(*port),
        ListenAt::Socket(_) => None,
    };
    // Every address that is drawn here is a loopback address.
    one == other || port(one).is_some() && port(one) == port(other)
}

fn is_true(wait: WaitFor, settled: &Settled, after: &Tunnel, now: Moment) -> bool {
    let view = after.view(now);
    let listens = view.forwards.iter().all(|forward| !forward.listens.is_empty());
    match (wait, settled) {
        (WaitFor::Up, Settled::Overtaken) => after.desire() == Desire::Down,
        (WaitFor::Down, Settled::Overtaken) => after.desire() != Desire::Down,
        (WaitFor::Down, Settled::Reached) => after.state() == State::Stopped,
        (WaitFor::Up, Settled::Reached) => matches!(after.state(), State::Up | State::Idle) && listens,
        (WaitFor::Up, Settled::Stuck(_)) => after.state() == State::Parked || !listens,
        (WaitFor::Down, Settled::Stuck(_)) => false,
    }
}
