//! Makes one nudge of many: a machine that wakes is noticed by several sources, and a network that changes
//! does so in pieces. The first hint is passed on at once, those that follow soon become one.

use std::time::Duration;

use nbtunnel_core::Nudge;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::Hint;

/// After a nudge was passed on, others are collected for so long.
const WINDOW: Duration = Duration::from_millis(250);
/// Reasons are put together up to about so many bytes.
const LONG_ENOUGH: usize = 300;

/// Tells `on` what comes from the sources, merged, until none of them is left.
pub(super) async fn run(mut heard: mpsc::UnboundedReceiver<Hint>, mut on: impl FnMut(Nudge, String)) {
    let mut merger = Merger::default();
    loop {
        let due = merger.due_at();
        let hint = tokio::select! {
            hint = heard.recv() => match hint {
                Some(hint) => merger.heard(Instant::now(), hint),
                None => return,
            },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                merger.due(Instant::now())
            }
        };
        if let Some(Hint { nudge, reason }) = hint {
            on(nudge, reason);
        }
    }
}

/// The decision: what is passed on, and when.
#[derive(Debug, Default)]
struct Merger {
    /// Until then hints are collected.
    closes_at: Option<Instant>,
    collected: Option<Hint>,
}

impl Merger {
    /// Takes in a hint. Returns it if it is to be passed on at once.
    fn heard(&mut self, now: Instant, hint: Hint) -> Option<Hint> {
        match &mut self.collected {
            Some(collected) => collected.absorb(hint),
            None if self.closes_at.is_some_and(|at| now < at) => self.collected = Some(hint),
            None => {
                self.closes_at = Some(now + WINDOW);
                return Some(hint);
            }
        }
        None
    }

    /// When it wants [`Merger::due`] to be called.
    fn due_at(&self) -> Option<Instant> {
        self.collected.as_ref().and(self.closes_at)
    }

    /// What was collected, once its time has come.
    fn due(&mut self, now: Instant) -> Option<Hint> {
        let is_due = self.due_at().is_some_and(|at| at <= now);
        let hint = is_due.then(|| self.collected.take()).flatten()?;
        self.closes_at = Some(now + WINDOW);
        Some(hint)
    }
}

impl Hint {
    /// Takes another in. A wake says more than a change of the network, which it often brings along.
    fn absorb(&mut self, other: Hint) {
        if other.nudge == Nudge::Woke {
            self.nudge = Nudge::Woke;
        }
        if !self.reason.contains(&other.reason) && self.reason.len() < LONG_ENOUGH {
            self.reason.push_str("; ");
            self.reason.push_str(&other.reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(nudge: Nudge, reason: &str) -> Hint {
        Hint { nudge, reason: reason.to_owned() }
    }

    /// At which millisecond, what, and why.
    type Told<'a> = (u64, Nudge, &'a str);

    /// What is passed on at which millisecond, given what was heard at which.
    fn passed_on(heard: &[Told<'_>]) -> Vec<(u64, Nudge, String)> {
        let start = Instant::now();
        let mut merger = Merger::default();
        let mut passed = Vec::new();
        let mut left = heard.iter().copied().peekable();
        for ms in 0..3000 {
            let now = start + Duration::from_millis(ms);
            let due = merger.due(now);
            let said = std::iter::from_fn(|| left.next_if(|(at, ..)| *at == ms))
                .filter_map(|(_, nudge, reason)| merger.heard(now, hint(nudge, reason)))
                .collect::<Vec<_>>();
            passed.extend(due.into_iter().chain(said).map(|hint| (ms, hint.nudge, hint.reason)));
        }
        assert!(merger.due_at().is_none(), "something was kept for ever");
        passed
    }

    #[test]
    fn the_first_passes_at_once_and_the_others_become_one() {
        use Nudge::{Network, Woke};
        let table: &[(&[Told<'_>], &[Told<'_>])] = &[
            (&[], &[]),
            (&[(10, Network, "n")], &[(10, Network, "n")]),
            // Far apart, each is its own.
            (&[(10, Network, "n"), (260, Woke, "w")], &[(10, Network, "n"), (260, Woke, "w")]),
            (&[(10, Network, "n"), (20, Network, "m")], &[(10, Network, "n"), (260, Network, "m")]),
            // A wake beats the network, whichever came first.
            (
                &[(10, Woke, "slept"), (20, Woke, "w"), (30, Network, "n")],
                &[(10, Woke, "slept"), (260, Woke, "w; n")],
            ),
            (
                &[(10, Network, "a"), (20, Network, "n"), (259, Woke, "w")],
                &[(10, Network, "a"), (260, Woke, "n; w")],
            ),
            // What was collected opens a window as well.
            (
                &[(10, Woke, "a"), (20, Woke, "b"), (300, Woke, "c")],
                &[(10, Woke, "a"), (260, Woke, "b"), (510, Woke, "c")],
            ),
            // The same reason is given once.
            (&[(0, Woke, "a"), (1, Woke, "b"), (2, Woke, "b")], &[(0, Woke, "a"), (250, Woke, "b")]),
        ];
        for (heard, expected) in table {
            let expected: Vec<_> = expected.iter().map(|(ms, n, why)| (*ms, *n, (*why).to_owned())).collect();
            assert_eq!(passed_on(heard), expected, "{heard:?}");
        }
    }

    #[test]
    fn a_flood_becomes_four_a_second_with_reasons_of_bounded_length() {
        let flood: Vec<String> = (0..2000).map(|n| format!("reason number {n}")).collect();
        let heard: Vec<_> =
            flood.iter().zip(0..).map(|(why, ms)| (ms, Nudge::Network, why.as_str())).collect();
        let passed = passed_on(&heard);
        assert!((8..=10).contains(&passed.len()), "{}", passed.len());
        assert!(passed.iter().all(|(_, _, why)| why.len() < 2 * LONG_ENOUGH));
    }

    #[tokio::test]
    async fn what_was_collected_is_passed_on_by_itself() {
        let (hints, heard) = mpsc::unbounded_channel();
        let (told, mut tells) = mpsc::unbounded_channel();
        for reason in ["a", "b", "c"] {
            hints.send(hint(Nudge::Network, reason)).unwrap();
        }
        let start = Instant::now();
        tokio::spawn(run(heard, move |nudge, reason| told.send((nudge, reason)).unwrap()));
        assert_eq!(tells.recv().await, Some((Nudge::Network, "a".into())));
        assert_eq!(tells.recv().await, Some((Nudge::Network, "b; c".into())));
        assert!(start.elapsed() >= WINDOW);
        drop(hints);
        assert_eq!(tells.recv().await, None);
    }
}
