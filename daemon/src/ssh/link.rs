//! One link: a task that makes a plan, gets a session with the server, alone or with others, and looks after it
//! until that ends or the link is closed. Decides nothing: what a failure leads to is core's business.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};

use nbtunnel_core::{Failure, FailureKind, LinkReport, Policy, Route, Step};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::Links;
use super::auth::Asked;
use super::beyond::Beyond;
use super::carry::SshCarrier;
use super::credentials::Survey;
use super::hop::{Alive, Key};
use super::logged_in::Lease;
use super::plan::{Planned, plan};
use super::pool::{Role, Wanted};
use super::report::{LinkEvent, OnLink, Reporter};
use super::upkeep::Upkeep;
use crate::ask::Asker;

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

struct Attempt {
    links: Arc<Links>,
    control: Arc<Control>,
    reporter: Arc<Reporter>,
    route: Route,
    policy: watch::Receiver<Policy>,
    /// Who may be asked, if somebody is there.
    asker: Option<Asker>,
}

impl Attempt {
    async fn run(self) -> Ended {
        let lease = tokio::select! {
            biased;
            () = self.control.close.cancelled() => return LinkReport::Closed,
            connected = self.connect() => match connected {
                Ok(lease) => lease,
                Err(failure) => return LinkReport::Lost(failure),
            },
        };
        let Attempt { links, control, policy, reporter, route, .. } = self;
        let (shared, session) = (Arc::clone(&lease.shared), Arc::clone(&lease.session));
        // Each link over a session has its own, so that the end of one leaves the others alone.
        let mut carrier = SshCarrier::new(Arc::clone(&session), &shared, links.data.clone());
        let beyond = Beyond::new(&links, &lease, &carrier, route, &reporter);
        carrier.beyond = Some(Arc::clone(&beyond));
        let carrier = Arc::new(carrier);
        reporter.tell(LinkEvent::Carrier(carrier.clone()));
        if lease.asked != Asked::Nobody {
            reporter.tell(LinkEvent::Report(LinkReport::Asked));
        }
        if lease.asked == Asked::Typed {
            reporter.tell(LinkEvent::Report(LinkReport::Typed(lease.shared.to.login_key())));
        }
        reporter.tell(LinkEvent::Report(LinkReport::Up));
        let upkeep = Upkeep {
            before: shared.tap.traffic.both(),
            silences: lease.silences.clone(),
            local: lease.local,
            path: lease.path,
            distances: Arc::clone(&links.distances),
            is_worn: AtomicBool::new(false),
            carrier: Arc::clone(&carrier),
            shared,
            reporter,
            control,
            session,
            policy,
        };
        let ended = upkeep.until_end().await;
        // What is carried still lets go of its channels before the session says goodbye.
        carrier.given_up.cancel();
        drop(upkeep);
        beyond.end().await;
        lease.give_up().await;
        ended
    }

    async fn connect(&self) -> Result<Lease, Failure> {
        let Attempt { links, reporter, .. } = self;
        reporter.step(Step::Resolve);
        let Planned { mut plan, notes } = plan(&self.route, &links.account).await?;
        // Core gives the server up; the system must not do so before.
        let (every, unanswered) = {
            let policy = self.policy.borrow();
            (policy.keepalive, policy.unanswered)
        };
        plan.server.alive = unanswered.map(|most| Alive { every, most });
        notes.iter().for_each(|note| reporter.note(note));
        reporter.tell(LinkEvent::Planned(Box::new(plan.clone())));
        if let Some(snapshot) = Survey::of(&plan, &links.agents).await.snapshot(&plan).await {
            reporter.tell(LinkEvent::Looked(snapshot));
        }
        links.leads_over(reporter.tunnel(), plan.keys().collect());
        let wanted = Wanted {
            jumps: &plan.jumps,
            to: &plan.server,
            role: Role::Server { share: self.route.share },
            tunnel: reporter.tunnel(),
            asker: self.asker.as_ref(),
            reporter,
        };
        links.pool.get(links, wanted).await
    }
}

impl Links {
    /// A tunnel is not wanted any more, and with it no session that is kept only for such as it.
    pub fn unwanted(self: &Arc<Self>, tunnel: &str) {
        self.leads_over(tunnel, HashSet::new());
    }

    fn leads_over(self: &Arc<Self>, tunnel: &str, way: HashSet<Key>) {
        for unwanted in self.pool.leads_over(tunnel, way) {
            self.data.spawn(unwanted.give_up());
        }
    }
}
