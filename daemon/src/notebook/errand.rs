//! What core wants done for a notebook, done: which of the finders, starters and clusters it takes.

use std::sync::Arc;

use nbtunnel_core::{Did, Failure, FailureKind, Job, Launcher, NotebookSpec, Task};
use nbtunnel_proto::Secret;

use super::{Server, Wanted, find};
use crate::forward::FarSide;
use crate::launch::{self, Batch, Launch};

/// A notebook, and what only the shell knows of it.
pub struct Errand {
    /// What its section says.
    pub spec: NotebookSpec,
    /// The token that its file gives.
    pub token: Option<Secret>,
    /// The job that it runs in, as far as it is known.
    pub job: Option<Job>,
    /// The process of the server that was found last.
    pub pid: Option<u32>,
}

/// Does `task`, and says what came of it; the server, where one was found.
pub async fn carry_out(far: Arc<dyn FarSide>, errand: Errand, task: Task) -> (Did, Option<Server>) {
    let did = match task {
        Task::Find => return look_for(far, &errand).await,
        Task::Start => launch::start(far, &errand.launch()).await.map(|_| Did::Started),
        Task::Stop => match errand.batch() {
            Some(batch) => launch::cancel(far, &batch).await.map(|()| Did::Stopped),
            None => launch::stop(far, &errand.launch(), errand.pid).await.map(|()| Did::Stopped),
        },
        Task::Queue => match errand.batch() {
            Some(batch) => launch::queue(far, &batch).await.map(Did::Job),
            None => Ok(Did::Job(None)),
        },
        Task::Submit => match errand.batch() {
            Some(batch) => launch::submit(far, &batch).await.map(|job| Did::Job(Some(job))),
            None => Ok(Did::Job(None)),
        },
    };
    (did.unwrap_or_else(Did::Failed), None)
}

/// The last lines of what its server wrote.
///
/// # Errors
/// Why there are none.
pub async fn log(far: Arc<dyn FarSide>, errand: &Errand, lines: u32) -> Result<String, Failure> {
    match errand.batch() {
        Some(batch) => launch::job_log(far, &batch, lines).await,
        None => launch::log(far, &errand.launch(), lines).await,
    }
}

async fn look_for(far: Arc<dyn FarSide>, errand: &Errand) -> (Did, Option<Server>) {
    let wanted = errand.wanted();
    let node = errand.job.as_ref().and_then(|job| Some((job, job.node()?)));
    let far = match node {
        Some((job, _)) => launch::on_node(far, job),
        None => far,
    };
    match find(far, &wanted).await {
        Ok(server) => {
            // Its node is reached from the login host by its name.
            let host = match node {
                Some((_, node)) if is_local(&server.host) => node.to_owned(),
                Some(_) | None => server.host.clone(),
            };
            (Did::Found(host, server.port), Some(server))
        }
        // The user wrote this port down: it is forwarded, as ssh would, and no token of ours goes there.
        Err(why) if why.kind == FailureKind::NotYours && errand.may_be_anybodys() => {
            let server = Server::of_somebody(&wanted, why.message);
            (Did::Found(server.host.clone(), server.port), Some(server))
        }
        Err(why) if matches!(why.kind, FailureKind::NotebookMissing | FailureKind::NotYours) => {
            (Did::Missing(why), None)
        }
        Err(why) => (Did::Failed(why), None),
    }
}

fn is_local(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "::1")
}

impl Errand {
    /// Whether its file names a port and nobody's name or token: a colleague's notebook, perhaps.
    fn may_be_anybodys(&self) -> bool {
        self.spec.which.port.is_some() && self.spec.which.owner.is_none() && self.token.is_none()
    }

    fn wanted(&self) -> Wanted {
        let which = &self.spec.which;
        Wanted {
            host: self.spec.host.clone(),
            port: which.port,
            owner: which.owner.clone(),
            dir: which.dir.clone(),
            ports: which.ports,
            scheme: self.spec.scheme,
            token: self.token.clone(),
        }
    }

    fn launch(&self) -> Launch {
        Launch {
            name: self.spec.name.clone(),
            command: self.spec.start.clone().unwrap_or_default(),
            dir: self.spec.dir.clone(),
            port: self.spec.which.port,
            ports: self.spec.which.ports,
        }
    }

    fn batch(&self) -> Option<Batch> {
        let Launcher::Slurm(slurm) = &self.spec.launcher else { return None };
        Some(Batch {
            name: self.spec.name.clone(),
            spec: (**slurm).clone(),
            command: self.spec.start.clone(),
            dir: self.spec.dir.clone(),
        })
    }
}
