//! What somebody said of silence and of old keys, for one session: a jump host that leaves so many questions without
//! an answer is given up, as by the ssh that `ssh -J` begins (`ServerAliveCountMax` of ssh_config(5)), and new keys
//! are agreed on after a time (`RekeyLimit`). The server at the end of a way is core's to give up.

use std::sync::Arc;
use std::time::Duration;

use nbtunnel_core::session::PATIENCE_WITH_PERSON;
use nbtunnel_core::{Failure, FailureKind};
use tokio::time::{sleep, timeout};

use super::auth::Asked;
use super::handler::Shared;
use super::hop::Alive;
use super::logged_in::Session;

/// Nothing is slept over for longer at a time.
const LONGEST_NAP: Duration = Duration::from_secs(60);
/// A nap that took so much longer proves nothing: nobody looked, because this process was stopped.
const LATE: Duration = Duration::from_secs(2);
/// A session that carried nothing for so long is quiet. Keys that are changed while much comes in end a session, since
/// the library takes it for an attack.
const QUIET: Duration = Duration::from_millis(500);

/// Gives the session up when it is silent for longer than `alive` says.
pub(super) async fn give_up_when_silent(shared: Arc<Shared>, session: Session, alive: Alive, asked: Asked) {
    let patience = match asked {
        Asked::Nobody => alive.patience(),
        Asked::Person | Asked::Typed => alive.patience().max(PATIENCE_WITH_PERSON),
    };
    tokio::select! {
        () = until_silent(&shared, &session, alive.every, patience) => {}
        () = shared.gone.cancelled() => return,
    }
    shared.blame(Failure::new(
        FailureKind::DeadPeer,
        format!("{} stopped answering", shared.hop),
        "it is tried again by itself",
    ));
    shared.tap.cut();
    shared.gone.cancel();
}

/// Asks after each `every` of silence, until nothing came for `patience` after the first question.
async fn until_silent(shared: &Shared, session: &Session, every: Duration, patience: Duration) {
    let traffic = &shared.tap.traffic;
    let nap = every.min(LONGEST_NAP);
    let (mut heard, mut quiet) = (traffic.read(), Duration::ZERO);
    // For how long it owes an answer.
    let mut owes: Option<Duration> = None;
    loop {
        let began = traffic.now();
        let asks = owes.is_some() && quiet.is_zero();
        let ask = async {
            if asks {
                let session = session.read().await;
                let _question = traffic.ask();
                // Whatever comes of it is seen in what came.
                let _ = timeout(nap, session.send_ping()).await;
            }
        };
        tokio::join!(sleep(nap), ask);
        let now = traffic.read();
        if now != heard {
            (heard, quiet, owes) = (now, Duration::ZERO, None);
            continue;
        }
        if traffic.now().saturating_sub(began) > nap + LATE {
            continue;
        }
        quiet += nap;
        let owed = owes.map(|owed| owed + nap);
        if owed.is_some_and(|owed| owed >= patience) {
            return;
        }
        owes = owed;
        if quiet >= every {
            (quiet, owes) = (Duration::ZERO, Some(owed.unwrap_or_default()));
        }
    }
}

/// Has new keys agreed on whenever those in use are so old, as soon as it is quiet.
pub(super) async fn renew_keys(shared: Arc<Shared>, session: Session, after: Duration) {
    let traffic = &shared.tap.traffic;
    let renewing = async {
        loop {
            let mut left = after;
            while !left.is_zero() {
                let nap = left.min(LONGEST_NAP);
                sleep(nap).await;
                left -= nap;
            }
            loop {
                let before = traffic.both();
                sleep(QUIET).await;
                if traffic.both() == before {
                    break;
                }
            }
            if session.read().await.rekey_soon().await.is_err() {
                return;
            }
            tracing::debug!("new keys are agreed on with {}", shared.hop);
        }
    };
    tokio::select! {
        () = renewing => {}
        () = shared.gone.cancelled() => {}
    }
}
