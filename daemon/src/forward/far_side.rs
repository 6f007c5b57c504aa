//! The far end of a link, for what the daemon itself does there: a look at a notebook, a script, a way for
//! `nbctl proxy`. `ssh` implements it; whoever uses it knows nothing of SSH.

use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use nbtunnel_core::{Failure, FailureKind, Target};
use tokio::io::{AsyncRead, AsyncWrite};

/// Where a link leads, and what can be done there.
pub trait FarSide: Send + Sync + 'static {
    /// Opens a way to `target`, seen from there. Dropping the stream closes it; dropping the future leaves
    /// nothing behind.
    ///
    /// The stream's end is a clean one: where the session is cut, reading fails with
    /// [`std::io::ErrorKind::ConnectionReset`].
    fn open(self: Arc<Self>, target: Target) -> Opening;

    /// Runs `script` by `sh -s` over there, whatever the login shell is, and reads what it prints until it ends,
    /// or `patience` is over.
    fn run(self: Arc<Self>, script: String, patience: Duration) -> Running;

    /// How long a way may take to be opened: where it first has to be made, longer than a server that is there.
    fn opens_within(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// Logs in from here to `machine`, to which that end can connect, by way of it: as by `ssh -J`. Ports that
    /// `machine` sees are [`Target::Beyond`] from then on.
    fn beyond(self: Arc<Self>, machine: String) -> Going {
        Box::pin(ready(Err(Failure::new(
            FailureKind::NotebookFailed,
            format!("there is no way on to {machine}"),
            "see what the far end is",
        ))))
    }
}

/// See [`FarSide::open`].
pub type Opening = Pin<Box<dyn Future<Output = Result<FarStream, Unopened>> + Send>>;
/// See [`FarSide::run`].
pub type Running = Pin<Box<dyn Future<Output = Result<Ran, Failure>> + Send>>;

/// See [`FarSide::beyond`].
pub type Going = Pin<Box<dyn Future<Output = Result<Arc<dyn FarSide>, Failure>> + Send>>;

/// A way to something at the far end.
pub type FarStream = Box<dyn Duplex>;

/// Reads and writes.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for T {}

/// Why there is no way to something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unopened {
    /// The far end would not, or nobody listens there.
    Denied(Failure),
    /// The link is gone, or says nothing: on another one it may go.
    LinkGone(Failure),
}

impl Unopened {
    /// What happened.
    pub fn failure(self) -> Failure {
        match self {
            Unopened::Denied(failure) | Unopened::LinkGone(failure) => failure,
        }
    }
}

/// What a script did.
#[derive(Clone, PartialEq, Eq)]
pub struct Ran {
    /// What it printed on its standard output, and nothing that a login printed before or after;
    /// at most [`Ran::MOST`] bytes.
    pub output: Vec<u8>,
    /// The last lines of its standard error, at most 4 KiB, without control characters.
    pub errors: String,
    /// How it ended; none for a signal.
    pub status: Option<u32>,
}

impl Ran {
    /// So many bytes of output are read; a script that prints more has failed.
    pub const MOST: usize = 1 << 20;
}

/// What it printed may be secret.
impl fmt::Debug for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ran").field("bytes", &self.output.len()).field("status", &self.status).finish()
    }
}
