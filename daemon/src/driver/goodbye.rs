//! The end of the daemon: listeners closed, clients told, links given a moment to say goodbye.

use std::sync::Arc;
use std::time::Duration;

use nbtunnel_proto::Reply;

use super::Driver;
use crate::control;
use crate::event::Event;
use crate::forward::Services;
use crate::service::readiness;

/// So long do links have to say goodbye when the daemon stops.
const GOODBYE: Duration = Duration::from_millis(1200);

/// Leaves the listeners to whoever keeps them when the loop ends by a fault of ours: what falls with it would
/// give them up, and the next daemon may be a second away.
pub(super) struct Fault(pub(super) Arc<Services>);

impl Drop for Fault {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.leave_listeners();
        }
    }
}

impl Driver {
    /// Closes the listeners, tells the clients, and gives the links a moment to say goodbye.
    pub(super) async fn say_goodbye(mut self) {
        readiness::stopping();
        self.note(None, "stopping");
        let fault = || Reply::Fault(control::stopping());
        self.waits.stop(fault);
        self.notebooks.stop(fault);
        self.reloads
            .drain(..)
            .map(|(_, asked)| asked)
            .chain(self.early.drain(..))
            .for_each(|asked| asked.answer(fault()));
        self.journal.stop(fault);
        self.effects.close_all();
        self.write_history(self.clock.now());
        let goodbye = async {
            while self.effects.links_left() > 0 {
                match self.inbox.recv().await {
                    Some(Event::Link(name, epoch, said)) => {
                        self.effects.link_said(&name, epoch, said);
                    }
                    Some(event) => late(event, fault),
                    None => return,
                }
            }
        };
        let kept = self.memory.written();
        if tokio::time::timeout(GOODBYE, async { tokio::join!(goodbye, kept) }).await.is_err() {
            tracing::debug!("some links did not say goodbye in time, or the disk is slow");
        }
        // Who asks from now on is turned away at the door.
        self.inbox.close();
        while let Ok(event) = self.inbox.try_recv() {
            late(event, fault);
        }
    }
}

/// What came while stopping and somebody waits for.
fn late(event: Event, fault: impl Fn() -> Reply) {
    match event {
        Event::Asked(asked) | Event::StatusDue(asked, ..) => asked.answer(fault()),
        Event::Trusted(asked, _, Ok(written)) => asked
            .answer(Reply::Trusted { file: written.file.display().to_string(), replaced: written.replaced }),
        Event::Trusted(asked, _, Err(_)) | Event::NoWay(asked, ..) => asked.answer(fault()),
        Event::Tunnel(..)
        | Event::Link(..)
        | Event::Changed(..)
        | Event::Notebook(..)
        | Event::Looked(..)
        | Event::Loaded(_)
        | Event::Question(..)
        | Event::Answers(..)
        | Event::Raw(..)
        | Event::HungUp(_)
        | Event::Exhausted(_)
        | Event::Nudged(..)
        | Event::Reload
        | Event::Stop => {}
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

    use socket2::{SockAddr, SockRef, Socket};
    use tokio::runtime::Handle;

    use super::*;
    use crate::forward::{Budgets, Keep};

    #[derive(Default)]
    struct Keeper {
        gave_up: AtomicBool,
    }

    impl Keep for Keeper {
        fn adopt(&self, _: &SockAddr) -> Option<Socket> {
            None
        }

        fn make_way(&self, _: &SockAddr) -> bool {
            false
        }

        fn keep(&self, _: SockRef<'_>) {}

        fn let_go(&self, _: SockRef<'_>) {}

        fn let_go_of_the_rest(&self) {
            self.gave_up.store(true, SeqCst);
        }
    }

    #[tokio::test]
    async fn a_fault_of_the_loop_gives_up_no_listener() {
        for faulty in [true, false] {
            let temp = tempfile::tempdir().unwrap();
            let services =
                Services::new(Handle::current(), temp.path().to_owned(), Budgets::default(), |_| {});
            let keeper = Arc::new(Keeper::default());
            services.keep_listeners_by(Arc::clone(&keeper) as Arc<dyn Keep>);
            let ended = catch_unwind(AssertUnwindSafe(|| {
                let _fault = Fault(Arc::clone(&services));
                assert!(!faulty, "as the test wants it");
            }));
            assert_eq!(ended.is_err(), faulty);
            services.all_forwards_known();
            assert_eq!(keeper.gave_up.load(SeqCst), !faulty);
        }
    }
}
