//! A session that is up: probed, believed while it answers, suspect when it does not.

use std::time::Duration;

use super::{Due, NUDGED_DEADLINE, PATIENCE, PATIENCE_WITH_PERSON, PROBE_DEADLINE, STEADY_AFTER, is_late};
use crate::failure::{Failure, FailureKind};
use crate::io::{LoginKey, Timer, TimerReason};
use crate::moment::Moment;
use crate::round_trip::RoundTrip;
use crate::spec::Policy;

/// So many answers make the round trip known well enough …
const SETTLED_AFTER: u8 = 3;
/// … where it is this long, and until then a probe follows an answer so soon.
const DISTANT: Duration = Duration::from_millis(100);
const SETTLING: Duration = Duration::from_secs(1);

/// See [`super::Session`], which hands everything on to it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Up {
    since: Moment,
    steady: bool,
    pulse: Pulse,
    pub(super) suspect_since: Option<Moment>,
    pub(super) heard_at: Moment,
    pub(super) address_gone: bool,
    pub(super) clogged: bool,
    pub(super) worn: bool,
    pub(super) asked: bool,
    pub(super) login: Option<LoginKey>,
    pub(super) rtt: RoundTrip,
    /// How many probes were answered, up to a few.
    answers: u8,
}

/// Where the next proof of life comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pulse {
    Quiet { probe_at: Moment },
    Asked { deadline: Moment },
}

impl Up {
    /// A session that has just logged in. `opened_in` is what is known of the path: one round trip, and what
    /// was lost on the way.
    pub(super) fn new(now: Moment, opened_in: Duration, asked: bool, login: Option<LoginKey>) -> Self {
        let first = PROBE_DEADLINE.max((opened_in * 4).min(PATIENCE));
        Up {
            since: now,
            steady: false,
            pulse: Pulse::Asked { deadline: now + first },
            suspect_since: None,
            heard_at: now,
            address_gone: false,
            clogged: false,
            worn: false,
            asked,
            login,
            rtt: RoundTrip::default(),
            answers: 0,
        }
    }

    pub(super) fn answered(&mut self, now: Moment, took: Duration, policy: &Policy) {
        self.is_there(now);
        self.rtt.measured(took);
        self.answers = self.answers.saturating_add(1);
        // One answer leaves so much doubt that the deadlines of a distant server would be long.
        let doubtful = self.answers < SETTLED_AFTER && took >= DISTANT;
        let usual = quiet_until(now, policy);
        let probe_at = if doubtful { usual.min(now + SETTLING) } else { usual };
        self.pulse = Pulse::Quiet { probe_at };
    }

    pub(super) fn heard(&mut self, now: Moment) {
        self.is_there(now);
        if let Pulse::Asked { deadline } = &mut self.pulse {
            *deadline = now + self.rtt.deadline(PROBE_DEADLINE);
        }
    }

    pub(super) fn unanswered(&mut self, now: Moment) -> bool {
        let asks = matches!(self.pulse, Pulse::Quiet { .. }) && !self.clogged;
        if asks {
            self.pulse = Pulse::Asked { deadline: now + self.soon() };
        }
        asks
    }

    pub(super) fn lost_its_address(&mut self, now: Moment) {
        self.address_gone = true;
        self.suspect_since.get_or_insert(now);
    }

    pub(super) fn set_clogged(&mut self, now: Moment, clogged: bool, policy: &Policy) {
        if self.clogged != clogged {
            self.clogged = clogged;
            self.suspect_since = None;
            self.pulse = Pulse::Quiet { probe_at: quiet_until(now, policy) };
        }
    }

    pub(super) fn nudged(&mut self, now: Moment) -> bool {
        if self.clogged {
            return false;
        }
        let soon = now + self.soon();
        self.pulse = match self.pulse {
            Pulse::Asked { deadline } if deadline > now => Pulse::Asked { deadline: soon.min(deadline) },
            Pulse::Asked { .. } | Pulse::Quiet { .. } => Pulse::Asked { deadline: soon },
        };
        // What it did before, asleep or in another network, is not held against it.
        self.suspect_since = self.suspect_since.map(|_| now);
        true
    }

    /// How long an answer may take that is wanted soon.
    pub(super) fn soon(&self) -> Duration {
        self.rtt.deadline(NUDGED_DEADLINE)
    }

    fn is_there(&mut self, now: Moment) {
        self.heard_at = now;
        self.suspect_since = None;
        self.address_gone = false;
    }

    /// What somebody said counts from the first probe without an answer, and never costs an answer of a person.
    fn patience_ends(&self, policy: &Policy) -> Option<Moment> {
        let said = policy.patience().map(|patience| patience.saturating_sub(PROBE_DEADLINE));
        let patience = match (self.asked, said) {
            (false, said) => said.unwrap_or(PATIENCE),
            (true, said) => said.unwrap_or_default().max(PATIENCE_WITH_PERSON),
        };
        self.suspect_since.map(|since| since + patience)
    }

    /// One that does not answer proves nothing.
    fn steady_at(&self) -> Option<Moment> {
        (!self.steady && self.suspect_since.is_none()).then(|| self.since + STEADY_AFTER)
    }

    fn renew_at(&self, policy: &Policy) -> Option<Moment> {
        (!self.worn && !policy.renew_after.is_zero()).then(|| self.since + policy.renew_after)
    }

    pub(super) fn due(&mut self, now: Moment, policy: &Policy) -> Option<Due> {
        if self.steady_at().is_some_and(|at| at <= now) {
            self.steady = true;
            return Some(Due::Steady);
        }
        if self.renew_at(policy).is_some_and(|at| at <= now) {
            self.worn = true;
            return Some(Due::Old);
        }
        if let Some(ends) = self.patience_ends(policy).filter(|at| *at <= now) {
            if !is_late(ends, now) {
                return Some(Due::Overdue(dead_peer()));
            }
            self.suspect_since = Some(now);
        }
        if self.clogged {
            return None;
        }
        let at_least = match self.pulse {
            Pulse::Quiet { probe_at } if probe_at <= now => PROBE_DEADLINE,
            Pulse::Asked { deadline } if deadline <= now => {
                if is_late(deadline, now) {
                    NUDGED_DEADLINE
                } else {
                    self.suspect_since.get_or_insert(now);
                    PROBE_DEADLINE
                }
            }
            Pulse::Quiet { .. } | Pulse::Asked { .. } => return None,
        };
        self.pulse = Pulse::Asked { deadline: now + self.rtt.deadline(at_least) };
        Some(Due::Probe)
    }

    pub(super) fn timer(&self, policy: &Policy) -> Option<Timer> {
        let pulse = match self.pulse {
            _ if self.clogged => None,
            Pulse::Quiet { probe_at } => Some((probe_at, TimerReason::ProbeDue)),
            Pulse::Asked { deadline } => Some((deadline, TimerReason::ProbeDeadline)),
        };
        let patience = self.patience_ends(policy).map(|at| (at, TimerReason::Patience));
        let renew = self.renew_at(policy).map(|at| (at, TimerReason::Renew));
        let steady = self.steady_at().map(|at| (at, TimerReason::Steady));
        [pulse, patience, renew, steady].into_iter().flatten().min()
    }
}

/// Silence longer than this is asked about together with that of others.
const TOGETHER: Duration = Duration::from_secs(1);
/// Where a keepalive is so long, [`TOGETHER`] less makes no difference.
const LONG_ENOUGH: Duration = Duration::from_secs(5);

/// When silence that begins now has lasted long enough. Moments of all sessions are rounded down alike, so that
/// many idle tunnels wake the machine once and not each at a time of its own.
fn quiet_until(now: Moment, policy: &Policy) -> Moment {
    let at = now + policy.keepalive;
    if policy.keepalive < LONG_ENOUGH { at } else { at.round_down(TOGETHER) }
}

fn dead_peer() -> Failure {
    Failure::new(FailureKind::DeadPeer, "the server stopped answering", "it is tried again by itself")
}
