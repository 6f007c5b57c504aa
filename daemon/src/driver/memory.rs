//! What outlives the daemon: how each tunnel fared, measured here and written down now and then, and which server each
//! notebook had, written down at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use nbtunnel_core::tunnel::Desire;
use nbtunnel_core::{Moment, Name, RemoteSpec, Transition, Tunnel};

use super::Driver;
use super::lives::{Lives, Question};
use super::notebooks::Key;
use crate::history::{History, Past, Told, span};
use crate::history_file::HistoryFile;

/// The history of all tunnels, and the file that keeps it.
pub(super) struct Memory {
    history: History,
    file: HistoryFile,
}

/// What earlier daemons knew and others than [`Memory`] use.
pub(super) struct Known {
    /// The ports that servers chose.
    pub(super) ports: BTreeMap<Name, Vec<(RemoteSpec, u16)>>,
    /// The notebooks' servers.
    pub(super) lives: Lives,
}

impl Memory {
    /// With what the file at `path` says.
    pub(super) fn open(path: PathBuf) -> (Self, Known) {
        let (file, remembered) = HistoryFile::open(path);
        let read = |(text, port): &(String, u16)| Some((text.parse().ok()?, *port));
        let ports = remembered.iter().map(|(name, past)| {
            (name.clone(), past.ports.iter().filter_map(read).filter(|(_, port)| *port != 0).collect())
        });
        let ports = ports.collect();
        let mut lives = Lives::default();
        remembered.iter().for_each(|(name, past)| lives.remember(name, past.servers.clone()));
        (Memory { history: History::new(remembered), file }, Known { ports, lives })
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

    /// Takes note of the servers that were found last for the notebooks of a tunnel.
    pub(super) fn keep_servers(&mut self, tunnel: &Name) {
        self.memory.history.served(tunnel, self.notebooks.lives.kept(tunnel));
    }

    /// What a notebook's file asks for, as far as there is such a notebook.
    pub(super) fn question(&self, (tunnel, notebook): &Key) -> Option<Question> {
        let spec = self.specs.get(tunnel)?;
        let notebook = spec.notebooks.iter().find(|spec| spec.name == *notebook)?;
        Some(Question::of(&spec.route, notebook))
    }

    /// The files were read; those of `broken` are there and bad. Forgets the servers that nobody asks for any more: to be
    /// done before the files count, since whatever they change is looked for at once.
    pub(super) fn forget_servers(&mut self, broken: &BTreeSet<Name>, all_broken: bool) {
        let mut lives = std::mem::take(&mut self.notebooks.lives);
        let of = lives.retain(|key, question| match self.specs.contains_key(&key.0) {
            true => self.question(key) == Some(question),
            // It was broken already when we began: nobody knows what it asks for.
            false => all_broken || broken.contains(&key.0),
        });
        self.notebooks.lives = lives;
        of.iter().for_each(|tunnel| self.keep_servers(tunnel));
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
