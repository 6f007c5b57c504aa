//! What is remembered of each tunnel over the daemon's lives: reconnects, time up, the longest gap, the last
//! failure, the ports that servers chose, the servers of its notebooks.
//!
//! Pure bookkeeping, fed by the driver with transitions and moments; `history_file` keeps it on disk.

use std::collections::BTreeMap;
use std::time::Duration;

use nbtunnel_core::{Failure, Moment, Name, State};
use serde::{Deserialize, Serialize};

use crate::journal::shortened;

/// Beyond so many, a tunnel that is gone is forgotten at once and not at the next start.
pub const MOST_KEPT: usize = 1000;
/// What happened is written down at most so often.
pub const WRITE_EVERY: Duration = Duration::from_secs(60);
/// Time that only passes is written down more seldom: nothing else would keep the disk awake.
const REFRESH_EVERY: Duration = Duration::from_secs(15 * 60);
/// A longer message is cut: servers can say much.
const LONGEST_MESSAGE: usize = 500;

const UP: &str = State::Up.word();
const IDLE: &str = State::Idle.word();
const STOPPED: &str = State::Stopped.word();
const CLOSING: &str = State::Closing.word();

/// What is remembered of one tunnel. What a file does not say counts as nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Past {
    /// Since when, in milliseconds since 1970-01-01 UTC.
    pub since_ms: u64,
    /// How often it came up again after it had been up in the same life of the daemon.
    pub reconnects: u64,
    /// How long it was up in all, sleep included, in milliseconds.
    pub up_ms: u64,
    /// The longest time from the loss of a wanted link until it was up again, in milliseconds.
    pub longest_gap_ms: u64,
    /// What went wrong last.
    pub last_failure: Option<PastFailure>,
    /// Forwards whose port the server chooses, in the grammar of `ssh -R`, and what it chose.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<(String, u16)>,
    /// The servers that were found last for its notebooks, by the name of the notebook.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub servers: BTreeMap<String, PastServer>,
}

/// A notebook's server, as far as others are told from it. Its token is kept nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PastServer {
    /// Its process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Its port, never 0.
    pub port: u16,
    /// The directory that it served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_dir: Option<String>,
    /// What was asked when it was found: another question is not about it.
    pub question: u64,
    /// The one before it had ended, and nobody who opens it has heard that yet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_news: bool,
}

/// A failure of the link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PastFailure {
    /// When, in milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    /// The stable word of its kind.
    pub code: String,
    /// What happened, in one sentence.
    pub message: String,
}

impl Past {
    /// All of it in one sentence, or nothing where nothing happened yet.
    pub fn sentence(&self) -> Option<String> {
        if self.up_ms == 0 && self.reconnects == 0 && self.last_failure.is_none() {
            return None;
        }
        let mut text = match self.reconnects {
            1 => "reconnected once".to_owned(),
            times => format!("reconnected {times} times"),
        };
        text += &format!(", up {} in all", span(Duration::from_millis(self.up_ms)));
        if self.longest_gap_ms > 0 {
            text += &format!(", longest gap {}", span(Duration::from_millis(self.longest_gap_ms)));
        }
        if let Some(failure) = &self.last_failure {
            text += &format!(", last failure: {}", failure.message);
        }
        Some(text)
    }
}

/// One transition of a tunnel.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// When.
    pub at: Moment,
    /// The same on the wall, for people.
    pub wall_ms: u64,
    /// The word of its state from now on.
    pub to: &'a str,
    /// Whether anything is wanted of it.
    pub wanted: bool,
    /// What failed, if something did.
    pub why: Option<&'a Failure>,
}

/// What is remembered of all tunnels.
#[derive(Debug, Default)]
pub struct History {
    tunnels: BTreeMap<Name, Entry>,
    changed: bool,
    written_at: Option<Moment>,
    refresh_at: Moment,
}

#[derive(Debug, Default)]
struct Entry {
    past: Past,
    /// How many of the reconnects are of the tunnel as it is now, and not of an earlier one of its name.
    of_this_life: u64,
    phase: Phase,
}

/// What is being measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Nothing: not wanted, idle, or not up yet.
    #[default]
    Rest,
    Up {
        since: Moment,
    },
    /// It is wanted and was lost.
    Away {
        since: Moment,
    },
}

impl History {
    /// What earlier daemons left behind.
    pub fn new(remembered: BTreeMap<Name, Past>) -> Self {
        let entry = |(name, past)| (name, Entry { past, ..Entry::default() });
        History { tunnels: remembered.into_iter().map(entry).collect(), ..History::default() }
    }

    /// There is such a tunnel.
    pub fn know(&mut self, name: &Name, wall_ms: u64) {
        if !self.tunnels.contains_key(name) {
            let past = Past { since_ms: wall_ms, ..Past::default() };
            self.tunnels.insert(name.clone(), Entry { past, ..Entry::default() });
            self.changed = true;
        }
    }

    /// Forgets those for which `exists` says no.
    pub fn keep_only(&mut self, exists: impl Fn(&Name) -> bool) {
        let before = self.tunnels.len();
        self.tunnels.retain(|name, _| exists(name));
        self.changed |= self.tunnels.len() != before;
    }

    /// The tunnel is in another state, or failed without leaving its state. Returns how long it was away if it
    /// is back.
    ///
    /// A gap begins when it leaves `up` though nobody closed it, and ends when it is up again. What ends it
    /// otherwise (a stop, going idle) makes it count as none.
    pub fn told(&mut self, name: &Name, told: Told<'_>) -> Option<Duration> {
        self.know(name, told.wall_ms);
        let entry = self.tunnels.get_mut(name)?;
        self.changed = true;
        if let Some(why) = told.why {
            entry.past.last_failure = Some(PastFailure {
                at_ms: told.wall_ms,
                code: why.kind.code().to_owned(),
                message: shortened(&why.message, LONGEST_MESSAGE),
            });
        }
        entry.past.up_ms = entry.up_ms(told.at);
        let before = entry.phase;
        entry.phase = match (before, told.to) {
            (_, UP) => Phase::Up { since: told.at },
            (_, IDLE | STOPPED) | (Phase::Up { .. }, CLOSING) => Phase::Rest,
            _ if !told.wanted => Phase::Rest,
            (Phase::Up { .. }, _) => Phase::Away { since: told.at },
            (Phase::Rest | Phase::Away { .. }, _) => before,
        };
        let (Phase::Away { since }, Phase::Up { .. }) = (before, entry.phase) else { return None };
        let gap = told.at.since(since);
        entry.past.longest_gap_ms = entry.past.longest_gap_ms.max(millis(gap));
        Some(gap)
    }

    /// The tunnel, as it is now, came back `so_often`.
    pub fn reconnected(&mut self, name: &Name, so_often: u64) {
        if let Some(entry) = self.tunnels.get_mut(name)
            && entry.of_this_life != so_often
        {
            entry.past.reconnects = entry.reconnects(so_often);
            entry.of_this_life = so_often;
            self.changed = true;
        }
    }

    /// Servers chose these ports for the forwards of the tunnel. That is written down at once: users hand them on.
    pub fn chose(&mut self, name: &Name, ports: Vec<(String, u16)>) {
        if let Some(entry) = self.tunnels.get_mut(name)
            && entry.past.ports != ports
        {
            entry.past.ports = ports;
            (self.changed, self.written_at) = (true, None);
        }
    }

    /// These servers are those of the notebooks of the tunnel. That is written down at once: a crash may be next.
    pub fn served(&mut self, name: &Name, servers: BTreeMap<String, PastServer>) {
        if let Some(entry) = self.tunnels.get_mut(name)
            && entry.past.servers != servers
        {
            entry.past.servers = servers;
            (self.changed, self.written_at) = (true, None);
        }
    }

    /// The tunnel was removed. What is known of it stays for a while: it may come back.
    pub fn gone(&mut self, name: &Name, at: Moment) {
        if self.tunnels.len() > MOST_KEPT {
            self.tunnels.remove(name);
        } else if let Some(entry) = self.tunnels.get_mut(name) {
            entry.past.up_ms = entry.up_ms(at);
            (entry.phase, entry.of_this_life) = (Phase::Rest, 0);
        }
        self.changed = true;
    }

    /// What is known at `now` of a tunnel that, as it is now, came back `so_often`.
    pub fn past(&self, name: &Name, now: Moment, so_often: u64) -> Past {
        let past = |entry: &Entry| Past { reconnects: entry.reconnects(so_often), ..entry.at(now) };
        self.tunnels.get(name).map(past).unwrap_or_default()
    }

    /// All of it at `now`.
    pub fn all(&self, now: Moment) -> BTreeMap<Name, Past> {
        self.tunnels.iter().map(|(name, entry)| (name.clone(), entry.at(now))).collect()
    }

    /// Whether it should be written down. Says so once for each time.
    pub fn is_due(&mut self, now: Moment) -> bool {
        if self.written_at.is_some_and(|at| now < at + WRITE_EVERY) {
            return false;
        }
        if self.refresh_at <= now {
            self.refresh_at = now + REFRESH_EVERY;
            self.changed |= self.tunnels.values().any(|entry| matches!(entry.phase, Phase::Up { .. }));
        }
        let due = std::mem::take(&mut self.changed);
        if due {
            self.written_at = Some(now);
            self.refresh_at = now + REFRESH_EVERY;
        }
        due
    }

    /// It was not written down after all.
    pub fn not_written(&mut self) {
        self.changed = true;
    }
}

impl Entry {
    fn up_ms(&self, now: Moment) -> u64 {
        match self.phase {
            Phase::Up { since } => self.past.up_ms.saturating_add(millis(now.since(since))),
            Phase::Rest | Phase::Away { .. } => self.past.up_ms,
        }
    }

    fn reconnects(&self, so_often: u64) -> u64 {
        // Fewer than before: another tunnel of the same name.
        let more = so_often.checked_sub(self.of_this_life).unwrap_or(so_often);
        self.past.reconnects.saturating_add(more)
    }

    fn at(&self, now: Moment) -> Past {
        Past { up_ms: self.up_ms(now), ..self.past.clone() }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A duration in at most two units, for people.
pub fn span(duration: Duration) -> String {
    let two = |high: u64, unit: &str, low: u64, low_unit: &str| match low {
        0 => format!("{high} {unit}"),
        low => format!("{high} {unit} {low} {low_unit}"),
    };
    match duration.as_secs() {
        s @ 0..10 if duration.subsec_millis() >= 50 => {
            format!("{s}.{} s", (duration.subsec_millis() / 100).max(1))
        }
        s @ 0..60 => format!("{s} s"),
        s @ 60..3600 => two(s / 60, "min", s % 60, "s"),
        s @ 3600..86_400 => two(s / 3600, "h", s % 3600 / 60, "min"),
        s => two(s / 86_400, "d", s % 86_400 / 3600, "h"),
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
