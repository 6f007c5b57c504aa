//! What is in the world, worked out from inputs and outputs alone: which listeners and links there are, who
//! waits. Checks every output against it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nbtunnel_core::io::About;
use nbtunnel_core::tunnel::Desire;
use nbtunnel_core::{
    Epoch, ForwardId, Gate, Health, Input, LinkReport, ListenAt, ListenerReport, Moment, Order, Output,
    State, Transition, Tunnel, WaitFor, WaitId,
};

use super::facts::{LinkFact, Listener, ListenerFact, is_encouraging, is_of_a_dial, is_true, overlap};
use super::remotes::Remotes;
use super::{Checked, Listening, hold};

/// A listener, or the close of one, that does not answer counts as failed, or closed, after this.
pub(super) const BIND_DEADLINE: Duration = Duration::from_secs(20);
pub(super) const CLOSE_DEADLINE: Duration = Duration::from_secs(3);
/// So many older sessions drain at most.
const MOST_DRAINS: usize = 8;
/// With the shortest delays that chance allows, and one steady link in between, no minute has more.
const ATTEMPTS_A_MINUTE: usize = 18;
/// Whoever tells of a wake does so within this time of it.
const WAKE_IS_TOLD_IN: Duration = Duration::from_secs(6);

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    listeners: BTreeMap<ForwardId, Listener>,
    links: BTreeMap<Epoch, LinkFact>,
    /// Those that said something for which another session may follow them, and those for which none may.
    spent: BTreeSet<Epoch>,
    asked: BTreeSet<Epoch>,
    /// Those whose login somebody else can open, and whether somebody did.
    typed: BTreeSet<Epoch>,
    opened: bool,
    /// Those that are left unread.
    unread: BTreeSet<Epoch>,
    /// Those that were closed while they were the link, and not beside it.
    closed_as_link: BTreeSet<Epoch>,
    /// Forwards whose last listener failed.
    failed: Vec<ListenAt>,
    pub(super) remotes: Remotes,
    /// Those that nobody answered yet; the others are `None`.
    waits: BTreeMap<WaitId, Option<WaitFor>>,
    gate: Option<Gate>,
    word: Option<&'static str>,
    /// Sessions wear out by age, or did under an older policy.
    ages: bool,
    /// So many connections are carried.
    open: u32,
    /// Since trying was last encouraged from outside.
    connects: Vec<Moment>,
    last_connect: Moment,
}

impl Ledger {
    pub(crate) fn listeners(&self) -> &BTreeMap<ForwardId, Listener> {
        &self.listeners
    }

    pub(crate) fn links(&self) -> &BTreeMap<Epoch, LinkFact> {
        &self.links
    }

    /// Whether a person let the link in that is up.
    pub(crate) fn took_a_person(&self) -> bool {
        let up = self.links.iter().filter(|(_, link)| matches!(link, LinkFact::Up { .. }));
        up.into_iter().any(|(epoch, _)| self.asked.contains(epoch))
    }

    /// The links that are there and left unread.
    pub(super) fn unread(&self) -> impl Iterator<Item = Epoch> {
        let is_live = |epoch: &Epoch| self.links.get(epoch).is_some_and(|link| link.is_live());
        self.unread.iter().copied().filter(move |epoch| is_live(epoch))
    }

    /// Whether it was the link that was closed, and not what was to follow it or came before it.
    pub(super) fn was_closed_as_link(&self, epoch: Epoch) -> bool {
        self.closed_as_link.contains(&epoch)
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

    pub(crate) fn listening(&self, now: Moment, tunnel: &Tunnel) -> Listening {
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
        let drains = self.links.values().filter(|link| matches!(link, LinkFact::Draining { .. })).count();
        let dials_lately = now.since(self.last_connect) < WAKE_IS_TOLD_IN;
        Listening { settled, gone: alive(None).is_none(), full: drains >= MOST_DRAINS, dials_lately }
    }

    /// Whether `input` is about something that is over, that never was, or that it cannot be said of.
    pub(super) fn is_stale(&self, input: &Input, tunnel: &Tunnel) -> bool {
        match input {
            Input::Link(epoch, report) => match (self.links.get(epoch), report) {
                (None | Some(LinkFact::Ended), _) => true,
                (Some(LinkFact::Closing { .. }), report) => {
                    !matches!(report, LinkReport::Lost(_) | LinkReport::Closed)
                }
                (Some(LinkFact::Up { .. }), report) => is_of_a_dial(report) || *report == LinkReport::Drained,
                (Some(LinkFact::Draining { .. }), report) => {
                    is_of_a_dial(report) || *report == LinkReport::Worn
                }
                (Some(LinkFact::Dialling), report) => {
                    !is_of_a_dial(report) && !matches!(report, LinkReport::Lost(_) | LinkReport::Closed)
                }
            },
            Input::Listener(id, report) => match self.listeners.get(id).map(|l| l.fact) {
                None | Some(ListenerFact::Gone) => true,
                Some(ListenerFact::Bound | ListenerFact::Closing { .. }) => {
                    matches!(report, ListenerReport::Bound { .. })
                }
                Some(ListenerFact::Asked { .. }) => false,
            },
            Input::Forward(id, _) => {
                !self.remotes.has(*id)
                    && matches!(self.listeners.get(id).map(|l| l.fact), None | Some(ListenerFact::Gone))
            }
            Input::Remote(epoch, id, report) => self.remotes.is_stale(*epoch, *id, report),
            Input::Go => tunnel.queued_since().is_none(),
            _ => false,
        }
    }

    /// Takes in what the world did.
    pub(super) fn happened(&mut self, now: Moment, input: &Input, before: &Tunnel) {
        match input {
            Input::Listener(id, report) => {
                let listener = self.listeners.get_mut(id);
                listener.into_iter().for_each(|listener| listener.reported(report, &mut self.failed));
            }
            Input::Remote(epoch, id, report) => self.remotes.happened(*epoch, *id, report),
            Input::Link(epoch, report) => {
                if let Some(link) = self.links.get_mut(epoch) {
                    match (report, *link) {
                        (LinkReport::Lost(_) | LinkReport::Closed, _) => *link = LinkFact::Ended,
                        (LinkReport::Up, LinkFact::Dialling) => {
                            (*link, self.opened) = (LinkFact::Up { probed: false }, false);
                        }
                        (LinkReport::Answers(_), LinkFact::Up { .. }) => {
                            *link = LinkFact::Up { probed: false };
                        }
                        (LinkReport::Answers(_), LinkFact::Draining { .. }) => {
                            *link = LinkFact::Draining { probed: false };
                        }
                        (LinkReport::Asked, LinkFact::Dialling) => {
                            self.asked.insert(*epoch);
                            self.typed.remove(epoch);
                        }
                        (LinkReport::Typed(_), LinkFact::Dialling) => {
                            self.typed.insert(*epoch);
                        }
                        (LinkReport::Worn | LinkReport::Clogged(true), _) => {
                            self.spent.insert(*epoch);
                            if *report != LinkReport::Worn {
                                self.unread.insert(*epoch);
                            }
                        }
                        (LinkReport::Clogged(false), _) => {
                            self.unread.remove(epoch);
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
            Input::Activity { open, .. } => self.open = *open,
            Input::Opened => self.opened = true,
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
        self.ages |= !after.spec().policy.renew_after.is_zero();
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
            Output::Listen(..) | Output::Unlisten(..) | Output::Forget(_) => {
                self.remotes.told(now, input, output, after, &self.links)?;
            }
            Output::Retarget(id, target) if self.remotes.retarget(*id, target) => {}
            Output::Retarget(id, target) => {
                let listener = self.listeners.get_mut(id).filter(|l| l.listens());
                hold("retargets_what_listens", listener.is_some(), said)?;
                if let Some(listener) = listener {
                    listener.spec.target = target.clone();
                }
            }
            Output::OwnerOnly(id, owner_only) => {
                let listener = self.listeners.get_mut(id).filter(|l| l.listens());
                hold("guards_what_listens", listener.is_some(), said)?;
                if let Some(listener) = listener {
                    listener.spec.owner_only = *owner_only;
                }
            }
            Output::Repolicy(policy) => {
                hold(
                    "tells_only_changes",
                    matches!(input, Input::Respec(_)) && after.spec().policy == *policy,
                    said,
                )?;
            }
            Output::Connect(epoch, route, asker) => {
                self.last_connect = now;
                hold("down_binds_and_connects_nothing", !down, said)?;
                hold("asks_whoever_is_there", asker.is_some() == after.has_asker(), said)?;
                hold("connects_only_after_go", *input == Input::Go, said)?;
                hold("epochs_only_increase", self.links.keys().all(|old| old < epoch), said)?;
                hold("connects_where_the_file_says", after.spec().route == **route, said)?;
                let suspect = after.view(now).health == Some(Health::Suspect);
                let alone = self.links.iter().all(|(other, link)| match link {
                    LinkFact::Ended | LinkFact::Draining { .. } => true,
                    LinkFact::Closing { at } => *at + CLOSE_DEADLINE <= now,
                    LinkFact::Up { .. } => {
                        let has_reason = suspect || self.ages || self.spent.contains(other);
                        let joins = self.opened && self.typed.contains(other);
                        has_reason && (asker.is_some() || joins || !self.asked.contains(other))
                    }
                    LinkFact::Dialling => false,
                });
                hold("at_most_one_live_link", alone, said)?;
                let up = |epoch: &&Epoch| matches!(self.links.get(epoch), Some(LinkFact::Up { .. }));
                let in_use = self.open > 0 && (self.ages || self.spent.iter().any(|epoch| up(&epoch)));
                let needed = after.desire() == Desire::Up || after.held() > 0 || in_use || asker.is_some();
                hold("on_demand_connects_only_for_somebody", needed, said)?;
                self.connects.retain(|at| *at + Duration::from_secs(60) > now);
                self.connects.push(now);
                hold("attempts_are_bounded", self.connects.len() <= ATTEMPTS_A_MINUTE, said)?;
                self.links.insert(*epoch, LinkFact::Dialling);
            }
            Output::Probe(epoch) => {
                let probed = match self.links.get(epoch) {
                    Some(LinkFact::Up { .. }) => Some(LinkFact::Up { probed: true }),
                    Some(LinkFact::Draining { .. }) => Some(LinkFact::Draining { probed: true }),
                    _ => None,
                };
                hold("probes_what_is_up", probed.is_some(), said)?;
                self.links.extend(probed.map(|probed| (*epoch, probed)));
            }
            Output::Drain(epoch) => {
                let followed = self
                    .links
                    .range(epoch..)
                    .any(|(newer, link)| newer > epoch && matches!(link, LinkFact::Up { .. }));
                let up = matches!(self.links.get(epoch), Some(LinkFact::Up { .. }));
                hold("drains_what_was_followed", up && followed, said)?;
                self.links.insert(*epoch, LinkFact::Draining { probed: false });
            }
            Output::Close(epoch) => {
                let fact = self.links.get(epoch).copied().unwrap_or(LinkFact::Ended);
                hold("closes_what_is_live", fact.is_live(), said)?;
                let others_up = self
                    .links
                    .iter()
                    .any(|(other, link)| other != epoch && matches!(link, LinkFact::Up { .. }));
                let is_link = match fact {
                    LinkFact::Up { .. } => true,
                    LinkFact::Dialling => !others_up,
                    LinkFact::Draining { .. } | LinkFact::Closing { .. } | LinkFact::Ended => false,
                };
                self.closed_as_link.extend(is_link.then_some(*epoch));
                // One that is given up is not waited for, nor what goes beside the link.
                let orderly = is_link && after.state() == State::Closing;
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
            Output::Announce(_) | Output::Notebook(..) => {}
            Output::Answer(id, settled) => {
                let wait = self.waits.insert(*id, None).flatten();
                hold("a_wait_is_answered_at_most_once", wait.is_some(), said)?;
                hold("an_answer_is_true", wait.is_some_and(|wait| is_true(wait, settled, after)), said)?;
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
