//! Listening sockets that outlive this process: somebody else keeps them open meanwhile, and clients wait in
//! their queues. Who that is, forwards need not know; `service` knows.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};

use socket2::{SockAddr, SockRef, Socket};

use super::lock;

/// Keeps listening sockets open beyond the end of this process. Nothing here may wait.
pub trait Keep: Send + Sync {
    /// Another handle of a socket that listens at `at` since before this process began, if there is one that
    /// is still unclaimed. [`Keep::keep`] claims it.
    fn adopt(&self, at: &SockAddr) -> Option<Socket>;

    /// Gives up what is unclaimed and keeps others from listening at `at`: its forward listens elsewhere now.
    /// Returns whether there was any.
    fn make_way(&self, at: &SockAddr) -> bool;

    /// Keeps `socket`, which listens for a forward.
    fn keep(&self, socket: SockRef<'_>);

    /// Gives up `socket` for good: whoever connects to it from now on is refused.
    fn let_go(&self, socket: SockRef<'_>);

    /// Gives up every socket that was handed to us and that no forward claimed.
    fn let_go_of_the_rest(&self);
}

/// What the forwards of a daemon know of who keeps their sockets.
#[derive(Default)]
pub(super) struct Lasting {
    keep: OnceLock<Arc<dyn Keep>>,
    /// Until every forward is known that may claim a socket.
    claims: Mutex<Option<Arc<Claim>>>,
    leaving: Arc<AtomicBool>,
}

/// Held while its owner may still claim sockets. When the last one is dropped, what is left is given up.
pub(super) struct Claim {
    keep: Arc<dyn Keep>,
    leaving: Arc<AtomicBool>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // The daemon after us may claim them.
        if !self.leaving.load(SeqCst) {
            self.keep.let_go_of_the_rest();
        }
    }
}

impl Lasting {
    /// From now on `keep` keeps the sockets. Only the first one counts.
    pub(super) fn set(&self, keep: Arc<dyn Keep>) {
        if self.keep.set(Arc::clone(&keep)).is_ok() {
            *lock(&self.claims) = Some(Arc::new(Claim { keep, leaving: Arc::clone(&self.leaving) }));
        }
    }

    /// For a forward that is about to bind; `None` once nothing is left to claim.
    pub(super) fn claim(&self) -> Option<Arc<Claim>> {
        lock(&self.claims).clone()
    }

    /// Every forward that may claim a socket has its [`Claim`] by now.
    pub(super) fn no_more_claims(&self) {
        let ours = lock(&self.claims).take();
        drop(ours);
    }

    /// The daemon ends: what is kept stays kept, for the one after it.
    pub(super) fn leave(&self) {
        self.leaving.store(true, SeqCst);
    }

    /// Whether sockets that are closed now are still wanted.
    pub(super) fn leaves(&self) -> bool {
        self.keep.get().is_some() && self.leaving.load(SeqCst)
    }

    pub(super) fn adopt(&self, at: &SockAddr) -> Option<Socket> {
        self.keep.get()?.adopt(at)
    }

    pub(super) fn make_way(&self, at: &SockAddr) -> bool {
        self.keep.get().is_some_and(|keep| keep.make_way(at))
    }

    pub(super) fn keep(&self, socket: SockRef<'_>) {
        if let Some(keep) = self.keep.get() {
            keep.keep(socket);
        }
    }

    pub(super) fn let_go(&self, socket: SockRef<'_>) {
        if let Some(keep) = self.keep.get() {
            keep.let_go(socket);
        }
    }
}
