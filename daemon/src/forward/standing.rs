//! What all connections of one forward share: its wiring, and how it stands with core (served or denied, a
//! slow reader or none), so that only changes are reported.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use nbtunnel_core::{
    Failure, FailureKind, ForwardId, ForwardReport, Input, ListenAt, ListenerReport, Name, Policy, Target,
};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::accepted::Accepted;
use super::activity::Activity;
use super::carrier::{Carrier, GateNow};
use super::seeking::Guests;
use super::services::Services;
use super::tally::Tally;
use super::{Report, guard, lock};

/// Shared by the listener of one forward and all of its connections.
pub(super) struct Standing {
    pub(super) id: ForwardId,
    pub(super) listen: ListenAt,
    pub(super) services: Arc<Services>,
    pub(super) activity: Arc<Activity>,
    pub(super) tally: Arc<Tally>,
    /// Every connection that is handed to a link keeps one of these.
    pub(super) carried: Arc<()>,
    pub(super) policy: watch::Receiver<Policy>,
    pub(super) gate: watch::Receiver<GateNow>,
    /// Where new connections go; a notebook that nobody has found yet is waited for.
    pub(super) target: watch::Sender<Target>,
    /// The notebook that it leads to, if it leads to one.
    pub(super) notebook: Option<Name>,
    /// Who is where it leads now.
    pub(super) guests: Mutex<Arc<Guests>>,
    /// Set when the forward is removed: everything of it ends.
    pub(super) stop: CancellationToken,
    /// Whether the end is to be reported.
    pub(super) tells_end: AtomicBool,
    pub(super) report: Report,
    pub(super) told: Mutex<Told>,
    /// Whether only our own user may come in, if its file says that of this forward.
    pub(super) owner_only: watch::Sender<Option<bool>>,
    pub(super) guarded: Mutex<guard::Told>,
}

/// What core was told last.
#[derive(Default)]
pub(super) struct Told {
    far: Option<Result<(), Failure>>,
    /// By whom it was carried then.
    carrier: Option<Weak<dyn Carrier>>,
    slow: u32,
    slow_told: bool,
    gave_up: GaveUp,
}

/// Held connections that were given up, and not told yet.
#[derive(Default)]
struct GaveUp {
    /// Those that waited for the link.
    expired: u32,
    /// Those that waited for a notebook, while the link was there.
    missed: u32,
    /// There was no room to hold somebody.
    overflowed: bool,
    /// Somebody collects them.
    collected: bool,
}

/// Connections that came together are told together.
const TOGETHER: Duration = Duration::from_millis(250);
/// What becomes of held connections is told at most so often.
const TOLD_EVERY: Duration = Duration::from_secs(10);

impl Standing {
    pub(super) fn report_listener(&self, report: ListenerReport) {
        (self.report)(Input::Listener(self.id, report));
    }

    /// New connections go to `target`; how the old one fared says nothing about it.
    pub(super) fn retarget(self: &Arc<Self>, target: Target) {
        self.lead_to(target);
        lock(&self.told).far = None;
        self.left_alone();
    }

    /// A connection is handed to `carrier`. What the link before was denied does not hold for another one, and
    /// core has forgotten it too.
    pub(super) fn carried_by(&self, carrier: &Arc<dyn Carrier>) {
        let mut told = lock(&self.told);
        // The weak reference keeps the address from being used again.
        let same = |before: &Weak<dyn Carrier>| std::ptr::addr_eq(before.as_ptr(), Arc::as_ptr(carrier));
        if !told.carrier.as_ref().is_some_and(same) {
            told.carrier = Some(Arc::downgrade(carrier));
            told.far.take_if(|far| far.is_err());
        }
    }

    /// There is another link: what was denied before does not hold for it.
    pub(super) fn forget_denial(&self) {
        lock(&self.told).far.take_if(|far| far.is_err());
    }

    /// The far end opened a channel.
    pub(super) fn served(&self) {
        self.tell_far(Ok(()), ForwardReport::Served);
    }

    /// The far end would not. Where each client names a target of its own, only what no client could mend is a
    /// problem of the forward.
    pub(super) fn denied(&self, failure: Failure) {
        let of_all = matches!(failure.kind, FailureKind::ForwardingDenied | FailureKind::Exhausted);
        if *self.target.borrow() == Target::Socks && !of_all {
            return;
        }
        self.tell_far(Err(failure.clone()), ForwardReport::Denied(failure));
    }

    fn tell_far(&self, outcome: Result<(), Failure>, report: ForwardReport) {
        let mut told = lock(&self.told);
        if told.far.as_ref() != Some(&outcome) {
            told.far = Some(outcome);
            (self.report)(Input::Forward(self.id, report));
        }
    }

    /// A connection was held for as long as it may be: for its notebook where the link is there, else for the link. To
    /// be called on a tokio runtime.
    pub(super) fn expired(self: &Arc<Self>) {
        let has_link = matches!(&*self.gate.borrow(), GateNow::Serve(_));
        let missed = has_link && self.target.borrow().notebook().is_some();
        self.gave_up(|gave_up| {
            let count = if missed { &mut gave_up.missed } else { &mut gave_up.expired };
            *count = count.saturating_add(1);
        });
    }

    /// There was no room to hold a connection. To be called on a tokio runtime.
    pub(super) fn turned_away(self: &Arc<Self>) {
        self.gave_up(|gave_up| gave_up.overflowed = true);
    }

    fn gave_up(self: &Arc<Self>, note: impl FnOnce(&mut GaveUp)) {
        let gave_up = &mut lock(&self.told).gave_up;
        note(gave_up);
        if !std::mem::replace(&mut gave_up.collected, true) {
            let standing = self.clone();
            tokio::spawn(async move {
                let mut pause = TOGETHER;
                loop {
                    tokio::select! {
                        () = standing.stop.cancelled() => return,
                        () = sleep(pause) => {}
                    }
                    if !standing.tell_who_was_given_up() {
                        return;
                    }
                    pause = TOLD_EVERY;
                }
            });
        }
    }

    /// Whether there was anything to tell; if not, the next one has to be collected anew.
    fn tell_who_was_given_up(&self) -> bool {
        let mut told = lock(&self.told);
        let GaveUp { expired, missed, overflowed, .. } = std::mem::take(&mut told.gave_up);
        let any = expired > 0 || missed > 0 || overflowed;
        told.gave_up.collected = any;
        if overflowed {
            (self.report)(Input::Forward(self.id, ForwardReport::Overflow { most: Activity::MAX_HELD }));
        }
        if expired > 0 {
            (self.report)(Input::Forward(self.id, ForwardReport::Expired(expired)));
        }
        if missed > 0 {
            (self.report)(Input::Forward(self.id, ForwardReport::Missed(missed)));
        }
        any
    }

    fn tell_slow(&self, failure: Failure) {
        let mut told = lock(&self.told);
        if told.slow > 0 && !told.slow_told {
            told.slow_told = true;
            (self.report)(Input::Forward(self.id, ForwardReport::SlowReader(Some(failure))));
        }
    }
}

/// Held while a connection's reader is so slow that its session must be left unread.
pub(super) struct Slow {
    standing: Arc<Standing>,
}

impl Slow {
    /// Counts it, and tells core as soon as the program's name is known. To be called on a tokio runtime.
    pub(super) fn begin(local: &Accepted) -> Slow {
        let standing = local.standing().clone();
        lock(&standing.told).slow += 1;
        let (peer, teller) = (local.local().peer(), standing.clone());
        tokio::spawn(async move {
            let who = peer.await.map_or_else(|| "a local program".to_owned(), |owner| owner.to_string());
            teller.tell_slow(Failure::new(
                FailureKind::SlowReader,
                format!("{who} does not read what was sent to it through {}", teller.listen),
                "let it go on, or end it: until it reads, other connections of this tunnel wait too",
            ));
        });
        Slow { standing }
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        let mut told = lock(&self.standing.told);
        told.slow -= 1;
        if told.slow == 0 && told.slow_told {
            told.slow_told = false;
            (self.standing.report)(Input::Forward(self.standing.id, ForwardReport::SlowReader(None)));
        }
    }
}
