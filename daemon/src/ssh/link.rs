//! One link: a task that looks, resolves, dials, checks the host key, logs in, and then answers probes until
//! the session ends or is closed. Decides nothing: what a failure leads to is core's business.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use nbtunnel_core::{Failure, FailureKind, LinkReport, Route, Step};
use russh::Disconnect;
use russh::client::{Handle, connect_stream};
use tokio::net::TcpStream;
use tokio::sync::{Notify, RwLock};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Links;
use super::auth::Login;
use super::carry::SshCarrier;
use super::classify::{broken, ended, overdue};
use super::credentials::look;
use super::dial::dial;
use super::handler::{Client, Shared};
use super::known_hosts::KnownHosts;
use super::report::{LinkEvent, OnLink, Reporter};
use super::settings::{HOST_KEYS, settings};
use super::wire::{Tap, Wire};

/// Core has a shorter deadline for every step; this one only keeps a fault from hanging for ever.
const STEP_DEADLINE: Duration = Duration::from_secs(60);

/// How long a close may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// A link that is running. Dropping it closes it.
pub struct Link {
    control: Arc<Control>,
}

#[derive(Default)]
struct Control {
    close: CancellationToken,
    probe: Notify,
}

impl Link {
    /// Asks the server whether it is there; an answer is reported as `Answers`, silence is not reported.
    /// At most one question is under way, and further ones become one more.
    pub fn probe(&self) {
        self.control.probe.notify_one();
    }

    /// Reports `Drained` as soon as it carries nothing. It is given no new connection from now on.
    pub fn drain(&self) {}

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
    /// Starts a link for the tunnel `name`. What happens to it is told to `on`; `Lost` or `Closed` is told
    /// exactly once, and last.
    pub fn spawn_link(self: &Arc<Self>, name: &str, route: Route, on: OnLink) -> Link {
        let control = Arc::new(Control::default());
        let reporter = Reporter::new(name, on, Arc::clone(&self.told));
        let attempt = Attempt {
            links: Arc::clone(self),
            control: Arc::clone(&control),
            shared: Shared::new(Arc::new(route), Arc::clone(&reporter)),
        };
        self.data.spawn(async move {
            let tap = Arc::clone(&attempt.shared.tap);
            let hop = attempt.shared.hop.clone();
            // A task of its own, so that a panic in it is this link's failure and nobody else's.
            let ended =
                tokio::spawn(attempt.run()).await.unwrap_or_else(|_| LinkReport::Lost(panicked(&hop)));
            tap.cut();
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

struct Attempt {
    links: Arc<Links>,
    control: Arc<Control>,
    shared: Arc<Shared>,
}

/// A session's handle: opening a channel needs a shared borrow, tidying up needs all of it.
pub(super) type Session = Arc<RwLock<Handle<Client>>>;

impl Attempt {
    async fn run(self) -> Ended {
        // Also when this is dropped half-way: a session in the middle of its key exchange would otherwise
        // wait for a silent server for ever.
        let _cut = CutOnDrop(Arc::clone(&self.shared.tap));
        let session = tokio::select! {
            biased;
            () = self.control.close.cancelled() => return LinkReport::Closed,
            connected = self.connect() => match connected {
                Ok(session) => session,
                Err(failure) => return LinkReport::Lost(failure),
            },
        };
        let session: Session = Arc::new(RwLock::new(session));
        let carrier = SshCarrier::new(Arc::clone(&session), &self.shared, self.links.data.clone());
        self.shared.reporter.tell(LinkEvent::Carrier(Arc::new(carrier)));
        self.shared.reporter.tell(LinkEvent::Report(LinkReport::Up));
        self.stay_up(&session).await
    }

    async fn connect(&self) -> Result<Handle<Client>, Failure> {
        let Shared { route, hop, reporter, .. } = &*self.shared;
        reporter.step(Step::Resolve);
        let (offer, snapshot) = look(&self.links.agent, route).await;
        reporter.tell(LinkEvent::Looked(snapshot));
        for note in &offer.notes {
            reporter.note(note);
        }
        // Nothing is sent to the server, not even a connection attempt, before there is something to offer.
        if let Some(failure) = offer.shortfall(route) {
            return Err(failure);
        }
        let addresses = self.in_time("the name lookup", self.links.resolver.resolve(&route.host, route.port));
        let addresses: Vec<SocketAddr> = addresses.await??;
        reporter.step(Step::Tcp);
        let tcp = self.in_time("connecting", dial(hop, addresses)).await??;
        reporter.step(Step::Banner);
        let mut session = self.in_time("the key exchange", self.shake_hands(tcp)).await??;
        reporter.step(Step::Authenticate);
        Login::new(&self.shared, &mut session, &self.links.agent).run(&offer).await?;
        Ok(session)
    }

    async fn shake_hands(&self, tcp: TcpStream) -> Result<Handle<Client>, Failure> {
        let Shared { route, hop, tap, .. } = &*self.shared;
        let for_reading = Arc::clone(route);
        let known = tokio::task::spawn_blocking(move || KnownHosts::read(&for_reading));
        let host_keys = known.await.unwrap_or_default().order(&HOST_KEYS);
        let reporter = Arc::clone(&self.shared.reporter);
        let wire = Wire::new(tcp, Arc::clone(tap), move || reporter.step(Step::KeyExchange));
        let config = Arc::new(settings(host_keys));
        let connected = connect_stream(config, wire, Client(Arc::clone(&self.shared))).await;
        connected.map_err(|error| self.shared.cause().unwrap_or_else(|| broken(hop, &error, tap)))
    }

    async fn in_time<T>(&self, what: &str, step: impl Future<Output = T>) -> Result<T, Failure> {
        timeout(STEP_DEADLINE, step).await.map_err(|_| overdue(&self.shared.hop, what))
    }

    async fn stay_up(&self, session: &Session) -> Ended {
        let Shared { reporter, gone, hop, tap, .. } = &*self.shared;
        // Never both: a probe that is asked for meanwhile stays noted until this one is through.
        let mut probing: Pin<Box<dyn Future<Output = Option<Duration>> + Send>> =
            Box::pin(std::future::pending());
        let mut is_probing = false;
        loop {
            tokio::select! {
                biased;
                () = self.control.close.cancelled() => {
                    say_goodbye(session, gone).await;
                    return LinkReport::Closed;
                }
                () = gone.cancelled() => {
                    return LinkReport::Lost(self.shared.cause().unwrap_or_else(|| ended(hop, tap)));
                }
                rtt = &mut probing, if is_probing => {
                    is_probing = false;
                    if let Some(rtt) = rtt {
                        reporter.tell(LinkEvent::Report(LinkReport::Answers(rtt)));
                    }
                }
                () = self.control.probe.notified(), if !is_probing => {
                    is_probing = true;
                    probing = self.ask(Arc::clone(session)).boxed();
                }
            }
        }
    }

    /// One question and its answer; `None` for silence and for a session that is gone.
    fn ask(&self, session: Session) -> impl Future<Output = Option<Duration>> + Send + 'static {
        let stopwatch = Arc::clone(&self.links.stopwatch);
        async move {
            let session = session.read().await;
            let asked_at = stopwatch();
            let answered = timeout(STEP_DEADLINE, session.send_ping()).await;
            let rtt = stopwatch().saturating_sub(asked_at);
            // A ping counts as answered when the session dies: that is no answer.
            (matches!(answered, Ok(Ok(()))) && !session.is_closed()).then_some(rtt)
        }
    }
}

/// Tells the server that we leave, if it listens.
async fn say_goodbye(session: &Session, gone: &CancellationToken) {
    let goodbye = async {
        let session = session.read().await;
        if session.disconnect(Disconnect::ByApplication, "closed by nbtunnel", "").await.is_ok() {
            // Written by the session's task, which then ends.
            gone.cancelled().await;
        }
    };
    let _ = timeout(GOODBYE, goodbye).await;
}

struct CutOnDrop(Arc<Tap>);

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        self.0.cut();
    }
}
