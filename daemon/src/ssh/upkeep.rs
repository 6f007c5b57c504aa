//! A link that is up, until its end: asks the server when core wants to know, tells of silence, wear and
//! channels that nobody reads, and says when it carries nothing any more. What that means is core's business.

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

use nbtunnel_core::{LinkReport, Policy};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::address::is_ours;
use super::carry::SshCarrier;
use super::classify::ended;
use super::distance::{Distances, Path};
use super::handler::Shared;
use super::link::Control;
use super::logged_in::{Session, Silences};
use super::report::{LinkEvent, Reporter};
use super::traffic::Traffic;

/// Core has a shorter deadline for an answer; this one only keeps a fault from hanging for ever.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// So often at most is told that something comes from a server that owes an answer.
const HEARD_EVERY: Duration = Duration::from_secs(1);

/// A channel that is read in between for a shorter time than this still counts as unread: what a slow
/// program takes now and then makes room for a moment only. Longer in tests, where a busy machine stops everybody.
const READ_AGAIN: Duration = Duration::from_secs(if cfg!(test) { 4 } else { 1 });

/// What it takes to look after a link that is up.
pub(super) struct Upkeep {
    pub(super) shared: Arc<Shared>,
    pub(super) reporter: Arc<Reporter>,
    pub(super) control: Arc<Control>,
    pub(super) session: Session,
    pub(super) silences: watch::Receiver<Silences>,
    pub(super) carrier: Arc<SshCarrier>,
    pub(super) policy: watch::Receiver<Policy>,
    /// Our end of the connection, where the system tells.
    pub(super) local: Option<SocketAddr>,
    /// What the answers to probes measure.
    pub(super) path: Option<Path>,
    pub(super) distances: Arc<Distances>,
    /// What went over the session before this link.
    pub(super) before: u64,
    pub(super) is_worn: AtomicBool,
}

impl Upkeep {
    /// Until the link is closed or lost, and how it ended.
    pub(super) async fn until_end(&self) -> LinkReport {
        let Shared { gone, hop, tap, .. } = &*self.shared;
        tokio::select! {
            biased;
            () = self.control.close.cancelled() => LinkReport::Closed,
            () = gone.cancelled() => {
                LinkReport::Lost(self.shared.cause().unwrap_or_else(|| ended(hop, tap)))
            }
            never = self.answer_probes() => match never {},
            never = self.mind_silence() => match never {},
            never = self.mind_unread() => match never {},
            never = self.drain() => match never {},
        }
    }

    fn tell(&self, report: LinkReport) {
        self.reporter.tell(LinkEvent::Report(report));
    }

    fn traffic(&self) -> &Traffic {
        &self.shared.tap.traffic
    }

    /// At most one question is under way. One that is wanted meanwhile follows when that is through.
    async fn answer_probes(&self) -> Infallible {
        loop {
            self.control.probe.notified().await;
            self.tell_if_worn();
            if self.tell_if_moved() {
                continue;
            }
            let question = self.control.questions.load(SeqCst);
            let mut asking = pin!(self.ask());
            let mut again = false;
            let mut heard = self.traffic().read();
            loop {
                tokio::select! {
                    biased;
                    rtt = &mut asking => {
                        if let Some(rtt) = rtt {
                            if let Some(path) = self.path {
                                self.distances.measured(path, rtt);
                            }
                            self.reporter.tell(LinkEvent::Answered(question, rtt));
                        }
                        break;
                    }
                    // The reason to ask once more may be a network that is gone: no answer will tell that.
                    () = self.control.probe.notified() => again = !self.tell_if_moved(),
                    () = sleep(HEARD_EVERY) => {
                        let now = self.traffic().read();
                        if now != heard {
                            heard = now;
                            self.tell(LinkReport::Heard);
                        }
                    }
                }
            }
            if again {
                self.control.probe.notify_one();
            }
        }
    }

    /// One question and how long its answer took; `None` for silence and for a session that is gone.
    async fn ask(&self) -> Option<Duration> {
        let session = self.session.read().await;
        let asked_at = self.traffic().now();
        let answered = {
            let _question = self.traffic().ask();
            timeout(ANSWER_DEADLINE, session.send_ping()).await
        };
        let rtt = self.traffic().now().saturating_sub(asked_at);
        // A ping counts as answered when the session dies: that is no answer.
        (matches!(answered, Ok(Ok(()))) && !session.is_closed()).then_some(rtt)
    }

    async fn mind_silence(&self) -> Infallible {
        let mut silences = self.silences.clone();
        let mut before = silences.borrow_and_update().silent;
        while silences.changed().await.is_ok() {
            let silent = silences.borrow_and_update().silent;
            if silent != before {
                before = silent;
                self.tell(LinkReport::Unanswered);
            }
            self.tell_if_worn();
        }
        // Nobody watches a session that is gone, which is noticed elsewhere.
        pending().await
    }

    async fn mind_unread(&self) -> Infallible {
        let unread = &self.carrier.unread;
        loop {
            unread.some().await;
            self.tell(LinkReport::Clogged(true));
            loop {
                unread.none().await;
                if timeout(READ_AGAIN, unread.some()).await.is_err() {
                    break;
                }
            }
            self.tell(LinkReport::Clogged(false));
        }
    }

    async fn drain(&self) -> Infallible {
        self.control.drain.cancelled().await;
        self.carrier.carried.closed().await;
        self.tell(LinkReport::Drained);
        pending().await
    }

    /// Returns whether our end of the connection is an address that this machine does not have any more.
    fn tell_if_moved(&self) -> bool {
        let is_gone = self.local.is_some_and(|local| !is_ours(local));
        if is_gone {
            self.tell(LinkReport::AddressGone);
        }
        is_gone
    }

    fn tell_if_worn(&self) {
        let enough = self.policy.borrow().renew_bytes;
        if enough > 0 && self.traffic().both() - self.before >= enough && !self.is_worn.swap(true, Relaxed) {
            self.tell(LinkReport::Worn);
        }
    }
}
