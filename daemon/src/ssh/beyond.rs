//! Machines to which the far end of a link leads on, each logged in to from here over the session of that link, as by
//! `ssh -J`: the nodes of a cluster. A session there is made when it is first wanted, and ends with the link, or ten
//! minutes after its last use.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use nbtunnel_core::{Failure, FailureKind, LinkReport, Route, Target};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Links;
use super::carry::SshCarrier;
use super::count::{Count, One};
use super::far_side::cut;
use super::hop::Hop;
use super::logged_in::{Lease, LoggedIn};
use super::plan::plan;
use super::pool::Role;
use super::reach::Approach;
use super::report::{LinkEvent, Reporter};

/// A session that nobody used for so long is over.
const IDLE: Duration = if cfg!(test) { Duration::from_secs(2) } else { Duration::from_secs(10 * 60) };

/// So often a machine is asked whether it is there; what does not answer for three times in a row is gone.
const ALIVE: Duration = if cfg!(test) { Duration::from_secs(1) } else { Duration::from_secs(15) };
const MOST_IN_VAIN: u32 = 3;

/// All steps of a login together.
const PATIENCE: Duration = Duration::from_secs(20);

/// A machine that let nobody in is not asked again for so long, however often its notebook is looked for.
const PAUSE: Duration = Duration::from_secs(5);

/// How long the end of a link waits for theirs.
const GOODBYE: Duration = Duration::from_secs(if cfg!(test) { 10 } else { 2 });

/// The machines beyond the far end of one link.
pub(super) struct Beyond {
    links: Arc<Links>,
    /// The session that they are reached over.
    by: Weak<LoggedIn>,
    hop: String,
    route: Route,
    /// The link's own.
    reporter: Arc<Reporter>,
    /// What the link leaves unread, there as here.
    unread: Count,
    machines: Mutex<BTreeMap<String, Arc<Machine>>>,
    /// One login at a time at each machine, and why and when it let nobody in.
    turns: Mutex<BTreeMap<String, Turn>>,
    /// The link is over.
    over: CancellationToken,
    /// Logins and sessions that are not over.
    tasks: Count,
}

type Turn = Arc<tokio::sync::Mutex<Option<(Duration, Failure)>>>;

struct Machine {
    carrier: Arc<SshCarrier>,
    lease: Lease,
}

/// What carries to a target, and how that is called there.
pub(super) struct Through {
    pub(super) by: Arc<SshCarrier>,
    pub(super) target: Target,
    /// It counts there for as long as it is carried.
    pub(super) one: One,
}

impl Beyond {
    pub(super) fn new(
        links: &Arc<Links>,
        by: &Arc<LoggedIn>,
        carrier: &SshCarrier,
        route: Route,
        reporter: &Arc<Reporter>,
    ) -> Arc<Beyond> {
        let (machines, turns, over, tasks) = Default::default();
        Arc::new(Beyond {
            links: Arc::clone(links),
            by: Arc::downgrade(by),
            hop: carrier.hop.clone(),
            route,
            reporter: Arc::clone(reporter),
            unread: carrier.unread.clone(),
            machines,
            turns,
            over,
            tasks,
        })
    }

    /// The session with the machine `name`, made if there is none that answers. What was begun goes on when nobody
    /// waits for it any more: whoever asks again finds it.
    ///
    /// # Errors
    /// Why there is no way there, or why it does not let us in. `disconnected`: the link is over. No person is asked
    /// for anything.
    pub(super) async fn machine(self: &Arc<Self>, name: &str) -> Result<Arc<SshCarrier>, Failure> {
        let task = self.tasks.one();
        let (this, name) = (Arc::clone(self), name.to_owned());
        let making = self.links.data.spawn(async move {
            let _task = task;
            tokio::select! {
                biased;
                () = this.over.cancelled() => Err(cut(&this.hop)),
                made = this.make(&name) => made,
            }
        });
        making.await.unwrap_or_else(|_| Err(cut(&self.hop)))
    }

    async fn make(self: &Arc<Self>, name: &str) -> Result<Arc<SshCarrier>, Failure> {
        let turn = Turn::clone(locked(&self.turns).entry(name.to_owned()).or_default());
        let mut refused = turn.lock().await;
        if let Some(there) = self.there(name) {
            // To be asked for is to be used.
            if let Some(_one) = there.carrier.carried.one()
                && there.lease.answers().await
            {
                return Ok(Arc::clone(&there.carrier));
            }
            self.forget(name, &there);
        }
        let now = || (self.links.stopwatch)();
        if let Some((when, why)) = &*refused
            && now().saturating_sub(*when) < PAUSE
        {
            return Err(why.clone());
        }
        let logged_in = timeout(PATIENCE, self.log_in(name)).await.unwrap_or_else(|_| Err(overdue(name)));
        *refused = logged_in.as_ref().err().map(|why| (now(), why.clone()));
        let lease = logged_in?;
        let mut carrier = SshCarrier::new(Arc::clone(&lease.session), &lease.shared, self.links.data.clone());
        carrier.unread = self.unread.clone();
        let machine = Arc::new(Machine { carrier: Arc::new(carrier), lease });
        locked(&self.machines).insert(name.to_owned(), Arc::clone(&machine));
        let carrier = Arc::clone(&machine.carrier);
        let (this, name, task) = (Arc::clone(self), name.to_owned(), self.tasks.one());
        self.links.data.spawn(async move {
            let _task = task;
            this.look_after(&name, &machine).await;
            this.forget(&name, &machine);
            machine.carrier.given_up.cancel();
            if let Some(Machine { lease, .. }) = Arc::into_inner(machine) {
                lease.give_up().await;
            }
        });
        Ok(carrier)
    }

    /// Ends all of them, in order where they listen. There are none from then on.
    pub(super) async fn end(&self) {
        self.over.cancel();
        let _ = timeout(GOODBYE, self.tasks.none()).await;
    }

    async fn log_in(&self, name: &str) -> Result<Lease, Failure> {
        let by = self.by.upgrade().ok_or_else(|| cut(&self.hop))?;
        let to = self.hop(name, &by.shared.to).await?;
        let tunnel = self.reporter.tunnel();
        // Its steps are none of the link's, which is up.
        let (link, label) = (Arc::clone(&self.reporter), to.label());
        let on = move |event| match event {
            LinkEvent::Note(text) => link.note(&text),
            LinkEvent::Report(LinkReport::Asking(_)) => link.note(&format!(
                "the login at {label} waits for the agent: a key may want to be touched, or its use confirmed"
            )),
            _ => {}
        };
        let approach = Approach {
            links: Arc::clone(&self.links),
            jumps: Vec::new(),
            to,
            role: Role::Server { share: false },
            tunnel: tunnel.to_owned(),
            reporter: Reporter::new(tunnel, Arc::new(on), Arc::default()),
            audience: None,
            asker: None,
            no_login: None,
            by: Some(by),
        };
        let logged_in = approach.go().await.map_err(|why| match why.kind {
            // That the link is gone is said by the link.
            FailureKind::Disconnected => Failure { kind: FailureKind::Refused, ..why },
            _ => why,
        })?;
        Ok(Lease::new(Arc::new(logged_in), tunnel))
    }

    /// How that machine is dealt with: by its own words in ssh_config, and with the keys and the care that the far end
    /// is.
    async fn hop(&self, name: &str, like: &Hop) -> Result<Hop, Failure> {
        // Whatever ssh_config says of the way there, it is this one.
        let (ssh_config, jump) = (self.route.ssh_config.clone(), Some(Vec::new()));
        let route = Route { ssh_config, jump, ..Route::to(name) };
        let mut hop = plan(&route, &self.links.account).await?.plan.server;
        // ssh says who it is here where nobody is named.
        if hop.user == self.links.account.user {
            hop.user.clone_from(&like.user);
        }
        let Hop { login, host_keys, .. } = &mut hop;
        put_first(&mut login.identity_files, &like.login.identity_files);
        login.identities_only |= like.login.identities_only;
        login.agent = login.agent.take().or_else(|| like.login.agent.clone());
        login.remember = like.login.remember;
        put_first(&mut host_keys.known_hosts, &like.host_keys.known_hosts);
        host_keys.update = like.host_keys.update;
        if let Some(policy) = self.route.host_key {
            host_keys.policy = policy;
        }
        Ok(hop)
    }

    /// Until nobody wants `machine` any more, or it is not there.
    async fn look_after(&self, name: &str, machine: &Machine) {
        let Machine { carrier, lease } = machine;
        let unused = async {
            loop {
                carrier.carried.none().await;
                let is_idle = timeout(IDLE, carrier.carried.some()).await.is_err();
                if is_idle && carrier.carried.closed().now_or_never().is_some() {
                    return;
                }
            }
        };
        let silent = async {
            let mut in_vain = 0;
            while in_vain < MOST_IN_VAIN {
                sleep(ALIVE).await;
                // What is left unread for a slow program reads no answer; and of a silent link nothing is learnt.
                carrier.unread.none().await;
                if lease.answers().await {
                    in_vain = 0;
                } else if self.by_answers().await {
                    in_vain += 1;
                }
            }
            tracing::debug!("{name} does not answer any more");
        };
        tokio::select! {
            () = unused => {}
            () = silent => {}
            () = lease.shared.gone.cancelled() => {}
            () = self.over.cancelled() => {}
        }
    }

    /// Whether the session that they are reached over answers.
    async fn by_answers(&self) -> bool {
        match self.by.upgrade() {
            Some(by) => by.answers().await,
            None => false,
        }
    }

    fn there(&self, name: &str) -> Option<Arc<Machine>> {
        locked(&self.machines).get(name).cloned()
    }

    /// Nobody new is led to `machine`.
    fn forget(&self, name: &str, machine: &Arc<Machine>) {
        let mut machines = locked(&self.machines);
        let is_it = machines.get(name).is_some_and(|there| Arc::ptr_eq(there, machine));
        let forgotten = is_it.then(|| machines.remove(name));
        drop(machines);
        drop(forgotten);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SshCarrier {
    /// What carries to `target`; none if nothing does.
    pub(super) fn through(self: &Arc<Self>, target: &Target) -> Option<Through> {
        let (by, target) = match target {
            Target::Beyond { machine, host, port } => {
                let there = self.beyond.as_ref()?.there(machine)?;
                (Arc::clone(&there.carrier), Target::Tcp(host.clone(), *port))
            }
            target => (Arc::clone(self), target.clone()),
        };
        let one = by.carried.one()?;
        Some(Through { by, target, one })
    }

    /// Whether it is only the session with a machine beyond it that is gone, when the way to `target` is.
    pub(super) fn is_there_itself(&self, target: &Target) -> bool {
        matches!(target, Target::Beyond { .. }) && !self.given_up.is_cancelled()
    }
}

/// What goes for the far end goes before what is said of the machine, and stands there once.
fn put_first(files: &mut Vec<PathBuf>, first: &[PathBuf]) {
    files.retain(|file| !first.contains(file));
    files.splice(0..0, first.iter().cloned());
}

fn overdue(name: &str) -> Failure {
    Failure::new(
        FailureKind::TimedOut,
        format!("{name} let nobody in within {} s", PATIENCE.as_secs()),
        "see whether it is busy, or its file system hangs",
    )
}

/// The session with the machine of `target` is over.
pub(super) fn not_there(target: &Target) -> Failure {
    Failure::new(
        FailureKind::Refused,
        format!("the session that led to {target} is over"),
        "the notebook is looked for again by itself",
    )
}

#[cfg(test)]
#[cfg(unix)]
#[path = "beyond_tests.rs"]
mod tests;
