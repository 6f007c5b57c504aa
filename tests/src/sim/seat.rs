//! What is known of one notebook from what core was told and what it said: what the rules for notebooks go by.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use nbtunnel_core::{Did, Epoch, Gate, NotebookSpec, Target, Task, TaskId, WaitId, Wish};

use super::far::At;

/// A task is over by then, answered or not.
const TASK_LASTS: Duration = Duration::from_secs(90);

/// A task that core began.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    /// Over which link.
    pub epoch: Epoch,
    /// Its number.
    pub id: TaskId,
    /// What is to be done.
    pub task: Task,
    /// When it was begun.
    pub at: At,
}

/// Somebody who waits.
#[derive(Clone, Copy, Debug)]
pub struct Wished {
    /// For what.
    pub wish: Wish,
    /// Only a task with this number or a later one tells him something.
    pub since: TaskId,
    /// When he came.
    pub at: At,
}

/// One notebook of a tunnel.
#[derive(Clone, Debug)]
pub struct Seat {
    /// What its section says.
    pub spec: NotebookSpec,
    /// The task under way.
    pub task: Option<Begun>,
    /// Beyond every number of a task so far.
    pub next: TaskId,
    /// The task that was answered last, and by what, unless what it told is about another time.
    pub last: Option<(TaskId, Task, Did)>,
    /// Where it was found, and over which link.
    pub found: Option<(Epoch, Target)>,
    /// Who waits.
    pub wishes: BTreeMap<WaitId, Wished>,
    /// When something happened last that is worth a look.
    pub stirred_at: At,
    /// When tasks were begun, in the last minute.
    pub begun: VecDeque<At>,
    /// How many connections came.
    pub arrivals: u64,
}

impl Seat {
    /// One of which nothing is known.
    pub fn new(now: At, spec: NotebookSpec) -> Seat {
        Seat {
            spec,
            task: None,
            next: TaskId(0),
            last: None,
            found: None,
            wishes: BTreeMap::new(),
            stirred_at: now,
            begun: VecDeque::new(),
            arrivals: 0,
        }
    }

    /// What is known is about another time.
    pub fn forget(&mut self, now: At) {
        (self.task, self.last, self.found) = (None, None, None);
        self.stirred_at = now;
    }

    /// Another link serves, or none.
    pub fn over(&mut self, now: At, gate: Gate) {
        let lasts = |epoch: Epoch| gate == Gate::Serve(epoch);
        self.found = self.found.take().filter(|(epoch, _)| lasts(*epoch));
        if self.task.is_none_or(|begun| !lasts(begun.epoch)) {
            (self.task, self.last) = (None, None);
        }
        self.stirred_at = now;
    }

    /// Time passed.
    pub fn timed_out(&mut self, now: At) {
        if self.task.is_some_and(|begun| begun.at + TASK_LASTS <= now) {
            (self.task, self.last) = (None, None);
        }
    }

    /// Whether core still waits for what came of `id`.
    pub fn awaits(&self, id: TaskId) -> bool {
        self.task.is_some_and(|begun| begun.id == id)
    }

    /// Core hears what came of a task.
    pub fn hear(&mut self, now: At, id: TaskId, did: &Did) {
        let Some(begun) = self.task.take_if(|begun| begun.id == id) else { return };
        let before = self.last.replace((id, begun.task, did.clone()));
        match did {
            Did::Found(target) => self.found = Some((begun.epoch, target.clone())),
            Did::Started => self.stirred_at = now,
            Did::Stopped => self.stirred_at = now,
            Did::Job(_) if before.is_none_or(|(_, _, before)| before != *did) => self.stirred_at = now,
            Did::Job(_) | Did::Missing(_) | Did::Ended(_) | Did::Failed(_) => {}
        }
    }

    /// Core begins a task.
    pub fn begin(&mut self, begun: Begun) {
        self.next = TaskId(begun.id.0 + 1);
        let minute = Duration::from_secs(60);
        self.begun.retain(|at| *at + minute > begun.at);
        self.begun.push_back(begun.at);
        self.task = Some(begun);
    }
}
