//! What outlives the daemon: how each tunnel fared, measured here and written down now and then.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use nbtunnel_core::tunnel::Desire;
use nbtunnel_core::{Moment, Name, RemoteSpec, Transition, Tunnel};

use super::Driver;
use crate::history::{History, Past, Told, span};
use crate::history_file::HistoryFile;

/// The history of all tunnels, and the file that keeps it.
pub(super) struct Memory {
    history: History,
    file: HistoryFile,
}

impl Memory {
    /// With what the file at `path` says; and the ports that servers chose.
    pub(super) fn open(path: PathBuf) -> (Self, BTreeMap<Name, Vec<(RemoteSpec, u16)>>) {
        let (file, remembered) = HistoryFile::open(path);
        let read = |(text, port): &(String, u16)| Some((text.parse().ok()?, *port));
        let ports = remembered.iter().map(|(name, past)| {
            (name.clone(), past.ports.iter().filter_map(read).filter(|(_, port)| *port != 0).collect())
        });
        let ports = ports.collect();
        (Memory { history: History::new(remembered), file }, ports)
    }

    /// What is known of `tunnel` at `now`.
    pub(super) fn past(&self, name: &Name, tunnel: &Tunnel, now: Moment) -> Past {
        self.history.past(name, now, tunnel.reconnects())
    }

    /// A tunnel was removed.
    pub(super) fn gone(&mut self, name: &Name, now: Moment) {
        self.history.gone(name, now);
    }

    /// Why it could not be written down, if it could not, and where.
    pub(super) fn trouble(&self) -> Option<(String, String)> {
        self.file.trouble().map(|why| (why, self.file.path().display().to_string()))
    }

    /// Returns when everything is written, or could not be.
    pub(super) async fn written(&mut self) {
        self.file.written().await;
    }
}

fn came_back(times: u64) -> String {
    match times {
        1 => "it came back once".to_owned(),
        times => format!("it came back {times} times"),
    }
}

impl Driver {
    /// Takes note of a transition of the tunnel as a whole, and says so when it was away and is back.
    pub(super) fn remember(&mut self, name: &Name, transition: &Transition) {
        let Some(tunnel) = self.fleet.tunnels().get(name) else { return };
        let (at, wall_ms) = (self.clock.now(), self.clock.wall_ms());
        let wanted = tunnel.desire() != Desire::Down;
        let told = Told { at, wall_ms, to: transition.to, wanted, why: transition.why.as_ref() };
        let history = &mut self.memory.history;
        let gap = history.told(name, told);
        // Now, since the tunnel may be removed before the next time that this is written down.
        history.reconnected(name, tunnel.reconnects());
        if let Some(gap) = gap {
            let times = self.memory.past(name, tunnel, at).reconnects;
            let text = format!("back after {}; {} so far", span(gap), came_back(times));
            self.journal.line(wall_ms, Some(name.as_str()), &text);
        }
    }

    /// The files were read; those of `broken` are there and bad. The first time it forgets tunnels that are no
    /// more, and says what is known of the others.
    pub(super) fn recall(&mut self, broken: &BTreeSet<Name>, all_broken: bool) {
        let (now, wall_ms) = (self.clock.now(), self.clock.wall_ms());
        let (specs, history) = (&self.specs, &mut self.memory.history);
        specs.keys().for_each(|name| history.know(name, wall_ms));
        if self.loaded_once {
            return;
        }
        if !all_broken {
            history.keep_only(|name| specs.contains_key(name) || broken.contains(name));
        }
        for (name, past) in self.memory.history.all(now) {
            if let Some(text) = past.sentence() {
                self.journal.line(wall_ms, Some(name.as_str()), &format!("before this start: {text}"));
            }
        }
    }

    /// Takes note of the ports that servers chose for a tunnel.
    pub(super) fn keep_ports(&mut self, name: &Name) {
        if let Some(tunnel) = self.fleet.tunnels().get(name) {
            let ports = tunnel.chosen_ports().map(|(spec, port)| (spec.to_string(), port)).collect();
            self.memory.history.chose(name, ports);
        }
    }

    /// Writes down how the tunnels fared, if it is time.
    pub(super) fn keep_history(&mut self, now: Moment) {
        if self.memory.file.has_failed() {
            self.memory.history.not_written();
        }
        if let Some(why) = self.memory.file.news() {
            self.note(None, &format!("the history of the tunnels cannot be written down: {why}"));
        }
        if !self.memory.file.is_busy() && self.memory.history.is_due(now) {
            self.write_history(now);
        }
    }

    /// Begins to write down how the tunnels fared.
    pub(super) fn write_history(&mut self, now: Moment) {
        let Memory { history, file } = &mut self.memory;
        for (name, tunnel) in self.fleet.tunnels() {
            history.reconnected(name, tunnel.reconnects());
        }
        file.write(history.all(now));
    }
}
