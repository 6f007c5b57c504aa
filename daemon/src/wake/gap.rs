//! Finds out that the machine slept, without being told: one clock counts sleep and another does not, so a
//! sleep is the gap between them. A process that was only frozen sees both clocks go on alike.

use std::time::Duration;

use nbtunnel_core::Nudge;

use super::{Hint, Hints, clock};

#[cfg_attr(target_os = "linux", path = "gap_tick_linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "gap_tick_other.rs")]
mod tick;

/// How often the clocks are compared.
const EVERY: Duration = Duration::from_secs(5);
/// A shorter gap is no sleep that anybody would notice.
const SHORTEST_SLEEP: Duration = Duration::from_secs(2);
/// Clocks that cannot be read within this time of each other were read while somebody froze us.
const AT_ONCE: Duration = Duration::from_millis(100);
/// So often in a row the clocks are read before it is left for the next time.
const READINGS: usize = 10;

/// Compares the clocks for ever.
pub(super) async fn watch(hints: Hints) {
    let mut tick = tick::Tick::every(EVERY);
    let mut before = None;
    loop {
        if let Some(now) = Reading::take(clock::continuous, clock::awake) {
            let slept = before.replace(now).and_then(|before| now.slept_since(before));
            if let Some(slept) = slept {
                let reason = format!("the machine slept for {}", in_words(slept));
                if hints.send(Hint { nudge: Nudge::Woke, reason }).is_err() {
                    return;
                }
            }
        }
        tick.next().await;
    }
}

/// Both clocks at the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reading {
    continuous: Duration,
    awake: Duration,
}

impl Reading {
    /// Reads both clocks. A process may be frozen between one reading and the next, and would then find a gap
    /// where there was no sleep: so the clock that only counts waking is read twice, around the other.
    fn take(continuous: impl Fn() -> Duration, awake: impl Fn() -> Duration) -> Option<Reading> {
        (0..READINGS).find_map(|_| {
            let began = awake();
            let reading = Reading { continuous: continuous(), awake: awake() };
            (reading.awake.saturating_sub(began) < AT_ONCE).then_some(reading)
        })
    }

    /// For how long the machine slept since `before`, if it did.
    fn slept_since(self, before: Reading) -> Option<Duration> {
        let passed = self.continuous.saturating_sub(before.continuous);
        let awake = self.awake.saturating_sub(before.awake);
        passed.checked_sub(awake).filter(|gap| *gap >= SHORTEST_SLEEP)
    }
}

/// As a person would say it.
fn in_words(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    let parts = match seconds {
        0..60 => [(seconds, "s"), (0, "")],
        60..3600 => [(minutes, "min"), (rest, "s")],
        3600..86_400 => [(hours, "h"), (minutes, "min")],
        _ => [(days, "d"), (hours, "h")],
    };
    let said = parts.iter().enumerate().filter(|(place, (count, _))| *place == 0 || *count > 0);
    said.map(|(_, (count, unit))| format!("{count} {unit}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::sync::mpsc;

    use super::*;

    fn at(continuous: f64, awake: f64) -> Reading {
        Reading { continuous: Duration::from_secs_f64(continuous), awake: Duration::from_secs_f64(awake) }
    }

    #[test]
    fn a_sleep_is_what_one_clock_counts_and_the_other_does_not() {
        let table = [
            // The clocks go alike, from whatever they stand at: also over a day in the freezer.
            (at(100.0, 100.0), at(105.0, 105.0), None),
            (at(9100.0, 100.0), at(9105.0, 105.0), None),
            (at(100.0, 100.0), at(86_500.0, 86_500.0), None),
            // Noise, and a sleep that is too short to matter.
            (at(100.0, 100.0), at(105.001, 105.0), None),
            (at(100.0, 100.0), at(105.0, 105.001), None),
            (at(100.0, 100.0), at(106.9, 105.0), None),
            (at(100.0, 100.0), at(107.0, 105.0), Some(2.0)),
            (at(100.0, 100.0), at(7300.0, 100.0), Some(7200.0)),
            (at(9100.0, 100.0), at(16_305.0, 105.0), Some(7200.0)),
            // Clocks that go backwards say nothing.
            (at(100.0, 100.0), at(50.0, 105.0), None),
            (at(100.0, 100.0), at(105.0, 90.0), Some(5.0)),
        ];
        for (before, now, expected) in table {
            let slept = now.slept_since(before).map(|slept| (slept.as_secs_f64() * 1000.0).round() / 1000.0);
            assert_eq!(slept, expected, "from {before:?} to {now:?}");
        }
    }

    /// A machine whose clocks stand still unless somebody moves them: frozen is to be awake.
    #[derive(Default)]
    struct Clocks {
        awake: Cell<f64>,
        asleep: Cell<f64>,
    }

    #[test]
    fn a_process_frozen_between_two_readings_sees_no_sleep() {
        // When it is frozen, or the machine sleeps, for an hour: at the how-manieth reading of a clock, after the
        // three that the first look takes.
        for (freezes, sleeps) in
            (3..15).flat_map(|at| [(Some(at), None), (None, Some(at)), (Some(at), Some(at))])
        {
            let (clocks, readings) = (Clocks::default(), Cell::new(0));
            let happen = || {
                let now = readings.replace(readings.get() + 1);
                for (at, clock) in [(freezes, &clocks.awake), (sleeps, &clocks.asleep)] {
                    clock.set(clock.get() + if at == Some(now) { 3600.0 } else { 0.0 });
                }
            };
            let awake = || {
                happen();
                Duration::from_secs_f64(clocks.awake.get())
            };
            let continuous = || {
                happen();
                Duration::from_secs_f64(clocks.awake.get() + clocks.asleep.get())
            };
            let taken: Vec<Reading> = (0..6).map(|_| Reading::take(continuous, awake).unwrap()).collect();
            let slept: Vec<_> = taken.windows(2).filter_map(|two| two[1].slept_since(two[0])).collect();
            let all: f64 = slept.iter().map(Duration::as_secs_f64).sum();
            let expected = if sleeps.is_some() { 3600.0 } else { 0.0 };
            let what = format!("frozen at {freezes:?}, asleep at {sleeps:?}: {taken:?}");
            assert!((all - expected).abs() < 1e-6, "{what}");
        }
    }

    #[test]
    fn clocks_that_are_never_read_at_once_say_nothing() {
        let time = Cell::new(0);
        let slow = || {
            time.set(time.get() + 1);
            Duration::from_secs(time.get())
        };
        assert_eq!(Reading::take(slow, slow), None);
    }

    #[test]
    fn the_time_is_said_as_people_say_it() {
        let table = [
            (2.0, "2 s"),
            (59.4, "59 s"),
            (59.6, "1 min"),
            (61.0, "1 min 1 s"),
            (600.0, "10 min"),
            (3600.0, "1 h"),
            (7385.0, "2 h 3 min"),
            (86_399.0, "23 h 59 min"),
            (86_400.0, "1 d"),
            (266_400.0, "3 d 2 h"),
        ];
        for (seconds, words) in table {
            assert_eq!(in_words(Duration::from_secs_f64(seconds)), words);
        }
    }

    #[tokio::test]
    async fn nothing_is_said_of_a_machine_that_is_awake() {
        let (hints, mut heard) = mpsc::unbounded_channel();
        let mut tick = tick::Tick::every(Duration::from_millis(20));
        let watching = tokio::spawn(watch(hints));
        for _ in 0..5 {
            tick.next().await;
        }
        assert!(heard.try_recv().is_err());
        watching.abort();
    }
}
