//! What a link tells its owner, in order, and nothing after its end.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use nbtunnel_core::{LinkReport, Step};

use super::credentials::Snapshot;
use super::hop::{Hop, Plan};
use super::hostkey::OfferedKey;
use super::sight::{Seen, Sight};
use crate::forward::carrier::Carrier;

/// What happened to a link.
#[derive(Clone)]
pub enum LinkEvent {
    /// For core. `Lost` or `Closed` comes exactly once, and last. `Answers` is never told so, but as
    /// [`LinkEvent::Answered`].
    Report(LinkReport),
    /// The server answered, in this time. It was asked when it had been so often that it should be: an answer
    /// to an older question than the newest one does not say that the server is there now.
    Answered(u64, Duration),
    /// What carries connections over this link. Comes right before `Report(Up)`.
    Carrier(Arc<dyn Carrier>),
    /// This machine showed a host key that was refused.
    HostKey(Box<(Hop, OfferedKey)>),
    /// Where it goes this time, and over which machines.
    Planned(Box<Plan>),
    /// What could be offered, and the known_hosts files, before the attempt. Compare with it to see what
    /// changed since.
    Looked(Snapshot),
    /// A sentence for the tunnel's history.
    Note(String),
    /// How a step ended.
    Saw(Box<Sight>),
}

/// Told what happens to a link. Called from the data runtime, one call at a time a link; must not block,
/// and must not wait for the link.
pub type OnLink = Arc<dyn Fn(LinkEvent) + Send + Sync>;

/// Sentences that were told; the same one is not told again at every attempt.
pub(super) type Told = Arc<Mutex<HashSet<(String, String)>>>;

/// How many sentences are remembered.
const MAX_TOLD: usize = 1024;

/// Guards the order: nothing comes after the end.
pub(super) struct Reporter {
    name: String,
    on: OnLink,
    told: Told,
    is_over: Mutex<bool>,
}

impl Reporter {
    pub(super) fn new(name: &str, on: OnLink, told: Told) -> Arc<Reporter> {
        Arc::new(Reporter { name: name.to_owned(), on, told, is_over: Mutex::new(false) })
    }

    /// The tunnel that the link is for.
    pub(super) fn tunnel(&self) -> &str {
        &self.name
    }

    pub(super) fn tell(&self, event: LinkEvent) {
        let mut is_over = self.is_over.lock().unwrap_or_else(PoisonError::into_inner);
        if *is_over {
            return;
        }
        *is_over = matches!(event, LinkEvent::Report(LinkReport::Lost(_) | LinkReport::Closed));
        (self.on)(event);
    }

    pub(super) fn step(&self, step: Step) {
        self.tell(LinkEvent::Report(LinkReport::Step(step)));
    }

    pub(super) fn saw(&self, hop: &Hop, seen: Seen) {
        self.tell(LinkEvent::Saw(Box::new(Sight::of(hop, seen))));
    }

    /// Tells a sentence, unless this tunnel told it before.
    pub(super) fn note(&self, text: &str) {
        if text.is_empty() {
            return;
        }
        let is_new = {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.len() >= MAX_TOLD {
                told.clear();
            }
            told.insert((self.name.clone(), text.to_owned()))
        };
        if is_new {
            self.tell(LinkEvent::Note(text.to_owned()));
        }
    }
}

/// All links that want, or have, the same session: they hear what happens to it.
#[derive(Clone, Default)]
pub(super) struct Audience(Arc<Mutex<Seats>>);

#[derive(Default)]
struct Seats {
    listeners: Vec<Weak<Reporter>>,
    /// The step that it is at, and whom it waits for there: whoever comes later has to know.
    step: Vec<LinkEvent>,
}

impl Audience {
    /// From now on `listener` hears it, too.
    pub(super) fn add(&self, listener: &Arc<Reporter>) {
        let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seats.listeners.retain(|listener| listener.strong_count() > 0);
        seats.listeners.push(Arc::downgrade(listener));
        let step = seats.step.clone();
        drop(seats);
        step.into_iter().for_each(|event| listener.tell(event));
    }

    /// What tells all of them. `name` is the tunnel in whose name it is said what users can do.
    pub(super) fn reporter(&self, name: &str) -> Arc<Reporter> {
        let this = self.clone();
        Reporter::new(name, Arc::new(move |event| this.tell(&event)), Told::default())
    }

    fn tell(&self, event: &LinkEvent) {
        let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            LinkEvent::Report(LinkReport::Step(_)) => seats.step = vec![event.clone()],
            LinkEvent::Report(LinkReport::Asking(_)) => {
                seats.step.truncate(1);
                seats.step.push(event.clone());
            }
            _ => {}
        }
        let listeners: Vec<_> = seats.listeners.iter().filter_map(Weak::upgrade).collect();
        drop(seats);
        for listener in listeners {
            match event {
                LinkEvent::Note(text) => listener.note(text),
                _ => listener.tell(event.clone()),
            }
        }
    }
}
