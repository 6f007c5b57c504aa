//! Carries local connections over an authenticated session: opens a channel for each, hands its two halves
//! to the pump, and closes it on every path. A channel that is merely dropped would stay open at the server.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use nbtunnel_core::{Failure, FailureKind, ListenAt, ListenId, Target};
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelOpenFailure, ChannelReadHalf, ChannelWriteHalf, Error};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::count::{Count, One};
use super::doors::{Door, LeaseOf, Request, Requests};
use super::handler::Shared;
use super::logged_in::Session;
use super::wire::Tap;
use crate::forward::accepted::Accepted;
use crate::forward::carrier::{Carried, Carrier, Tell};
use crate::forward::far::{FarGone, FarMessage, FarReader, FarWriter};
use crate::forward::landing::Landing;
use crate::forward::pump::pump;

/// How long a local connection waits for its channel. The server itself may be connecting to something
/// that does not answer.
const OPEN_DEADLINE: Duration = Duration::from_secs(60);

/// How long a close may wait for its turn in a session that does not write.
const CLOSE_DEADLINE: Duration = Duration::from_secs(60);

/// After how many refused channels what the library keeps of them is thrown away.
const TIDY_EVERY: u32 = 32;

/// An authenticated session that carries connections.
pub(super) struct SshCarrier {
    session: Session,
    hop: String,
    /// The session is over.
    gone: CancellationToken,
    /// Whoever carries over it is: the session may go on for others.
    pub(super) given_up: CancellationToken,
    tap: Arc<Tap>,
    runtime: Handle,
    refusals: AtomicU32,
    /// The connections that were handed to it and are not over.
    pub(super) carried: Count,
    /// The channels that are left unread, so that the whole session is.
    pub(super) unread: Count,
    /// Requests to the server to listen.
    requests: Requests,
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
        SshCarrier { session, hop, gone, given_up, tap, runtime, refusals, carried, unread, requests }
    }

    async fn carry(self: Arc<Self>, local: Accepted, target: Target) -> Carried {
        let reached = tokio::select! {
            reached = self.reach(&target, local.origin()) => reached,
            () = local.given_up() => return Carried::Over,
            // Another link is there, and perhaps this one is silent: nobody has to wait for it.
            () = local.led_elsewhere(&*self) => return Carried::LinkGone(local),
        };
        match reached {
            Ok(far) => {
                pump(local, far.reader, far.writer).await;
                Carried::Over
            }
            Err(Unreached::Denied(why)) => Carried::Denied(denied(&self.hop, &target, &why), local),
            Err(Unreached::Late) => {
                let failure = Failure::new(
                    FailureKind::TimedOut,
                    format!("{} could not reach {target} within a minute", self.hop),
                    "check the target of the forward; a firewall over there may swallow the connection",
                );
                Carried::Denied(failure, local)
            }
            Err(Unreached::LinkGone) => Carried::LinkGone(local),
        }
    }

    /// Opens a channel to `target` for a connection from `origin`.
    pub(super) async fn reach(
        self: &Arc<Self>,
        target: &Target,
        origin: (String, u16),
    ) -> Result<Far, Unreached> {
        let opening = timeout(OPEN_DEADLINE, self.open(target.clone(), origin));
        let opened = tokio::select! {
            opened = opening => opened,
            () = self.given_up.cancelled() => return Err(Unreached::LinkGone),
        };
        match opened {
            Ok(Ok(Ok(far))) => Ok(far),
            Ok(Ok(Err(Error::ChannelOpenFailure(why)))) => Err(Unreached::Denied(why)),
            Ok(Ok(Err(_)) | Err(_)) => Err(Unreached::LinkGone),
            // A server that says nothing at all has not denied it.
            Err(_) if self.tap.traffic.is_silent() => Err(Unreached::LinkGone),
            Err(_) => Err(Unreached::Late),
        }
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
        match timeout(patience, self.reach(target, ("127.0.0.1".to_owned(), 0))).await {
            Ok(Ok(_closes_when_dropped)) => Ok(()),
            Ok(Err(Unreached::Denied(why))) => Err(denied(hop, target, &why)),
            Ok(Err(Unreached::LinkGone)) => Err(Failure::new(
                FailureKind::Disconnected,
                format!("the session with {hop} ended before {target} was reached"),
                "look again; if it stays so, the server's log says more",
            )),
            Ok(Err(Unreached::Late)) | Err(_) => Err(Failure::new(
                FailureKind::TimedOut,
                format!("{hop} could not reach {target} within {} s", patience.as_secs()),
                "check the target of the forward; a firewall over there may swallow the connection",
            )),
        }
    }

    /// Opens a channel in a task that is never cancelled. When nobody waits for it any more, it is closed.
    fn open(
        self: &Arc<Self>,
        target: Target,
        (from_host, from_port): (String, u16),
    ) -> oneshot::Receiver<Result<Far, Error>> {
        let (tell, opened) = oneshot::channel();
        let this = Arc::clone(self);
        self.runtime.spawn(async move {
            let result = {
                let session = this.session.read().await;
                match target {
                    Target::Tcp(host, port) => {
                        session
                            .channel_open_direct_tcpip(host, port.into(), from_host, from_port.into())
                            .await
                    }
                    Target::Socket(path) => session.channel_open_direct_streamlocal(path).await,
                    // Whoever asks has been asked already, and who waits for a notebook still waits.
                    Target::Socks | Target::Notebook(_) => Err(Error::WrongChannel),
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

/// Why the server would not open a channel (RFC 4254 §5.1), for that forward.
fn denied(hop: &str, target: &Target, why: &ChannelOpenFailure) -> Failure {
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

/// An open channel that nobody reads or writes yet.
pub(super) struct Far {
    pub(super) reader: ChannelReader,
    pub(super) writer: ChannelWriter,
}

impl Far {
    /// Ends with its session, which is over when `gone` says so, or when `given_up` says that nobody wants it; counts in `all_unread` while it is left unread.
    pub(super) fn new(
        channel: Channel<Msg>,
        gone: &CancellationToken,
        given_up: &CancellationToken,
        all_unread: &Count,
        runtime: &Handle,
    ) -> Far {
        let (reader, writer) = channel.split();
        let over = gone.child_token();
        let lease = (gone.clone(), given_up.clone());
        let (all_unread, runtime) = (all_unread.clone(), runtime.clone());
        Far {
            reader: ChannelReader { half: reader, over: over.clone(), lease, all_unread, unread: None },
            writer: ChannelWriter { half: Some(writer), over, runtime },
        }
    }
}

/// The receiving half of a channel.
pub(super) struct ChannelReader {
    half: ChannelReadHalf,
    over: CancellationToken,
    /// The session is over; whoever carries over it is, while others may go on.
    lease: (CancellationToken, CancellationToken),
    all_unread: Count,
    unread: Option<One>,
}

impl FarReader for ChannelReader {
    async fn next(&mut self) -> FarMessage {
        loop {
            let (gone, given_up) = &self.lease;
            let message = tokio::select! {
                biased;
                // A session that is gone is read to its end.
                () = given_up.cancelled(), if !gone.is_cancelled() => return FarMessage::Gone,
                message = self.half.wait() => message,
            };
            match message {
                Some(ChannelMsg::Data { data }) => return FarMessage::Data(data),
                Some(ChannelMsg::Eof) => return FarMessage::Eof,
                Some(ChannelMsg::Close) => {
                    self.over.cancel();
                    return FarMessage::Close;
                }
                // Window adjustments, and what only channels with a shell have.
                Some(_) => {}
                None => {
                    self.over.cancel();
                    return FarMessage::Gone;
                }
            }
        }
    }

    async fn gone(&self) {
        tokio::select! {
            () = self.over.cancelled() => {}
            () = self.lease.1.cancelled() => {}
        }
    }

    fn unread(&mut self, is_unread: bool) {
        self.unread = is_unread.then(|| self.all_unread.one()).flatten();
    }
}

/// The sending half of a channel. Closes it when it is dropped.
pub(super) struct ChannelWriter {
    half: Option<ChannelWriteHalf<Msg>>,
    /// The channel, or the session, is over: a write that waits for the peer's window would wait for ever.
    over: CancellationToken,
    runtime: Handle,
}

impl ChannelWriter {
    async fn unless_over<T>(&self, sent: impl Future<Output = Result<T, Error>>) -> Result<T, FarGone> {
        tokio::select! {
            biased;
            () = self.over.cancelled() => Err(FarGone),
            sent = sent => sent.map_err(|_| FarGone),
        }
    }
}

impl FarWriter for ChannelWriter {
    async fn write(&mut self, data: Bytes) -> Result<(), FarGone> {
        let half = self.half.as_ref().ok_or(FarGone)?;
        self.unless_over(half.data_bytes(data)).await
    }

    async fn eof(&mut self) -> Result<(), FarGone> {
        let half = self.half.as_ref().ok_or(FarGone)?;
        self.unless_over(half.eof()).await
    }

    async fn close(&mut self) {
        if let Some(half) = &self.half {
            let _ = timeout(CLOSE_DEADLINE, self.unless_over(half.close())).await;
        }
        self.half = None;
    }
}

impl Drop for ChannelWriter {
    fn drop(&mut self) {
        if let Some(half) = self.half.take()
            && !self.over.is_cancelled()
        {
            let over = self.over.clone();
            self.runtime.spawn(async move {
                tokio::select! {
                    () = over.cancelled() => {}
                    _ = timeout(CLOSE_DEADLINE, half.close()) => {}
                }
            });
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
#[path = "carry_tests.rs"]
mod tests;
