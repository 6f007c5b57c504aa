//! The life of one accepted connection before and around its carrying: held while there is no link, reset
//! when it waited too long, handed to the link that is there.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use nbtunnel_core::Target;
use tokio::io::AsyncReadExt as _;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::accepted::Accepted;
use super::activity::Place;
use super::carrier::{Carried, Carrier, GateNow};
use super::standing::Standing;

/// Sees `local` to its end. Dropping it on the way, as every `return` here does, resets it.
pub(super) async fn attend(mut local: Accepted, standing: Arc<Standing>) {
    let mut gate = standing.gate.clone();
    let mut leads = standing.target.subscribe();
    // One clock for all of its waits: a link that comes and goes does not grant more time.
    let mut patience: Patience = None;
    loop {
        let now = gate.borrow_and_update().clone();
        match now {
            GateNow::Reset => return,
            GateNow::Hold => {}
            GateNow::Serve(carrier) => {
                let (target, visit) = standing.visit(&mut leads);
                if matches!(target, Target::Notebook(_)) {
                    // Before it is said that somebody seeks: core looks on only for those who are held.
                    local.move_to(Place::Held);
                    standing.sought();
                    if !wait(&mut local, &standing, &mut gate, &mut leads, &mut patience).await {
                        return;
                    }
                    continue;
                }
                local.move_to(Place::Open);
                local.visits(visit);
                standing.carried_by(&carrier);
                let Some(target) = local.destination(target).await else { return };
                if standing.may_be_shallow(&target) && ends_at_once(&carrier, &target).await {
                    standing.heard_nothing(&target);
                    continue;
                }
                let heard = standing.tally.snapshot().bytes_in;
                let carried = Arc::clone(&standing.carried);
                let outcome = carrier.carry(local, target.clone()).await;
                drop(carried);
                match outcome {
                    Carried::Over => {
                        if standing.tally.snapshot().bytes_in == heard {
                            standing.heard_nothing(&target);
                        }
                        return;
                    }
                    Carried::Denied(failure, back) => {
                        let again = standing.seeks_again(&target, &failure);
                        standing.denied(failure.clone());
                        if !again {
                            return back.refuse(&failure).await;
                        }
                        // It is led elsewhere by now, or waits to be.
                        local = back;
                        continue;
                    }
                    // Nothing is lost yet. The gate is not looked at again before it changes: the same link
                    // would only say the same.
                    Carried::LinkGone(back) => {
                        local = back;
                        if gate.has_changed().unwrap_or(false) {
                            continue;
                        }
                    }
                }
            }
        }
        if !wait(&mut local, &standing, &mut gate, &mut leads, &mut patience).await {
            return;
        }
    }
}

/// Whether a way to `target` is over as soon as it is open: who takes connections there leads nowhere. That is known
/// within the time between two machines of a cluster, however far away both are.
async fn ends_at_once(carrier: &Arc<dyn Carrier>, target: &Target) -> bool {
    let Ok(mut way) = Arc::clone(carrier).open(target.clone()).await else { return false };
    matches!(timeout(SHALLOW, way.read(&mut [0])).await, Ok(Ok(0)))
}

/// What is not over by then leads somewhere.
const SHALLOW: Duration = Duration::from_millis(100);

/// A look at where a notebook is takes no longer, nor does a server that starts anew.
const LOOKED_FOR: Duration = Duration::from_secs(10);

/// How long a connection may still be held; set when it is held for the first time.
type Patience = Option<Pin<Box<dyn Future<Output = ()> + Send>>>;

/// Holds `local` until something changes that may let it go on; false if it is not to wait, or has waited enough.
async fn wait(
    local: &mut Accepted,
    standing: &Arc<Standing>,
    gate: &mut watch::Receiver<GateNow>,
    leads: &mut watch::Receiver<Target>,
    patience: &mut Patience,
) -> bool {
    let mut hold = standing.policy.borrow().hold;
    if matches!(&*gate.borrow(), GateNow::Serve(_)) && leads.borrow().notebook().is_some() {
        // Who is refused at once while the tunnel is away still waits for a look at where the notebook is.
        hold = hold.max(LOOKED_FOR);
    }
    if hold.is_zero() {
        return false;
    }
    if !local.move_to(Place::Held) {
        standing.turned_away();
        return false;
    }
    let patience = patience.get_or_insert_with(|| Box::pin(lasting(hold)));
    tokio::select! {
        biased;
        () = standing.stop.cancelled() => false,
        () = local.local().failed() => false,
        changed = gate.changed() => changed.is_ok(),
        changed = leads.changed() => changed.is_ok(),
        () = patience => {
            standing.expired();
            false
        }
    }
}

/// Waits for `duration` in parts of at most a minute, so that a long sleep of the machine is not added to it
/// in one piece.
pub(super) async fn lasting(mut duration: Duration) {
    while !duration.is_zero() {
        let part = duration.min(Duration::from_secs(60));
        sleep(part).await;
        duration -= part;
    }
}
