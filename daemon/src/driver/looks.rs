//! How notebooks fare, asked only while somebody looks, and once when one was found anew. A look is a task of its own
//! whose outcome is kept: whoever wants a status waits a moment for those under way, and is then told what is known.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use nbtunnel_core::{FleetInput, Input, Launcher, Moment, Name, NotebookInput};
use nbtunnel_proto::{Fault, FaultCode, Reply};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Driver;
use super::notebooks::Key;
use crate::event::{Asked, Event};
use crate::forward::FarSide;
use crate::notebook::{self, Health, LookId, Server};

/// What was looked at so lately is not looked at again.
const FRESH: Duration = Duration::from_secs(2);
/// The same of a server that was well in a job of a cluster: each look is a step of that job.
const FRESH_IN_JOB: Duration = Duration::from_secs(30);
/// Who asks waits so long for looks under way.
const PATIENCE: Duration = Duration::from_millis(1500);

/// The looks at notebooks, and what they saw.
#[derive(Default)]
pub(super) struct Looks {
    all: BTreeMap<Key, Looked>,
    next: u64,
}

/// The looks at one server. Whoever forgets them ends the one that is under way.
struct Looked {
    /// When the last one was begun.
    begun_at: Moment,
    under_way: Option<Look>,
    seen: Option<Seen>,
}

/// A look that is under way.
struct Look {
    id: LookId,
    server: Server,
    /// Somebody asked for it. One that follows a search leads to no further search.
    was_asked_for: bool,
    begun_ms: u64,
    _end: DropGuard,
    /// Set when it is over.
    over: CancellationToken,
}

/// What the last look saw. Times are milliseconds since 1970-01-01 UTC.
pub(super) struct Seen {
    pub(super) health: Health,
    /// When it was known.
    pub(super) at_ms: u64,
    /// When the first of those looks was begun that saw no other layer break.
    pub(super) since_ms: u64,
}

impl Looks {
    /// What was seen last.
    pub(super) fn seen(&self, key: &Key) -> Option<&Seen> {
        self.all.get(key)?.seen.as_ref()
    }

    /// What was seen is about another server than the one that is there now.
    pub(super) fn forget(&mut self, key: &Key) {
        self.all.remove(key);
    }

    pub(super) fn retain(&mut self, is_there: impl Fn(&Key) -> bool) {
        self.all.retain(|key, _| is_there(key));
    }

    fn is_due(&self, key: &Key, in_job: bool, now: Moment) -> bool {
        let rests = |looked: &Looked| {
            let fresh = fresh(in_job, looked.seen.as_ref().map(|seen| &seen.health));
            looked.under_way.is_some() || now.since(looked.begun_at) < fresh
        };
        !self.all.get(key).is_some_and(rests)
    }

    fn over(&self, key: &Key) -> Option<CancellationToken> {
        Some(self.all.get(key)?.under_way.as_ref()?.over.clone())
    }
}

/// How long what was seen last is not looked at again.
fn fresh(in_job: bool, seen: Option<&Health>) -> Duration {
    match seen {
        Some(Health::Fine(_)) if in_job => FRESH_IN_JOB,
        _ => FRESH,
    }
}

impl Driver {
    /// The status of these tunnels, at once if nothing is being looked at; [`Driver::status_due`] answers otherwise.
    pub(super) fn status_asked(&mut self, asked: &Asked, names: &[String]) -> Result<Option<Reply>, Fault> {
        // A pattern is none that is meant, and stays.
        let meant = |name: &String| match self.meant(name) {
            Ok(tunnel) => Ok(tunnel.to_string()),
            Err(several) if several.code == FaultCode::Usage => Err(several),
            Err(_) => Ok(name.clone()),
        };
        let names: Vec<String> = names.iter().map(meant).collect::<Result<_, Fault>>()?;
        let tunnels = if names.is_empty() { self.present().cloned().collect() } else { self.select(&names)? };
        let looks: Vec<CancellationToken> = tunnels.iter().flat_map(|tunnel| self.looks_at(tunnel)).collect();
        if looks.is_empty() {
            return self.status(&names).map(|status| Some(Reply::Status(Box::new(status))));
        }
        let (events, asked) = (self.events.clone(), asked.clone());
        self.data.spawn(async move {
            let _ = timeout(PATIENCE, join_all(looks.iter().map(CancellationToken::cancelled))).await;
            let _ = events.send(Event::StatusDue(asked, names));
        });
        Ok(None)
    }

    /// Whoever waits for a status waited long enough.
    pub(super) fn status_due(&self, asked: &Asked, names: &[String]) {
        let reply = self.status(names).map(|status| Reply::Status(Box::new(status)));
        asked.answer(reply.unwrap_or_else(Reply::Fault));
    }

    /// Begins the looks at the notebooks of a tunnel that are due, and returns all that are under way. Those that nobody
    /// has found are looked for.
    fn looks_at(&mut self, tunnel: &Name) -> Vec<CancellationToken> {
        let now = self.clock.now();
        let Some(far) = self.effects.far_side_now(tunnel) else { return Vec::new() };
        let views = self.fleet.tunnels().get(tunnel).map(|tunnel| tunnel.view(now).notebooks);
        let mut under_way = Vec::new();
        for view in views.unwrap_or_default() {
            let (key, is_job) = ((tunnel.clone(), view.spec.name), view.spec.launcher != Launcher::Here);
            // What was found earlier may be another's by now.
            let server = self.server_at(&key, view.target.as_deref()).cloned();
            if server.is_none() || is_job {
                let look = Input::Notebook(key.1.clone(), NotebookInput::Look);
                self.tell(FleetInput::Tunnel(tunnel.clone(), look));
            }
            let Some(server) = server else { continue };
            let in_job = self.errand(&key).is_some_and(|errand| errand.is_on_node());
            if self.notebooks.looks.is_due(&key, in_job, now) {
                self.begin_look(key.clone(), Arc::clone(&far), server, true);
            }
            under_way.extend(self.notebooks.looks.over(&key));
        }
        under_way
    }

    /// Whether a search found another server than the one that is known, or one where none was, or one that answers
    /// though the last look says otherwise.
    pub(super) fn is_news(&self, key: &Key, found: &Server) -> bool {
        let known = self.view_of(key).and_then(|view| self.server_at(key, view.target.as_deref()));
        let seen = self.notebooks.looks.seen(key);
        !known.is_some_and(|known| known.is_same(found))
            || seen.is_some_and(|seen| seen.health.is_doubtful(found))
    }

    /// Looks at what was found anew, so that who asks first need not wait for it.
    pub(super) fn look_anew(&mut self, key: &Key) {
        self.notebooks.looks.forget(key);
        let server = self.view_of(key).and_then(|view| self.server_at(key, view.target.as_deref()).cloned());
        if let (Some(server), Some(far)) = (server, self.effects.far_side_now(&key.0)) {
            self.begin_look(key.clone(), far, server, false);
        }
    }

    fn begin_look(&mut self, key: Key, far: Arc<dyn FarSide>, server: Server, was_asked_for: bool) {
        let Some(far) = self.errand(&key).map(|errand| errand.machine(far)) else { return };
        let looks = &mut self.notebooks.looks;
        let (id, over) = (LookId(looks.next), CancellationToken::new());
        looks.next += 1;
        let seen = looks.all.remove(&key).and_then(|looked| looked.seen);
        let look = Look {
            id,
            server: server.clone(),
            was_asked_for,
            begun_ms: self.clock.wall_ms(),
            _end: over.clone().drop_guard(),
            over: over.clone(),
        };
        looks.all.insert(key.clone(), Looked { begun_at: self.clock.now(), under_way: Some(look), seen });
        let events = self.events.clone();
        self.data.spawn(async move {
            tokio::select! {
                () = over.cancelled() => {}
                health = notebook::look(far, &server) => {
                    let _ = events.send(Event::Looked(key.0, key.1, id, Box::new(health)));
                }
            }
        });
    }

    /// What a look saw.
    pub(super) fn looked(&mut self, key: &Key, id: LookId, health: Health) {
        let Some(looked) = self.notebooks.looks.all.get_mut(key) else { return };
        let Some(look) = looked.under_way.take_if(|look| look.id == id) else { return };
        let same = looked
            .seen
            .as_ref()
            .filter(|seen| std::mem::discriminant(&seen.health) == std::mem::discriminant(&health));
        let since_ms = same.map_or(look.begun_ms, |seen| seen.since_ms);
        let (is_doubtful, is_well) = (health.is_doubtful(&look.server), health.vitals().is_some());
        looked.seen = Some(Seen { health, at_ms: self.clock.wall_ms(), since_ms });
        // A search that met a problem which is over has to see that, too.
        let is_over = is_well && self.view_of(key).is_some_and(|view| view.problem.is_some());
        if look.was_asked_for && (is_doubtful || is_over) {
            let doubt = Input::Notebook(key.1.clone(), NotebookInput::Doubt);
            self.tell(FleetInput::Tunnel(key.0.clone(), doubt));
        }
    }
}

#[cfg(test)]
mod tests {
    use nbtunnel_core::{Failure, FailureKind};

    use super::*;
    use crate::notebook::Vitals;

    #[test]
    fn a_server_that_is_well_in_a_job_is_looked_at_seldom_and_one_that_is_not_at_once() {
        let why = Failure::new(FailureKind::NotebookFailed, "it hangs", "");
        let (well, ill) = (Health::Fine(Vitals::default()), Health::Silent(why));
        assert_eq!(fresh(true, Some(&well)), FRESH_IN_JOB);
        for often in [(true, Some(&ill)), (true, None), (false, Some(&well)), (false, None)] {
            assert_eq!(fresh(often.0, often.1), FRESH, "{often:?}");
        }
    }
}
