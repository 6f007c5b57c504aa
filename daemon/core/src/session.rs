//! One SSH session: dialling step by step, then up and probed. Knows nothing of forwards, or of what comes
//! after it; its tunnel decides that.

use std::time::Duration;

use crate::failure::{Failure, FailureKind};
use crate::io::{Epoch, Step, Timer, TimerReason};
use crate::moment::Moment;
use crate::spec::Policy;
use crate::view::Health;

/// A probe has at least this long to be answered.
const PROBE_DEADLINE: Duration = Duration::from_secs(5);
/// The same right after a nudge, when the answer is wanted soon.
const NUDGED_DEADLINE: Duration = Duration::from_millis(2500);
/// So many probes in a row without an answer mean that nobody is there.
const PROBES_TO_DEATH: u32 = 3;
/// A longer round trip is not believed, so that sums of them cannot overflow.
const LONGEST_ROUND_TRIP: Duration = Duration::from_secs(3600);
/// Up for so long, a session has proved itself.
pub const STEADY_AFTER: Duration = Duration::from_secs(30);

/// The state of one session, from its place in the queue to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    epoch: Epoch,
    phase: Phase,
}

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    /// `since` is when it queued, and later when it was let go.
    Dialling {
        step: Step,
        since: Moment,
        deadline: Option<Moment>,
    },
    Up {
        since: Moment,
        steady: bool,
        pulse: Pulse,
        missed: u32,
        rtt: RoundTrip,
    },
}

/// Where the next proof of life comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pulse {
    Quiet { probe_at: Moment },
    Asked { deadline: Moment },
}

/// What a session wants done when its timer fired.
#[derive(Clone, Debug, PartialEq)]
pub enum Due {
    /// Ask the server whether it is there.
    Probe,
    /// It has proved itself: forget the failures before it.
    Steady,
    /// It is over: it did not do its step, or answer, in time.
    Overdue(Failure),
}

impl Session {
    /// A session that waits for its turn to dial.
    pub fn queued(epoch: Epoch, now: Moment) -> Self {
        Session { epoch, phase: Phase::Dialling { step: Step::Queued, since: now, deadline: None } }
    }

    /// Its number.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Which step of dialling it is at; `None` once it is up.
    pub fn step(&self) -> Option<Step> {
        match self.phase {
            Phase::Dialling { step, .. } => Some(step),
            Phase::Up { .. } => None,
        }
    }

    /// When it queued, or when it was let go; `None` once it is up.
    pub fn dialling_since(&self) -> Option<Moment> {
        match self.phase {
            Phase::Dialling { since, .. } => Some(since),
            Phase::Up { .. } => None,
        }
    }

    /// Whether it carries channels.
    pub fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up { .. })
    }

    /// Whether the server answers; `None` before it is up.
    pub fn health(&self) -> Option<Health> {
        match self.phase {
            Phase::Dialling { .. } => None,
            Phase::Up { missed: 0, .. } => Some(Health::Ok),
            Phase::Up { .. } => Some(Health::Suspect),
        }
    }

    /// The smoothed round trip, once one was measured.
    pub fn rtt(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Dialling { .. } => None,
            Phase::Up { rtt, .. } => rtt.smoothed,
        }
    }

    /// Its turn has come. Returns whether it was waiting for that.
    pub fn go(&mut self, now: Moment, policy: &Policy) -> bool {
        match &mut self.phase {
            Phase::Dialling { step: step @ Step::Queued, since, deadline } => {
                *step = Step::Resolve;
                *since = now;
                *deadline = Some(now + policy.connect_timeout);
                true
            }
            Phase::Dialling { .. } | Phase::Up { .. } => false,
        }
    }

    /// It came to `at`, which has a deadline of its own. Each key that is tried is a step of its own: the
    /// agent may ask its user every time.
    pub fn stepped(&mut self, now: Moment, at: Step, policy: &Policy) {
        if let Phase::Dialling { step, deadline, .. } = &mut self.phase
            && *step != Step::Queued
            && at >= *step
        {
            *step = at;
            *deadline = Some(now + policy.connect_timeout);
        }
    }

    /// It is authenticated. Returns whether that was news: then it is to be probed.
    pub fn came_up(&mut self, now: Moment) -> bool {
        match &self.phase {
            Phase::Up { .. } | Phase::Dialling { step: Step::Queued, .. } => false,
            Phase::Dialling { .. } => {
                self.phase = Phase::Up {
                    since: now,
                    steady: false,
                    pulse: Pulse::Asked { deadline: now + RoundTrip::default().deadline(PROBE_DEADLINE) },
                    missed: 0,
                    rtt: RoundTrip::default(),
                };
                true
            }
        }
    }

    /// The server answered a probe.
    pub fn answered(&mut self, now: Moment, took: Duration, policy: &Policy) {
        if let Phase::Up { pulse, missed, rtt, .. } = &mut self.phase {
            *pulse = Pulse::Quiet { probe_at: now + policy.keepalive };
            *missed = 0;
            rtt.measured(took);
        }
    }

    /// Something happened that may have broken it: ask at once, and want the answer soon. Returns whether to
    /// probe.
    pub fn nudged(&mut self, now: Moment) -> bool {
        match &mut self.phase {
            Phase::Up { pulse, rtt, .. } => {
                let soon = now + rtt.deadline(NUDGED_DEADLINE);
                match pulse {
                    Pulse::Asked { deadline } => *deadline = soon.min(*deadline),
                    Pulse::Quiet { .. } => *pulse = Pulse::Asked { deadline: soon },
                }
                true
            }
            Phase::Dialling { .. } => false,
        }
    }

    /// What is due at `now`, if anything; to be called until it says `None`.
    pub fn due(&mut self, now: Moment) -> Option<Due> {
        match &mut self.phase {
            Phase::Dialling { step, deadline, .. } => {
                (*deadline)?;
                (deadline.is_some_and(|at| at <= now)).then(|| Due::Overdue(overdue(*step)))
            }
            Phase::Up { since, steady, pulse, missed, rtt } => {
                if !*steady && *since + STEADY_AFTER <= now {
                    *steady = true;
                    return Some(Due::Steady);
                }
                match *pulse {
                    Pulse::Quiet { probe_at } if probe_at <= now => {}
                    Pulse::Asked { deadline } if deadline <= now => {
                        *missed += 1;
                        if *missed >= PROBES_TO_DEATH {
                            return Some(Due::Overdue(dead_peer()));
                        }
                    }
                    Pulse::Quiet { .. } | Pulse::Asked { .. } => return None,
                }
                *pulse = Pulse::Asked { deadline: now + rtt.deadline(PROBE_DEADLINE) };
                Some(Due::Probe)
            }
        }
    }

    /// When it wants [`Session::due`] to be called, and why.
    pub fn timer(&self) -> Option<Timer> {
        match &self.phase {
            Phase::Dialling { deadline, .. } => deadline.map(|at| (at, TimerReason::StepDeadline)),
            Phase::Up { since, steady, pulse, .. } => {
                let pulse = match *pulse {
                    Pulse::Quiet { probe_at } => (probe_at, TimerReason::ProbeDue),
                    Pulse::Asked { deadline } => (deadline, TimerReason::ProbeDeadline),
                };
                if *steady {
                    Some(pulse)
                } else {
                    Some(pulse.min((*since + STEADY_AFTER, TimerReason::Steady)))
                }
            }
        }
    }
}

fn overdue(step: Step) -> Failure {
    let (message, hint) = match step {
        Step::Queued => ("the connection waited too long for its turn", ""),
        Step::Resolve => ("looking up the host name took too long", "check the network and its DNS"),
        Step::Tcp => (
            "the server did not answer the connection attempt in time",
            "check host, port, VPN and firewall; it is tried again by itself",
        ),
        Step::Banner => (
            "the server took the connection but did not say that it is an SSH server",
            "check the port; an overloaded server may also be this slow; it is tried again by itself",
        ),
        Step::KeyExchange => {
            ("the key exchange with the server took too long", "it is tried again by itself")
        }
        Step::Authenticate => (
            "the server or the agent took too long to authenticate us",
            "if the agent asks for a confirmation, answer it; otherwise it is tried again by itself",
        ),
    };
    Failure::new(FailureKind::TimedOut, message, hint)
}

fn dead_peer() -> Failure {
    Failure::new(FailureKind::DeadPeer, "the server stopped answering", "it is tried again by itself")
}

/// The round trip, smoothed as TCP does it (RFC 6298 §2).
#[derive(Clone, Debug, Default, PartialEq)]
struct RoundTrip {
    smoothed: Option<Duration>,
    variation: Duration,
}

impl RoundTrip {
    fn measured(&mut self, sample: Duration) {
        let sample = sample.min(LONGEST_ROUND_TRIP);
        match self.smoothed {
            None => {
                self.smoothed = Some(sample);
                self.variation = sample / 2;
            }
            Some(smoothed) => {
                self.variation = (self.variation * 3 + smoothed.abs_diff(sample)) / 4;
                self.smoothed = Some((smoothed * 7 + sample) / 8);
            }
        }
    }

    /// How long an answer may take on this path: never less than `at_least`.
    fn deadline(&self, at_least: Duration) -> Duration {
        let smoothed = self.smoothed.unwrap_or_default();
        at_least.max((smoothed + self.variation * 4) * 3 + Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Moment {
        Moment::from_origin(Duration::from_secs_f64(seconds))
    }

    fn up(policy: &Policy) -> Session {
        let mut session = Session::queued(Epoch(1), at(0.0));
        assert!(session.go(at(0.0), policy));
        assert!(session.came_up(at(0.0)));
        session.answered(at(0.0), Duration::ZERO, policy);
        session
    }

    #[test]
    fn every_step_has_a_deadline_of_its_own() {
        let policy = Policy::default();
        let mut session = Session::queued(Epoch(1), at(0.0));
        assert_eq!(session.timer(), None, "waiting for a turn is not the server's fault");
        session.go(at(100.0), &policy);
        session.stepped(at(115.0), Step::Tcp, &policy);
        session.stepped(at(130.0), Step::Banner, &policy);
        assert_eq!(session.due(at(149.9)), None, "a banner after 15 s still connects");
        assert!(matches!(session.due(at(150.0)), Some(Due::Overdue(f)) if f.kind == FailureKind::TimedOut));
    }

    #[test]
    fn three_unanswered_probes_are_a_dead_peer_and_one_is_suspect() {
        let policy = Policy::default();
        let mut session = up(&policy);
        assert_eq!(session.due(at(10.0)), Some(Due::Probe));
        assert_eq!(session.health(), Some(Health::Ok));
        assert_eq!(session.due(at(15.0)), Some(Due::Probe));
        assert_eq!(session.health(), Some(Health::Suspect));
        assert_eq!(session.due(at(20.0)), Some(Due::Probe));
        assert!(matches!(session.due(at(25.0)), Some(Due::Overdue(f)) if f.kind == FailureKind::DeadPeer));
    }

    #[test]
    fn an_answer_clears_the_suspicion() {
        let policy = Policy::default();
        let mut session = up(&policy);
        session.due(at(10.0));
        session.due(at(15.0));
        session.answered(at(16.0), Duration::from_millis(30), &policy);
        assert_eq!(session.health(), Some(Health::Ok));
        assert_eq!(session.timer(), Some((at(26.0), TimerReason::ProbeDue)));
    }

    #[test]
    fn a_slow_path_has_longer_deadlines() {
        let policy = Policy::default();
        let mut session = Session::queued(Epoch(1), at(0.0));
        session.go(at(0.0), &policy);
        session.came_up(at(0.0));
        session.answered(at(1.0), Duration::from_secs(2), &policy);
        assert_eq!(session.due(at(11.0)), Some(Due::Probe));
        // srtt 2 s, variation 1 s: 3 · (2 + 4) + 1 = 19 s.
        assert_eq!(session.timer(), Some((at(30.0), TimerReason::ProbeDeadline)));
    }
}
