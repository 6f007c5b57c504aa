//! The life of one accepted connection before and around its carrying: held while there is no link, reset
//! when it waited too long, handed to the link that is there.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::accepted::Accepted;
use super::activity::Place;
use super::carrier::{Carried, GateNow};
use super::lock;
use super::standing::Standing;

/// Sees `local` to its end. Dropping it on the way, as every `return` here does, resets it.
pub(super) async fn attend(mut local: Accepted, standing: Arc<Standing>) {
    let mut gate = standing.gate.clone();
    // One clock for all of its waits: a link that comes and goes does not grant more time.
    let mut patience: Option<Pin<Box<dyn Future<Output = ()> + Send>>> = None;
    loop {
        let now = gate.borrow_and_update().clone();
        match now {
            GateNow::Reset => return,
            GateNow::Hold => {}
            GateNow::Serve(carrier) => {
                local.move_to(Place::Open);
                standing.carried_by(&carrier);
                let target = lock(&standing.target).clone();
                let Some(target) = local.destination(target).await else { return };
                match carrier.carry(local, target).await {
                    Carried::Over => return,
                    Carried::Denied(failure) => return standing.denied(failure),
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
        let hold = standing.policy.borrow().hold;
        if hold.is_zero() {
            return;
        }
        if !local.move_to(Place::Held) {
            return standing.turned_away();
        }
        let patience = patience.get_or_insert_with(|| Box::pin(lasting(hold)));
        tokio::select! {
            biased;
            () = standing.stop.cancelled() => return,
            () = local.local().failed() => return,
            changed = changed(&mut gate) => if !changed { return },
            () = patience => return standing.expired(),
        }
    }
}

async fn changed(gate: &mut watch::Receiver<GateNow>) -> bool {
    gate.changed().await.is_ok()
}

/// Waits for `duration` in parts of at most a minute, so that a long sleep of the machine is not added to it
/// in one piece.
async fn lasting(mut duration: Duration) {
    while !duration.is_zero() {
        let part = duration.min(Duration::from_secs(60));
        sleep(part).await;
        duration -= part;
    }
}
