//! The server that was found last for each notebook, and what users are to hear once another one took its place. It is
//! kept over the daemon's lives: of several servers that fit it is the same one after an upgrade, too.

use std::collections::{BTreeMap, BTreeSet};

use nbtunnel_core::{Launcher, Name, NotebookSpec, Route};

use super::notebooks::Key;
use crate::history::PastServer;
use crate::notebook::{Last, Server};
use crate::service::instance::fnv1a;

/// Longer names of directories are not kept: no system of ours has them.
const LONGEST_DIR: usize = 4096;

const GONE: &str = "its server is another one now: the kernels of the one before are gone";

/// By notebook. It outlasts what is known of where the server is.
#[derive(Default)]
pub(super) struct Lives(BTreeMap<Key, Life>);

#[derive(Debug, PartialEq)]
struct Life {
    last: Last,
    question: Question,
    /// What became of the server before, until somebody has opened this one.
    news: Option<String>,
}

/// Which server was looked for, and where: a number that is the same in every version of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question(u64);

impl Question {
    /// Of the section `spec` at the end of `route`. How one gets there, and what starts it, changes no server.
    pub(super) fn of(route: &Route, spec: &NotebookSpec) -> Question {
        let which = &spec.which;
        let job = match &spec.launcher {
            Launcher::Here => None,
            Launcher::Slurm(slurm) => Some(slurm.job.as_ref()),
        };
        let machine = (&route.host, route.port, &route.user, &spec.host);
        let words = (machine, which.port, &which.owner, &which.dir, which.ports, job);
        Question(fnv1a(format!("{words:?}").as_bytes()))
    }
}

impl Lives {
    /// What was kept of a tunnel's notebooks is known again. What makes no sense is not.
    pub(super) fn remember(&mut self, tunnel: &Name, servers: BTreeMap<String, PastServer>) {
        let life = |(name, kept): (String, PastServer)| {
            let name = Name::parse(&name).ok().filter(|_| kept.port != 0)?;
            let last = Last { pid: kept.pid, port: kept.port, root_dir: kept.root_dir };
            let news = kept.is_news.then(|| GONE.to_owned());
            Some(((tunnel.clone(), name), Life { last, question: Question(kept.question), news }))
        };
        self.0.extend(servers.into_iter().filter_map(life));
    }

    /// What is to be kept of the notebooks of `tunnel`.
    pub(super) fn kept(&self, tunnel: &Name) -> BTreeMap<String, PastServer> {
        let of_it = self.0.iter().filter(|((of, _), _)| of == tunnel);
        let kept = |((_, name), Life { last, question, news }): (&Key, &Life)| {
            let root_dir = last.root_dir.clone().filter(|dir| dir.len() <= LONGEST_DIR);
            let (pid, port, is_news) = (last.pid, last.port, news.is_some());
            (name.to_string(), PastServer { pid, port, root_dir, question: question.0, is_news })
        };
        of_it.map(kept).collect()
    }

    /// It is there. If it is another one than before, that is what users are to hear.
    pub(super) fn found(&mut self, key: &Key, question: Question, server: &Server) -> Option<String> {
        let now = Last { pid: server.pid, port: server.port, root_dir: server.root_dir.clone() };
        let Some(life) = self.0.get_mut(key) else {
            self.0.insert(key.clone(), Life { last: now, question, news: None });
            return None;
        };
        if life.last.is(now.pid, now.port) {
            // At times less of it can be read.
            if now.pid.is_some() {
                life.last = now;
            }
            return None;
        }
        let text = if server.last_ended {
            GONE.to_owned()
        } else {
            let (port, before) = (now.port, life.last.port);
            format!("its server is another one now, on port {port}: the one on port {before} may still run")
        };
        *life = Life { last: now, question, news: server.last_ended.then(|| text.clone()) };
        Some(text)
    }

    /// The one that was found last.
    pub(super) fn last(&self, key: &Key) -> Option<&Last> {
        Some(&self.0.get(key)?.last)
    }

    /// What became of the one before.
    pub(super) fn news(&self, key: &Key) -> Option<&String> {
        self.0.get(key)?.news.as_ref()
    }

    /// The same for somebody who opens what is there now: nobody has to hear it again.
    pub(super) fn take_news(&mut self, key: &Key) -> Option<String> {
        self.0.get_mut(key)?.news.take()
    }

    /// It was ended from here: the next one is no news.
    pub(super) fn stopped(&mut self, key: &Key) {
        self.0.remove(key);
    }

    /// Forgets those that are no more, and those whose files ask for something else now. Returns whose they were.
    pub(super) fn retain(&mut self, is_asked: impl Fn(&Key, Question) -> bool) -> BTreeSet<Name> {
        let mut of = BTreeSet::new();
        self.0.retain(|key, life| {
            let stays = is_asked(key, life.question);
            if !stays {
                of.insert(key.0.clone());
            }
            stays
        });
        of
    }
}

#[cfg(test)]
#[path = "lives_tests.rs"]
mod tests;
