//! The seam between a listener and whatever carries its connections. `ssh` implements it; nothing here
//! knows what SSH is.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use nbtunnel_core::{Failure, ListenAt, ListenId, RemoteReport, Target};

use super::accepted::Accepted;
use super::far_side::FarSide;
use super::landing::Landing;

/// A link that can carry local connections to targets at its far end, and bring those that come there.
pub trait Carrier: FarSide {
    /// Opens a way to `target` and carries `local` over it to its end, both directions, half-close
    /// included. Resolves when the connection is over, or could not be opened.
    ///
    /// Dropping the future must leave nothing behind at the far end: implementations do the opening in a
    /// task of their own.
    fn carry(
        self: Arc<Self>,
        local: Accepted,
        target: Target,
    ) -> Pin<Box<dyn Future<Output = Carried> + Send>>;

    /// Asks the far end to listen at `at`, and has whoever comes there land at `landing`. Requests are served in
    /// the order in which they come; `tell` is called once, or never if the link ends before.
    fn listen(&self, id: ListenId, at: ListenAt, landing: Landing, tell: Tell);

    /// Asks the far end to listen no more for what was asked for under `id`, which whoever came there already
    /// does not notice. `tell` is called as for [`Carrier::listen`].
    fn unlisten(&self, id: ListenId, tell: Tell);
}

/// Takes what came of a request to the far end.
pub type Tell = Box<dyn FnOnce(RemoteReport) + Send>;

/// How carrying a connection ended.
#[derive(Debug)]
pub enum Carried {
    /// A channel was opened and carried to some end, or nobody waited for it any more; the local side has
    /// been told how (end or reset).
    Over,
    /// The far end would not open it, with nothing read from the local side that its client was not asked for.
    Denied(Failure, Accepted),
    /// The link was gone before a channel was opened, with nothing read from the local side: it may be held
    /// and tried again on the next link.
    LinkGone(Accepted),
}

/// What happens to new local connections; the shell's counterpart of `nbtunnel_core::Gate`.
#[derive(Clone)]
pub enum GateNow {
    /// Carry them by this.
    Serve(Arc<dyn Carrier>),
    /// Let them wait.
    Hold,
    /// Reset them.
    Reset,
}
