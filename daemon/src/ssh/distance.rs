//! How far servers are away, as links found out lately, and how large a window that takes.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A server, seen from one of our addresses: another network is another distance.
pub(super) type Path = (IpAddr, SocketAddr);

/// So many of the latest round trips count. Probes are mostly sent when nothing else is, so that one among
/// them shows the distance alone.
const LATEST: usize = 8;

/// How many paths are remembered.
const MAX_PATHS: usize = 1024;

/// So long may a server take to start a process for us before it says its version line: on a busy machine
/// OpenSSH takes 8 to 15 ms. Counted as distance, these would make every first session that of a far server.
const STARTS: Duration = Duration::from_millis(15);

/// The round trips that were measured.
#[derive(Default)]
pub(super) struct Distances(Mutex<HashMap<Path, VecDeque<Duration>>>);

impl Distances {
    /// The server answered after this time.
    pub(super) fn measured(&self, path: Path, round_trip: Duration) {
        let mut paths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if paths.len() >= MAX_PATHS && !paths.contains_key(&path) {
            // They are measured again soon, wherever a link is up.
            paths.clear();
        }
        let latest = paths.entry(path).or_default();
        latest.truncate(LATEST - 1);
        latest.push_front(round_trip);
    }

    /// The round trip to a server that took `connected` for TCP and `greeted` for its version line: what probes
    /// said lately, else what TCP says. What answers TCP on this machine may only pass it on, and what does so for
    /// a ProxyCommand is anybody's guess (`is_proxied`), so that the version line tells more; of any other machine
    /// it may tell that its server is slow.
    pub(super) fn estimate(
        &self,
        path: Option<Path>,
        connected: Duration,
        greeted: Option<Duration>,
        is_proxied: bool,
    ) -> Duration {
        let may_pass_on = is_proxied || path.is_some_and(|(_, peer)| peer.ip().to_canonical().is_loopback());
        // Servers say their line unasked: it is one way away.
        let one_way = greeted.filter(|_| may_pass_on).unwrap_or_default().saturating_sub(STARTS);
        path.and_then(|path| self.latest(&path)).unwrap_or(connected.max(one_way.saturating_mul(2)))
    }

    /// The smallest of the latest round trips.
    pub(super) fn latest(&self, path: &Path) -> Option<Duration> {
        let paths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        paths.get(path)?.iter().min().copied()
    }
}

/// A channel's window: what comes in one round trip, at [`RATE`].
///
/// The library grants it again when half of it is used up, so that one stream gets between half of that rate and
/// all of it.
pub(super) fn window(round_trip: Duration) -> u32 {
    let fits = round_trip.as_micros().saturating_mul(RATE) / 1_000_000;
    u32::try_from(fits).unwrap_or(LARGEST).clamp(SMALLEST, LARGEST)
}

/// Bytes a second: 32 MiB at 40 ms of round trip.
const RATE: u128 = 800 << 20;

/// On loopback 4 MiB carries as much as 32, and a small round trip beside a download at full speed takes eight
/// times as long or longer with 32.
const SMALLEST: u32 = 4 << 20;

/// At 40 ms of round trip one download is five times as fast as with the 2 MiB of `ssh`. Where the network and
/// not the window is the limit, more would only make small round trips beside it longer.
const LARGEST: u32 = 32 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn path(last: u8) -> Path {
        ([127, 0, 0, 1].into(), ([10, 0, 0, last], 22).into())
    }

    #[test]
    fn the_window_grows_with_the_distance_between_its_bounds() {
        assert_eq!(window(Duration::ZERO), SMALLEST);
        assert_eq!(window(ms(1)), SMALLEST);
        assert_eq!(window(ms(20)), 16 << 20);
        assert_eq!(window(ms(40)), LARGEST);
        assert_eq!(window(Duration::MAX), LARGEST);
        assert!((0..200).all(|at| window(ms(at)) <= window(ms(at + 1))));
    }

    #[test]
    fn a_busy_moment_is_no_distance_but_a_distance_that_stays_is() {
        let distances = Distances::default();
        assert_eq!(distances.latest(&path(1)), None);
        [ms(90), ms(2), ms(80)].into_iter().for_each(|rtt| distances.measured(path(1), rtt));
        assert_eq!(distances.latest(&path(1)), Some(ms(2)));
        (0..LATEST).for_each(|_| distances.measured(path(1), ms(70)));
        assert_eq!(distances.latest(&path(1)), Some(ms(70)));
        assert_eq!(distances.latest(&path(2)), None);
    }

    #[test]
    fn probes_are_believed_first_and_a_slow_server_is_not_a_far_one() {
        let distances = Distances::default();
        assert_eq!(distances.estimate(None, ms(3), Some(ms(50)), false), ms(3));
        assert_eq!(distances.estimate(Some(path(1)), ms(3), Some(ms(50)), false), ms(3));
        assert_eq!(distances.estimate(Some(path(1)), ms(50), None, false), ms(50));
        assert_eq!(distances.estimate(None, ms(0), Some(STARTS + ms(50)), true), ms(100));
        for here in ["127.0.0.1:22", "[::1]:22", "[::ffff:127.0.0.1]:22"] {
            let relay = ([127, 0, 0, 1].into(), here.parse().unwrap());
            assert_eq!(distances.estimate(Some(relay), ms(3), Some(STARTS), false), ms(3));
            assert_eq!(distances.estimate(Some(relay), ms(3), Some(STARTS + ms(50)), false), ms(100));
            distances.measured(relay, ms(1));
            assert_eq!(distances.estimate(Some(relay), ms(3), Some(STARTS + ms(50)), false), ms(1));
        }
    }

    #[test]
    fn it_remembers_no_more_than_so_many_paths() {
        let distances = Distances::default();
        for number in 0..5000_u32 {
            distances.measured(([127, 0, 0, 1].into(), (number.to_be_bytes(), 22).into()), ms(1));
        }
        assert!(distances.0.lock().unwrap().len() <= MAX_PATHS);
    }
}
