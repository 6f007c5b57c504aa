//! A forward that listens at the far end: its counters and its landing live for as long as the forward, while the
//! links that listen for it come and go.

use std::fmt;
use std::sync::{Arc, Mutex};

use nbtunnel_core::{Epoch, ForwardId, Input, ListenAt, ListenId, Policy, RemoteSpec, Target};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Report;
use super::activity::Activity;
use super::carrier::{Carrier, GateNow, Tell};
use super::landing::Landing;
use super::services::Services;
use super::standing::Standing;
use super::tally::Tally;

/// A forward that listens at the far end, or is to. Dropping it resets all of its connections.
pub struct RemoteForward {
    landing: Landing,
}

impl RemoteForward {
    /// Nobody listens for it yet.
    pub fn new(
        services: &Arc<Services>,
        id: ForwardId,
        spec: RemoteSpec,
        policy: watch::Receiver<Policy>,
        activity: Arc<Activity>,
        report: Report,
    ) -> RemoteForward {
        RemoteForward {
            landing: Landing::new(Arc::new(Standing {
                id,
                listen: spec.listen,
                services: services.clone(),
                activity,
                tally: Arc::default(),
                carried: Arc::default(),
                policy,
                // Whoever comes is here already: there is nobody to hold.
                gate: watch::channel(GateNow::Hold).1,
                target: watch::Sender::new(spec.target),
                notebook: None,
                guests: Mutex::default(),
                stop: CancellationToken::new(),
                tells_end: false.into(),
                report,
                told: Default::default(),
                // The far end's users are the far end's business.
                owner_only: watch::Sender::new(Some(false)),
                guarded: Default::default(),
            })),
        }
    }

    /// Has the far end of `carrier`, the link `epoch`, listen at `at`. What comes of it is reported.
    pub fn listen(&self, epoch: Epoch, id: ListenId, at: ListenAt, carrier: &Arc<dyn Carrier>) {
        self.landing.standing.forget_denial();
        carrier.listen(id, at, self.landing.clone(), self.tell(epoch, id));
    }

    /// Has it listen no more. What came already goes on.
    pub fn unlisten(&self, epoch: Epoch, id: ListenId, carrier: &Arc<dyn Carrier>) {
        carrier.unlisten(id, self.tell(epoch, id));
    }

    fn tell(&self, epoch: Epoch, id: ListenId) -> Tell {
        let report = self.landing.standing.report.clone();
        Box::new(move |said| report(Input::Remote(epoch, id, said)))
    }

    /// New connections go to `target` from now on; those that are carried stay where they are.
    pub fn retarget(&self, target: Target) {
        self.landing.standing.retarget(target);
    }

    /// Its counters.
    pub fn tally(&self) -> &Arc<Tally> {
        &self.landing.standing.tally
    }
}

impl Drop for RemoteForward {
    fn drop(&mut self) {
        self.landing.standing.stop.cancel();
    }
}

impl fmt::Debug for RemoteForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RemoteForward").field(&self.landing).finish()
    }
}
