//! Mine alone: a listener on loopback serves only programs of our own user, since everybody on a shared machine can
//! connect to it. Looked at before anything is read and before anybody is held; whoever it is not is reset.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nbtunnel_core::{Failure, FailureKind, ForwardReport, Input};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::local::Local;
use super::lock;
use super::owner::{self, Caller, Owner};
use super::standing::Standing;
use super::sys;

/// Those that come together are told together, and at most so often: a program that tries again and again fills no log.
const TOGETHER: Duration = Duration::from_millis(250);
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// So many users are named at most.
const MOST_NAMED: usize = 3;

const WAY_OUT: &str = "`owner_only = false` in its file lets everybody on this machine in";

/// Whether this system can tell whose a connection is; where it cannot, everybody is let in.
pub const TELLS_OWNERS: bool = sys::TELLS_CALLERS;

/// Knows whose the other ends of local connections are. One serves the whole daemon: an answer takes microseconds.
#[derive(Debug, Default)]
pub(super) struct Guard(Mutex<sys::Callers>);

impl Guard {
    fn caller(&self, local: &Local) -> io::Result<Caller> {
        match local.ends() {
            Some((peer, ours)) => lock(&self.0).caller(peer, ours),
            // It was reset before it was looked at.
            None => Ok(Caller::Gone),
        }
    }

    fn works_at(&self, listener: SocketAddr) -> io::Result<()> {
        lock(&self.0).are_told(listener)
    }
}

/// What of all that core was told, and what is still to be told.
#[derive(Debug, Default)]
pub(super) struct Told {
    is_unsure: bool,
    refused: Refused,
    /// Somebody collects them.
    collected: bool,
}

/// Those who were refused and not told yet.
#[derive(Debug, Default, PartialEq, Eq)]
struct Refused {
    count: u32,
    uids: Vec<u32>,
    /// More users than can be named.
    more: bool,
    gone: u32,
    program: Option<Owner>,
}

impl Standing {
    /// Whether a connection that came in at a loopback listener is served. One that is not has been counted, and is
    /// reset when it is dropped. To be called on a tokio runtime.
    pub(super) fn lets_in(self: &Arc<Self>, local: &Local) -> bool {
        if !self.is_owner_only() {
            return true;
        }
        let caller = self.services.guard.caller(local);
        if matches!(caller, Ok(Caller::Ourselves)) {
            self.tell_whether_sure(Ok(()));
            return true;
        }
        local.will_reset();
        self.tally.refused();
        match caller {
            Ok(caller) => self.note_refused(caller),
            Err(error) => self.tell_whether_sure(Err(error)),
        }
        false
    }

    fn is_owner_only(&self) -> bool {
        TELLS_OWNERS && self.owner_only.borrow().unwrap_or_else(|| self.policy.borrow().owner_only)
    }

    /// Tells core if it cannot be told who comes in at `listeners`, as soon as that matters, until the forward ends.
    pub(super) async fn guard(self: Arc<Self>, listeners: Vec<SocketAddr>) {
        let (mut policy, mut owner_only) = (self.policy.clone(), self.owner_only.subscribe());
        loop {
            policy.borrow_and_update();
            owner_only.borrow_and_update();
            let outcome = match self.is_owner_only() {
                true => self.clone().look_at(listeners.clone()).await,
                false => Ok(()),
            };
            self.tell_whether_sure(outcome);
            let changed = tokio::select! {
                changed = policy.changed() => changed,
                changed = owner_only.changed() => changed,
                () = self.stop.cancelled() => return,
            };
            if changed.is_err() {
                return;
            }
        }
    }

    async fn look_at(self: Arc<Self>, listeners: Vec<SocketAddr>) -> io::Result<()> {
        // The first question may have the kernel load what answers it.
        let looked =
            spawn_blocking(move || listeners.iter().try_for_each(|at| self.services.guard.works_at(*at)));
        looked.await.map_err(io::Error::other)?
    }

    fn tell_whether_sure(&self, outcome: io::Result<()>) {
        let mut told = lock(&self.guarded);
        if std::mem::replace(&mut told.is_unsure, outcome.is_err()) == outcome.is_err() {
            return;
        }
        let failure = outcome.err().map(|error| {
            let message = format!(
                "whose the connections at {} are cannot be found out, so that all are reset: {error}",
                self.listen
            );
            Failure::new(FailureKind::Config, message, WAY_OUT)
        });
        (self.report)(Input::Forward(self.id, ForwardReport::Unsure(failure)));
    }

    fn note_refused(self: &Arc<Self>, caller: Caller) {
        let mut told = lock(&self.guarded);
        let first = told.refused.count == 0;
        told.refused.add(caller);
        if first && let Caller::Other { inode, .. } = caller {
            let standing = self.clone();
            tokio::spawn(async move {
                let program = owner::with_inode(inode).await;
                lock(&standing.guarded).refused.program = program;
            });
        }
        if !std::mem::replace(&mut told.collected, true) {
            tokio::spawn(self.clone().tell_of_refused());
        }
    }

    async fn tell_of_refused(self: Arc<Self>) {
        let mut pause = TOGETHER;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = sleep(pause) => {}
            }
            let mut told = lock(&self.guarded);
            let refused = std::mem::take(&mut told.refused);
            if refused.count == 0 {
                told.collected = false;
                return;
            }
            let failure =
                Failure::new(FailureKind::NotYours, refused.sentence(&self.listen.to_string()), WAY_OUT);
            (self.report)(Input::Forward(self.id, ForwardReport::Refused(failure)));
            pause = TOLD_EVERY;
        }
    }
}

impl Refused {
    fn add(&mut self, caller: Caller) {
        self.count = self.count.saturating_add(1);
        match caller {
            Caller::Ourselves => {}
            Caller::Gone => self.gone = self.gone.saturating_add(1),
            Caller::Other { uid, .. } if self.uids.contains(&uid) => {}
            Caller::Other { uid, .. } if self.uids.len() < MOST_NAMED => self.uids.push(uid),
            Caller::Other { .. } => self.more = true,
        }
    }

    fn sentence(&self, listen: &str) -> String {
        let mut text = match self.count {
            1 => "a connection".to_owned(),
            many => format!("{many} connections"),
        };
        let uids: Vec<String> = self.uids.iter().map(u32::to_string).collect();
        match (self.uids.as_slice(), self.gone) {
            ([], _) => text += " by programs that were gone before they could be known",
            ([_], _) if !self.more => text += " by another user",
            _ => text += " by other users",
        }
        if !uids.is_empty() {
            let more = if self.more { " and others" } else { "" };
            let _ = write!(text, " (uid {}{more})", uids.join(", "));
        }
        if let Some(program) = &self.program {
            let _ = write!(text, ", such as {program},");
        }
        let were = if self.count == 1 { "was" } else { "were" };
        let _ = write!(text, " {were} refused at {listen}");
        if !uids.is_empty() && self.gone > 0 {
            let _ = write!(text, "; {} of them gone before they could be known", self.gone);
        }
        text
    }
}
