//! Reads the config directory again whenever something in it changes.
//!
//! The system's notifications are only nudges: whatever they say, everything is looked at afresh, and a
//! digest of the contents decides whether anybody is told. So a lost event costs time, never truth.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::timeout;

use super::gather::Gathered;
use super::hosts::Hosts;
use super::ports::Ports;
use super::read::interpret_asking;
use super::{Context, Loaded, summed_up};

/// After a nudge, nothing may happen for this long …
const QUIET: Duration = Duration::from_millis(100);
/// … but this many times in a row is enough: a busy directory must not put a change off for ever.
const MOST_QUIETS: usize = 3;
/// How often the contents are compared although nothing nudged: a network drive tells us nothing.
const BACKSTOP: Duration = Duration::from_secs(60);
/// The same where the system cannot watch, for example because its inotify instances are used up.
const POLL: Duration = Duration::from_secs(2);
/// How often watching is set up anew when directories come and go meanwhile.
const MOST_TRIES: usize = 5;

/// Who is told of every change. Called in a task of the runtime: it must not block.
pub type OnLoaded = Arc<dyn Fn(Loaded) + Send + Sync>;

/// A watched config directory. Dropping it ends the watching.
pub struct Watch {
    nudges: Arc<Nudges>,
    task: AbortHandle,
}

impl Watch {
    /// Reads everything again, and tells even if nothing changed. The answer is the first reading whose
    /// [`Loaded::asked`] is at least what this returns: one that was under way may have missed a change.
    pub fn reload_now(&self) -> u64 {
        let asked = self.nudges.asked.fetch_add(1, Ordering::AcqRel) + 1;
        self.nudges.bell.notify_one();
        asked
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Watches `dir`, which need not exist, with a task on `runtime`. `on_loaded` is called with a first
/// reading soon, then whenever what was found is different, and after [`Watch::reload_now`].
pub fn spawn(runtime: &Handle, dir: PathBuf, ctx: Context, on_loaded: OnLoaded) -> Watch {
    let nudges = Arc::new(Nudges::default());
    let task = runtime.spawn(run(dir, Arc::new(ctx), Arc::clone(&nudges), on_loaded));
    Watch { nudges, task: task.abort_handle() }
}

/// How the watching task is woken.
#[derive(Default)]
struct Nudges {
    bell: Notify,
    /// How often [`Watch::reload_now`] was called, and how many of these calls were answered.
    asked: AtomicU64,
    answered: AtomicU64,
}

impl Nudges {
    fn is_asked(&self) -> bool {
        self.answered.load(Ordering::Acquire) < self.asked.load(Ordering::Acquire)
    }
}

async fn run(dir: PathBuf, ctx: Arc<Context>, nudges: Arc<Nudges>, on_loaded: OnLoaded) {
    // Kept until the next one is armed, so that no moment goes unwatched.
    let mut watching: Option<Watching> = None;
    let mut last_digest = None;
    let mut blind = false;
    let memory = Arc::new(Mutex::new((Hosts::new(&ctx.home), Ports::open(ctx.ports_path.clone()))));
    loop {
        let asked = nudges.asked.load(Ordering::Acquire);
        let known = last_digest.filter(|_| nudges.answered.load(Ordering::Acquire) == asked);
        let look = {
            let (dir, ctx, nudges) = (dir.clone(), Arc::clone(&ctx), Arc::clone(&nudges));
            let memory = Arc::clone(&memory);
            spawn_blocking(move || {
                let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
                let (hosts, ports) = &mut *memory;
                if nudges.is_asked() {
                    hosts.forget();
                }
                look(dir, &ctx, &nudges, (hosts, ports), watching, known)
            })
        };
        match look.await {
            Ok(seen) => {
                watching = Some(seen.watching);
                if let Some(loaded) = seen.news {
                    last_digest = Some(loaded.digest);
                    nudges.answered.store(asked, Ordering::Release);
                    on_loaded(Loaded { asked, ..loaded });
                }
            }
            Err(error) => {
                tracing::error!(%error, "reading the configuration failed; it is tried again");
                watching = None;
            }
        }
        let is_blind = watching.as_ref().is_none_or(|watching| watching.watcher.is_none());
        if is_blind && !blind {
            tracing::warn!("the system cannot watch {}; it is looked at every two seconds", dir.display());
        }
        blind = is_blind;
        wait_for_nudge(&nudges, if blind { POLL } else { BACKSTOP }).await;
    }
}

/// Until something happened and the dust has settled, or for `at_most`.
async fn wait_for_nudge(nudges: &Nudges, at_most: Duration) {
    if timeout(at_most, nudges.bell.notified()).await.is_err() {
        return;
    }
    for _ in 0..MOST_QUIETS {
        if nudges.is_asked() || timeout(QUIET, nudges.bell.notified()).await.is_err() {
            return;
        }
    }
}

/// What is watched, and by whom.
struct Watching {
    scope: Arc<Scope>,
    /// Nobody, if the system would not.
    watcher: Option<RecommendedWatcher>,
}

struct Seen {
    watching: Watching,
    /// What was found, unless it is what was known.
    news: Option<Loaded>,
}

/// Sets up watching and reads, in this order, so that what happens after the reading is noticed.
///
/// A new watcher each time, since an old one may hang on to directories that were removed or renamed.
fn look(
    dir: PathBuf,
    ctx: &Context,
    nudges: &Arc<Nudges>,
    (hosts, ports): (&mut Hosts, &mut Ports),
    before: Option<Watching>,
    known: Option<u64>,
) -> Seen {
    let mut scope = match &before {
        Some(before) => Arc::clone(&before.scope),
        None => Arc::new(Scope::of(&Gathered::from_dir(&dir))),
    };
    let mut tries = 1;
    loop {
        let (watcher, is_whole) = match arm(&scope, nudges) {
            Ok((watcher, is_whole)) => (Ok(watcher), is_whole),
            Err(error) => (Err(error), true),
        };
        let mut found = Gathered::from_dir(&dir);
        let mut loaded = interpret_asking(&found, ctx, hosts);
        found.watch_too(&hosts.places().files, &hosts.places().dirs);
        let scope_now = Scope::of(&found);
        // A directory that was gone when it was to be watched, and is there again, would be watched by nobody.
        if (scope_now == *scope && is_whole) || tries == MOST_TRIES {
            if !is_whole {
                nudges.bell.notify_one();
            }
            let watcher = watcher.inspect_err(|error| tracing::debug!(%error, "not watched")).ok();
            ports.choose(&mut loaded);
            let news = (known != Some(loaded.digest)).then(|| summed_up(loaded));
            return Seen { watching: Watching { scope, watcher }, news };
        }
        scope = Arc::new(scope_now);
        tries += 1;
    }
}

/// What matters, free of links.
#[derive(Debug, PartialEq, Eq)]
struct Scope {
    /// Directories that are watched, non-recursively.
    dirs: Vec<PathBuf>,
    /// Everything below these matters.
    roots: Vec<PathBuf>,
    /// Single places that matter.
    places: Vec<PathBuf>,
}

impl Scope {
    fn of(found: &Gathered) -> Scope {
        Scope {
            dirs: found.watch_dirs().into_iter().collect(),
            roots: found.roots.clone(),
            places: found.places.iter().cloned().collect(),
        }
    }

    /// Whether an event can matter: most in a directory that holds the target of a link do not.
    fn concerns(&self, event: &Event) -> bool {
        // Our own reading makes access events; without paths nothing can be told apart.
        match event.kind {
            EventKind::Access(_) => return false,
            _ if event.need_rescan() || event.paths.is_empty() => return true,
            _ => {}
        }
        event.paths.iter().any(|path| {
            // What happens above a place (a parent is made, or moved) moves the place.
            self.roots.iter().any(|root| path.starts_with(root) || root.starts_with(path))
                || self.places.iter().any(|place| place.starts_with(path))
        })
    }
}

/// A watcher, and whether it watches every directory: one may be gone meanwhile.
fn arm(scope: &Arc<Scope>, nudges: &Arc<Nudges>) -> notify::Result<(RecommendedWatcher, bool)> {
    let (heard, nudges) = (Arc::clone(scope), Arc::clone(nudges));
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        if event.map_or(true, |event| heard.concerns(&event)) {
            nudges.bell.notify_one();
        }
    })?;
    let mut is_whole = true;
    for dir in &scope.dirs {
        match watcher.watch(dir, RecursiveMode::NonRecursive) {
            Ok(()) => {}
            // Removed since it was seen, or not readable: the next look at the scope takes that in.
            Err(error) if error_is_absence(&error) || !dir.is_dir() => {
                is_whole = false;
                tracing::debug!(%error, "gone before it could be watched");
            }
            Err(error) => return Err(error),
        }
    }
    Ok((watcher, is_whole))
}

/// Whether a directory could not be watched since it was not there at that moment.
fn error_is_absence(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
