//! One local forward: binds, accepts, and sees its connections off. It outlives every link.
//!
//! Runs on the data runtime; reports to core; asks the gate what to do with whoever comes.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nbtunnel_core::{Failure, FailureKind, ForwardId, ForwardSpec, ListenerReport, Policy, Target};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Report;
use super::accepted::Accepted;
use super::activity::Activity;
use super::bind::bind;
use super::carrier::GateNow;
use super::connection::attend;
use super::keep::Claim;
use super::listening::Listening;
use super::services::Services;
use super::standing::Standing;
use super::sys;
use super::tally::Tally;

/// How often accepting may fail in a row, for reasons of no client, before the listener counts as dead.
const MOST_FAILURES: u32 = 8;

/// How long accepting pauses after such a failure.
const FAILURE_PAUSE: Duration = Duration::from_millis(200);

/// A local forward that listens, or tries to.
///
/// Dropping it closes its listeners and resets all of its connections, silently; [`Forward::unbind`] does
/// the same and reports [`ListenerReport::Unbound`].
pub struct Forward {
    standing: Arc<Standing>,
}

impl Forward {
    /// Binds in the background, then reports [`ListenerReport::Bound`] or [`ListenerReport::Failed`] through
    /// `report`. A listener that failed stays failed: spawn another one to try again.
    pub fn spawn(
        services: &Arc<Services>,
        id: ForwardId,
        spec: ForwardSpec,
        policy: watch::Receiver<Policy>,
        gate: watch::Receiver<GateNow>,
        activity: Arc<Activity>,
        report: Report,
    ) -> Forward {
        let standing = Arc::new(Standing {
            id,
            listen: spec.listen,
            services: services.clone(),
            activity,
            tally: Arc::default(),
            carried: Arc::default(),
            policy,
            gate,
            notebook: spec.target.notebook().cloned(),
            guests: Mutex::default(),
            target: watch::Sender::new(spec.target),
            stop: CancellationToken::new(),
            tells_end: AtomicBool::new(false),
            report,
            told: Default::default(),
            owner_only: watch::Sender::new(spec.owner_only),
            guarded: Default::default(),
        });
        // At once: only before it is told that all are known does the keeper wait for us.
        let claim = services.lasting.claim();
        services.runtime.spawn(live(standing.clone(), claim));
        Forward { standing }
    }

    /// New connections go to `target` from now on; those that are carried stay where they are.
    pub fn retarget(&self, target: Target) {
        self.standing.retarget(target);
    }

    /// Whether only our own user may come in from now on; `None`: as the policy says.
    pub fn set_owner_only(&self, owner_only: Option<bool>) {
        self.standing.owner_only.send_replace(owner_only);
    }

    /// Stops listening, resets every connection, held or carried, and then reports
    /// [`ListenerReport::Unbound`], exactly once.
    pub fn unbind(self) {
        self.standing.tells_end.store(true, Relaxed);
    }

    /// Its counters.
    pub fn tally(&self) -> &Arc<Tally> {
        &self.standing.tally
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.standing.stop.cancel();
    }
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward").field("listen", &self.standing.listen).finish_non_exhaustive()
    }
}

/// From the first bind to the end of the forward, whatever happens in between.
async fn live(standing: Arc<Standing>, claim: Option<Arc<Claim>>) {
    // A task of its own, so that even a fault of ours there ends in a report.
    let listening = tokio::spawn(listen(standing.clone(), claim)).await;
    let failure = match listening {
        Ok(Ok(())) => None,
        Ok(Err(failure)) => Some(failure),
        Err(fault) => Some(internal(&standing, &fault)),
    };
    if let Some(failure) = failure {
        standing.report_listener(ListenerReport::Failed(failure));
    }
    standing.stop.cancelled().await;
    if standing.tells_end.load(Relaxed) {
        standing.report_listener(ListenerReport::Unbound);
    }
}

/// Binds and accepts until it is told to stop; its sockets are closed when it returns.
async fn listen(standing: Arc<Standing>, claim: Option<Arc<Claim>>) -> Result<(), Failure> {
    let bound = tokio::select! {
        bound = bind(&standing.listen, &standing.services.lasting) => {
            bound.map_err(|why| of_notebook(&standing, why))?
        }
        () = standing.stop.cancelled() => return Ok(()),
    };
    drop(claim);
    standing.report_listener(ListenerReport::Bound { listens: bound.listens, note: bound.note });
    let loopback: Vec<_> = bound.sockets.iter().filter_map(Listening::loopback).collect();
    if !loopback.is_empty() {
        tokio::spawn(standing.clone().guard(loopback));
    }
    let mut accepting = JoinSet::new();
    for socket in bound.sockets {
        accepting.spawn(accept(socket, standing.clone()));
    }
    // The first to fail takes the others along: half a listener would be a riddle.
    let ended = accepting.join_next().await;
    accepting.shutdown().await;
    match ended {
        Some(Ok(result)) => result,
        Some(Err(fault)) => Err(internal(&standing, &fault)),
        None => Ok(()),
    }
}

/// The port of a notebook may stand in no file: what to write where, to have another one.
fn of_notebook(standing: &Standing, why: Failure) -> Failure {
    match &standing.notebook {
        Some(notebook) if why.kind == FailureKind::PortInUse => {
            let hint =
                format!("name another port for it, as in local_port = 6000 below [notebook.{notebook}]");
            Failure { hint, ..why }
        }
        _ => why,
    }
}

fn internal(standing: &Standing, fault: &JoinError) -> Failure {
    Failure::new(
        FailureKind::Internal,
        format!("the listener of {} failed inside: {fault}", standing.listen),
        "it will be bound again; please report this with the log of the daemon",
    )
}

async fn accept(socket: Listening, standing: Arc<Standing>) -> Result<(), Failure> {
    let descriptors = &standing.services.descriptors;
    let mut exhausted = descriptors.exhausted();
    let is_loopback = socket.loopback().is_some();
    let mut failures = 0;
    loop {
        let error = tokio::select! {
            biased;
            () = standing.stop.cancelled() => return Ok(()),
            _ = exhausted.wait_for(|is_so| *is_so) => None,
            accepted = socket.accept() => match accepted {
                Ok(local) => {
                    failures = 0;
                    if is_loopback && !standing.lets_in(&local) {
                        continue;
                    }
                    let local = Accepted::new(local, &standing);
                    // On its own: what goes wrong in there is the end of one connection.
                    tokio::spawn(attend(local, standing.clone()));
                    continue;
                }
                Err(error) => Some(error),
            },
        };
        let error = match error {
            Some(error) if !sys::is_exhaustion(&error) => error,
            ran_out => {
                if ran_out.is_some() {
                    descriptors.run_out();
                }
                tokio::select! {
                    () = descriptors.wait_for_some() => continue,
                    () = standing.stop.cancelled() => return Ok(()),
                }
            }
        };
        if is_of_the_client(&error) {
            continue;
        }
        failures += 1;
        if failures >= MOST_FAILURES {
            return Err(Failure::new(
                FailureKind::CannotListen,
                format!("{} takes no more connections: {error}", standing.listen),
                "it will be bound again",
            ));
        }
        tokio::select! {
            () = sleep(FAILURE_PAUSE) => {}
            () = standing.stop.cancelled() => return Ok(()),
        }
    }
}

/// Whether accepting failed because that client was already gone again (accept(2)).
fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
