//! Goes to one machine and logs in there: over TCP, a ProxyCommand, or the session of the jump host before it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use nbtunnel_core::session::PATIENCE_WITH_PERSON;
use nbtunnel_core::{Failure, Step};
use russh::Error;
use russh::client::{Handle, connect_stream};
use socket2::Socket;
use tokio::sync::RwLock;
use tokio::time::timeout;

use super::Links;
use super::algorithms::preferred;
use super::alive::{give_up_when_silent, renew_keys};
use super::auth::{Asked, Login, not_waited_for, shortfall};
use super::carry::SshCarrier;
use super::classify::{broken, overdue};
use super::credentials::look;
use super::dial::dial;
use super::distance::{Path, window};
use super::handler::{Client, Shared};
use super::hop::Hop;
use super::hung_up::hung_up;
use super::known_hosts::{KnownHosts, Names};
use super::logged_in::{EndOnDrop, Lease, LoggedIn, same_socket, watch_silence};
use super::own_end::own_ends;
use super::pool::{Role, Wanted};
use super::proxy_command::ProxyStream;
use super::report::{Audience, Reporter};
use super::rotation;
use super::settings::{GREETING, settings};
use super::sight::Seen;
use super::stream::Stream;
use super::wire::Wire;
use crate::ask::Asker;

/// Core has a shorter deadline for every step; this one only keeps a fault from hanging for ever.
const STEP_DEADLINE: Duration = Duration::from_secs(60);

/// One login, on its way.
pub(super) struct Approach {
    pub(super) links: Arc<Links>,
    /// The machines before it, all of which are logged in to.
    pub(super) jumps: Vec<Hop>,
    pub(super) to: Hop,
    pub(super) role: Role,
    /// For which tunnel.
    pub(super) tunnel: String,
    pub(super) reporter: Arc<Reporter>,
    /// Who else hears of it, if others may use it, too.
    pub(super) audience: Option<Audience>,
    /// Who may be asked, if somebody is there.
    pub(super) asker: Option<Asker>,
    /// Why it goes no further than to the login, if it does not.
    pub(super) no_login: Option<Failure>,
    /// The session to go over, where it is known, in the place of those that are made for `jumps`.
    pub(super) by: Option<Arc<LoggedIn>>,
}

/// What there is once somebody answers at the other end.
struct Reached {
    stream: Stream,
    local: Option<SocketAddr>,
    path: Option<Path>,
    socket: Option<Arc<Socket>>,
    over: Option<Lease>,
    /// How long it took.
    took: Duration,
}

impl Approach {
    /// Goes there.
    ///
    /// # Errors
    /// Why not, and at which machine.
    pub(super) fn go(self) -> BoxFuture<'static, Result<LoggedIn, Failure>> {
        // A way over others comes here again for each of them.
        self.log_in().boxed()
    }

    async fn log_in(self) -> Result<LoggedIn, Failure> {
        let Approach { links, to, role, reporter, asker, no_login, .. } = &self;
        // BatchMode: as if nobody were there.
        let asker = asker.as_ref().filter(|_| !to.login.batch);
        let offer = look(&links.agents, to).await;
        for note in &offer.notes {
            reporter.note(note);
        }
        // Nothing is sent to the server, not even a connection attempt, before there is something to offer, or
        // somebody who may be asked.
        let shortfall = shortfall(&offer, to, reporter, &links.agents, asker);
        let shortfall = shortfall.filter(|_| *role != Role::Try || offer.keys.is_empty());
        if let Some(failure) = shortfall.as_ref().filter(|_| !role.is_look_at_server()) {
            return Err(failure.clone());
        }
        let (machine, stopwatch) = (Arc::new(to.clone()), Arc::clone(&links.stopwatch));
        let shared = match role {
            Role::Jump { .. } => Shared::jump_host(machine, Arc::clone(reporter), stopwatch),
            Role::Server { .. } | Role::Look | Role::Try => {
                Shared::new(machine, Arc::clone(reporter), stopwatch)
            }
        };
        // Also when this is dropped half-way: a session in the middle of its key exchange would otherwise
        // wait for a silent server for ever.
        let end = EndOnDrop(Arc::clone(&shared));
        let Shared { hop, .. } = &*shared;
        let Reached { stream, local, path, socket, over, took } = self.reach(&shared).await?;
        reporter.step(Step::Banner);
        let greeting = self.shake_hands(&shared, stream, path, took);
        let mut session = in_time(hop, "the key exchange", greeting).await??;
        if let Some(failure) = no_login.clone().or(shortfall) {
            return Err(failure);
        }
        reporter.step(Step::Authenticate);
        let login = Login::new(&shared, &mut session, &links.agents, asker);
        let asked = tokio::select! {
            asked = login.run(&offer) => asked?,
            () = watch(socket.as_deref()) => return Err(not_waited_for(hop, reporter.tunnel())),
        };
        let session = Arc::new(RwLock::new(session));
        let carrier = Arc::new(SshCarrier::new(Arc::clone(&session), &shared, links.data.clone()));
        links.data.spawn(rotation::follow(Arc::clone(&shared), Arc::clone(&session)));
        let alive = shared.to.alive;
        if let Some(alive) = alive.filter(|_| matches!(role, Role::Jump { .. })) {
            let watched = (Arc::clone(&shared), Arc::clone(&session));
            links.data.spawn(give_up_when_silent(watched.0, watched.1, alive, asked));
        }
        if let Some(after) = shared.to.rekey_after {
            links.data.spawn(renew_keys(Arc::clone(&shared), Arc::clone(&session), after));
        }
        let logged_in = LoggedIn {
            silences: watch_silence(&shared, &links.data),
            is_offered: role.is_offered(),
            // Later links over it may want the system to be patient.
            socket: socket.filter(|_| role.is_offered() || asked != Asked::Nobody || alive.is_some()),
            _end: end,
            audience: self.audience.clone(),
            holders: Mutex::new(BTreeMap::new()),
            shared,
            session,
            asked,
            local,
            path,
            carrier,
            over,
            patience: AtomicU64::default(),
        };
        if asked != Asked::Nobody {
            logged_in.be_patient(PATIENCE_WITH_PERSON);
        }
        if let Some(alive) = alive {
            logged_in.be_patient(alive.patience());
        }
        Ok(logged_in)
    }

    /// Somebody answers there, or at least may do so.
    async fn reach(&self, shared: &Arc<Shared>) -> Result<Reached, Failure> {
        let Approach { links, reporter, .. } = self;
        let Shared { to, hop, .. } = &**shared;
        if let Some(by) = &self.by {
            return self.go_over(Lease::new(Arc::clone(by), &self.tunnel), shared).await;
        }
        if let Some((jump, before)) = self.jumps.split_last() {
            return self.jump(jump, before, shared).await;
        }
        if let Some(command) = &to.dialling.proxy_command {
            reporter.step(Step::Tcp);
            let stream = Stream::Proxy(ProxyStream::run(command, shared, &links.data)?);
            shared.saw(Seen::Over("its ProxyCommand, which runs".to_owned()));
            let (local, path, socket, over) = Default::default();
            return Ok(Reached { stream, local, path, socket, over, took: Duration::ZERO });
        }
        let addresses = in_time(hop, "the name lookup", links.resolver.resolve(&to.host, to.port)).await??;
        shared.saw(Seen::Addresses(addresses.clone()));
        let from = in_time(hop, "the name lookup", own_ends(hop, &to.dialling, &links.resolver)).await??;
        reporter.step(Step::Tcp);
        let dialling = dial(hop, addresses, &to.dialling, from, &links.stopwatch);
        let limit = to.dialling.connect_timeout.unwrap_or(STEP_DEADLINE).min(STEP_DEADLINE);
        let dialled = timeout(limit, dialling).await.map_err(|_| overdue(hop, "connecting"))??;
        let (local, peer) = (dialled.tcp.local_addr().ok(), dialled.tcp.peer_addr().ok());
        if let Some(peer) = peer {
            shared.saw(Seen::Connected(peer));
        }
        Ok(Reached {
            // The session takes the stream; how patient the system is with it is known only after the login.
            socket: same_socket(&dialled.tcp),
            path: local.zip(peer).map(|(local, peer)| (local.ip(), peer)),
            took: dialled.took,
            stream: Stream::Tcp(dialled.tcp),
            over: None,
            local,
        })
    }

    async fn jump(&self, jump: &Hop, before: &[Hop], shared: &Arc<Shared>) -> Result<Reached, Failure> {
        let Approach { links, tunnel, reporter, asker, .. } = self;
        let role = Role::Jump { is_looked_at: self.role.is_look() };
        let over = Wanted { jumps: before, to: jump, role, tunnel, reporter, asker: asker.as_ref() };
        let over = links.pool.get(links, over).await?;
        self.go_over(over, shared).await
    }

    async fn go_over(&self, over: Lease, shared: &Arc<Shared>) -> Result<Reached, Failure> {
        let Approach { links, reporter, .. } = self;
        shared.saw(Seen::Turn);
        reporter.step(Step::Tcp);
        let began = (links.stopwatch)();
        let opening = over.way_to(shared, &links.data);
        let stream = in_time(&shared.hop, "connecting from the jump host", opening).await??;
        shared.saw(Seen::Over(format!("a connection that {} made", over.shared.hop)));
        // All the way there, and from the jump host on: as far as the round trip of the whole.
        let took = (links.stopwatch)().saturating_sub(began);
        let local = over.local;
        let (path, socket) = Default::default();
        Ok(Reached { stream: Stream::Jump(stream), local, path, socket, over: Some(over), took })
    }

    async fn shake_hands(
        &self,
        shared: &Arc<Shared>,
        stream: Stream,
        path: Option<Path>,
        took: Duration,
    ) -> Result<Handle<Client>, Failure> {
        let Shared { hop, tap, reporter, .. } = &**shared;
        if let Some((_, peer)) = path {
            shared.reaches(peer.ip());
        }
        let (for_reading, names) = (Arc::clone(&shared.to), Names::of(&shared.to, shared.address()));
        let known = tokio::task::spawn_blocking(move || KnownHosts::read(&for_reading, &names));
        let is_proxied = matches!(stream, Stream::Proxy(_));
        let mut wire = Wire::new(stream, Arc::clone(tap));
        let failed = |error| shared.cause().unwrap_or_else(|| broken(hop, &error, tap));
        let greeted = wire.greet(GREETING).await.map_err(|error| failed(Error::IO(error)))?;
        if let Some(version) = tap.version() {
            shared.saw(Seen::Version(version));
        }
        if greeted.is_some() {
            reporter.step(Step::KeyExchange);
        }
        let round_trip = self.links.distances.estimate(path, took, greeted, is_proxied);
        tracing::debug!("{hop} is about {round_trip:?} away");
        let (preferred, notes) = preferred(&shared.to, &known.await.unwrap_or_default())?;
        notes.iter().for_each(|note| reporter.note(note));
        let config = Arc::new(settings(preferred, window(round_trip)));
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
