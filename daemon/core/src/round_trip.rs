//! How long an answer takes on a path, learned from the answers.

use std::time::Duration;

/// A longer round trip is not believed: one bad minute must not make the next one blind.
const LONGEST: Duration = Duration::from_secs(20);
/// No answer is waited for longer, whatever was measured.
const LONGEST_DEADLINE: Duration = Duration::from_secs(60);

/// The round trip, smoothed as TCP does it (RFC 6298 §2).
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RoundTrip {
    smoothed: Option<Duration>,
    variation: Duration,
}

impl RoundTrip {
    /// Takes in how long one answer took.
    pub(crate) fn measured(&mut self, sample: Duration) {
        let sample = sample.min(LONGEST);
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

    /// The smoothed round trip, once one was measured.
    pub(crate) fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// How long an answer may take on this path: never less than `at_least`.
    pub(crate) fn deadline(&self, at_least: Duration) -> Duration {
        let smoothed = self.smoothed.unwrap_or_default();
        let usual = (smoothed + self.variation * 4) * 3 + Duration::from_secs(1);
        at_least.max(usual.min(LONGEST_DEADLINE))
    }
}
