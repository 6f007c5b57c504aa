//! Notebooks as `nbctl status` shows them: what core knows, what was found, and what the last look saw.

use nbtunnel_core::{Moment, Name, NotebookView, State, TunnelView};
use nbtunnel_proto::{NotebookServer, NotebookStatus};

use super::Driver;
use super::jobs;
use super::looks::Seen;
use super::notebooks::Key;
use crate::control::convert;
use crate::notebook::{Server, words_of};

impl Driver {
    /// The notebooks of a tunnel as users see them.
    pub(super) fn notebook_statuses(
        &self,
        tunnel: &Name,
        view: &TunnelView,
        now: Moment,
    ) -> Vec<NotebookStatus> {
        let status = |notebook: &NotebookView| NotebookStatus {
            job: notebook.job.as_ref().map(|(job, asked_at)| jobs::status(job, *asked_at, now)),
            ..self.notebook_status(tunnel, view.state, notebook, now)
        };
        view.notebooks.iter().map(status).collect()
    }

    fn notebook_status(
        &self,
        tunnel: &Name,
        link: State,
        view: &NotebookView,
        now: Moment,
    ) -> NotebookStatus {
        let key = (tunnel.clone(), view.spec.name.clone());
        let server = self.server_at(&key, view.target.as_deref());
        let seen = self.notebooks.looks.seen(&key).filter(|_| server.is_some());
        // What a look met is nearer to what its user wants to know than what a search met before or after it.
        let unwell = seen.and_then(|seen| seen.health.why());
        let problem =
            unwell.or(view.problem.as_ref()).or(server.and_then(|server| server.token_problem.as_ref()));
        let health = match (seen, problem) {
            (Some(seen), why) if unwell.is_some() || why.is_none() => Some(seen.health.words()),
            (_, Some(why)) => Some(words_of(why)),
            (_, None) => self.without_a_link(&key, link),
        };
        let mut notes = server.map(Server::notes).unwrap_or_default();
        notes.extend(self.notebooks.lives.news(&key).cloned());
        notes.extend(view.job.as_ref().and_then(|(job, asked_at)| jobs::warning(job, *asked_at, now)));
        NotebookStatus {
            state: view.state.word().to_owned(),
            url: server.map(|server| server.local_url(self.local_name(&key), view.spec.local_port)),
            local_port: view.spec.local_port,
            target: view.target.clone(),
            health,
            health_ms: seen.map(|seen| seen.at_ms),
            health_since_ms: seen.map(|seen| seen.since_ms),
            server: server.map(|server| told(server, seen)),
            note: (!notes.is_empty()).then(|| notes.join("; ")),
            problem: problem.map(convert::problem),
            job: None,
            name: key.1.to_string(),
        }
    }

    /// What core knows of it.
    pub(super) fn view_of(&self, key: &Key) -> Option<NotebookView> {
        let views = self.fleet.tunnels().get(&key.0)?.view(self.clock.now()).notebooks;
        views.into_iter().find(|view| view.spec.name == key.1)
    }

    /// What was found at `target`, if core leads there.
    pub(super) fn server_at(&self, key: &Key, target: Option<&str>) -> Option<&Server> {
        self.notebooks.servers.get(key).filter(|server| target.is_some_and(|target| server.is_at(target)))
    }

    /// What is known of a server that was found over a link that does not serve now.
    fn without_a_link(&self, key: &Key, link: State) -> Option<String> {
        let was_there = self.notebooks.servers.contains_key(key);
        let is_away = was_there && self.effects.far_side_now(&key.0).is_none();
        let words = match link {
            State::Up => "ssh suspect",
            State::Binding | State::Connecting | State::Waiting | State::Parked => "link gone",
            State::Stopped | State::Idle | State::Closing => return None,
        };
        is_away.then(|| words.to_owned())
    }
}

/// What a server says of itself. Of one that says nothing now, nothing is shown that it said earlier.
fn told(server: &Server, seen: Option<&Seen>) -> NotebookServer {
    let vitals = seen.and_then(|seen| Some((seen.health.vitals()?, seen.at_ms)));
    NotebookServer {
        version: vitals.and_then(|(vitals, _)| vitals.version.clone()).or(server.version.clone()),
        kernels: vitals.map(|(vitals, _)| vitals.kernels),
        busy: vitals.map(|(vitals, _)| vitals.busy),
        last_activity: vitals.and_then(|(vitals, _)| vitals.last_activity.clone()),
        asked_ms: vitals.map(|(_, at_ms)| at_ms).unwrap_or_default(),
    }
}
