//! One link: a task that looks, resolves, dials, checks the host key, logs in, and is then looked after
//! until its session ends or is closed. Decides nothing: what a failure leads to is core's business.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use nbtunnel_core::{Failure, FailureKind, LinkReport, Policy, Route, Step};
use russh::Error;
use russh::client::{Handle, connect_stream};
use socket2::{SockRef, Socket};
use tokio::sync::{Notify, RwLock, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Links;
use super::auth::{Asked, Login, not_waited_for, shortfall};
use super::carry::SshCarrier;
use super::classify::{broken, overdue};
use super::credentials::{Snapshot, look};
use super::dial::{Dialled, be_patient, dial};
use super::distance::{Path, window};
use super::handler::{Client, Shared};
use super::hop::Plan;
use super::hung_up::hung_up;
use super::known_hosts::KnownHosts;
use super::plan::plan;
use super::report::{LinkEvent, OnLink, Reporter};
use super::settings::{GREETING, HOST_KEYS, settings};
use super::sight::Seen;
use super::upkeep::Upkeep;
use super::wire::Wire;
use crate::ask::Asker;

/// Core has a shorter deadline for every step; this one only keeps a fault from hanging for ever.
const STEP_DEADLINE: Duration = Duration::from_secs(60);

/// A link that is running. Dropping it closes it.
pub struct Link {
    control: Arc<Control>,
}

/// What its owner wants of a link.
#[derive(Default)]
pub(super) struct Control {
    pub(super) close: CancellationToken,
    pub(super) drain: CancellationToken,
    pub(super) probe: Notify,
    pub(super) questions: AtomicU64,
}

impl Link {
    /// Asks the server whether it is there; an answer is reported as `Answers`, an end of ours that is gone
    /// as `AddressGone`, silence not at all. At most one question is under way, and further ones become one
    /// more.
    pub fn probe(&self) {
        self.control.questions.fetch_add(1, SeqCst);
        self.control.probe.notify_one();
    }

    /// How often [`Link::probe`] was called.
    pub fn questions(&self) -> u64 {
        self.control.questions.load(SeqCst)
    }

    /// Reports `Drained` as soon as it carries nothing. Until then it still takes what the gate let through
    /// before it led elsewhere.
    pub fn drain(&self) {
        self.control.drain.cancel();
    }

    /// Ends it at once, at whatever step it is. Reported as `Closed`, unless it was lost just before.
    pub fn close(&self) {
        self.control.close.cancel();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
    }
}

/// How a link ended.
type Ended = LinkReport;

impl Links {
    /// Starts a link for the tunnel `name`, whose times and bounds are always those of `policy`. What happens
    /// to it is told to `on`; `Lost` or `Closed` is told exactly once, and last.
    pub fn spawn_link(
        self: &Arc<Self>,
        name: &str,
        route: Route,
        policy: watch::Receiver<Policy>,
        asker: Option<Asker>,
        on: OnLink,
    ) -> Link {
        let control = Arc::new(Control::default());
        let reporter = Reporter::new(name, on, Arc::clone(&self.told));
        let host = route.host.clone();
        let attempt = Attempt {
            links: Arc::clone(self),
            control: Arc::clone(&control),
            reporter: Arc::clone(&reporter),
            route,
            policy,
            asker,
            only_looks: false,
        };
        self.data.spawn(async move {
            // A task of its own, so that a panic in it is this link's failure and nobody else's.
            let ended =
                tokio::spawn(attempt.run()).await.unwrap_or_else(|_| LinkReport::Lost(panicked(&host)));
            reporter.tell(LinkEvent::Report(ended));
        });
        Link { control }
    }
}

fn panicked(hop: &str) -> Failure {
    Failure::new(
        FailureKind::Internal,
        format!("the link to {hop} failed inside nbtunnel"),
        "it is tried again by itself; please report it, with the daemon's log",
    )
}

pub(super) struct Attempt {
    pub(super) links: Arc<Links>,
    pub(super) control: Arc<Control>,
    pub(super) reporter: Arc<Reporter>,
    pub(super) route: Route,
    pub(super) policy: watch::Receiver<Policy>,
    /// Who may be asked, if somebody is there.
    pub(super) asker: Option<Asker>,
    /// Somebody only wants to know how far it gets: as far as the login, even with nothing to log in with.
    pub(super) only_looks: bool,
}

/// A session that let us in. It ends with this.
pub(super) struct Connected {
    pub(super) shared: Arc<Shared>,
    pub(super) _end: EndOnDrop,
    pub(super) session: Handle<Client>,
    local: Option<SocketAddr>,
    path: Option<Path>,
    asked: Asked,
}

/// A session's handle: opening a channel needs a shared borrow, tidying up needs all of it.
pub(super) type Session = Arc<RwLock<Handle<Client>>>;

impl Attempt {
    async fn run(self) -> Ended {
        let Connected { shared, _end, session, local, path, asked } = tokio::select! {
            biased;
            () = self.control.close.cancelled() => return LinkReport::Closed,
            connected = self.connect() => match connected {
                Ok(connected) => connected,
                Err(failure) => return LinkReport::Lost(failure),
            },
        };
        let Attempt { links, control, policy, .. } = self;
        let session: Session = Arc::new(RwLock::new(session));
        let carrier = Arc::new(SshCarrier::new(Arc::clone(&session), &shared, links.data.clone()));
        shared.reporter.tell(LinkEvent::Carrier(carrier.clone()));
        if asked != Asked::Nobody {
            shared.reporter.tell(LinkEvent::Report(LinkReport::Asked));
        }
        shared.reporter.tell(LinkEvent::Report(LinkReport::Up));
        if asked == Asked::Typed {
            shared.reporter.tell(LinkEvent::Report(LinkReport::Opened(shared.to.login_key())));
        }
        let is_worn = AtomicBool::new(false);
        let distances = Arc::clone(&links.distances);
        Upkeep { shared, control, session, carrier, policy, local, path, distances, is_worn }
            .until_end()
            .await
    }

    pub(super) async fn connect(&self) -> Result<Connected, Failure> {
        self.reporter.step(Step::Resolve);
        let plan = plan(&self.route, &self.links.account).await?;
        self.reporter.tell(LinkEvent::Planned(Box::new(plan.clone())));
        let held = self.links.agent.identities().await;
        let (looked_at, for_snapshot) = (plan.clone(), held.clone());
        let snapshot = tokio::task::spawn_blocking(move || Snapshot::of(&looked_at, for_snapshot.as_deref()));
        if let Ok(snapshot) = snapshot.await {
            self.reporter.tell(LinkEvent::Looked(snapshot));
        }
        let Plan { server, .. } = plan;
        let offer = look(held, &server).await;
        for note in &offer.notes {
            self.reporter.note(note);
        }
        // Nothing is sent to the server, not even a connection attempt, before there is something to offer, or
        // somebody who may be asked.
        let shortfall = shortfall(&offer, &server, &self.reporter, self.asker.as_ref());
        if let Some(failure) = shortfall.as_ref().filter(|_| !self.only_looks) {
            return Err(failure.clone());
        }
        self.reporter.saw(&server, Seen::Turn);
        let shared =
            Shared::new(Arc::new(server), Arc::clone(&self.reporter), Arc::clone(&self.links.stopwatch));
        // Also when this is dropped half-way: a session in the middle of its key exchange would otherwise
        // wait for a silent server for ever.
        let end = EndOnDrop(Arc::clone(&shared));
        let Shared { to, hop, reporter, .. } = &*shared;
        let addresses = in_time(hop, "the name lookup", self.links.resolver.resolve(&to.host, to.port));
        let addresses: Vec<SocketAddr> = addresses.await??;
        shared.saw(Seen::Addresses(addresses.clone()));
        reporter.step(Step::Tcp);
        let dialled = in_time(hop, "connecting", dial(hop, addresses, &self.links.stopwatch)).await??;
        let (local, peer) = (dialled.tcp.local_addr().ok(), dialled.tcp.peer_addr().ok());
        if let Some(peer) = peer {
            shared.saw(Seen::Connected(peer));
        }
        let path = local.zip(peer).map(|(local, peer)| (local.ip(), peer));
        // The session takes the stream; how patient the system is with it is known only after the login.
        let socket = SockRef::from(&dialled.tcp).try_clone();
        reporter.step(Step::Banner);
        let mut session =
            in_time(hop, "the key exchange", self.shake_hands(&shared, dialled, path)).await??;
        if let Some(failure) = shortfall {
            return Err(failure);
        }
        reporter.step(Step::Authenticate);
        let login = Login::new(&shared, &mut session, &self.links.agent, self.asker.as_ref());
        let asked = tokio::select! {
            asked = login.run(&offer) => asked?,
            () = watch(socket.as_ref().ok()) => return Err(not_waited_for(hop, reporter.tunnel())),
        };
        if asked != Asked::Nobody
            && let Err(error) = socket.and_then(|socket| be_patient(&socket))
        {
            tracing::debug!("{hop}: the system keeps its patience with silence: {error}");
        }
        Ok(Connected { _end: end, shared, session, local, path, asked })
    }

    async fn shake_hands(
        &self,
        shared: &Arc<Shared>,
        to: Dialled,
        path: Option<Path>,
    ) -> Result<Handle<Client>, Failure> {
        let Shared { hop, tap, reporter, .. } = &**shared;
        let for_reading = Arc::clone(&shared.to);
        let known = tokio::task::spawn_blocking(move || KnownHosts::read(&for_reading));
        let mut wire = Wire::new(to.tcp, Arc::clone(tap));
        let failed = |error| shared.cause().unwrap_or_else(|| broken(hop, &error, tap));
        let greeted = wire.greet(GREETING).await.map_err(|error| failed(Error::IO(error)))?;
        if let Some(version) = tap.version() {
            shared.saw(Seen::Version(version));
        }
        if greeted.is_some() {
            reporter.step(Step::KeyExchange);
        }
        let round_trip = self.links.distances.estimate(path, to.took, greeted);
        tracing::debug!("{hop} is about {round_trip:?} away");
        let host_keys = known.await.unwrap_or_default().order(&HOST_KEYS);
        let config = Arc::new(settings(host_keys, window(round_trip)));
        connect_stream(config, wire, Client(Arc::clone(shared))).await.map_err(failed)
    }
}

/// Returns when the server hung up and nobody noticed.
async fn watch(socket: Option<&Socket>) {
    match socket {
        Some(socket) => hung_up(socket).await,
        None => std::future::pending().await,
    }
}

async fn in_time<T>(hop: &str, what: &str, step: impl Future<Output = T>) -> Result<T, Failure> {
    timeout(STEP_DEADLINE, step).await.map_err(|_| overdue(hop, what))
}

pub(super) struct EndOnDrop(Arc<Shared>);

impl Drop for EndOnDrop {
    /// A session that is left unread for a slow reader sees neither the cut nor that nobody wants it any more:
    /// whatever it carries has to let go of it first.
    fn drop(&mut self) {
        self.0.tap.cut();
        self.0.gone.cancel();
    }
}
