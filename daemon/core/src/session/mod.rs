//! One SSH session: dialling step by step, then up and probed, perhaps suspect. Knows nothing of forwards, or
//! of what comes after it; its tunnel decides that.

mod overdue;
mod up;

use std::time::Duration;

pub use overdue::overdue;
use overdue::unanswered;
use up::Up;

use crate::failure::Failure;
use crate::io::{Asks, Epoch, LoginKey, Nudge, Step, Timer, TimerReason};
use crate::moment::Moment;
use crate::spec::Policy;
use crate::view::Health;

/// A probe has at least this long to be answered.
pub const PROBE_DEADLINE: Duration = Duration::from_secs(5);
/// The same right after a nudge, or when something that was sent has been without an answer for a while: then
/// the answer is wanted soon.
pub const NUDGED_DEADLINE: Duration = Duration::from_millis(2500);
/// A link that has been suspect for so long is given up.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The same where another login would need a person: a hole in the Wi-Fi must not cost a one-time code.
pub const PATIENCE_WITH_PERSON: Duration = Duration::from_secs(15 * 60);
/// An answer that is waited for (a code typed, a key touched) may take so long.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(10 * 60);
/// Up for so long, a session has proved itself.
pub const STEADY_AFTER: Duration = Duration::from_secs(30);
/// A deadline that is seen to have passed so late says nothing about the server: nobody looked, because the
/// machine slept or this process was stopped.
const LATE: Duration = Duration::from_secs(2);
/// Whoever tells of a wake does so within this time of it: several do, and the last look at the clocks may have
/// been 5 s ago.
const WAKE_IS_TOLD_IN: Duration = Duration::from_secs(6);

/// The state of one session, from its place in the queue to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    epoch: Epoch,
    phase: Phase,
}

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    Dialling(Dialling),
    Up(Up),
}

#[derive(Clone, Debug, PartialEq)]
struct Dialling {
    step: Step,
    /// When it queued, and later when it was let go.
    since: Moment,
    deadline: Option<Moment>,
    /// When it came to this step.
    at: Moment,
    /// How long the connection took to open: about one round trip, if no packet was lost.
    opened_in: Duration,
    asked: bool,
    login: Option<LoginKey>,
    asks: Asks,
}

impl Dialling {
    /// How long what is waited for may take.
    fn patience(&self, policy: &Policy) -> Duration {
        if self.asks == Asks::Nobody { policy.connect_timeout } else { ANSWER_DEADLINE }
    }
}

/// What a session wants done when its timer fired.
#[derive(Clone, Debug, PartialEq)]
pub enum Due {
    /// Ask the server whether it is there.
    Probe,
    /// It has proved itself: forget the failures before it.
    Steady,
    /// It has become old.
    Old,
    /// It is over: it did not do its step, or answer, in time.
    Overdue(Failure),
}

impl Session {
    /// A session that waits for its turn to dial.
    pub fn queued(epoch: Epoch, now: Moment) -> Self {
        let dialling = Dialling {
            step: Step::Queued,
            since: now,
            deadline: None,
            at: now,
            opened_in: Duration::ZERO,
            asked: false,
            login: None,
            asks: Asks::Nobody,
        };
        Session { epoch, phase: Phase::Dialling(dialling) }
    }

    /// Its number.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Which step of dialling it is at; `None` once it is up.
    pub fn step(&self) -> Option<Step> {
        match &self.phase {
            Phase::Dialling(dialling) => Some(dialling.step),
            Phase::Up(_) => None,
        }
    }

    /// Whether it waits for its turn: nothing of it is in the world yet.
    pub fn is_queued(&self) -> bool {
        self.step() == Some(Step::Queued)
    }

    /// When it queued, or when it was let go; `None` once it is up.
    pub fn dialling_since(&self) -> Option<Moment> {
        match &self.phase {
            Phase::Dialling(dialling) => Some(dialling.since),
            Phase::Up(_) => None,
        }
    }

    fn up(&self) -> Option<&Up> {
        match &self.phase {
            Phase::Dialling(_) => None,
            Phase::Up(up) => Some(up),
        }
    }

    fn up_mut(&mut self) -> Option<&mut Up> {
        match &mut self.phase {
            Phase::Dialling(_) => None,
            Phase::Up(up) => Some(up),
        }
    }

    /// Whether it carries channels.
    pub fn is_up(&self) -> bool {
        self.up().is_some()
    }

    /// Whether the server answers; `None` before it is up.
    pub fn health(&self) -> Option<Health> {
        self.up().map(|up| if up.suspect_since.is_some() { Health::Suspect } else { Health::Ok })
    }

    /// Whether a probe was not answered in time.
    pub fn is_suspect(&self) -> bool {
        self.health() == Some(Health::Suspect)
    }

    /// Whether it is left unread because of a local program that does not read.
    pub fn is_clogged(&self) -> bool {
        self.up().is_some_and(|up| up.clogged)
    }

    /// Whether it may take new connections.
    pub fn serves(&self) -> bool {
        self.is_up() && !self.is_suspect() && !self.is_clogged()
    }

    /// Whether it has carried enough, or for long enough, to be followed by another.
    pub fn is_worn(&self) -> bool {
        self.up().is_some_and(|up| up.worn)
    }

    /// Whether its local address is gone.
    pub fn has_no_address(&self) -> bool {
        self.up().is_some_and(|up| up.address_gone)
    }

    /// Whether its login took a person, so that another login would too.
    pub fn took_a_person(&self) -> bool {
        match &self.phase {
            Phase::Dialling(dialling) => dialling.asked,
            Phase::Up(up) => up.asked,
        }
    }

    /// The login that it came up by, if somebody typed an answer for it: whoever opens that again opens it for all.
    pub fn login(&self) -> Option<&LoginKey> {
        self.up().and_then(|up| up.login.as_ref())
    }

    /// The smoothed round trip, once one was measured.
    pub fn rtt(&self) -> Option<Duration> {
        self.up().and_then(|up| up.rtt.smoothed())
    }

    /// Since when nothing was heard from it.
    pub fn silent_for(&self, now: Moment) -> Duration {
        self.up().map(|up| now.since(up.heard_at)).unwrap_or_default()
    }

    /// How long an answer to a probe may take that is wanted soon.
    pub fn soon(&self) -> Duration {
        self.up().map_or(NUDGED_DEADLINE, Up::soon)
    }

    /// Its turn has come. Returns whether it was waiting for that.
    pub fn go(&mut self, now: Moment, policy: &Policy) -> bool {
        match &mut self.phase {
            Phase::Dialling(dialling) if dialling.step == Step::Queued => {
                dialling.step = Step::Resolve;
                dialling.since = now;
                dialling.at = now;
                dialling.deadline = Some(now + policy.connect_timeout);
                true
            }
            Phase::Dialling(_) | Phase::Up(_) => false,
        }
    }

    /// It came to `at`, which has a deadline of its own. Each key that is tried is a step of its own: the
    /// agent may ask its user every time. After the login at a jump host comes the way to the next machine.
    pub fn stepped(&mut self, now: Moment, at: Step, policy: &Policy) {
        if let Phase::Dialling(dialling) = &mut self.phase
            && dialling.step != Step::Queued
            && (at >= dialling.step || (dialling.step, at) == (Step::Authenticate, Step::Tcp))
        {
            if dialling.step == Step::Tcp && at > Step::Tcp {
                dialling.opened_in = now.since(dialling.at);
            }
            dialling.step = at;
            dialling.at = now;
            dialling.asks = Asks::Nobody;
            dialling.deadline = Some(now + policy.connect_timeout);
        }
    }

    /// Whom it waits for; `None` once it is up.
    pub fn asks(&self) -> Option<Asks> {
        match &self.phase {
            Phase::Dialling(dialling) => Some(dialling.asks),
            Phase::Up(_) => None,
        }
    }

    /// Until when it waits for somebody.
    pub fn answer_by(&self) -> Option<Moment> {
        match &self.phase {
            Phase::Dialling(dialling) if dialling.asks != Asks::Nobody => dialling.deadline,
            Phase::Dialling(_) | Phase::Up(_) => None,
        }
    }

    /// It waits for somebody, who gets more time than a server; or no longer.
    pub fn asking(&mut self, now: Moment, asks: Asks, policy: &Policy) {
        if let Phase::Dialling(dialling) = &mut self.phase
            && dialling.step != Step::Queued
        {
            dialling.asks = asks;
            dialling.deadline = Some(now + dialling.patience(policy));
        }
    }

    /// Logging in took a person.
    pub fn asked(&mut self) {
        if let Phase::Dialling(dialling) = &mut self.phase
            && dialling.step != Step::Queued
        {
            dialling.asked = true;
            dialling.login = None;
        }
    }

    /// Somebody typed an answer for this login, by which it comes up.
    pub fn typed(&mut self, login: LoginKey) {
        if let Phase::Dialling(dialling) = &mut self.phase
            && dialling.step != Step::Queued
        {
            dialling.login = Some(login);
        }
    }

    /// Whether `nudge` says that what this dial waits for will hardly come: a packet that went to another
    /// network, or a server that was told of nothing while the machine slept. Who talks to the server, or to
    /// a person, is left alone. So is a dial that began after the wake which somebody tells of once more:
    /// begun anew each time, a handshake that takes longer than the next word would never end.
    pub fn is_stuck_after(&self, nudge: Nudge, now: Moment) -> bool {
        let Phase::Dialling(dialling) = &self.phase else { return false };
        match nudge {
            Nudge::Woke => {
                (Step::Tcp..Step::Authenticate).contains(&dialling.step)
                    && now.since(dialling.since) >= WAKE_IS_TOLD_IN
            }
            Nudge::Network => dialling.step == Step::Tcp,
            Nudge::Operator => false,
        }
    }

    /// It is authenticated. Returns whether that was news: then it is to be probed.
    pub fn came_up(&mut self, now: Moment) -> bool {
        let Phase::Dialling(dialling) = &mut self.phase else { return false };
        if dialling.step == Step::Queued {
            return false;
        }
        let login = dialling.login.take();
        self.phase = Phase::Up(Up::new(now, dialling.opened_in, dialling.asked, login));
        true
    }

    /// The server answered a probe.
    pub fn answered(&mut self, now: Moment, took: Duration, policy: &Policy) {
        if let Some(up) = self.up_mut() {
            up.answered(now, took, policy);
        }
    }

    /// Something else came from the server: it is there, however long its answer takes.
    pub fn heard(&mut self, now: Moment) {
        if let Some(up) = self.up_mut() {
            up.heard(now);
        }
    }

    /// What was sent has had no answer for a while. Returns whether to probe.
    pub fn unanswered(&mut self, now: Moment) -> bool {
        self.up_mut().is_some_and(|up| up.unanswered(now))
    }

    /// Its local address is gone. It may come back, as after a sleep.
    pub fn lost_its_address(&mut self, now: Moment) {
        if let Some(up) = self.up_mut() {
            up.lost_its_address(now);
        }
    }

    /// It is left unread, or read again. While it is unread, its silence means nothing.
    pub fn clogged(&mut self, now: Moment, clogged: bool, policy: &Policy) {
        if let Some(up) = self.up_mut() {
            up.set_clogged(now, clogged, policy);
        }
    }

    /// It has carried enough.
    pub fn wear_out(&mut self) {
        if let Some(up) = self.up_mut() {
            up.worn = true;
        }
    }

    /// Something happened that may have broken it: ask at once, and want the answer soon. Returns whether to
    /// probe.
    pub fn nudged(&mut self, now: Moment) -> bool {
        self.up_mut().is_some_and(|up| up.nudged(now))
    }

    /// What is due at `now`, if anything; to be called until it says `None`.
    pub fn due(&mut self, now: Moment, policy: &Policy) -> Option<Due> {
        match &mut self.phase {
            Phase::Dialling(dialling) => {
                let deadline = dialling.deadline.filter(|at| *at <= now)?;
                if is_late(deadline, now) {
                    dialling.deadline = Some(now + dialling.patience(policy));
                    return None;
                }
                Some(Due::Overdue(match dialling.asks {
                    Asks::Person => unanswered(),
                    Asks::Nobody | Asks::Agent => overdue(dialling.step),
                }))
            }
            Phase::Up(up) => up.due(now, policy),
        }
    }

    /// When it wants [`Session::due`] to be called, and why.
    pub fn timer(&self, policy: &Policy) -> Option<Timer> {
        match &self.phase {
            Phase::Dialling(dialling) => dialling.deadline.map(|at| (at, TimerReason::StepDeadline)),
            Phase::Up(up) => up.timer(policy),
        }
    }
}

/// Whether nobody looked when `deadline` passed.
pub(crate) fn is_late(deadline: Moment, now: Moment) -> bool {
    deadline + LATE <= now
}

#[cfg(test)]
mod tests;
