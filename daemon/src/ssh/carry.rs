//! Carries local connections over an authenticated session: opens a channel for each, hands its two halves
//! to the pump, and closes it on every path. A channel that is merely dropped would stay open at the server.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nbtunnel_core::{Failure, FailureKind, ListenAt, ListenId, Target};
use russh::{ChannelOpenFailure, Error};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::beyond::{Beyond, Through, not_there};
use super::channel::Far;
use super::count::Count;
use super::doors::{Door, LeaseOf, Request, Requests};
use super::handler::Shared;
use super::logged_in::Session;
use super::programs::Programs;
use super::wire::Tap;
use crate::forward::accepted::Accepted;
use crate::forward::carrier::{Carried, Carrier, Tell};
use crate::forward::landing::Landing;
use crate::forward::pump::pump;

/// How long a local connection waits for its channel. The server itself may be connecting to something
/// that does not answer.
const OPEN_DEADLINE: Duration = Duration::from_secs(60);

/// After how many refused channels what the library keeps of them is thrown away.
const TIDY_EVERY: u32 = 32;

/// An authenticated session that carries connections.
pub(super) struct SshCarrier {
    session: Session,
    pub(super) hop: String,
    /// The session is over.
    gone: CancellationToken,
    /// Whoever carries over it is: the session may go on for others.
    pub(super) given_up: CancellationToken,
    tap: Arc<Tap>,
    pub(super) runtime: Handle,
    refusals: AtomicU32,
    /// The connections that were handed to it and are not over.
    pub(super) carried: Count,
    /// The channels that are left unread, so that the whole session is.
    pub(super) unread: Count,
    /// Requests to the server to listen.
    requests: Requests,
    /// Turns to run something over there, for all who carry over the session.
    pub(super) programs: Arc<Programs>,
    /// Machines to which this end leads on, where it may.
    pub(super) beyond: Option<Arc<Beyond>>,
}

impl SshCarrier {
    pub(super) fn new(session: Session, shared: &Shared, runtime: Handle) -> SshCarrier {
        let (hop, gone, tap) = (shared.hop.clone(), shared.gone.clone(), Arc::clone(&shared.tap));
        let given_up = gone.child_token();
        let (carried, unread, refusals) = Default::default();
        let lease = LeaseOf {
            given_up: given_up.clone(),
            carried: Count::clone(&carried),
            unread: Count::clone(&unread),
        };
        let requests = Requests::serve(&shared.doors, &session, &hop, lease, &runtime);
        let programs = Arc::clone(&shared.programs);
        SshCarrier {
            session,
            hop,
            gone,
            given_up,
            tap,
            runtime,
            refusals,
            carried,
            unread,
            requests,
            programs,
            beyond: None,
        }
    }

    async fn carry(self: Arc<Self>, local: Accepted, target: Target) -> Carried {
        let Some(Through { by, target: seen, one: _one }) = self.through(&target) else {
            return self.cannot_go(&target, local);
        };
        let reached = tokio::select! {
            reached = by.reach(&seen, local.origin()) => reached,
            () = local.given_up() => return Carried::Over,
            // Another link is there, and perhaps this one is silent: nobody has to wait for it.
            () = local.led_elsewhere(&*self) => return Carried::LinkGone(local),
        };
        match reached {
            Ok(far) => {
                pump(local, far.reader, far.writer).await;
                Carried::Over
            }
            Err(Unreached::Denied(why)) => Carried::Denied(denied(&by.hop, &seen, &why), local),
            Err(Unreached::Late) => Carried::Denied(late(&by.hop, &seen), local),
            Err(Unreached::LinkGone) => self.cannot_go(&target, local),
        }
    }

    fn cannot_go(&self, target: &Target, local: Accepted) -> Carried {
        if self.is_there_itself(target) {
            Carried::Denied(not_there(target), local)
        } else {
            Carried::LinkGone(local)
        }
    }

    /// Opens a channel to `target` for a connection from `origin`.
    pub(super) async fn reach(
        self: &Arc<Self>,
        target: &Target,
        origin: (String, u16),
    ) -> Result<Far, Unreached> {
        self.get(Wanted::Way(target.clone(), origin)).await
    }

    /// Opens a channel.
    pub(super) async fn get(self: &Arc<Self>, wanted: Wanted) -> Result<Far, Unreached> {
        let opening = timeout(OPEN_DEADLINE, self.open_channel(wanted));
        let opened = tokio::select! {
            opened = opening => opened,
            () = self.given_up.cancelled() => return Err(Unreached::LinkGone),
        };
        match opened {
            Ok(Ok(Ok(far))) => Ok(far),
            Ok(Ok(Err(Error::ChannelOpenFailure(why)))) => Err(Unreached::Denied(why)),
            Ok(Ok(Err(_)) | Err(_)) => Err(Unreached::LinkGone),
            // A server that says nothing at all has not denied it.
            Err(_) if self.is_silent() => Err(Unreached::LinkGone),
            Err(_) => Err(Unreached::Late),
        }
    }

    /// Whether the server says nothing at all.
    pub(super) fn is_silent(&self) -> bool {
        self.tap.traffic.is_silent()
    }

    /// Opens a channel to `target` and closes it again, to see within `patience` whether somebody is there.
    ///
    /// # Errors
    /// Why there is no way to it.
    pub(super) async fn look_at(
        self: &Arc<Self>,
        target: &Target,
        patience: Duration,
    ) -> Result<(), Failure> {
        let hop = &self.hop;
        match timeout(patience, self.reach(target, nowhere())).await {
            Ok(Ok(_closes_when_dropped)) => Ok(()),
            Ok(Err(Unreached::Denied(why))) => Err(denied(hop, target, &why)),
            Ok(Err(Unreached::LinkGone)) => Err(gone(hop, target)),
            Ok(Err(Unreached::Late)) | Err(_) => Err(Failure::new(
                FailureKind::TimedOut,
                format!("{hop} could not reach {target} within {} s", patience.as_secs()),
                "check the target of the forward; a firewall over there may swallow the connection",
            )),
        }
    }

    /// Opens a channel in a task that is never cancelled. When nobody waits for it any more, it is closed.
    fn open_channel(self: &Arc<Self>, wanted: Wanted) -> oneshot::Receiver<Result<Far, Error>> {
        let (tell, opened) = oneshot::channel();
        let this = Arc::clone(self);
        self.runtime.spawn(async move {
            let result = {
                let session = this.session.read().await;
                match wanted {
                    Wanted::Way(Target::Tcp(host, port), (from_host, from_port)) => {
                        session
                            .channel_open_direct_tcpip(host, port.into(), from_host, from_port.into())
                            .await
                    }
                    Wanted::Way(Target::Socket(path), _) => {
                        session.channel_open_direct_streamlocal(path).await
                    }
                    // Whoever asks has been asked already, and who waits for a notebook still waits.
                    Wanted::Way(Target::Socks | Target::Notebook(_) | Target::Beyond { .. }, _) => {
                        Err(Error::WrongChannel)
                    }
                    Wanted::Program => session.channel_open_session().await,
                }
            };
            if result.is_err() {
                this.tidy().await;
            }
            let far = result
                .map(|channel| Far::new(channel, &this.gone, &this.given_up, &this.unread, &this.runtime));
            // What is not taken is dropped, and a `Far` closes its channel when it is.
            let _ = tell.send(far);
        });
        opened
    }

    /// The library queues a reply for every channel that was refused, and nobody reads it: a browser that
    /// polls a dead notebook would make the daemon grow for as long as the session lives. Asking for an
    /// answer that never comes reads that queue, and sends nothing.
    async fn tidy(&self) {
        if self.refusals.fetch_add(1, Ordering::Relaxed) % TIDY_EVERY != TIDY_EVERY - 1 {
            return;
        }
        // While other channels are being opened, the next refusal will do.
        if let Ok(mut session) = self.session.try_write() {
            let nothing = session.authenticate_keyboard_interactive_respond(Vec::new());
            let _ = timeout(Duration::ZERO, nothing).await;
        } else {
            self.refusals.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Carrier for SshCarrier {
    fn carry(
        self: Arc<Self>,
        local: Accepted,
        target: Target,
    ) -> Pin<Box<dyn Future<Output = Carried> + Send>> {
        // It counts from here on, and so at any moment between the gate and the end of the connection.
        let carried = self.carried.one();
        Box::pin(async move {
            let Some(_carried) = carried else { return Carried::LinkGone(local) };
            SshCarrier::carry(self, local, target).await
        })
    }

    fn listen(&self, id: ListenId, at: ListenAt, landing: Landing, tell: Tell) {
        self.requests.add(Request::Listen { id, door: Door::of(&at), landing, tell });
    }

    fn unlisten(&self, id: ListenId, tell: Tell) {
        self.requests.add(Request::Unlisten { id, tell });
    }
}

/// Where a connection comes from that is our own, and no local program's.
pub(super) fn nowhere() -> (String, u16) {
    ("127.0.0.1".to_owned(), 0)
}

/// The server said neither yes nor no.
pub(super) fn late(hop: &str, target: &Target) -> Failure {
    Failure::new(
        FailureKind::TimedOut,
        format!("{hop} could not reach {target} within a minute"),
        "check the target of the forward; a firewall over there may swallow the connection",
    )
}

/// The session ended too early.
pub(super) fn gone(hop: &str, target: &Target) -> Failure {
    Failure::new(
        FailureKind::Disconnected,
        format!("the session with {hop} ended before {target} was reached"),
        "look again; if it stays so, the server's log says more",
    )
}

/// Why the server would not open a channel (RFC 4254 §5.1), for that forward.
pub(super) fn denied(hop: &str, target: &Target, why: &ChannelOpenFailure) -> Failure {
    match why {
        ChannelOpenFailure::ConnectFailed => Failure::new(
            FailureKind::Refused,
            format!("nothing answers on {target} at {hop}"),
            "start the notebook there, or correct the target of the forward",
        ),
        ChannelOpenFailure::ResourceShortage => Failure::new(
            FailureKind::Refused,
            format!("{hop} is out of resources and opens no connection to {target}"),
            "close connections that are not needed, or ask its administrator",
        ),
        ChannelOpenFailure::AdministrativelyProhibited
        | ChannelOpenFailure::UnknownChannelType
        | ChannelOpenFailure::Other { .. } => Failure::new(
            FailureKind::ForwardingDenied,
            format!("{hop} does not allow forwarding to {target}"),
            "ask its administrator: AllowTcpForwarding, AllowStreamLocalForwarding and PermitOpen in sshd_config decide, and a password that has expired forbids it, too",
        ),
    }
}

/// What a channel is for.
pub(super) enum Wanted {
    /// Bytes to and from a target, for a connection from somewhere (RFC 4254 §7.2).
    Way(Target, (String, u16)),
    /// A program that runs over there (RFC 4254 §6.1).
    Program,
}

/// Why there is no channel.
#[derive(Debug)]
pub(super) enum Unreached {
    /// The server would not open it, or could not.
    Denied(ChannelOpenFailure),
    /// It said neither yes nor no.
    Late,
    /// There is nobody to ask.
    LinkGone,
}

#[cfg(test)]
#[cfg(unix)]
#[path = "carry_tests.rs"]
mod tests;
