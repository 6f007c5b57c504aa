//! Notebooks: whom `nbctl` means, what is done for them at the far end, and what those hear who wait for one.

use std::collections::{BTreeMap, BTreeSet};

use nbtunnel_core::io::About;
use nbtunnel_core::tunnel::Desire;
use nbtunnel_core::{
    Did, Epoch, Failure, FailureKind, FleetInput, Input, Job, Name, NotebookInput, NotebookSpec, Order,
    Settled, Task, TaskId, WaitId, Wish,
};
use nbtunnel_proto::{Fault, FaultCode, NotebookAsk, NotebookAt, Reply, Secret};

use super::Driver;
use super::looks::Looked;
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
    /// How those were when somebody looked last.
    pub(super) health: BTreeMap<Key, Looked>,
    /// The process of the server that was there last, and what became of the one before.
    lives: BTreeMap<Key, (u32, Option<String>)>,
    ways: KnownWays,
    waiting: BTreeMap<WaitId, Waiting>,
}

/// Somebody who waits for a notebook.
struct Waiting {
    asked: Asked,
    key: Key,
    then: Then,
}

/// What happens when the wait is over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// He hears where it is.
    Tell,
    /// He hears that it is done.
    Done,
    /// It is opened again.
    Open,
}

impl Notebooks {
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
        let (wish, then) = match ask {
            NotebookAsk::Open => (Wish::Open, Then::Tell),
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
        self.notebooks.waiting.insert(wait, Waiting { asked, key, then });
        self.tell(FleetInput::Tunnel(tunnel, input));
    }

    /// The notebook that `name` means: `TUNNEL/NAME`, its own name, or that of a tunnel with one notebook.
    fn notebook_named(&self, name: &str) -> Result<Key, Fault> {
        let all = || {
            self.present().flat_map(|tunnel| {
                let specs = self.fleet.tunnels().get(tunnel).map(|tunnel| tunnel.spec().notebooks.as_slice());
                specs.unwrap_or_default().iter().map(move |spec| (tunnel.clone(), spec.name.clone()))
            })
        };
        let fits = |wanted: &dyn Fn(&Key) -> bool| all().filter(|key| wanted(key)).collect::<Vec<_>>();
        let found = match name.split_once('/') {
            Some((tunnel, notebook)) => fits(&|key| key.0.as_str() == tunnel && key.1.as_str() == notebook),
            None => match fits(&|key| key.1.as_str() == name) {
                found if found.is_empty() => fits(&|key| key.0.as_str() == name),
                found => found,
            },
        };
        let shown = |keys: &[Key]| {
            let names = keys.iter().take(12).map(|(tunnel, notebook)| format!("{tunnel}/{notebook}"));
            names.collect::<Vec<_>>().join(", ")
        };
        match found.as_slice() {
            [key] => Ok(key.clone()),
            [] => Err(self.no_notebook(name, &shown(&all().collect::<Vec<_>>()))),
            several => Err(Fault::new(
                FaultCode::Usage,
                format!("{name:?} may be any of {} notebooks", several.len()),
                format!("say which: {}", shown(several)),
            )),
        }
    }

    fn no_notebook(&self, name: &str, there_are: &str) -> Fault {
        let hint = match (self.present().find(|tunnel| tunnel.as_str() == name), there_are) {
            (Some(tunnel), _) => format!(
                "the tunnel {tunnel} has none: add a section to it with `nbctl edit {tunnel}`, as in [notebook.{tunnel}] \
                 and below it find = \"auto\""
            ),
            (None, "") => "there are none yet: add one with `nbctl add 'ssh user@host'`".into(),
            (None, there_are) => format!("there are: {there_are}"),
        };
        Fault::new(FaultCode::NoSuchTunnel, format!("there is no notebook {name:?}"), hint)
    }

    fn notebook_spec(&self, key: &Key) -> Option<&NotebookSpec> {
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
            ways: self.notebooks.ways.clone(),
        })
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
        match server {
            Some(server) => self.server_found(&key, server),
            None if is_gone(&did) => {
                self.notebooks.servers.remove(&key);
                self.notebooks.health.remove(&key);
            }
            None => {}
        }
        let input = Input::Notebook(key.1, NotebookInput::Did(id, did));
        self.tell(FleetInput::Tunnel(key.0, input));
    }

    fn server_found(&mut self, key: &Key, server: Server) {
        if let Some(pid) = server.pid {
            let before = self.notebooks.lives.get(key).map(|(pid, _)| *pid);
            if before != Some(pid) {
                self.notebooks.health.remove(key);
                let text = "its server was started anew: the kernels of the one before are gone";
                let news = before.map(|_| text.to_owned());
                if news.is_some() {
                    self.note(Some(&key.0), &format!("notebook {}: {text}", key.1));
                }
                self.notebooks.lives.insert(key.clone(), (pid, news));
            }
        }
        self.notebooks.servers.insert(key.clone(), server);
    }

    /// What became of the server that was there before, if something did.
    pub(super) fn news_of(&self, key: &Key) -> Option<&String> {
        self.notebooks.lives.get(key)?.1.as_ref()
    }

    /// A wait is over, if it is one for a notebook.
    pub(super) fn notebook_settled(&mut self, wait: WaitId, settled: Settled) -> Option<Settled> {
        let Some(Waiting { asked, key, then }) = self.notebooks.waiting.remove(&wait) else {
            return Some(settled);
        };
        let reply = match (settled, then) {
            (Settled::Reached, Then::Tell) => self.notebook_at(&key),
            (Settled::Reached, Then::Done) => Ok(Reply::Done),
            (Settled::Reached, Then::Open) => {
                self.wish(asked, key, Wish::Open, Then::Tell);
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

    fn notebook_at(&self, key: &Key) -> Result<Reply, Fault> {
        let (Some(spec), Some(server)) = (self.notebook_spec(key), self.notebooks.servers.get(key)) else {
            return Err(Fault::new(
                FaultCode::Failed,
                format!("the notebook {} was removed meanwhile", key.1),
                "see `nbctl status`",
            ));
        };
        if let Some(why) = self.cannot_listen(key).as_ref().or(server.token_problem.as_ref()) {
            return Err(fault(why));
        }
        Ok(Reply::Notebook(Box::new(NotebookAt {
            tunnel: key.0.to_string(),
            name: key.1.to_string(),
            host: self.local_name(key).to_owned(),
            local_port: spec.local_port,
            https: server.https,
            base_url: server.base_url.clone(),
            token: server.token.clone(),
            password: server.password,
            kind: server.kind.word().to_owned(),
            notes: server.notes(),
        })))
    }

    /// What this machine is to be called in its URL: where its port of `[::1]` could not be had, `localhost` may lead
    /// to somebody else.
    pub(super) fn local_name(&self, key: &Key) -> &'static str {
        let view = self.fleet.tunnels().get(&key.0).map(|tunnel| tunnel.view(self.clock.now()));
        let has_both = view.is_some_and(|view| {
            let place =
                view.spec.forwards.iter().position(|forward| forward.target.notebook() == Some(&key.1));
            let forward = place.and_then(|place| view.forwards.get(place));
            forward.is_none_or(|forward| forward.note.is_none())
        });
        if has_both { "localhost" } else { "127.0.0.1" }
    }

    /// Why nobody listens for it on this machine.
    fn cannot_listen(&self, key: &Key) -> Option<Failure> {
        let view = self.fleet.tunnels().get(&key.0)?.view(self.clock.now());
        let place =
            view.spec.forwards.iter().position(|forward| forward.target.notebook() == Some(&key.1))?;
        let forward = view.forwards.get(place)?;
        forward.listens.is_empty().then(|| forward.problem.clone()).flatten()
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
        self.notebooks.health.retain(|key, _| is_there(key));
        self.notebooks.lives.retain(|key, _| is_there(key));
    }
}

/// Whether nothing is left of a server that was found before.
fn is_gone(did: &Did) -> bool {
    match did {
        Did::Missing(_) | Did::Stopped | Did::Job(None) => true,
        Did::Job(Some(job)) => job.node().is_none(),
        Did::Found(..) | Did::Started | Did::Failed(_) => false,
    }
}

/// A failure as an answer.
fn fault(why: &Failure) -> Fault {
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
