//! What core wants done for a notebook, done: which of the finders, starters and clusters it takes.

use std::sync::Arc;

use nbtunnel_core::{Did, Failure, FailureKind, Job, Launcher, NotebookSpec, Target, Task};
use nbtunnel_proto::Secret;

use super::{Kind, Last, Server, Wanted, find, process_of, words};
use crate::forward::FarSide;
use crate::launch::{self, Batch, KnownWays, Launch, Node};

/// A notebook, and what only the shell knows of it.
pub struct Errand {
    /// What its section says.
    pub spec: NotebookSpec,
    /// The token that its file gives.
    pub token: Option<Secret>,
    /// The job that it runs in, as far as it is known.
    pub job: Option<Job>,
    /// The server that was found last.
    pub last: Option<Last>,
    /// The other notebooks of this daemon.
    pub others: Vec<NotebookSpec>,
    /// How machines of jobs took scripts so far.
    pub ways: KnownWays,
}

/// What came of an errand.
#[derive(Debug)]
pub struct Done {
    /// For core.
    pub did: Did,
    /// The server, where one was found.
    pub server: Option<Server>,
    /// What a user should know of it.
    pub news: Option<String>,
}

impl From<Did> for Done {
    fn from(did: Did) -> Done {
        Done { did, server: None, news: None }
    }
}

/// Does `task`, and says what came of it.
pub async fn carry_out(far: Arc<dyn FarSide>, errand: Errand, task: Task) -> Done {
    let did = match task {
        Task::Find => return look_for(far, &errand).await,
        Task::Await => return look_for_started(far, &errand).await,
        Task::Start => match launch::start(far, &errand.launch()).await {
            Ok(begun) => return Done { news: begun.news(), ..Did::Started.into() },
            Err(why) => Err(why),
        },
        Task::Stop => match errand.batch() {
            Some(batch) => {
                let known = errand.job.as_ref().map(|job| job.id);
                launch::cancel(far, &batch, known).await.map(|()| Did::Stopped)
            }
            None => {
                // Who starts none may use another notebook's server, and not end it.
                let wanted = Wanted { not: errand.others(), ..errand.wanted(None) };
                let found = match process_of(&far, &wanted).await {
                    Ok(None) if wanted.started_as.is_none() && !wanted.not.is_empty() => {
                        let anybodys = process_of(&far, &errand.wanted(None)).await;
                        anybodys.and_then(|found| found.map_or(Ok(None), |_| Err(words::another_notebooks())))
                    }
                    found => found,
                };
                let pid = found.as_ref().ok().copied().flatten();
                match (launch::stop(far, &errand.launch(), pid).await, found) {
                    // Whoever is there goes on.
                    (Ok(stopped), Err(why)) if !stopped.ended_ours => Err(why),
                    (Ok(stopped), _) => return Done { news: stopped.news, ..Did::Stopped.into() },
                    (Err(why), _) => Err(why),
                }
            }
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
    did.unwrap_or_else(Did::Failed).into()
}

/// The last lines of what its server wrote.
///
/// # Errors
/// Why there are none.
pub async fn log(far: Arc<dyn FarSide>, errand: &Errand, lines: u32) -> Result<String, Failure> {
    match errand.batch() {
        Some(batch) => {
            let known = errand.job.as_ref().map(|job| job.id);
            launch::job_log(far, &batch, lines, known).await
        }
        None => launch::log(far, &errand.launch(), lines).await,
    }
}

/// Looks for a server that was started, and if it is not there, whether it is still to come.
async fn look_for_started(far: Arc<dyn FarSide>, errand: &Errand) -> Done {
    let done = look_for(Arc::clone(&far), errand).await;
    match &done.did {
        Did::Missing(_) => match launch::ended(far, &errand.launch()).await {
            Some(why) => Did::Ended(why).into(),
            None => done,
        },
        _ => done,
    }
}

async fn look_for(far: Arc<dyn FarSide>, errand: &Errand) -> Done {
    let node = errand.node(&far);
    let wanted = errand.wanted(node.as_deref());
    let far = node.clone().map_or(far, |node| node as Arc<dyn FarSide>);
    let mut found = find(Arc::clone(&far), &wanted).await;
    // A team's port: it may be that of whom the section is named after.
    if let (Err(why), Some(owner)) = (&found, errand.namesake())
        && why.kind == FailureKind::NotYours
    {
        let theirs = find(far, &Wanted { owner: Some(owner), ..wanted }).await;
        found = theirs.or(found);
    }
    if let (Ok(server), Some(node)) = (&mut found, node) {
        match node.from_login(server.target.clone()).await {
            Ok(target) => server.target = target,
            Err(why) => return Did::Failed(why).into(),
        }
    }
    match found {
        Ok(server) => server.into(),
        Err(why) if why.kind == FailureKind::NotebookMissing => Did::Missing(errand.startable(why)).into(),
        Err(why) if why.kind == FailureKind::NotYours => Did::Missing(why).into(),
        Err(why) => Did::Failed(why).into(),
    }
}

impl Errand {
    /// That none is there, with what starts one where the file says how.
    fn startable(&self, why: Failure) -> Failure {
        match (&self.spec.start, &self.spec.launcher) {
            (Some(_), Launcher::Here) => {
                Failure { hint: format!("start it with `nbctl open {}`", self.spec.name), ..why }
            }
            (None, _) | (_, Launcher::Slurm(_)) => why,
        }
    }

    /// The machine on which it runs, reached by way of `far`.
    pub fn machine(&self, far: Arc<dyn FarSide>) -> Arc<dyn FarSide> {
        self.node(&far).map_or(far, |node| node as Arc<dyn FarSide>)
    }

    /// Whether that is a node of a cluster.
    pub fn is_on_node(&self) -> bool {
        self.job.as_ref().is_some_and(|job| job.node().is_some())
    }

    fn node(&self, far: &Arc<dyn FarSide>) -> Option<Arc<Node>> {
        Node::of(Arc::clone(far), self.job.as_ref()?, self.ways.clone())
    }

    /// The account that its section may be named after, where the file names a port and no owner. A token of the file's
    /// is not for another account that nobody named.
    fn namesake(&self) -> Option<String> {
        let which = &self.spec.which;
        let is_open = which.port.is_some() && which.owner.is_none() && self.token.is_none();
        is_open.then(|| self.spec.name.to_string())
    }

    fn wanted(&self, node: Option<&Node>) -> Wanted {
        let which = &self.spec.which;
        let started_as = started_as(&self.spec);
        Wanted {
            // The cluster says which machine a job's is.
            host: if node.is_some() { "localhost".to_owned() } else { self.spec.host.clone() },
            port: which.port,
            owner: which.owner.clone(),
            dir: which.dir.clone(),
            ports: which.ports,
            scheme: self.spec.scheme,
            token: self.token.clone(),
            pid: None,
            last: self.last.clone(),
            node: node.map(|node| node.name().to_owned()),
            not: if started_as.is_some() { self.others() } else { Vec::new() },
            started_as,
            job: self.job.as_ref().filter(|_| node.is_some()).map(|job| job.id),
        }
    }

    fn launch(&self) -> Launch {
        launch_of(&self.spec)
    }

    /// What servers of other notebooks are started as.
    fn others(&self) -> Vec<String> {
        self.others.iter().filter_map(started_as).collect()
    }

    fn batch(&self) -> Option<Batch> {
        let Launcher::Slurm(slurm) = &self.spec.launcher else { return None };
        Some(Batch {
            name: self.spec.name.clone(),
            spec: (**slurm).clone(),
            command: self.spec.start.clone(),
            dir: self.spec.dir.clone(),
            port: self.spec.which.port,
            ports: self.spec.which.ports,
        })
    }
}

fn launch_of(spec: &NotebookSpec) -> Launch {
    Launch {
        name: spec.name.clone(),
        command: spec.start.clone().unwrap_or_default(),
        dir: spec.dir.clone(),
        port: spec.which.port,
        ports: spec.which.ports,
    }
}

/// What its server is started as, if it is a process of the far end.
fn started_as(spec: &NotebookSpec) -> Option<String> {
    let starts = spec.start.is_some() && matches!(spec.launcher, Launcher::Here);
    starts.then(|| launch_of(spec).directory())
}

impl From<Server> for Done {
    fn from(server: Server) -> Done {
        Done { did: Did::Found(server.target.clone()), server: Some(server), news: None }
    }
}

impl Server {
    /// Whether it is what core leads to, as that is shown.
    pub fn is_at(&self, target: &str) -> bool {
        self.target.to_string() == target
    }

    /// Where it is, for people.
    pub fn place(&self) -> String {
        Target::Tcp(self.node.as_ref().unwrap_or(&self.host).clone(), self.port).to_string()
    }

    /// Whether it is the same one, whatever runs beside it.
    pub fn is_same(&self, other: &Server) -> bool {
        let bare = |of: &Server| Server { others: Vec::new(), last_ended: false, ..of.clone() };
        bare(self) == bare(other)
    }

    /// Whether its page lets in whoever types a token that is not known here.
    pub fn asks_on_its_page(&self) -> bool {
        self.token.is_none() && self.kind != Kind::Hub
    }

    /// Where it is found on this machine, without its token.
    pub fn local_url(&self, host: &str, port: u16) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{host}:{port}{}", self.base_url)
    }

    /// What is so, needs no mending, and somebody may want to know.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        match (&self.target, &self.node) {
            (Target::Socket(_), Some(node)) => {
                notes.push(format!("reached by ssh from the login machine to {node}, as its port there"));
            }
            (Target::Beyond { machine, .. }, _) => {
                notes.push(format!(
                    "reached by ssh to {machine} by way of the login machine, as its port there"
                ));
            }
            (Target::Tcp(..) | Target::Socket(_) | Target::Socks | Target::Notebook(_), _) => {}
        }
        if let Some(owner) = &self.owner {
            notes.push(format!("it is {owner}'s"));
        }
        if self.self_signed {
            notes.push("its certificate vouches for itself, and SSH for the machine".to_owned());
        }
        if !self.others.is_empty() {
            notes.push(format!("others would do as well: {}", self.others.join(", ")));
        }
        notes
    }
}

impl Kind {
    /// The word that users see.
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Server2 => "jupyter-server",
            Kind::Notebook6 => "notebook6",
            Kind::Hub => "hub",
            Kind::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
#[path = "errand_tests.rs"]
mod tests;
