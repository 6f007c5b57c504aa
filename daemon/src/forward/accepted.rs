//! A local connection that was accepted. Until it is ended in order, dropping it resets it: a truncated
//! stream never looks complete to the program at its other end.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use nbtunnel_core::{Failure, Target};
use tokio_util::sync::CancellationToken;

use super::activity::{Counted, Place};
use super::asking::{self, Asked, Here, Line, Unasked};
use super::carrier::{Carrier, GateNow};
use super::local::Local;
use super::proxy::Ending;
use super::queue::{Bounds, Queue};
use super::seeking::Visit;
use super::standing::Standing;
use super::tally::Tally;

/// A local connection on its way to the far end, with its place in the counts.
pub struct Accepted {
    local: Local,
    origin: (String, u16),
    counted: Counted,
    standing: Arc<Standing>,
    /// What its client asked for, where that decides where it leads. Kept until a channel is open, so that
    /// another link can try again what one could not.
    asked: Option<Asked>,
    ended: bool,
    /// Whom its end is told.
    ending: Option<Arc<Ending>>,
    /// Its place among those who are where its forward leads.
    visit: Option<Visit>,
}

impl Accepted {
    pub(super) fn new(local: Local, standing: &Arc<Standing>) -> Accepted {
        let counted = Counted::new(standing.tally.clone(), standing.activity.clone());
        Accepted {
            origin: local.origin(),
            local,
            counted,
            standing: standing.clone(),
            asked: None,
            ended: false,
            ending: None,
            visit: None,
        }
    }

    /// The same, whose end `ending` says before its client can see it.
    pub(super) fn telling(mut self, ending: Arc<Ending>) -> Accepted {
        self.ending = Some(ending);
        self
    }

    /// The address and port it comes from, as `direct-tcpip` tells them (RFC 4254 §7.2). For a Unix socket,
    /// 127.0.0.1 and 0, as in ssh.
    pub fn origin(&self) -> (String, u16) {
        self.origin.clone()
    }

    /// The counters of its forward.
    pub fn tally(&self) -> &Arc<Tally> {
        &self.standing.tally
    }

    /// The far end would not connect it: its client is told so, where it can be told, or sees a reset.
    pub async fn refuse(mut self, why: &Failure) {
        let Some(asked) = self.asked.take() else { return };
        let mut line = Here(&self.local);
        if line.write(asked.request.refused(why.kind)).await {
            line.end().await;
            self.finish();
        }
    }

    /// Where it leads: to `target`, or where its client asks to go. `None` if it asks for nothing that can be
    /// done; it has been told then.
    pub(super) async fn destination(&mut self, target: Target) -> Option<Target> {
        if self.asked.is_none() && target != Target::Socks {
            return Some(target);
        }
        if self.asked.is_none() {
            let mut line = Here(&self.local);
            let heard = tokio::select! {
                heard = asking::hear(&mut line) => heard,
                () = self.standing.stop.cancelled() => Err(Unasked::Gone),
                () = self.local.failed() => Err(Unasked::Gone),
            };
            match heard {
                Ok(asked) => self.asked = Some(asked),
                Err(Unasked::Gone) => return None,
                Err(Unasked::Refused) => {
                    line.end().await;
                    self.ended = true;
                    return None;
                }
            }
        }
        self.asked.as_ref().map(|asked| asked.request.target.clone())
    }

    /// A channel is open: tells a client that asked for it, and gives what it sent already.
    pub(super) async fn opened(&mut self) -> Bytes {
        let Some(asked) = self.asked.take() else { return Bytes::new() };
        let mut line = Here(&self.local);
        tokio::select! {
            _ = line.write(asked.request.granted()) => {}
            () = self.standing.stop.cancelled() => {}
            () = self.local.failed() => {}
        }
        asked.early
    }

    /// Ends it so that its peer sees a reset (a Unix socket is just closed).
    pub fn reset(self) {
        drop(self);
    }

    /// Resolves when nobody waits for it any more: its forward was removed, or its peer reset it. It should
    /// then be dropped. The pump sees to that by itself.
    pub async fn given_up(&self) {
        tokio::select! {
            () = self.stop().cancelled() => {}
            () = self.local.failed() => {}
        }
    }

    /// Resolves when the gate leads to another carrier than `from`, or to none for now. One that nothing was
    /// read from yet can then be given back: it counts as held, for as long as it may be, and whichever
    /// carrier comes next carries it. Where nobody is held, being given back would be its end.
    pub async fn led_elsewhere(&self, from: &impl Carrier) {
        let from = std::ptr::from_ref(from).addr();
        let mut gate = self.standing.gate.clone();
        let elsewhere = gate.wait_for(|now| match now {
            GateNow::Serve(carrier) => Arc::as_ptr(carrier).addr() != from,
            GateNow::Hold => !self.standing.policy.borrow().hold.is_zero(),
            GateNow::Reset => false,
        });
        if elsewhere.await.is_err() {
            // Nobody leads anywhere any more.
            std::future::pending().await
        }
    }

    /// Ends it in order: the peer sees all bytes and the end.
    pub(super) fn finish(mut self) {
        self.ended = true;
    }

    pub(super) fn local(&self) -> &Local {
        &self.local
    }

    pub(super) fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }

    pub(super) fn stop(&self) -> &CancellationToken {
        &self.standing.stop
    }

    /// It goes where its forward leads.
    pub(super) fn visits(&mut self, visit: Option<Visit>) {
        self.visit = visit;
    }

    /// Its far end has ended, and so nobody can tell by this connection whether the server is still there: a local
    /// program may keep its own end for days.
    pub(super) fn far_ended(&self) {
        if let Some(visit) = &self.visit {
            visit.end();
        }
    }

    /// Moves to another place in the counts; false if there is no room.
    pub(super) fn move_to(&mut self, place: Place) -> bool {
        if place != Place::Open {
            self.visit = None;
        }
        self.counted.move_to(place)
    }

    /// A queue for what comes towards it, with the bounds of its tunnel.
    pub(super) fn queue(&self) -> Queue {
        Queue::new(Bounds::of(self.standing.policy.borrow().buffer), &self.standing.services)
    }
}

impl Drop for Accepted {
    fn drop(&mut self) {
        if let Some(ending) = &self.ending {
            ending.is(self.ended);
        }
        if !self.ended {
            self.local.will_reset();
        }
    }
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted").field("origin", &self.origin).finish_non_exhaustive()
    }
}
