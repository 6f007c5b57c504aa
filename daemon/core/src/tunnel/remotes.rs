//! Forwards that listen at the far end. The server of the link is asked for each of them; one that it denies is
//! that forward's problem and is asked for again, since whoever has the port there may be a dead session of ours.
//! When another session follows the link, the one before is asked to let go first.

use std::time::Duration;

use super::faring::Faring;
use super::link::Link;
use super::{Desire, Tunnel};
use crate::failure::{Failure, FailureKind};
use crate::forward::{ListenAt, RemoteSpec};
use crate::io::{
    About, Epoch, ForwardId, ListenId, Output, RemoteReport, Settled, Timer, TimerReason, Transition,
};
use crate::moment::Moment;
use crate::session::Session;
use crate::view::ForwardView;

/// A server answers by then whether it listens.
const LISTEN_DEADLINE: Duration = Duration::from_secs(20);
/// The session before lets go by then, or is not waited for.
const LEAVE_DEADLINE: Duration = Duration::from_secs(2);
/// A server that would not listen is asked again after this, doubling.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// … up to this.
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// … or this, while the port may be held by a dead session of ours.
const LONGEST_WHILE_NEW: Duration = Duration::from_secs(4);
/// A port that a server chose is asked for again for so long before it may choose another.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// One forward that listens at the far end.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Remote {
    pub(super) spec: RemoteSpec,
    /// Its number, from when it was asked for first: it keeps it, and so its counters, over all links.
    pub(super) id: Option<ForwardId>,
    /// The newest request.
    request: u64,
    there: There,
    /// How often in a row it was denied.
    denials: u32,
    /// Since when it has been denied.
    denied_since: Option<Moment>,
    /// What the server chose in the place of port 0.
    chosen: Option<u16>,
    /// How its connections fare.
    pub(super) faring: Faring,
}

/// How it stands with the server.
#[derive(Clone, Debug, PartialEq)]
enum There {
    /// Nobody listens, as far as we know.
    Away,
    /// It was asked.
    Asking { epoch: Epoch, deadline: Moment },
    /// It listens, there.
    Listening { epoch: Epoch, at: ListenAt },
    /// It would not.
    Denied { epoch: Epoch, why: Failure, retry_at: Moment },
    /// A session that is not the link any more was asked to let go.
    Leaving { epoch: Epoch, deadline: Moment },
}

impl Remote {
    pub(super) fn new(spec: RemoteSpec) -> Remote {
        Remote {
            spec,
            id: None,
            request: 0,
            there: There::Away,
            denials: 0,
            denied_since: None,
            chosen: None,
            faring: Faring::default(),
        }
    }

    pub(super) fn view(&self) -> ForwardView {
        let (listens, why) = match &self.there {
            There::Listening { at, .. } => (vec![at.to_string()], None),
            There::Denied { why, .. } => (Vec::new(), Some(why)),
            There::Away | There::Asking { .. } | There::Leaving { .. } => (Vec::new(), None),
        };
        ForwardView {
            kind: self.spec.kind(),
            id: self.id,
            listen: self.spec.listen.to_string(),
            target: self.spec.target.to_string(),
            listens,
            note: None,
            problem: why.or(self.faring.problem()).cloned(),
        }
    }

    fn listen_id(&self) -> Option<ListenId> {
        self.id.map(|forward| ListenId { forward, request: self.request })
    }

    /// The session that listens for it, or may.
    fn asked_of(&self) -> Option<(Epoch, ListenId)> {
        match self.there {
            There::Asking { epoch, .. } | There::Listening { epoch, .. } => Some((epoch, self.listen_id()?)),
            There::Away | There::Denied { .. } | There::Leaving { .. } => None,
        }
    }

    /// Where to ask it to listen. A port that the server chose once is what users know by now.
    fn wish(&self) -> RemoteSpec {
        let port =
            self.spec.listen.port().map(|port| if port == 0 { self.chosen.unwrap_or(0) } else { port });
        let listen = port.map_or_else(|| self.spec.listen.clone(), |port| self.spec.listen.with_port(port));
        RemoteSpec { listen, target: self.spec.target.clone() }
    }

    fn listens(&mut self, epoch: Epoch, port: u16) -> Option<Transition> {
        let mended = self.denials > 0;
        (self.denials, self.denied_since) = (0, None);
        if self.spec.listen.port() == Some(0) {
            self.chosen = Some(port);
        }
        self.there = There::Listening { epoch, at: self.spec.listen.with_port(port) };
        mended.then(|| self.transition("denied", "listening", None, None))
    }

    fn fail(&mut self, now: Moment, epoch: Epoch, why: Failure) -> Option<Transition> {
        let since = *self.denied_since.get_or_insert(now);
        let is_new = now < since + KEPT_FOR;
        if !is_new {
            self.chosen = None;
        }
        let longest = if is_new { LONGEST_WHILE_NEW } else { LONGEST_RETRY };
        let delay = FIRST_RETRY.saturating_mul(1 << self.denials.min(8)).min(longest);
        let news = self.denials == 0;
        self.denials = self.denials.saturating_add(1);
        self.there = There::Denied { epoch, why: why.clone(), retry_at: now + delay };
        news.then(|| self.transition("asking", "denied", Some(why), Some(delay)))
    }

    fn transition(
        &self,
        from: &'static str,
        to: &'static str,
        why: Option<Failure>,
        retry_in: Option<Duration>,
    ) -> Transition {
        Transition { about: About::Forward(self.spec.to_string()), from, to, why, retry_in }
    }

    /// `serves`: the server may be asked.
    fn timer(&self, serves: bool) -> Option<Timer> {
        match self.there {
            There::Away | There::Listening { .. } => None,
            There::Asking { deadline, .. } | There::Leaving { deadline, .. } => {
                Some((deadline, TimerReason::ListenDeadline))
            }
            There::Denied { retry_at, .. } => serves.then_some((retry_at, TimerReason::ListenRetry)),
        }
    }
}

impl Tunnel {
    /// The ports that servers chose for its forwards.
    pub fn chosen_ports(&self) -> impl Iterator<Item = (&RemoteSpec, u16)> {
        self.remotes.iter().filter_map(|remote| Some((&remote.spec, remote.chosen?)))
    }

    /// Servers chose these before a restart of the daemon: they are asked for again first.
    pub(crate) fn recall_ports(&mut self, ports: &[(RemoteSpec, u16)]) {
        let mut ports: Vec<_> = ports.iter().collect();
        for remote in self.remotes.iter_mut().filter(|remote| remote.spec.listen.port() == Some(0)) {
            let known = ports.iter().position(|(spec, _)| *spec == remote.spec);
            remote.chosen = known.map(|at| ports.remove(at).1);
        }
    }

    /// The session whose server may be asked to listen.
    fn asks(&self) -> Option<Epoch> {
        self.link.session().filter(|session| session.serves()).map(Session::epoch)
    }

    /// Whether that session is up, or only drains.
    fn carries(&self, epoch: Epoch) -> bool {
        let link = self.link.session().is_some_and(|session| session.is_up() && session.epoch() == epoch);
        link || self.draining_epochs().any(|old| old == epoch)
    }

    pub(super) fn remotes_timer(&self) -> Option<Timer> {
        let serves = self.asks().is_some();
        self.remotes.iter().filter_map(|remote| remote.timer(serves)).min()
    }

    /// Whether all that should listen at the far end do, once that can be said.
    pub(super) fn remotes_verdict(&self) -> Option<Settled> {
        let mut stuck = None;
        for remote in &self.remotes {
            match &remote.there {
                There::Listening { .. } => {}
                There::Denied { why, .. } => stuck = stuck.or(Some(why)),
                There::Away | There::Asking { .. } | There::Leaving { .. } => return None,
            }
        }
        Some(stuck.map_or(Settled::Reached, |why| Settled::Stuck(why.clone())))
    }

    pub(super) fn remote_reported(&mut self, now: Moment, epoch: Epoch, id: ListenId, report: RemoteReport) {
        let Some(remote) = self.remotes.iter_mut().find(|remote| remote.listen_id() == Some(id)) else {
            return;
        };
        let transition = match (report, &remote.there) {
            (RemoteReport::Listens { port }, There::Asking { epoch: of, .. }) if *of == epoch => {
                remote.listens(epoch, port)
            }
            (RemoteReport::Denied(why), There::Asking { epoch: of, .. }) if *of == epoch => {
                remote.fail(now, epoch, why)
            }
            (RemoteReport::Closed, There::Asking { epoch: of, .. } | There::Listening { epoch: of, .. })
                if *of == epoch =>
            {
                remote.fail(now, epoch, stopped(&remote.spec))
            }
            (RemoteReport::Closed, There::Leaving { epoch: of, .. }) if *of == epoch => {
                remote.there = There::Away;
                None
            }
            (RemoteReport::Listens { .. } | RemoteReport::Denied(_) | RemoteReport::Closed, _) => None,
        };
        self.outputs.extend(transition.map(Output::Announce));
    }

    pub(super) fn remotes_timed_out(&mut self, now: Moment) {
        for remote in &mut self.remotes {
            match remote.there {
                There::Asking { epoch, deadline } if deadline <= now => {
                    // Should it listen after all, it lets go of that.
                    self.outputs.extend(remote.listen_id().map(|id| Output::Unlisten(epoch, id)));
                    let failed = remote.fail(now, epoch, unanswered(&remote.spec));
                    self.outputs.extend(failed.map(Output::Announce));
                }
                There::Leaving { deadline, .. } if deadline <= now => remote.there = There::Away,
                There::Away
                | There::Asking { .. }
                | There::Listening { .. }
                | There::Denied { .. }
                | There::Leaving { .. } => {}
            }
        }
    }

    /// Asks again now for what was denied.
    pub(super) fn retry_remotes(&mut self, now: Moment) {
        for remote in &mut self.remotes {
            if let There::Denied { retry_at, .. } = &mut remote.there {
                *retry_at = now.min(*retry_at);
            }
        }
    }

    /// Makes them those of the spec, touching only what differs.
    pub(super) fn respec_remotes(&mut self) {
        let mut old = std::mem::take(&mut self.remotes);
        let mut take = |fits: &dyn Fn(&Remote) -> bool| old.iter().position(fits).map(|at| old.remove(at));
        let same: Vec<Option<Remote>> =
            self.spec.remotes.iter().map(|spec| take(&|remote| remote.spec == *spec)).collect();
        for (kept, spec) in same.into_iter().zip(&self.spec.remotes) {
            // Listening on, and leading elsewhere from now on.
            let remote = kept.or_else(|| {
                let mut remote = take(&|remote| remote.spec.listen == spec.listen)?;
                remote.spec = spec.clone();
                remote.faring.forget_denial();
                self.outputs.extend(remote.id.map(|id| Output::Retarget(id, spec.target.clone())));
                Some(remote)
            });
            self.remotes.push(remote.unwrap_or_else(|| Remote::new(spec.clone())));
        }
        for remote in old {
            let asked = remote.asked_of().filter(|(epoch, _)| self.carries(*epoch));
            self.outputs.extend(asked.map(|(epoch, id)| Output::Unlisten(epoch, id)));
            self.outputs.extend(remote.id.map(Output::Forget));
        }
    }

    /// Brings what listens at the far end nearer to what is wanted.
    pub(super) fn settle_remotes(&mut self, now: Moment) {
        let wanted = self.desire() != Desire::Down;
        let asks = self.asks();
        let link = self.link.session().filter(|session| session.is_up()).map(Session::epoch);
        let drains: Vec<Epoch> = self.draining_epochs().collect();
        let (outputs, next_forward, next_request) =
            (&mut self.outputs, &mut self.next_forward, &mut self.next_request);
        for remote in &mut self.remotes {
            if !wanted {
                outputs.extend(remote.id.take().map(Output::Forget));
                *remote = Remote { chosen: remote.chosen, ..Remote::new(remote.spec.clone()) };
                continue;
            }
            match remote.there {
                There::Asking { epoch, .. } | There::Listening { epoch, .. } if link != Some(epoch) => {
                    let drained = remote.asked_of().filter(|_| drains.contains(&epoch));
                    remote.there = match drained {
                        Some((epoch, id)) => {
                            outputs.push_back(Output::Unlisten(epoch, id));
                            There::Leaving { epoch, deadline: now + LEAVE_DEADLINE }
                        }
                        None => There::Away,
                    };
                }
                There::Leaving { epoch, .. } if !drains.contains(&epoch) => remote.there = There::Away,
                There::Denied { epoch, retry_at, .. }
                    if link != Some(epoch) || asks.is_some() && retry_at <= now =>
                {
                    remote.there = There::Away;
                }
                There::Away
                | There::Asking { .. }
                | There::Listening { .. }
                | There::Denied { .. }
                | There::Leaving { .. } => {}
            }
            if let (There::Away, Some(epoch)) = (&remote.there, asks) {
                let forward = *remote.id.get_or_insert_with(|| {
                    *next_forward += 1;
                    ForwardId(*next_forward - 1)
                });
                *next_request += 1;
                remote.request = *next_request;
                remote.there = There::Asking { epoch, deadline: now + LISTEN_DEADLINE };
                let id = ListenId { forward, request: remote.request };
                outputs.push_back(Output::Listen(epoch, id, remote.wish()));
            }
        }
    }

    /// Where the tunnel is nothing without all of its forwards, one that does not work ends the link.
    pub(super) fn settle_all_or_nothing(&mut self, now: Moment) {
        let Link::Live(session) = &self.link else { return };
        if !self.spec.policy.all_or_nothing || !session.is_up() {
            return;
        }
        let denied = self.remotes.iter().find_map(|remote| match &remote.there {
            There::Denied { why, .. } => Some(why),
            There::Away | There::Asking { .. } | There::Listening { .. } | There::Leaving { .. } => None,
        });
        if let Some(why) = denied.or(self.listener_failure()).cloned() {
            let epoch = session.epoch();
            self.emit(Output::Close(epoch));
            self.withdraw_successor();
            self.lose(now, why);
        }
    }
}

fn unanswered(spec: &RemoteSpec) -> Failure {
    Failure::new(
        FailureKind::TimedOut,
        format!("the server does not say whether it listens on {}", spec.listen),
        "it is asked again by itself",
    )
}

fn stopped(spec: &RemoteSpec) -> Failure {
    Failure::new(
        FailureKind::ForwardingDenied,
        format!("the server stopped listening on {}", spec.listen),
        "it is asked again by itself",
    )
}
