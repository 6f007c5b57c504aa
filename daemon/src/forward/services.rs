//! What all forwards of the daemon share: the data runtime, the bounds of memory and disk, the descriptors.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::budget::Budget;
use super::descriptors::Descriptors;
use super::guard::Guard;
use super::keep::{Keep, Lasting};

/// Shared by every [`super::Forward`] of the daemon.
pub struct Services {
    pub(super) runtime: Handle,
    pub(super) memory: Arc<Budget>,
    pub(super) spool: Arc<Budget>,
    pub(super) state_dir: PathBuf,
    pub(super) descriptors: Descriptors,
    pub(super) lasting: Arc<Lasting>,
    /// Turns to look up names.
    pub(super) lookups: Semaphore,
    pub(super) guard: Guard,
}

/// So many names are looked up at a time.
const LOOKUPS: usize = 8;

/// How much may wait for slow local readers, over all connections of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// In memory, in bytes. Each connection has a little beside it, so that none ever stands still.
    pub memory: u64,
    /// In unlinked files in the state directory, in bytes.
    pub spool: u64,
}

impl Default for Budgets {
    fn default() -> Self {
        Budgets { memory: 256 << 20, spool: 4 << 30 }
    }
}

impl Services {
    /// `runtime` runs listeners and pumps. `state_dir` takes the spool files and need not exist yet.
    /// `on_exhausted(true)` is called when accepting pauses for want of descriptors, `false` when it goes on.
    pub fn new(
        runtime: Handle,
        state_dir: PathBuf,
        budgets: Budgets,
        on_exhausted: impl Fn(bool) + Send + Sync + 'static,
    ) -> Arc<Services> {
        Arc::new(Services {
            runtime,
            memory: Arc::new(Budget::new(budgets.memory)),
            spool: Arc::new(Budget::new(budgets.spool)),
            state_dir,
            descriptors: Descriptors::new(Box::new(on_exhausted)),
            lasting: Arc::default(),
            lookups: Semaphore::new(LOOKUPS),
            guard: Guard::default(),
        })
    }
}

impl Services {
    /// From now on so many bytes may wait on disk.
    pub fn set_spool(&self, bytes: u64) {
        self.spool.set(bytes);
    }

    /// Has `keep` keep all listening sockets beyond the end of this process. To be called before the first
    /// forward is spawned, once.
    pub fn keep_listeners_by(&self, keep: Arc<dyn Keep>) {
        self.lasting.set(keep);
    }

    /// Every forward that was there before this process began is spawned by now. What none of them claims is
    /// given up as soon as they have tried to bind.
    pub fn all_forwards_known(&self) {
        self.lasting.no_more_claims();
    }

    /// The daemon ends: listeners that are closed from now on stay with whoever keeps them.
    pub fn leave_listeners(&self) {
        self.lasting.leave();
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").field("state_dir", &self.state_dir).finish_non_exhaustive()
    }
}
