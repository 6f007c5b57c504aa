//! How the connections of one forward fare beyond its listener: what the other side denies, who does not read.

use std::time::Duration;

use super::Tunnel;
use crate::failure::{Failure, FailureKind};
use crate::io::{About, ForwardId, ForwardReport, Output, Transition};
use crate::moment::Moment;

/// That the other side denies is told at most so often: one that denies every other connection fills no log.
const DENIAL_TOLD_EVERY: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Faring {
    /// What the other side says against it.
    denied: Option<Failure>,
    /// When that was told last, and whether its end is still to be told.
    denial_told: Option<(Moment, bool)>,
    /// A local program that does not read.
    slow_reader: Option<Failure>,
    /// Why nobody can tell whose its connections are.
    unsure: Option<Failure>,
}

impl Faring {
    pub(super) fn problem(&self) -> Option<&Failure> {
        self.unsure.as_ref().or(self.denied.as_ref()).or(self.slow_reader.as_ref())
    }

    /// What was denied may not be so any more; whoever was told is told the end.
    pub(super) fn forgive(&mut self) {
        self.denied = None;
    }

    /// What the other side said is about something else.
    pub(super) fn forget_denial(&mut self) {
        self.denied = None;
        self.denial_told = None;
    }

    /// Another listener finds out by itself whose its connections are.
    pub(super) fn forget_doubt(&mut self) {
        self.unsure = None;
    }

    /// `forward` is what it is about, and `fine` the word for one that works.
    fn reported(
        &mut self,
        now: Moment,
        report: ForwardReport,
        (forward, fine): (String, &'static str),
        hold: Duration,
    ) -> Option<Transition> {
        let transition =
            |from, to, why| Transition { about: About::Forward(forward), from, to, why, retry_in: None };
        match report {
            ForwardReport::Denied(failure) => {
                let news = self.denied.as_ref().is_none_or(|before| before.kind != failure.kind);
                self.denied = Some(failure.clone());
                if !news || self.denial_told.is_some_and(|(at, _)| now < at + DENIAL_TOLD_EVERY) {
                    return None;
                }
                self.denial_told = Some((now, true));
                Some(transition(fine, "denied", Some(failure)))
            }
            ForwardReport::Served => {
                self.denied = None;
                let (_, untold_end) = self.denial_told.as_mut()?;
                std::mem::take(untold_end).then(|| transition("denied", fine, None))
            }
            ForwardReport::SlowReader(slow) => {
                self.slow_reader = slow;
                None
            }
            // What is said of a notebook, its tunnel tells.
            ForwardReport::Sought | ForwardReport::Missed(_) => None,
            ForwardReport::Expired(count) => Some(transition("held", "reset", Some(expired(count, hold)?))),
            ForwardReport::Overflow { most } => Some(transition("held", "reset", Some(overflowed(most)))),
            ForwardReport::Refused(others) => Some(transition(fine, "refused", Some(others))),
            ForwardReport::Unsure(why) => {
                let was = std::mem::replace(&mut self.unsure, why.clone());
                match (was, why) {
                    (None, Some(why)) => Some(transition(fine, "refusing", Some(why))),
                    (Some(_), None) => Some(transition("refusing", fine, None)),
                    (None, None) | (Some(_), Some(_)) => None,
                }
            }
        }
    }
}

/// The tunnel did not come up for connections that were held; the shell tells of many at once.
fn expired(count: u32, hold: Duration) -> Option<Failure> {
    let seconds = hold.as_secs_f32();
    let message = match count {
        0 => return None,
        1 => format!("a connection waited {seconds} s for the tunnel and was reset"),
        many => format!("{many} connections waited {seconds} s for the tunnel and were reset"),
    };
    let hint = "new ones wait longer with a longer `hold` in its file";
    Some(Failure::new(FailureKind::TimedOut, message, hint))
}

/// There was no room to hold another connection.
fn overflowed(most: u32) -> Failure {
    Failure::new(
        FailureKind::Exhausted,
        format!("{most} connections wait for the tunnel; further ones are reset"),
        "find the program that opens so many, or let the tunnel come up",
    )
}

impl Tunnel {
    pub(super) fn forward_reported(&mut self, now: Moment, id: ForwardId, report: ForwardReport) {
        if self.notebook_met(now, id, &report) {
            return;
        }
        let hold = self.spec.policy.hold;
        let here = self.forwards.iter_mut().find(|forward| forward.id == Some(id));
        let there = self.remotes.iter_mut().find(|remote| remote.id == Some(id));
        let transition = match (here, there) {
            (Some(forward), _) => {
                forward.faring.reported(now, report, (forward.spec.to_string(), "bound"), hold)
            }
            (None, Some(remote)) => {
                remote.faring.reported(now, report, (remote.spec.to_string(), "listening"), hold)
            }
            (None, None) => None,
        };
        self.outputs.extend(transition.map(Output::Announce));
    }

    /// There is another link: what the last one was denied does not hold for it.
    pub(super) fn forget_far_problems(&mut self) {
        self.forwards.iter_mut().for_each(|forward| forward.faring.forgive());
        self.remotes.iter_mut().for_each(|remote| remote.faring.forgive());
    }
}
