//! Notebooks: what is done for them at the far end, and what those hear who wait for one.

use std::collections::{BTreeMap, BTreeSet};

use nbtunnel_core::io::About;
use nbtunnel_core::tunnel::Desire;
use nbtunnel_core::{
    Did, Epoch, Failure, FailureKind, FleetInput, Input, Job, Name, NotebookInput, NotebookSpec, Order,
    Settled, Task, TaskId, WaitId, Wish,
};
use nbtunnel_proto::{Fault, FaultCode, NotebookAsk, NotebookAt, Reply, Secret};

use super::Driver;
use super::jobs;
use super::lives::Lives;
use super::looks::Looks;
use crate::event::{Asked, ClientId, Event};
use crate::launch::KnownWays;
use crate::notebook::{self, Done, Errand, Server};

/// A notebook: its tunnel, and its name there.
pub(super) type Key = (Name, Name);

/// What the driver knows of notebooks and core does not: secrets, and who waits.
#[derive(Default)]
pub(super) struct Notebooks {
    /// The tokens that files give.
    pub(super) tokens: BTreeMap<Key, Secret>,
    /// What was found last.
    pub(super) servers: BTreeMap<Key, Server>,
    /// How those fare.
    pub(super) looks: Looks,
    /// Which they were.
    pub(super) lives: Lives,
    ways: KnownWays,
    waiting: BTreeMap<WaitId, Waiting>,
}

/// Somebody who waits for a notebook.
struct Waiting {
    asked: Asked,
    key: Key,
    then: Then,
    /// Its job, as he was told that it stands.
    told: Option<Job>,
}

/// What happens when the wait is over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// He hears where it is.
    Tell,
    /// The same, and what became of the server before: he is led there.
    Show,
    /// He hears that it is done.
    Done,
    /// It is opened again.
    Open,
}

impl Then {
    /// Whether he waits until a server is there.
    fn is_for_a_server(self) -> bool {
        match self {
            Then::Tell | Then::Show => true,
            Then::Done | Then::Open => false,
        }
    }
}

impl Notebooks {
    /// With what is known of their servers from before this start.
    pub(super) fn with(lives: Lives) -> Notebooks {
        Notebooks { lives, ..Notebooks::default() }
    }

    /// A client is gone: returns what it waited for.
    pub(super) fn hung_up(&mut self, client: ClientId) -> Vec<(Name, WaitId)> {
        let (gone, stays) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(_, waiting): &(WaitId, Waiting)| waiting.asked.client == client);
        let gone: BTreeMap<WaitId, Waiting> = gone;
        self.waiting = stays;
        gone.into_iter().map(|(wait, waiting)| (waiting.key.0, wait)).collect()
    }

    /// Nobody will get there any more.
    pub(super) fn stop(&mut self, fault: impl Fn() -> Reply) {
        std::mem::take(&mut self.waiting).into_values().for_each(|waiting| waiting.asked.answer(fault()));
    }

    /// What is being done for a notebook of `tunnel`, for those who wait.
    pub(super) fn progress(&self, tunnel: &Name, about: &About, text: &str) {
        let concerns = |(of, notebook): &Key| match about {
            About::Tunnel | About::Link | About::Login => of == tunnel,
            About::Notebook(name) => of == tunnel && notebook.as_str() == name,
            About::Forward(_) => false,
        };
        let concerned = self.waiting.values().filter(|waiting| concerns(&waiting.key));
        concerned.for_each(|waiting| waiting.asked.answer(Reply::Progress(text.to_owned())));
    }

    /// How the job of a notebook stands, for those who wait until it runs and do not know.
    fn job_stands(&mut self, key: &Key, job: &Job, now_ms: u64) {
        let waits = |waiting: &&mut Waiting| waiting.key == *key && waiting.then.is_for_a_server();
        for waiting in self.waiting.values_mut().filter(waits) {
            if jobs::is_news(waiting.told.as_ref(), job) {
                let text = format!("notebook {}: {}", key.1, jobs::sentence(job, now_ms));
                waiting.asked.answer(Reply::Progress(text));
                waiting.told = Some(job.clone());
            }
        }
    }
}

impl Driver {
    /// Begins what `nbctl` wants of a notebook.
    pub(super) fn notebook_asked(
        &mut self,
        asked: &Asked,
        name: &str,
        ask: NotebookAsk,
    ) -> Result<(), Fault> {
        let key = self.notebook_named(name)?;
        let stopped = self.fleet.tunnels().get(&key.0).is_some_and(|tunnel| tunnel.desire() == Desire::Down);
        if stopped && ask != NotebookAsk::Open {
            let tunnel = &key.0;
            return Err(Fault::new(
                FaultCode::Failed,
                format!("the tunnel {tunnel} of the notebook {} is stopped", key.1),
                format!("start it with `nbctl start {tunnel}`, or both with `nbctl open {name}`"),
            ));
        }
        if ask == NotebookAsk::Restart && !self.notebook_spec(&key).is_some_and(NotebookSpec::can_be_started)
        {
            return Err(Fault::new(
                FaultCode::Failed,
                format!("nothing says how the server of {} is started, so it was not ended", key.1),
                format!("set start in its section, or `nbctl notebook stop {name}` and start it over there"),
            ));
        }
        let (wish, then) = match ask {
            NotebookAsk::Open => (Wish::Open, Then::Show),
            NotebookAsk::Find => (Wish::Find, Then::Tell),
            NotebookAsk::Stop => (Wish::Stop, Then::Done),
            NotebookAsk::Restart => (Wish::Stop, Then::Open),
            NotebookAsk::Log { lines } => return self.notebook_log(asked, &key, lines),
        };
        if stopped {
            self.tell(FleetInput::Tunnel(key.0.clone(), Input::Order(Order::Start)));
        } else if ask == NotebookAsk::Open {
            // What parked it may be mended by now, as after `nbctl key test`.
            self.nudge(key.0.clone());
        }
        self.wish(asked.clone(), key, wish, then);
        Ok(())
    }

    fn wish(&mut self, asked: Asked, key: Key, wish: Wish, then: Then) {
        let wait = self.waits.number();
        let input = Input::Notebook(key.1.clone(), NotebookInput::Wish(wait, wish));
        let tunnel = key.0.clone();
        self.notebooks.waiting.insert(wait, Waiting { asked, key, then, told: None });
        self.tell(FleetInput::Tunnel(tunnel, input));
    }

    pub(super) fn notebook_spec(&self, key: &Key) -> Option<&NotebookSpec> {
        let tunnel = self.fleet.tunnels().get(&key.0)?;
        tunnel.spec().notebooks.iter().find(|spec| spec.name == key.1)
    }

    fn job_of(&self, key: &Key) -> Option<Job> {
        self.fleet.tunnels().get(&key.0)?.notebook_job(&key.1).cloned()
    }

    /// What a task needs beside the way to the far end.
    pub(super) fn errand(&self, key: &Key) -> Option<Errand> {
        Some(Errand {
            spec: self.notebook_spec(key)?.clone(),
            token: self.notebooks.tokens.get(key).cloned(),
            job: self.job_of(key),
            last: self.notebooks.lives.last(key).cloned(),
            others: self.other_notebooks(key),
            ways: self.notebooks.ways.of(key.0.as_str()),
        })
    }

    fn other_notebooks(&self, key: &Key) -> Vec<NotebookSpec> {
        let present = self.present().filter_map(|name| self.fleet.tunnels().get_key_value(name));
        let all = present
            .flat_map(|(tunnel, machine)| machine.spec().notebooks.iter().map(move |spec| (tunnel, spec)));
        all.filter(|(tunnel, spec)| (*tunnel, &spec.name) != (&key.0, &key.1))
            .map(|(_, spec)| spec.clone())
            .collect()
    }

    /// Has a task done over the link `epoch`; [`Driver::notebook_did`] hears of it.
    pub(super) fn notebook_task(
        &mut self,
        tunnel: Name,
        epoch: Epoch,
        notebook: Name,
        id: TaskId,
        task: Task,
    ) {
        let key = (tunnel, notebook);
        let (Some(far), Some(errand)) = (self.effects.far_side(&key.0, epoch), self.errand(&key)) else {
            // The link is over, or the section is gone: core knows already, or will before long.
            return;
        };
        let events = self.events.clone();
        self.data.spawn(async move {
            let done = notebook::carry_out(far, errand, task).await;
            let _ = events.send(Event::Notebook(key.0, key.1, id, Box::new(done)));
        });
    }

    /// What came of a task.
    pub(super) fn notebook_did(&mut self, key: Key, id: TaskId, done: Done) {
        let Done { did, server, news } = done;
        if let Some(news) = news {
            let text = format!("notebook {}: {news}", key.1);
            self.notebooks.progress(&key.0, &About::Notebook(key.1.to_string()), &text);
            self.note(Some(&key.0), &text);
        }
        // What an older task says is about a section or a link of another time.
        if !self.fleet.tunnels().get(&key.0).is_some_and(|tunnel| tunnel.awaits_task(&key.1, id)) {
            return;
        }
        if did == Did::Stopped {
            self.notebooks.lives.stopped(&key);
            self.keep_servers(&key.0);
        }
        let is_news = server.as_ref().is_some_and(|server| self.is_news(&key, server));
        match server {
            Some(server) => self.server_found(&key, server),
            None if is_gone(&did) => {
                self.notebooks.servers.remove(&key);
                self.notebooks.looks.forget(&key);
            }
            None => {}
        }
        let job = if let Did::Job(job) = &did { job.clone() } else { None };
        let input = Input::Notebook(key.1.clone(), NotebookInput::Did(id, did));
        self.tell(FleetInput::Tunnel(key.0.clone(), input));
        if let Some(job) = job {
            self.notebooks.job_stands(&key, &job, self.clock.wall_ms());
        }
        if is_news {
            self.look_anew(&key);
        }
    }

    fn server_found(&mut self, key: &Key, server: Server) {
        if let Some(question) = self.question(key)
            && let Some(text) = self.notebooks.lives.found(key, question, &server)
        {
            self.note(Some(&key.0), &format!("notebook {}: {text}", key.1));
        }
        self.keep_servers(&key.0);
        self.notebooks.servers.insert(key.clone(), server);
    }

    /// A wait is over, if it is one for a notebook.
    pub(super) fn notebook_settled(&mut self, wait: WaitId, settled: Settled) -> Option<Settled> {
        let Some(Waiting { asked, key, then, .. }) = self.notebooks.waiting.remove(&wait) else {
            return Some(settled);
        };
        let reply = match (settled, then) {
            (Settled::Reached, Then::Tell) => self.notebook_at(&key, false).map(told),
            (Settled::Reached, Then::Show) => self.notebook_at(&key, true).map(|mut at| {
                at.notes.extend(self.notebooks.lives.take_news(&key));
                self.keep_servers(&key.0);
                told(at)
            }),
            (Settled::Reached, Then::Done) => Ok(Reply::Done),
            (Settled::Reached, Then::Open) => {
                self.wish(asked, key, Wish::Open, Then::Show);
                return None;
            }
            (Settled::Stuck(why), _) => Err(fault(&why)),
            (Settled::Overtaken, _) => Err(Fault::new(
                FaultCode::Failed,
                format!("the tunnel {} was stopped or removed meanwhile", key.0),
                format!("see `nbctl status {}`", key.0),
            )),
        };
        asked.answer(reply.unwrap_or_else(Reply::Fault));
        None
    }

    fn notebook_log(&self, asked: &Asked, key: &Key, lines: u32) -> Result<(), Fault> {
        let name = &key.0;
        let (Some(far), Some(errand)) = (self.effects.far_side_now(name), self.errand(key)) else {
            return Err(Fault::new(
                FaultCode::Failed,
                format!("the tunnel {name} is not up, and the log is at its far end"),
                format!("see `nbctl status {name}`"),
            ));
        };
        let answer = asked.answer.clone();
        self.data.spawn(async move {
            let reply = match notebook::log(far, &errand, lines).await {
                Ok(text) => Reply::Text(text),
                Err(why) => Reply::Fault(fault(&why)),
            };
            let _ = answer.send(reply).await;
        });
        Ok(())
    }

    /// Takes over the tokens that the files give, and returns whose are new; those of files that are broken stay as they
    /// were. To be done before the files count: a notebook that is new is looked for at once.
    pub(super) fn take_tokens(
        &mut self,
        mut new: BTreeMap<Key, Secret>,
        broken: &BTreeSet<Name>,
        all_broken: bool,
    ) -> Vec<Key> {
        let stays = |(tunnel, _): &Key| all_broken || broken.contains(tunnel);
        let old = std::mem::take(&mut self.notebooks.tokens);
        let differs = |(key, token): &(&Key, &Secret)| !stays(key) && old.get(*key) != Some(*token);
        let changed = new.iter().filter(differs).map(|(key, _)| key.clone()).collect();
        new.extend(old.into_iter().filter(|(key, _)| stays(key)));
        self.notebooks.tokens = new;
        changed
    }

    /// What was found of notebooks that are no more is forgotten.
    pub(super) fn forget_notebooks(&mut self) {
        let tunnels = self.fleet.tunnels();
        let is_there = |key: &Key| {
            tunnels
                .get(&key.0)
                .is_some_and(|tunnel| tunnel.spec().notebooks.iter().any(|spec| spec.name == key.1))
        };
        self.notebooks.servers.retain(|key, _| is_there(key));
        self.notebooks.looks.retain(is_there);
    }
}

/// Whether nothing is left of a server that was found before.
fn is_gone(did: &Did) -> bool {
    match did {
        Did::Missing(_) | Did::Ended(_) | Did::Stopped | Did::Job(None) => true,
        Did::Job(Some(job)) => job.node().is_none(),
        Did::Found(..) | Did::Started | Did::Failed(_) => false,
    }
}

/// Where it is, as an answer.
fn told(at: NotebookAt) -> Reply {
    Reply::Notebook(Box::new(at))
}

/// A failure as an answer.
pub(super) fn fault(why: &Failure) -> Fault {
    let code = match why.kind {
        FailureKind::HostKeyUnknown
        | FailureKind::HostKeyChanged
        | FailureKind::AnswerNeeded
        | FailureKind::PassphraseNeeded
        | FailureKind::NoCredentials
        | FailureKind::TokenRefused
        | FailureKind::NotYours => FaultCode::NeedsYou,
        _ => FaultCode::Failed,
    };
    Fault::new(code, why.message.clone(), why.hint.clone())
}
