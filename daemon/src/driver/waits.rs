//! Those who asked with `--wait`, and which tunnels they still wait for.

use std::collections::BTreeMap;

use nbtunnel_core::{Name, Settled, WaitId};
use nbtunnel_proto::{Outcome, Reached, Reply};

use crate::control::convert;
use crate::event::{Asked, ClientId};

/// All that wait. No wait is lost: each ends with an answer, or with its client.
#[derive(Default)]
pub(super) struct Waits {
    next: u64,
    groups: Vec<Group>,
}

/// One request, over one or more tunnels.
struct Group {
    asked: Asked,
    waiting: BTreeMap<WaitId, Name>,
    outcomes: Vec<Outcome>,
}

impl Waits {
    /// A number that no wait has yet.
    pub(super) fn number(&mut self) -> WaitId {
        self.next += 1;
        WaitId(self.next)
    }

    /// Begins to wait for `names`. The caller passes the ids on to core.
    pub(super) fn begin(&mut self, asked: Asked, names: &[Name]) -> Vec<(Name, WaitId)> {
        let ids: Vec<(Name, WaitId)> = names.iter().map(|name| (name.clone(), self.number())).collect();
        let waiting = ids.iter().map(|(name, id)| (*id, name.clone())).collect();
        self.groups.push(Group { asked, waiting, outcomes: Vec::new() });
        ids
    }

    /// Core says how a wait ended; the last one of a request answers it.
    pub(super) fn answered(&mut self, wait: WaitId, settled: Settled) {
        let Some(at) = self.groups.iter().position(|group| group.waiting.contains_key(&wait)) else { return };
        let group = &mut self.groups[at];
        if let Some(name) = group.waiting.remove(&wait) {
            let reached = match settled {
                Settled::Reached => Reached::There,
                Settled::Stuck(why) => Reached::Stuck(convert::problem(&why)),
                Settled::Overtaken => Reached::Overtaken,
            };
            group.outcomes.push(Outcome { name: name.to_string(), reached });
        }
        if group.waiting.is_empty() {
            let mut group = self.groups.swap_remove(at);
            group.outcomes.sort_by(|a, b| a.name.cmp(&b.name));
            group.asked.answer(Reply::Ordered(group.outcomes));
        }
    }

    /// Whether a client still waits for something.
    pub(super) fn has(&self, client: ClientId) -> bool {
        self.groups.iter().any(|group| group.asked.client == client)
    }

    /// A client is gone: returns what it waited for.
    pub(super) fn hung_up(&mut self, client: ClientId) -> Vec<(Name, WaitId)> {
        let mut gone = Vec::new();
        self.groups.retain(|group| {
            let stays = group.asked.client != client;
            if !stays {
                gone.extend(group.waiting.iter().map(|(id, name)| (name.clone(), *id)));
            }
            stays
        });
        gone
    }

    /// Nobody will get there any more.
    pub(super) fn stop(&mut self, fault: impl Fn() -> Reply) {
        self.groups.drain(..).for_each(|group| group.asked.answer(fault()));
    }
}
