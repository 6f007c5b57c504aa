//! Notebook servers at the far end and the cluster they may run in: they come, go, move and are slow to be seen, and
//! do what is asked of them. Knows nothing of tunnels but their names.

use std::time::Duration;

use nbtunnel_core::{Did, Failure, FailureKind, Job, JobState, Target, Task};

use super::chance::Chance;
use super::far::At;

/// A job waits at most so long for its machine, and a server that starts is there after a part of it.
pub(super) const COMES_WITHIN: u64 = 60;

/// How looks at the far end fare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks {
    /// Soon.
    Well,
    /// After a good while, and then they tell what was.
    Slow,
    /// They come to nothing.
    Fail,
    /// They are never answered.
    Mute,
}

/// A job of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterJob {
    /// Its number.
    pub id: u64,
    /// The number of the machine on which it runs.
    pub node: Option<u64>,
}

/// What there is at the far end for one notebook.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it listens, if it runs.
    pub port: Option<u16>,
    /// Another user sits where it was.
    pub stranger: bool,
    /// How it is to look at it.
    pub looks: Looks,
    /// A cluster runs it.
    pub in_cluster: bool,
    /// Its job there.
    pub job: Option<ClusterJob>,
    /// Counts what was begun: what comes of an earlier start is no news.
    pub life: u64,
    /// What was started last ended before it was there.
    pub ended: bool,
    /// When any of this changed last.
    pub changed_at: At,
}

impl Server {
    /// Perhaps one that runs.
    pub fn new(chance: &mut Chance, in_cluster: bool) -> Server {
        let runs = chance.percent(60);
        Server {
            port: runs.then_some(7000),
            stranger: false,
            looks: Looks::Well,
            in_cluster,
            job: (runs && in_cluster).then_some(ClusterJob { id: 1, node: Some(1) }),
            life: 1,
            ended: false,
            changed_at: At::ZERO,
        }
    }

    /// Where it is, seen from the far end.
    pub fn place(&self) -> Option<Target> {
        let host = match self.in_cluster {
            true => format!("n{}", self.job?.node?),
            false => "localhost".to_owned(),
        };
        Some(Target::Tcp(host, self.port?))
    }

    /// Whether whoever is led to `target` finds it there.
    pub fn is_at(&self, target: &Target) -> bool {
        self.place().as_ref() == Some(target)
    }

    /// It is gone, with whatever was on its way.
    pub fn end(&mut self, now: At) {
        (self.port, self.job) = (None, None);
        self.life += 1;
        self.changed_at = now;
    }

    /// It listens, at a port that no server of this life had.
    pub fn come(&mut self, now: At, chance: &mut Chance) {
        self.port = Some(7000 + u16::try_from(chance.below(4)).unwrap_or(0));
        self.stranger = false;
        self.changed_at = now;
    }

    /// How long `task` takes; none: for ever.
    pub fn takes(&self, chance: &mut Chance) -> Option<Duration> {
        match self.looks {
            Looks::Well | Looks::Fail => Some(chance.millis(30, 900)),
            Looks::Slow => Some(chance.secs(2, 60)),
            Looks::Mute => None,
        }
    }

    /// What whoever looks sees, if `task` is a look.
    pub fn looked_at(&self, task: Task) -> Option<Did> {
        match (task, self.seen()) {
            (Task::Await, Did::Missing(why)) if self.ended => Some(Did::Ended(why)),
            (Task::Find | Task::Await, seen) => Some(seen),
            (Task::Start | Task::Stop | Task::Queue | Task::Submit, _) => None,
        }
    }

    fn seen(&self) -> Did {
        match (self.looks, self.place()) {
            (Looks::Fail, _) => Did::Failed(failure(FailureKind::NotebookFailed)),
            (_, Some(target)) => Did::Found(target),
            (_, None) if self.stranger => Did::Missing(failure(FailureKind::NotYours)),
            (_, None) => Did::Missing(failure(FailureKind::NotebookMissing)),
        }
    }

    /// What comes of `task`, and whether a server or a job is on its way now that was not before.
    pub fn carry_out(&mut self, now: At, task: Task) -> (Did, bool) {
        if self.looks == Looks::Fail {
            return (Did::Failed(failure(FailureKind::NotebookFailed)), false);
        }
        match task {
            Task::Find | Task::Await => (self.seen(), false),
            Task::Start => {
                let begins = self.port.is_none();
                self.life += u64::from(begins);
                self.ended &= !begins;
                (Did::Started, begins)
            }
            Task::Stop => {
                self.end(now);
                (Did::Stopped, false)
            }
            Task::Queue => (Did::Job(self.job()), false),
            Task::Submit => {
                let begins = self.job.is_none();
                if begins {
                    self.life += 1;
                    self.job = Some(ClusterJob { id: self.life, node: None });
                    (self.port, self.changed_at) = (None, now);
                }
                (Did::Job(self.job()), begins)
            }
        }
    }

    fn job(&self) -> Option<Job> {
        let job = self.job?;
        let state = match job.node {
            Some(node) => JobState::Running { node: format!("n{node}") },
            None => JobState::Pending { reason: "Resources".into(), starts: None },
        };
        Some(Job { id: job.id, state, word: "WORD".into(), left: Some(Duration::from_secs(3600)) })
    }
}

pub(super) fn failure(kind: FailureKind) -> Failure {
    Failure::new(kind, "the notebook is not there", "")
}
