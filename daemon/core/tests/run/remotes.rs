//! What servers were asked to listen for, worked out from inputs and outputs alone, and the rules about that.

use std::collections::BTreeMap;
use std::time::Duration;

use nbtunnel_core::tunnel::Desire;
use nbtunnel_core::{
    Epoch, ForwardId, Gate, Input, ListenId, Moment, Output, RemoteReport, RemoteSpec, Tunnel,
};

use super::facts::LinkFact;
use super::rules::Step;
use super::{Checked, Machine, hold};

/// A server that does not say whether it listens counts as one that denied it after this.
const LISTEN_DEADLINE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum RemoteFact {
    Asked {
        at: Moment,
    },
    Listens,
    Denied,
    /// It was asked to listen no more.
    Leaving,
    Closed,
}

/// The newest request for one forward.
#[derive(Clone, Debug)]
pub(super) struct Remote {
    pub(super) id: ListenId,
    pub(super) epoch: Epoch,
    pub(super) fact: RemoteFact,
    spec: RemoteSpec,
}

impl Remote {
    fn is_asked(&self) -> bool {
        matches!(self.fact, RemoteFact::Asked { .. } | RemoteFact::Listens)
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Remotes {
    known: BTreeMap<ForwardId, Remote>,
    newest: u64,
}

type Links = BTreeMap<Epoch, LinkFact>;

fn carries(links: &Links, epoch: Epoch) -> bool {
    matches!(links.get(&epoch), Some(LinkFact::Up { .. } | LinkFact::Draining { .. }))
}

impl Remotes {
    pub(super) fn has(&self, id: ForwardId) -> bool {
        self.known.contains_key(&id)
    }

    /// The request so many before the newest; one that was never made, if there is none.
    pub(super) fn request(&self, back: i8) -> (Epoch, ListenId) {
        let request = self.newest.wrapping_sub(back as u64);
        let made = self.known.values().find(|remote| remote.id.request == request);
        made.map_or((Epoch(0), ListenId { forward: ForwardId(u32::MAX), request }), |remote| {
            (remote.epoch, remote.id)
        })
    }

    /// What a kind world would answer now.
    pub(super) fn due(&self, links: &Links) -> Vec<Input> {
        let here = self.known.values().filter(|remote| carries(links, remote.epoch));
        here.filter_map(|remote| {
            let report = match remote.fact {
                RemoteFact::Asked { .. } => {
                    let port = remote.spec.listen.port().unwrap_or(0);
                    RemoteReport::Listens { port: if port == 0 { 40_000 } else { port } }
                }
                RemoteFact::Leaving => RemoteReport::Closed,
                RemoteFact::Listens | RemoteFact::Denied | RemoteFact::Closed => return None,
            };
            Some(Input::Remote(remote.epoch, remote.id, report))
        })
        .collect()
    }

    pub(super) fn is_stale(&self, epoch: Epoch, id: ListenId, report: &RemoteReport) -> bool {
        let Some(remote) = self.known.get(&id.forward).filter(|known| (known.id, known.epoch) == (id, epoch))
        else {
            return true;
        };
        match remote.fact {
            RemoteFact::Asked { .. } => false,
            RemoteFact::Listens | RemoteFact::Leaving => *report != RemoteReport::Closed,
            RemoteFact::Denied | RemoteFact::Closed => true,
        }
    }

    pub(super) fn happened(&mut self, epoch: Epoch, id: ListenId, report: &RemoteReport) {
        if self.is_stale(epoch, id, report) {
            return;
        }
        let Some(remote) = self.known.get_mut(&id.forward) else { return };
        remote.fact = match (report, remote.fact) {
            (RemoteReport::Closed, RemoteFact::Leaving) => RemoteFact::Closed,
            (RemoteReport::Listens { .. }, _) => RemoteFact::Listens,
            (RemoteReport::Denied(_) | RemoteReport::Closed, _) => RemoteFact::Denied,
        };
    }

    /// Takes in what is wanted of a server, if it may be.
    pub(super) fn told(
        &mut self,
        now: Moment,
        input: &Input,
        output: &Output,
        after: &Tunnel,
        links: &Links,
    ) -> Checked {
        let said = || format!("{output:?} after {input:?}: {self:?} {after:?}");
        match output {
            Output::Listen(epoch, id, spec) => {
                let up = matches!(links.get(epoch), Some(LinkFact::Up { .. }));
                let wanted = after.desire() != Desire::Down;
                hold("a_server_is_asked_only_while_it_serves", up && wanted, said)?;
                hold("each_request_has_its_own_number", id.request > self.newest, said)?;
                let named = after.spec().remotes.iter().any(|file| {
                    let chosen = file.listen.port() == Some(0) && spec.listen.with_port(0) == file.listen;
                    file.target == spec.target && (file.listen == spec.listen || chosen)
                });
                hold("asks_for_what_the_file_says", named, said)?;
                let before = self.known.get(&id.forward);
                let elsewhere = before.is_some_and(|old| old.is_asked() && carries(links, old.epoch));
                hold("only_one_server_listens_for_a_forward", !elsewhere, said)?;
                self.newest = id.request;
                let fact = RemoteFact::Asked { at: now };
                let asked = Remote { id: *id, epoch: *epoch, fact, spec: spec.clone() };
                self.known.insert(id.forward, asked);
            }
            Output::Unlisten(epoch, id) => {
                let asked = self
                    .known
                    .get(&id.forward)
                    .is_some_and(|remote| (remote.id, remote.epoch) == (*id, *epoch) && remote.is_asked());
                hold("takes_back_what_was_asked", asked && carries(links, *epoch), said)?;
                if let Some(remote) = self.known.get_mut(&id.forward) {
                    let overdue =
                        matches!(remote.fact, RemoteFact::Asked { at } if at + LISTEN_DEADLINE <= now);
                    let given_up = overdue && matches!(links.get(epoch), Some(LinkFact::Up { .. }));
                    remote.fact = if given_up { RemoteFact::Denied } else { RemoteFact::Leaving };
                }
            }
            Output::Forget(id) => {
                let known = self.known.remove(id);
                let listens = known.as_ref().is_some_and(|old| old.is_asked() && carries(links, old.epoch));
                let said = || format!("{output:?} after {input:?}: {known:?} {after:?}");
                hold("nothing_listens_for_what_is_forgotten", known.is_some() && !listens, said)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Where it leads now; false if it is none of these.
    pub(super) fn retarget(&mut self, id: ForwardId, target: &nbtunnel_core::Target) -> bool {
        let known = self.known.get_mut(&id);
        known.map(|remote| remote.spec.target = target.clone()).is_some()
    }
}

/// While the link serves, each forward listens there, is asked for, or is asked for again.
pub(super) fn check<M: Machine>(step: &Step<'_, M>) -> Checked {
    let tunnel = step.tunnel();
    let gate = step.ledger.gate();
    for output in step.outputs {
        if let Output::Listen(epoch, ..) = output {
            let serves = gate == Some(Gate::Serve(*epoch));
            hold("a_server_is_asked_only_while_it_serves", serves, || step.said())?;
        }
    }
    let Some(Gate::Serve(epoch)) = gate else { return Ok(()) };
    let timer = step.after.poll_timeout().map(|(at, _)| at);
    let view = tunnel.view(step.now);
    for (forward, spec) in view.forwards.iter().skip(tunnel.spec().forwards.len()).zip(&tunnel.spec().remotes)
    {
        let known = forward.id.and_then(|id| step.ledger.remotes.known.get(&id));
        let fine = known.is_some_and(|remote| match remote.fact {
            RemoteFact::Asked { at } => {
                remote.epoch == epoch && timer.is_some_and(|timer| timer <= at + LISTEN_DEADLINE)
            }
            RemoteFact::Listens => remote.epoch == epoch && !forward.listens.is_empty(),
            RemoteFact::Denied => timer.is_some() && forward.problem.is_some(),
            RemoteFact::Leaving => timer.is_some(),
            RemoteFact::Closed => false,
        });
        hold("no_remote_forward_is_forgotten", fine, || format!("{spec}: {known:?}; {}", step.said()))?;
        let right = known.is_none_or(|remote| remote.spec.target == spec.target);
        hold("a_listener_leads_where_the_file_says", right, || step.said())?;
    }
    Ok(())
}
