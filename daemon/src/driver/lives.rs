//! The server that was found last for each notebook, and what users are to hear once another one took its place.

use std::collections::BTreeMap;

use super::notebooks::Key;
use crate::notebook::{Last, Server};

/// By notebook. It outlasts what is known of where the server is.
#[derive(Default)]
pub(super) struct Lives(BTreeMap<Key, Life>);

struct Life {
    last: Last,
    /// What became of the server before, until somebody has opened this one.
    news: Option<String>,
}

impl Lives {
    /// It is there. If it is another one than before, that is what users are to hear.
    pub(super) fn found(&mut self, key: &Key, server: &Server) -> Option<String> {
        let now = Last { pid: server.pid, port: server.port, root_dir: server.root_dir.clone() };
        let Some(life) = self.0.get_mut(key) else {
            self.0.insert(key.clone(), Life { last: now, news: None });
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
            "its server is another one now: the kernels of the one before are gone".to_owned()
        } else {
            let (port, before) = (now.port, life.last.port);
            format!("its server is another one now, on port {port}: the one on port {before} may still run")
        };
        *life = Life { last: now, news: server.last_ended.then(|| text.clone()) };
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

    /// Forgets those that are no more.
    pub(super) fn retain(&mut self, is_there: impl Fn(&Key) -> bool) {
        self.0.retain(|key, _| is_there(key));
    }
}
