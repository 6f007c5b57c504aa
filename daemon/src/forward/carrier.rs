//! The seam between a listener and whatever carries its connections. `ssh` implements it; nothing here
//! knows what SSH is.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use nbtunnel_core::{Failure, Target};

use super::accepted::Accepted;

/// A link that can carry local connections to targets at its far end.
pub trait Carrier: Send + Sync + 'static {
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
}

/// How carrying a connection ended.
#[derive(Debug)]
pub enum Carried {
    /// A channel was opened and carried to some end, or nobody waited for it any more; the local side has
    /// been told how (end or reset).
    Over,
    /// The far end would not open it: the local connection was reset, the forward has a problem.
    Denied(Failure),
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
