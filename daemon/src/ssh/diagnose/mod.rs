//! Looks at the way of a tunnel layer by layer, by going it: with the same plan, the same dial, the same login as a
//! link, and nobody who could be asked. The tunnel itself knows nothing of it. Decides nothing; `walk` puts what was
//! seen into sentences, `local` looks at what is on this machine.

mod keys;
mod local;
mod walk;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use nbtunnel_core::session::overdue;
use nbtunnel_core::{Asks, Failure, FailureKind, LinkReport, Policy, Route, Step, Target};
use tokio::runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Links;
use super::carry::SshCarrier;
use super::hop::Plan;
use super::logged_in::{Lease, LoggedIn};
use super::plan::{Planned, plan};
use super::pool::{Role, Wanted};
use super::report::{LinkEvent, Reporter, Told};
use crate::finding::{Finding, Layer};
use walk::Walk;

pub use keys::{Candidate, Signs, Trial};

/// How long somebody who is asked by an agent may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// No step is given longer, whatever the tunnel's file says.
const LONGEST_STEP: Duration = Duration::from_secs(60);

/// So many targets are tried at a time.
const TARGETS_AT_ONCE: usize = 8;

/// A tunnel to look at.
#[derive(Clone, Debug)]
pub struct Patient {
    /// Its name.
    pub name: String,
    /// How to get there.
    pub route: Route,
    /// Its times; each step may take its `connect_timeout`.
    pub policy: Policy,
    /// What is known of its listeners: told where they come in the order of the layers.
    pub listeners: Vec<Finding>,
    /// Its forwards, as users know them, and where they lead.
    pub targets: Vec<(String, Target)>,
}

/// Told what is found, in the order of the layers. Called from the data runtime; must not block.
pub type OnFinding = Arc<dyn Fn(Finding) + Send + Sync>;

impl Links {
    /// Looks at every layer of `patient`, with one login at each machine on the way. Dropping the future ends it at
    /// once, whatever it waits for.
    pub async fn diagnose(self: &Arc<Self>, patient: Patient, on: OnFinding) {
        if alone(&self.data, examine(Arc::clone(self), patient, Arc::clone(&on))).await.is_none() {
            on(Finding::broken(Layer::Way, &broken_inside()));
        }
    }
}

/// Runs `look` as a task of its own, which ends with whoever waits for it. `None`: it failed inside.
async fn alone<T: Send + 'static>(
    data: &runtime::Handle,
    look: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let mut task = JoinSet::new();
    task.spawn_on(look, data);
    task.join_next().await?.ok()
}

fn broken_inside() -> Failure {
    Failure::new(
        FailureKind::Internal,
        "the look at this tunnel failed inside nbtunnel",
        "please report it, with the daemon's log",
    )
}

async fn examine(links: Arc<Links>, patient: Patient, on: OnFinding) {
    let Patient { name, route, policy, listeners, targets } = patient;
    let patience = policy.connect_timeout.min(LONGEST_STEP);
    let planned = timeout(LONGEST_STEP, plan(&route, &links.account)).await;
    let connected = match planned.unwrap_or_else(|_| Err(overdue(Step::Resolve))) {
        Ok(Planned { plan, notes }) => {
            local::ssh_config(&route, notes).await.into_iter().for_each(|finding| on(finding));
            let mut walk = Walk::new(&plan, Arc::clone(&on), Arc::clone(&links.stopwatch));
            for hop in plan.jumps.iter().chain([&plan.server]) {
                walk.carries(hop, local::look_at(&links.agents, hop, patience).await);
            }
            let connected = connect(&links, &name, &plan, Role::Look, patience, &mut walk).await;
            walk.ended(connected.as_ref().err());
            connected.ok()
        }
        Err(failure) => {
            on(Finding::broken(Layer::SshConfig, &failure));
            None
        }
    };
    listeners.into_iter().for_each(|finding| on(finding));
    match connected {
        Some(lease) => look_at_targets(&links, lease, targets, patience, &on).await,
        None if targets.is_empty() => {}
        None => on(Finding::skipped(Layer::Target, "not looked at: there is no session to reach them by")),
    }
}

/// Connects, tells `walk` what was seen meanwhile, and gives up where nothing is seen for too long.
async fn connect(
    links: &Arc<Links>,
    name: &str,
    plan: &Plan,
    role: Role,
    patience: Duration,
    walk: &mut Walk,
) -> Result<Lease, Failure> {
    let (tell, mut events) = mpsc::unbounded_channel();
    let on = Arc::new(move |event| {
        let _ = tell.send(event);
    });
    let reporter = Reporter::new(name, on, Told::default());
    let wanted =
        Wanted { jumps: &plan.jumps, to: &plan.server, role, tunnel: name, reporter: &reporter, asker: None };
    let mut connecting = pin!(links.pool.get(links, wanted));
    let mut step = Step::Resolve;
    let mut overlong = pin!(sleep(patience));
    let connected = loop {
        tokio::select! {
            biased;
            Some(event) = events.recv() => {
                let mut patience = patience;
                match &event {
                    LinkEvent::Report(LinkReport::Step(now)) => step = *now,
                    LinkEvent::Report(LinkReport::Asking(Asks::Agent | Asks::Person)) => patience = ANSWER_DEADLINE,
                    _ => {}
                }
                overlong.set(sleep(patience));
                walk.take(event);
            }
            connected = &mut connecting => break connected,
            () = &mut overlong => break Err(overdue(step)),
        }
    };
    while let Ok(event) = events.try_recv() {
        walk.take(event);
    }
    connected
}

/// Opens a channel to each target, and closes it.
async fn look_at_targets(
    links: &Arc<Links>,
    lease: Lease,
    targets: Vec<(String, Target)>,
    patience: Duration,
    on: &OnFinding,
) {
    let LoggedIn { shared, session, .. } = &**lease;
    let carrier = &Arc::new(SshCarrier::new(Arc::clone(session), shared, links.data.clone()));
    let looked = targets.into_iter().map(|(forward, target)| async move {
        let began = (links.stopwatch)();
        let finding = match carrier.look_at(&target, patience).await {
            Ok(()) => Finding::ok(Layer::Target, format!("something answers at {target}")),
            Err(failure) => Finding::broken(Layer::Target, &failure),
        };
        finding.at(forward).after((links.stopwatch)().saturating_sub(began))
    });
    let mut looked = stream::iter(looked).buffered(TARGETS_AT_ONCE);
    while let Some(finding) = looked.next().await {
        on(finding);
    }
    drop(looked);
    lease.give_up().await;
}
