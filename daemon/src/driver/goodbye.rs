//! The end of the daemon: listeners closed, clients told, links given a moment to say goodbye.

use std::time::Duration;

use nbtunnel_proto::Reply;

use super::Driver;
use crate::control;
use crate::event::Event;
use crate::service::readiness;

/// So long do links have to say goodbye when the daemon stops.
const GOODBYE: Duration = Duration::from_millis(1200);

impl Driver {
    /// Closes the listeners, tells the clients, and gives the links a moment to say goodbye.
    pub(super) async fn say_goodbye(mut self) {
        readiness::stopping();
        self.note(None, "stopping");
        let fault = || Reply::Fault(control::stopping());
        self.waits.stop(fault);
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
        Event::Asked(asked) => asked.answer(fault()),
        Event::Trusted(asked, _, Ok(written)) => asked
            .answer(Reply::Trusted { file: written.file.display().to_string(), replaced: written.replaced }),
        Event::Trusted(asked, _, Err(_)) => asked.answer(fault()),
        Event::Tunnel(..)
        | Event::Link(..)
        | Event::Changed(..)
        | Event::Loaded(_)
        | Event::HungUp(_)
        | Event::Exhausted(_)
        | Event::Nudged(..)
        | Event::Reload
        | Event::Stop => {}
    }
}
