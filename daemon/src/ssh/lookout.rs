//! Watches, for parked tunnels, what they wait for: an agent that gets a key, a key file that appears, a
//! known_hosts file that changes. Looks at this machine only, once a second, and only while somebody waits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::agent::Agents;
use super::credentials::Snapshot;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(1);

/// What is waited for, and what changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// What could be offered to a server.
    Credentials,
    /// A known_hosts file.
    KnownHosts,
}

/// Told the tunnel's name and what changed for it, once for each `watch`. Called from the lookout's runtime;
/// must not block.
pub type OnChange = Arc<dyn Fn(&str, Changed) + Send + Sync>;

/// The watch. It ends when this is dropped.
pub struct Lookout {
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    watched: Mutex<BTreeMap<String, Watched>>,
    begun: Notify,
}

#[derive(Clone)]
struct Watched {
    before: Snapshot,
    what: Changed,
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Lookout {
    /// Starts its task on `runtime`.
    pub fn new(runtime: &Handle, agents: Arc<Agents>, on_change: OnChange) -> Lookout {
        let shared = Arc::new(Shared { watched: Mutex::default(), begun: Notify::new() });
        let task = runtime.spawn(keep_looking(Arc::clone(&shared), agents, on_change)).abort_handle();
        Lookout { shared, task }
    }

    /// Tells when `what` differs from `before`, for the tunnel `name`; takes the place of its earlier watch.
    /// A change between the snapshot and now counts.
    pub fn watch(&self, name: &str, before: Snapshot, what: Changed) {
        self.shared.watched().insert(name.to_owned(), Watched { before, what });
        self.shared.begun.notify_one();
    }

    /// Forgets the tunnel `name`.
    pub fn unwatch(&self, name: &str) {
        self.shared.watched().remove(name);
    }
}

impl Shared {
    fn watched(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a watch that came true, unless it was replaced while we looked.
    fn take(&self, name: &str, seen: &Watched) -> bool {
        let mut watched = self.watched();
        let is_same = watched.get(name).is_some_and(|now| now.before == seen.before && now.what == seen.what);
        is_same && watched.remove(name).is_some()
    }
}

async fn keep_looking(shared: Arc<Shared>, agents: Arc<Agents>, on_change: OnChange) {
    loop {
        let watched = shared.watched().clone();
        if watched.is_empty() {
            shared.begun.notified().await;
            continue;
        }
        for (name, watched) in watched {
            if watched.differs(&agents).await && shared.take(&name, &watched) {
                on_change(&name, watched.what);
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

impl Watched {
    async fn differs(&self, agents: &Agents) -> bool {
        let asked = (self.what == Changed::Credentials).then_some(agents);
        let Some(now) = self.before.clone().again(asked).await else { return false };
        match self.what {
            Changed::Credentials => !now.offers_the_same(&self.before),
            Changed::KnownHosts => now.known_hosts != self.before.known_hosts,
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
#[path = "lookout_tests.rs"]
mod tests;
