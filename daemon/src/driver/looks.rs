//! How notebooks fare, asked only while somebody looks: whoever wants a status waits a moment for it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use nbtunnel_core::{FleetInput, Input, JobState, Moment, Name, NotebookInput, NotebookView, TunnelView};
use nbtunnel_proto::{Fault, JobStatus, NotebookServer, NotebookStatus, Reply};
use tokio::time::timeout;

use super::Driver;
use super::notebooks::Key;
use crate::control::convert;
use crate::event::{Asked, Event};
use crate::forward::FarSide;
use crate::notebook::{self, Health, Server};

/// What was seen so lately is not looked at again.
const FRESH: Duration = Duration::from_secs(2);
/// Who asks waits so long for those that are slow.
const PATIENCE: Duration = Duration::from_millis(1500);

/// How a notebook fared when somebody looked.
pub(super) struct Looked {
    /// When that was begun.
    at: Moment,
    /// How it fared, and when that was known, in milliseconds since 1970-01-01 UTC.
    health: Option<(Health, u64)>,
}

impl Driver {
    /// The status of these tunnels, at once if there is nothing to look at; [`Driver::looked`] answers otherwise.
    pub(super) fn status_asked(&mut self, asked: &Asked, names: Vec<String>) -> Result<Option<Reply>, Fault> {
        let now = self.clock.now();
        let tunnels = if names.is_empty() { self.present().cloned().collect() } else { self.select(&names)? };
        let looks: Vec<_> = tunnels.iter().flat_map(|tunnel| self.looks_at(tunnel, now)).collect();
        if looks.is_empty() {
            return self.status(&names).map(|status| Some(Reply::Status(Box::new(status))));
        }
        let (events, asked) = (self.events.clone(), asked.clone());
        self.data.spawn(async move {
            let looked = join_all(looks.into_iter().map(look_at)).await.into_iter().flatten().collect();
            let _ = events.send(Event::Looked(asked, names, looked));
        });
        Ok(None)
    }

    /// The notebooks of a tunnel that may be looked at now, and are to be. Those that nobody has found are looked for.
    fn looks_at(&mut self, tunnel: &Name, now: Moment) -> Vec<(Key, Arc<dyn FarSide>, Server)> {
        let Some(far) = self.effects.far_side_now(tunnel) else { return Vec::new() };
        let views = self.fleet.tunnels().get(tunnel).map(|tunnel| tunnel.view(now).notebooks);
        let mut looks = Vec::new();
        for NotebookView { spec, target, .. } in views.unwrap_or_default() {
            let key = (tunnel.clone(), spec.name);
            // What was found earlier may be another's by now.
            let at = |server: &&Server| target.as_ref().is_some_and(|target| server.is_at(target));
            let Some(server) = self.notebooks.servers.get(&key).filter(at).cloned() else {
                let look = Input::Notebook(key.1, NotebookInput::Look);
                self.tell(FleetInput::Tunnel(tunnel.clone(), look));
                continue;
            };
            let before = self.notebooks.health.get(&key);
            if before.is_some_and(|looked| now.since(looked.at) < FRESH) {
                continue;
            }
            let health = self.notebooks.health.remove(&key).and_then(|looked| looked.health);
            self.notebooks.health.insert(key.clone(), Looked { at: now, health });
            let Some(errand) = self.errand(&key) else { continue };
            looks.push((key, errand.machine(Arc::clone(&far)), server));
        }
        looks
    }

    /// Notebooks were looked at for somebody who waits for a status.
    pub(super) fn looked(&mut self, asked: &Asked, names: &[String], looked: Vec<(Name, Name, Health)>) {
        let wall_ms = self.clock.wall_ms();
        for (tunnel, notebook, health) in looked {
            if matches!(health, Health::PortRefused(_)) {
                let doubt = Input::Notebook(notebook.clone(), NotebookInput::Doubt);
                self.tell(FleetInput::Tunnel(tunnel.clone(), doubt));
            }
            if let Some(known) = self.notebooks.health.get_mut(&(tunnel, notebook)) {
                known.health = Some((health, wall_ms));
            }
        }
        let reply = self.status(names).map(|status| Reply::Status(Box::new(status)));
        asked.answer(reply.unwrap_or_else(Reply::Fault));
    }

    /// The notebooks of a tunnel as users see them.
    pub(super) fn notebook_statuses(
        &self,
        tunnel: &Name,
        view: &TunnelView,
        now: Moment,
    ) -> Vec<NotebookStatus> {
        let status = |notebook: &NotebookView| self.notebook_status(tunnel, notebook, now);
        view.notebooks.iter().map(status).collect()
    }

    fn notebook_status(&self, tunnel: &Name, view: &NotebookView, now: Moment) -> NotebookStatus {
        let key = (tunnel.clone(), view.spec.name.clone());
        let server = view.target.as_ref().and_then(|_| self.notebooks.servers.get(&key));
        let health = self.notebooks.health.get(&key).and_then(|looked| looked.health.as_ref());
        let health = health.filter(|_| server.is_some());
        let vitals = health.and_then(|(health, at)| Some((health.vitals()?, *at)));
        let told = server.map(|server| NotebookServer {
            version: vitals.and_then(|(vitals, _)| vitals.version.clone()).or(server.version.clone()),
            kernels: vitals.map(|(vitals, _)| vitals.kernels),
            busy: vitals.map(|(vitals, _)| vitals.busy),
            last_activity: vitals.and_then(|(vitals, _)| vitals.last_activity.clone()),
            asked_ms: vitals.map(|(_, at)| at).unwrap_or_default(),
        });
        let unwell =
            health.and_then(|(health, _)| health.why()).or(server.and_then(|s| s.token_problem.as_ref()));
        let mut notes = server.map(Server::notes).unwrap_or_default();
        notes.extend(self.news_of(&key).cloned());
        let port = view.spec.local_port;
        NotebookStatus {
            name: key.1.to_string(),
            state: view.state.word().to_owned(),
            url: server.map(|server| server.local_url(self.local_name(&key), port)),
            local_port: port,
            target: view.target.clone(),
            health: health.map(|(health, _)| health.words()),
            server: told,
            note: (!notes.is_empty()).then(|| notes.join("; ")),
            problem: view.problem.as_ref().or(unwell).map(convert::problem),
            job: view.job.as_ref().map(|(job, asked_at)| {
                let (reason, starts) = match &job.state {
                    JobState::Pending { reason, starts } => (Some(reason.clone()), *starts),
                    JobState::Running { .. } | JobState::Between => (None, None),
                };
                JobStatus {
                    id: job.id,
                    state: job.word.clone(),
                    reason,
                    starts_ms: starts.map(|seconds| seconds.saturating_mul(1000)),
                    node: job.node().map(str::to_owned),
                    left_s: job.left.map(|left| left.saturating_sub(now.since(*asked_at)).as_secs_f64()),
                }
            }),
        }
    }
}

/// Looks at one, after it was made sure whose it is; none if that takes too long.
async fn look_at((key, far, server): (Key, Arc<dyn FarSide>, Server)) -> Option<(Name, Name, Health)> {
    let look = async {
        match notebook::verify(Arc::clone(&far), &server).await {
            Ok(()) => notebook::look(far, &server).await,
            Err(why) => Health::PortRefused(why),
        }
    };
    Some((key.0, key.1, timeout(PATIENCE, look).await.ok()?))
}
