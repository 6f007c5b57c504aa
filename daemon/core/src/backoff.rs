//! How long to wait before trying again: at once, then half a second doubling to thirty, ±20 %.

use std::time::Duration;

/// The delay before the second retry; the first has none.
const FIRST: Duration = Duration::from_millis(500);
/// The longest delay, before chance is added.
const LONGEST: Duration = Duration::from_secs(30);

/// So many failures are remembered when it comes up, until it has been up for long.
const REMEMBERED_WHEN_UP: u32 = 3;

/// Counts attempts that failed and says how long to wait before the next.
///
/// Chance comes from the seed alone, so a run can be repeated; tunnels get different seeds, so that they do
/// not all dial in the same moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    attempt: u32,
    chance: u64,
}

impl Backoff {
    /// A backoff that has seen no failure.
    pub fn new(seed: u64) -> Self {
        Backoff { attempt: 0, chance: seed }
    }

    /// How many attempts failed since the last [`Backoff::reset`].
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Counts a failure and says how long to wait before trying again.
    pub fn next_delay(&mut self) -> Duration {
        let failed_before = self.attempt;
        self.attempt = self.attempt.saturating_add(1);
        let Some(doublings) = failed_before.checked_sub(1) else { return Duration::ZERO };
        let base = FIRST.saturating_mul(1 << doublings.min(16)).min(LONGEST);
        base.mul_f64(0.8 + 0.4 * self.draw())
    }

    /// It worked for now: forgets all but the last few failures, so that a server that comes and goes is met
    /// again within about two seconds, and one that fails right after every login is not dialled without
    /// pause.
    pub fn ease(&mut self) {
        self.attempt = self.attempt.min(REMEMBERED_WHEN_UP);
    }

    /// Forgets the failures: the next delay is none.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }

    /// A number in [0, 1), by splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
    /// generators", OOPSLA 2014). Jitter needs to be spread, not secret.
    fn draw(&mut self) -> f64 {
        self.chance = self.chance.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.chance;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_retry_is_at_once_and_the_rest_double_to_thirty_seconds() {
        for seed in 0..200 {
            let mut backoff = Backoff::new(seed);
            assert_eq!(backoff.next_delay(), Duration::ZERO);
            for expected in [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0] {
                let delay = backoff.next_delay().as_secs_f64();
                assert!((0.8 * expected..=1.2 * expected).contains(&delay), "{delay} for {expected}");
            }
            backoff.reset();
            assert_eq!(backoff.next_delay(), Duration::ZERO);
        }
    }

    #[test]
    fn coming_up_shortens_the_delay_and_does_not_end_it() {
        let mut backoff = Backoff::new(1);
        for _ in 0..10 {
            backoff.next_delay();
        }
        backoff.ease();
        let delay = backoff.next_delay().as_secs_f64();
        assert!((1.6..=2.4).contains(&delay), "{delay}");
    }

    #[test]
    fn two_seeds_do_not_retry_in_step() {
        let delays = |seed| {
            let mut backoff = Backoff::new(seed);
            std::iter::repeat_with(move || backoff.next_delay()).take(5).collect::<Vec<_>>()
        };
        assert_ne!(delays(1), delays(2));
        assert_eq!(delays(7), delays(7));
    }
}
