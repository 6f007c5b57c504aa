//! A forward that leads to a notebook: whoever comes waits until it is known where that is, and it is known only for
//! as long as somebody is there: a connection that its server has ended is nobody, however long the local program
//! keeps it. On a shared machine another user may sit on yesterday's port.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use nbtunnel_core::{Failure, FailureKind, ForwardReport, Input, Name, Target};
use tokio::sync::watch;
use tokio::time::sleep;

use super::lock;
use super::standing::Standing;

impl Standing {
    /// Somebody waits for a notebook that is yet to be found.
    pub(super) fn sought(&self) {
        (self.report)(Input::Forward(self.id, ForwardReport::Sought));
    }

    /// Whether whoever met `failure` at `tried` is to wait until the notebook is found again, since it may have gone
    /// elsewhere. Nobody else is led there from now on.
    pub(super) fn seeks_again(&self, tried: &Target, failure: &Failure) -> bool {
        let Some(notebook) = &self.notebook else { return false };
        if !matches!(failure.kind, FailureKind::Refused | FailureKind::TimedOut) {
            return false;
        }
        self.forget_place(notebook, |now| now == tried);
        true
    }

    /// Whether nobody who is carried vouches for what takes connections at `target`, which may be gone behind that. Those
    /// who come together do not vouch for each other.
    pub(super) fn may_be_shallow(&self, target: &Target) -> bool {
        let is_alone = Arc::strong_count(&self.carried) == 1;
        self.notebook.is_some() && matches!(target, Target::Socket(_)) && is_alone
    }

    /// A connection to `target` came to its end without a byte from there. Whoever made a socket at the far end takes
    /// connections also for a server that is gone.
    pub(super) fn heard_nothing(&self, target: &Target) {
        if !matches!(target, Target::Socket(_)) {
            return;
        }
        let why = Failure::new(
            FailureKind::Refused,
            "nothing answers at the other end of the way to its node",
            "it is looked for again",
        );
        if self.seeks_again(target, &why) {
            self.denied(why);
        }
    }

    /// Where `leads` leads now, and the place of one more who goes there, where it is a notebook's.
    pub(super) fn visit(self: &Arc<Self>, leads: &mut watch::Receiver<Target>) -> (Target, Option<Visit>) {
        let now = leads.borrow_and_update();
        // Nobody changes it meanwhile.
        let goes = self.notebook.is_some() && now.notebook().is_none();
        (now.clone(), goes.then(|| Visit::begin(self)))
    }

    /// New connections go to `target`. Whoever is elsewhere does not vouch for it.
    pub(super) fn lead_to(&self, target: Target) {
        self.target.send_modify(|now| {
            if *now != target {
                *lock(&self.guests) = Arc::default();
            }
            *now = target;
        });
    }

    /// Nobody is there at the moment: who comes later than the next one is led there only after another look.
    pub(super) fn left_alone(self: &Arc<Self>) {
        let Some(notebook) = self.notebook.clone() else { return };
        let guests = Arc::clone(&lock(&self.guests));
        let before = guests.count();
        if before.there > 0 {
            return;
        }
        let (standing, trusted) = (Arc::clone(self), self.policy.borrow().trusted);
        self.services.runtime.spawn(async move {
            tokio::select! {
                () = standing.stop.cancelled() => return,
                () = sleep(trusted) => {}
            }
            standing.forget_place(&notebook, |_| {
                Arc::ptr_eq(&guests, &lock(&standing.guests)) && guests.count() == before
            });
        });
    }

    fn forget_place(&self, notebook: &Name, is_old: impl Fn(&Target) -> bool) {
        self.target.send_if_modified(|now| {
            let forgets = now.notebook().is_none() && is_old(now);
            if forgets {
                *now = Target::Notebook(notebook.clone());
            }
            forgets
        });
    }
}

/// Those who are where a forward leads, since it leads there.
#[derive(Debug, Default)]
pub(super) struct Guests(Mutex<Headcount>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Headcount {
    /// Whose far end has not ended yet, so that the server that it was led to holds it.
    there: u32,
    /// Who ever came.
    came: u64,
}

impl Guests {
    fn count(&self) -> Headcount {
        *lock(&self.0)
    }
}

/// One of them, until it has [ended](Visit::end) or is dropped.
pub(super) struct Visit {
    standing: Arc<Standing>,
    guests: Arc<Guests>,
    is_there: AtomicBool,
}

impl Visit {
    fn begin(standing: &Arc<Standing>) -> Visit {
        let guests = Arc::clone(&lock(&standing.guests));
        let mut count = lock(&guests.0);
        count.there += 1;
        count.came += 1;
        drop(count);
        Visit { standing: Arc::clone(standing), guests, is_there: AtomicBool::new(true) }
    }

    /// Says that it is there no more.
    pub(super) fn end(&self) {
        if self.is_there.swap(false, Relaxed) {
            lock(&self.guests.0).there -= 1;
            self.standing.left_alone();
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.end();
    }
}
