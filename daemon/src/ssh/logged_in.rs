//! A machine on the way that let us in: its session, what it goes over, and who holds it. It ends with its last
//! holder.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use nbtunnel_core::session::NUDGED_DEADLINE;
use nbtunnel_core::{Failure, FailureKind, Target};
use russh::client::Handle;
use russh::{ChannelOpenFailure, Disconnect};
use socket2::{SockRef, Socket};
use tokio::runtime;
use tokio::sync::{RwLock, watch};
use tokio::time::timeout;

use super::auth::Asked;
use super::carry::{SshCarrier, Unreached};
use super::channel_stream::{ChannelStream, SESSIONS_UNREAD};
use super::dial::be_patient;
use super::distance::Path;
use super::handler::{Client, Shared};
use super::report::Audience;

/// A session's handle: opening a channel needs a shared borrow, tidying up needs all of it.
pub(super) type Session = Arc<RwLock<Handle<Client>>>;

/// How long a close may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(if cfg!(test) { 5 } else { 1 });

/// How long the session under another one may take to say why it ended.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A session that let us in. It ends with this.
pub(super) struct LoggedIn {
    pub(super) shared: Arc<Shared>,
    pub(super) session: Session,
    /// Whom it took.
    pub(super) asked: Asked,
    /// Others may use it even though nobody was asked.
    pub(super) is_offered: bool,
    /// Our end of the connection on which all of it goes, where there is one and the system tells.
    pub(super) local: Option<SocketAddr>,
    /// What the answers to probes measure.
    pub(super) path: Option<Path>,
    /// What became of watching it for silence.
    pub(super) silences: watch::Receiver<Silences>,
    /// Carries the sessions for which this one is the way.
    pub(super) carrier: Arc<SshCarrier>,
    /// Who hears what happens to it, where that may be several.
    pub(super) audience: Option<Audience>,
    pub(super) socket: Option<Arc<Socket>>,
    pub(super) _end: EndOnDrop,
    /// The session that it goes over.
    pub(super) over: Option<Lease>,
    /// How patient the system was asked to be, in milliseconds.
    pub(super) patience: AtomicU64,
    /// How many links each tunnel has over it.
    pub(super) holders: Mutex<BTreeMap<String, u32>>,
}

/// What watching a session for silence has come to. Whoever looks after a link over it compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Silences {
    /// How often what was sent had its answer, or did not.
    pub(super) looks: u64,
    /// How often it did not.
    pub(super) silent: u64,
}

/// Watches a session for silence, for all who hold it, until it is gone.
pub(super) fn watch_silence(shared: &Arc<Shared>, runtime: &runtime::Handle) -> watch::Receiver<Silences> {
    let (tell, silences) = watch::channel(Silences::default());
    let shared = Arc::clone(shared);
    runtime.spawn(async move {
        loop {
            tokio::select! {
                is_silent = shared.tap.traffic.is_silent_again() => tell.send_modify(|seen| {
                    seen.looks += 1;
                    seen.silent += u64::from(is_silent);
                }),
                () = shared.gone.cancelled() => return,
            }
        }
    });
    silences
}

impl LoggedIn {
    /// Whether it is there still, as far as is known without asking.
    pub(super) fn is_there(&self) -> bool {
        !self.shared.gone.is_cancelled()
    }

    pub(super) fn is_held_by(&self, tunnel: &str) -> bool {
        self.holders().contains_key(tunnel)
    }

    fn holders(&self) -> MutexGuard<'_, BTreeMap<String, u32>> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks it whether it is there, and gives it as long as a link after a nudge.
    pub(super) async fn answers(&self) -> bool {
        let ping = async {
            let session = self.session.read().await;
            session.send_ping().await.is_ok() && !session.is_closed()
        };
        tokio::select! {
            answered = timeout(NUDGED_DEADLINE, ping) => answered.unwrap_or(false),
            () = self.shared.gone.cancelled() => false,
        }
    }

    /// A way on from there, for the session of `inner`.
    ///
    /// # Errors
    /// It cannot, or may not, connect there; or it is gone.
    pub(super) async fn way_to(
        &self,
        inner: &Arc<Shared>,
        runtime: &runtime::Handle,
    ) -> Result<ChannelStream, Failure> {
        let target = Target::Tcp(inner.to.host.clone(), inner.to.port);
        let Some(one) = self.carrier.carried.one() else { return Err(silent(&self.shared.hop)) };
        // Where a connection comes from is for the jump host's log; nobody connected to us for this one.
        let far = self.carrier.reach(&target, ("127.0.0.1".into(), 0)).await.map_err(|why| match why {
            Unreached::Denied(why) => no_way_on(&self.shared.hop, &inner.hop, &why),
            Unreached::Late => Failure::new(
                FailureKind::TimedOut,
                format!("{} could not reach {} within a minute", self.shared.hop, inner.hop),
                "the machine may be off, or a firewall over there swallows the connection",
            ),
            Unreached::LinkGone => self
                .shared
                .cause()
                .map_or_else(|| silent(&self.shared.hop), |why| jump_is_gone(&self.shared.hop, &why)),
        })?;
        let (outer, inner) = (Arc::clone(&self.shared), Arc::clone(inner));
        let explain = async move {
            let _ = timeout(LAST_WORDS, outer.gone.cancelled()).await;
            let why = outer.cause().unwrap_or_else(|| super::classify::ended(&outer.hop, &outer.tap));
            inner.blame(jump_is_gone(&outer.hop, &why));
        };
        Ok(ChannelStream::new(far, one, SESSIONS_UNREAD, runtime, explain))
    }

    /// Makes the system no less patient with silence than `patience`, with which it is waited for an answer: there
    /// and on all that it goes over.
    pub(super) fn be_patient(&self, patience: Duration) {
        let wanted = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let before = self.patience.fetch_max(wanted, Relaxed);
        if let Some(socket) = &self.socket
            && before < wanted
            && let Err(error) = be_patient(socket, patience)
        {
            tracing::debug!("{}: the system keeps its patience with silence: {error}", self.shared.hop);
        }
        if let Some(over) = &self.over {
            over.be_patient(patience);
        }
    }
}

/// Another socket for the same connection, to change how patient the system is with it.
pub(super) fn same_socket(tcp: &tokio::net::TcpStream) -> Option<Arc<Socket>> {
    SockRef::from(tcp).try_clone().ok().map(Arc::new)
}

/// A jump host that does not answer, and whose session cannot be made again without a person.
pub(super) fn silent(hop: &str) -> Failure {
    Failure::new(
        FailureKind::TimedOut,
        format!("{hop} does not answer"),
        "it is tried again by itself; check whether this machine is online",
    )
}

/// Why a jump host would not connect to the next machine (RFC 4254 §5.1).
fn no_way_on(jump: &str, to: &str, why: &ChannelOpenFailure) -> Failure {
    match why {
        ChannelOpenFailure::ConnectFailed | ChannelOpenFailure::ResourceShortage => Failure::new(
            FailureKind::Refused,
            format!("{jump} could not connect to {to}"),
            "check host and port as the jump host sees them; the machine may be off, or its name unknown there",
        ),
        ChannelOpenFailure::AdministrativelyProhibited
        | ChannelOpenFailure::UnknownChannelType
        | ChannelOpenFailure::Other { .. } => Failure::new(
            FailureKind::ForwardingDenied,
            format!("{jump} does not allow connections to {to}"),
            "ask its administrator: AllowTcpForwarding and PermitOpen in sshd_config decide",
        ),
    }
}

/// A share in a session, for one link of a tunnel.
pub(super) struct Lease {
    logged_in: Arc<LoggedIn>,
    hold: Hold,
}

/// Counts one link of a tunnel as a holder.
struct Hold {
    of: Weak<LoggedIn>,
    tunnel: String,
}

impl Lease {
    pub(super) fn new(logged_in: Arc<LoggedIn>, tunnel: &str) -> Lease {
        *logged_in.holders().entry(tunnel.to_owned()).or_default() += 1;
        let hold = Hold { of: Arc::downgrade(&logged_in), tunnel: tunnel.to_owned() };
        Lease { logged_in, hold }
    }

    /// Gives it up, and with it the session, in an orderly way, if nobody else holds that: and so on along the way.
    pub(super) async fn give_up(self) {
        let mut lease = Some(self);
        while let Some(Lease { logged_in, hold }) = lease {
            drop(hold);
            let Some(mut last) = Arc::into_inner(logged_in) else { return };
            say_goodbye(&last).await;
            lease = last.over.take();
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let Some(logged_in) = self.of.upgrade() else { return };
        let mut holders = logged_in.holders();
        if let Some(links) = holders.get_mut(&self.tunnel) {
            *links -= 1;
            if *links == 0 {
                holders.remove(&self.tunnel);
            }
        }
    }
}

impl Deref for Lease {
    type Target = Arc<LoggedIn>;

    fn deref(&self) -> &Arc<LoggedIn> {
        &self.logged_in
    }
}

/// Tells the server that we leave, if it listens.
async fn say_goodbye(logged_in: &LoggedIn) {
    let goodbye = async {
        // What went over it has a last word, too.
        logged_in.carrier.carried.none().await;
        let session = logged_in.session.read().await;
        if session.disconnect(Disconnect::ByApplication, "closed by nbtunnel", "").await.is_ok() {
            // Written by the session's task, which then ends.
            logged_in.shared.gone.cancelled().await;
        }
    };
    let _ = timeout(GOODBYE, goodbye).await;
}

pub(super) struct EndOnDrop(pub(super) Arc<Shared>);

impl Drop for EndOnDrop {
    /// A session that is left unread for a slow reader sees neither the cut nor that nobody wants it any more:
    /// whatever it carries has to let go of it first.
    fn drop(&mut self) {
        self.0.tap.cut();
        self.0.gone.cancel();
    }
}

/// The end of a session because the one under it ended, for `why`.
fn jump_is_gone(jump: &str, why: &Failure) -> Failure {
    Failure::new(why.kind, format!("{jump} is gone: {}", why.message), why.hint.clone())
}
