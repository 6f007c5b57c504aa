//! Takes over what the files say.

use nbtunnel_core::{FleetInput, Input, NotebookInput};

use super::{Driver, tell};
use crate::config::Loaded;
use crate::service::readiness;

impl Driver {
    pub(super) fn loaded(&mut self, loaded: Loaded) {
        self.settle_settings(&loaded);
        let changes =
            nbtunnel_core::reconcile(&self.specs, loaded.tunnels, &loaded.broken, loaded.all_broken);
        for change in &changes {
            match change {
                nbtunnel_core::Change::Add(name, spec) | nbtunnel_core::Change::Respec(name, spec) => {
                    self.specs.insert(name.clone(), (**spec).clone());
                }
                nbtunnel_core::Change::Remove(name) => {
                    self.specs.remove(name);
                }
            }
        }
        for problem in &loaded.problems {
            if !self.problems.contains(problem) {
                let text = tell::problem_sentence(problem);
                tracing::warn!("{text}");
                self.journal.line(self.clock.wall_ms(), None, &text);
            }
        }
        self.problems = loaded.problems;
        self.notes = loaded.notes;
        self.recall(&loaded.broken, loaded.all_broken);
        self.forget_servers(&loaded.broken, loaded.all_broken);
        let doubted = self.take_tokens(loaded.tokens, &loaded.broken, loaded.all_broken);
        self.tell(FleetInput::Apply(changes.clone()));
        for (tunnel, notebook) in doubted {
            let doubt = Input::Notebook(notebook, NotebookInput::Doubt);
            self.tell(FleetInput::Tunnel(tunnel, doubt));
        }
        if !loaded.all_broken {
            let right = self.fleet.tunnels().keys().filter(|name| !loaded.broken.contains(*name));
            for name in right.cloned().collect::<Vec<_>>() {
                self.tell(FleetInput::Tunnel(name, Input::FilesRead));
            }
        }
        self.forget_notebooks();
        self.answer_reloads(loaded.asked, &changes);
        if !self.loaded_once {
            self.loaded_once = true;
            self.services.all_forwards_known();
            let text = format!("watching {} with {}", self.config_dir.display(), self.count());
            self.note(None, &text);
            self.answer_early();
        }
        readiness::ready(&self.count());
    }

    pub(super) fn count(&self) -> String {
        match self.specs.len() {
            1 => "1 tunnel".to_owned(),
            count => format!("{count} tunnels"),
        }
    }

    /// Takes over the settings of the daemon as a whole, unless their file cannot be read.
    fn settle_settings(&mut self, loaded: &Loaded) {
        if loaded.all_broken || loaded.daemon == self.settings {
            return;
        }
        self.settings = loaded.daemon.clone();
        self.filter.set(self.settings.log.as_deref());
        self.services.set_spool(self.settings.spool);
    }
}
