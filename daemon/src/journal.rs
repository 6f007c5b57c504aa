//! What happened, in sentences: a bounded history a tunnel, and everybody who listens in.
//!
//! Fed by `effects` and `driver`; read by `nbctl logs` and `nbctl events`. A listener that does not keep up
//! is dropped, never waited for.

use std::collections::{BTreeMap, VecDeque};

use nbtunnel_proto::{Event, LogLine, Reply};
use tokio::sync::mpsc;

/// So many lines are kept for each tunnel, and as many for the daemon.
const LINES_KEPT: usize = 500;
/// So many lines are kept in all, so that two thousand tunnels that flap for days cost megabytes and not
/// hundreds of them. The longest history gives way.
const LINES_KEPT_IN_ALL: usize = 20_000;
/// A longer sentence is cut: servers and files can say much.
const LONGEST_LINE: usize = 1024;

/// The history of all tunnels, and those who follow it.
#[derive(Default)]
pub struct Journal {
    /// By tunnel; the daemon's own under `None`.
    lines: BTreeMap<Option<String>, VecDeque<LogLine>>,
    /// How many there are in all.
    count: usize,
    followers: Vec<Follower>,
}

struct Follower {
    to: mpsc::Sender<Reply>,
    wants: Wants,
}

/// Says which tunnels' lines are wanted; `None` asks for the daemon's own.
pub type Accepts = Box<dyn Fn(Option<&str>) -> bool + Send>;

/// What a follower is told.
pub enum Wants {
    /// Transitions.
    Events,
    /// Every line of the tunnels whose name this accepts.
    Lines(Accepts),
}

impl Journal {
    /// Writes a line down and tells those who follow.
    pub fn line(&mut self, at_ms: u64, tunnel: Option<&str>, text: &str) {
        let line = LogLine { at_ms, tunnel: tunnel.map(str::to_owned), text: shortened(text, LONGEST_LINE) };
        self.tell(|wants| match wants {
            Wants::Lines(accepts) if accepts(tunnel) => Some(Reply::Log(line.clone())),
            Wants::Lines(_) | Wants::Events => None,
        });
        let lines = self.lines.entry(line.tunnel.clone()).or_default();
        if lines.len() == LINES_KEPT {
            lines.pop_front();
            self.count -= 1;
        }
        lines.push_back(line);
        self.count += 1;
        if self.count > LINES_KEPT_IN_ALL
            && let Some(longest) = self.lines.values_mut().max_by_key(|lines| lines.len())
        {
            longest.pop_front();
            self.count -= 1;
        }
    }

    /// Tells of a transition, which is a line as well.
    pub fn event(&mut self, event: Event) {
        self.line(event.at_ms, event.tunnel.as_deref(), &event.text);
        self.tell(|wants| matches!(wants, Wants::Events).then(|| Reply::Event(Box::new(event.clone()))));
    }

    /// The last `count` lines of those tunnels that `accepts` accepts, oldest first.
    pub fn last(&self, count: usize, accepts: impl Fn(Option<&str>) -> bool) -> Vec<LogLine> {
        let chosen = self.lines.iter().filter(|(tunnel, _)| accepts(tunnel.as_deref()));
        let mut lines: Vec<&LogLine> = chosen.flat_map(|(_, lines)| lines).collect();
        lines.sort_by_key(|line| line.at_ms);
        lines.iter().skip(lines.len().saturating_sub(count)).map(|line| (*line).clone()).collect()
    }

    /// From now on `to` is told what it `wants`, until it does not keep up or goes away.
    pub fn follow(&mut self, to: mpsc::Sender<Reply>, wants: Wants) {
        self.followers.push(Follower { to, wants });
    }

    /// Forgets a tunnel that is gone.
    pub fn forget(&mut self, tunnel: &str) {
        let forgotten = self.lines.remove(&Some(tunnel.to_owned()));
        self.count -= forgotten.map_or(0, |lines| lines.len());
    }

    /// Tells every follower that this was the last.
    pub fn stop(&mut self, last: impl Fn() -> Reply) {
        for follower in self.followers.drain(..) {
            // One that does not take it has stopped reading.
            let _ = follower.to.try_send(last());
        }
    }

    fn tell(&mut self, say: impl Fn(&Wants) -> Option<Reply>) {
        self.followers.retain(|follower| match say(&follower.wants) {
            Some(reply) => follower.to.try_send(reply).is_ok(),
            None => !follower.to.is_closed(),
        });
    }
}

/// `text`, cut after `longest` bytes at most.
pub(crate) fn shortened(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    let mut end = longest;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_of_a_tunnel_is_bounded_and_its_lines_too() {
        let mut journal = Journal::default();
        for n in 0..2 * LINES_KEPT as u64 {
            journal.line(n, Some("alice"), &format!("line {n} {}", "ä".repeat(LONGEST_LINE)));
        }
        let lines = journal.last(usize::MAX, |_| true);
        assert_eq!(lines.len(), LINES_KEPT);
        assert_eq!(lines[0].at_ms, LINES_KEPT as u64);
        assert!(lines.iter().all(|line| line.text.len() <= LONGEST_LINE + '…'.len_utf8()));
    }

    #[test]
    fn the_histories_of_many_tunnels_are_bounded_in_all_and_none_is_lost() {
        let mut journal = Journal::default();
        for n in 0..45_000 {
            // One of them talks much more than the others.
            let tunnel = if n % 2 == 0 { "loud".into() } else { format!("t{}", n % 2000) };
            journal.line(n, Some(&tunnel), "happened");
        }
        let kept = |journal: &Journal| journal.last(usize::MAX, |_| true).len();
        assert_eq!((kept(&journal), journal.count), (LINES_KEPT_IN_ALL, LINES_KEPT_IN_ALL));
        for tunnel in ["loud", "t1", "t1999"] {
            assert!(!journal.last(1, |name| name == Some(tunnel)).is_empty(), "{tunnel}");
        }
        for n in 0..2000 {
            journal.forget(&format!("t{n}"));
        }
        assert_eq!(kept(&journal), journal.count);
    }

    #[test]
    fn a_follower_that_does_not_read_is_dropped_and_the_others_go_on() {
        let mut journal = Journal::default();
        let (slow, slow_end) = mpsc::channel(2);
        let (quick, mut quick_end) = mpsc::channel(100);
        journal.follow(slow, Wants::Lines(Box::new(|_| true)));
        journal.follow(quick, Wants::Lines(Box::new(|tunnel| tunnel == Some("alice"))));
        for n in 0..10 {
            journal.line(n, Some("alice"), "happened");
            journal.line(n, Some("bob"), "happened");
        }
        assert_eq!(journal.followers.len(), 1);
        assert_eq!(slow_end.len(), 2);
        let told = std::iter::from_fn(|| quick_end.try_recv().ok()).count();
        assert_eq!(told, 10);
    }
}
