//! A forward that leads to a notebook: whoever comes waits until it is known where that is, and it is known only for
//! as long as somebody is there. On a shared machine another user may sit on yesterday's port.

use std::sync::Arc;

use nbtunnel_core::{Failure, FailureKind, ForwardReport, Input, Name, Target};
use tokio::time::sleep;

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

    /// Whether nothing was heard lately of what takes connections at `target`, which may be gone behind that.
    pub(super) fn may_be_shallow(&self, target: &Target) -> bool {
        let is_alone = self.tally.snapshot().open <= 1;
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

    /// Nobody uses it at the moment: who comes later than the next one is led there only after another look.
    pub(super) fn left_alone(self: &Arc<Self>) {
        let Some(notebook) = self.notebook.clone() else { return };
        let before = self.tally.snapshot();
        if before.open > 0 {
            return;
        }
        let (standing, trusted) = (Arc::clone(self), self.policy.borrow().trusted);
        self.services.runtime.spawn(async move {
            tokio::select! {
                () = standing.stop.cancelled() => return,
                () = sleep(trusted) => {}
            }
            let now = standing.tally.snapshot();
            if now.open == 0 && now.total == before.total {
                standing.forget_place(&notebook, |_| true);
            }
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
