//! One notebook: where its server is today, and whether it has to be looked for, started or ended.
//!
//! Driven by its tunnel, which says over which link the far end can be asked. Its forward is an ordinary one;
//! its target is what this machine knows, and whoever comes while it knows nothing is held by the shell.
//!
//! # Invariants
//!
//! - What was found over one link is looked up anew over the next: another may sit on yesterday's port.
//! - At most one task at a time; each has a number, and a deadline.
//! - Nothing is started twice: a start follows a search that found nothing, and nothing follows a start but the
//!   search for what it started, until that has ended or [`START_LASTS`] is over.
//! - Each wish is answered exactly once, by something that was looked up after it came.

mod did;
mod pace;
mod spec;
mod words;

use std::collections::VecDeque;
use std::time::Duration;

use crate::failure::{Failure, FailureKind};
use crate::forward::Target;
use crate::io::{About, Epoch, Output, Settled, Timer, TimerReason, Transition, WaitId};
use crate::moment::Moment;

use pace::{Pause, Search};
pub use spec::{Launcher, NotebookSpec, Scheme, SlurmSpec, Which};
pub use words::{Did, Job, JobState, NotebookInput, NotebookState, NotebookView, Task, TaskId, Wish};

/// A server that is gone is looked for so often …
pub const SEEK_EVERY: Duration = Duration::from_millis(500);
/// … for so long, and then with pauses that double …
pub const SEEK_FAST: Duration = Duration::from_secs(30);
/// … up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Whoever asks for it hears after so long that it is not found; the search goes on for those who are held.
pub const WISH_LASTS: Duration = Duration::from_secs(5);
/// A server that was started is waited for so long.
pub const START_LASTS: Duration = Duration::from_secs(120);
/// A task is answered by then: each has a deadline of its own, below this.
const TASK_LASTS: Duration = Duration::from_secs(90);
/// So long before the time of a job is up, users are told.
pub const WARNED_BEFORE: Duration = Duration::from_secs(10 * 60);
/// While somebody looks, the queue is asked so often …
const QUEUE_LOOKED_AT: Duration = Duration::from_secs(10);
/// … a job that waits is asked for so often at first; the pauses double …
const QUEUE_EVERY: Duration = Duration::from_secs(2);
/// … up to this.
const QUEUE_AT_LEAST_EVERY: Duration = Duration::from_secs(30);

/// The state machine of one notebook.
#[derive(Clone, Debug, PartialEq)]
pub struct Notebook {
    spec: NotebookSpec,
    /// The link over which the far end can be asked.
    via: Option<Epoch>,
    /// Where its server is, seen from the far end.
    place: Option<Target>,
    /// It was there, and is looked for once more before anybody is led there.
    doubted: bool,
    /// It was there, over this link or one before.
    was_there: bool,
    task: Option<Running>,
    next_task: u64,
    search: Option<Search>,
    /// Somebody came for it and was not led there: until it is found, nothing ends the search but its pauses.
    sought: bool,
    /// What the task that runs finds may be old already.
    again: bool,
    /// It was started, and is waited for until then.
    started_until: Option<Moment>,
    job: Option<(Job, Moment)>,
    queue: Option<Pause>,
    /// When it was asked last.
    queue_asked_at: Option<Moment>,
    /// The job of which users know that it ends soon.
    warned: Option<u64>,
    wishes: Vec<Wanted>,
    why: Option<Failure>,
    announced: NotebookState,
    outputs: VecDeque<Output>,
}

/// What the shell is doing.
#[derive(Clone, Debug, PartialEq)]
struct Running {
    id: TaskId,
    task: Task,
    deadline: Moment,
}

/// A wish that is not answered yet.
#[derive(Clone, Debug, PartialEq)]
struct Wanted {
    wait: WaitId,
    wish: Wish,
    /// Only a task with this number or a later one answers it.
    since: TaskId,
    /// When a look for it found nothing for the first time.
    vain_since: Option<Moment>,
}

impl Notebook {
    /// Nothing is known of it. `first` lies beyond the number of every task of an earlier one of its name.
    pub fn new(spec: NotebookSpec, first: TaskId) -> Self {
        Notebook {
            spec,
            via: None,
            place: None,
            doubted: false,
            was_there: false,
            task: None,
            next_task: first.0,
            search: None,
            sought: false,
            again: false,
            started_until: None,
            job: None,
            queue: None,
            queue_asked_at: None,
            warned: None,
            wishes: Vec::new(),
            why: None,
            announced: NotebookState::Unknown,
            outputs: VecDeque::new(),
        }
    }

    /// What its section says.
    pub fn spec(&self) -> &NotebookSpec {
        &self.spec
    }

    /// Beyond the number of every task so far.
    pub fn next_task(&self) -> TaskId {
        TaskId(self.next_task)
    }

    /// Whether somebody waits for it.
    pub fn is_wanted(&self) -> bool {
        !self.wishes.is_empty()
    }

    /// Where its forward leads now.
    pub fn target(&self) -> Target {
        match &self.place {
            Some(place) if self.via.is_some() && !self.doubted => place.clone(),
            Some(_) | None => Target::Notebook(self.spec.name.clone()),
        }
    }

    /// The next thing to be done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When it wants [`Notebook::timed_out`], and why.
    pub fn poll_timeout(&self) -> Option<Timer> {
        self.via?;
        let at = match &self.task {
            Some(running) => running.deadline,
            None => {
                let search = self.search.as_ref().map(|search| search.next_at);
                let queue = self.queue.as_ref().map(|queue| queue.next_at);
                search.into_iter().chain(queue).min()?
            }
        };
        Some((at, TimerReason::Notebook))
    }

    /// Its section says something else now; what was found may be something else, too.
    pub fn respec(&mut self, now: Moment, spec: NotebookSpec) {
        if std::mem::discriminant(&self.spec.launcher) != std::mem::discriminant(&spec.launcher) {
            (self.job, self.started_until, self.warned) = (None, None, None);
        }
        let same = NotebookSpec { owner_only: spec.owner_only, ..self.spec.clone() } == spec;
        self.spec = spec;
        if !same {
            self.forget(now);
        }
    }

    /// The far end can be asked over this link from now on, or over none.
    pub fn over(&mut self, now: Moment, via: Option<Epoch>) {
        if self.via != via {
            self.via = via;
            self.forget(now);
        }
    }

    /// What is known is about another time.
    fn forget(&mut self, now: Moment) {
        (self.task, self.again) = (None, false);
        self.place = None;
        self.why = None;
        let in_a_cluster = self.in_a_cluster();
        let due = || Pause { next_at: now, pause: QUEUE_EVERY };
        self.queue = (self.via.is_some() && in_a_cluster).then(due);
        // Whoever is held has it looked for in a hurry.
        let looks = self.via.is_some() && !in_a_cluster && !self.sought;
        self.search = looks.then(|| Search::once(now));
    }

    /// Takes in what happened. Total, as every machine here.
    pub fn handle(&mut self, now: Moment, input: NotebookInput) {
        match input {
            NotebookInput::Wish(wait, wish) => {
                let since = TaskId(self.next_task);
                self.wishes.push(Wanted { wait, wish, since, vain_since: None });
                self.look(now);
                if wish == Wish::Open {
                    // Its job may be over by now.
                    self.ask_the_queue(now);
                }
            }
            NotebookInput::Did(id, did) => {
                if let Some(running) = self.task.take_if(|running| running.id == id) {
                    self.did(now, &running, did);
                }
            }
            NotebookInput::Look => {
                if self.place.is_none() && self.search.is_none() && self.queue.is_none() {
                    self.look(now);
                }
                // Its job may be on its way to another machine, where a look at its server would wait for it.
                self.ask_the_queue_every(now, QUEUE_LOOKED_AT);
            }
            NotebookInput::Doubt => {
                self.again = self.task.is_some();
                self.seek(now);
            }
        }
    }

    /// Nobody waits any more.
    pub fn unwait(&mut self, wait: WaitId) {
        self.wishes.retain(|wanted| wanted.wait != wait);
    }

    /// A connection to it was refused: it is gone from there.
    pub fn refused(&mut self, now: Moment) {
        self.place = None;
        self.seek(now);
    }

    /// Somebody waits for it, and the shell leads nobody there before it was looked for again.
    pub fn sought(&mut self, now: Moment) {
        self.doubted = self.place.is_some();
        self.seek(now);
    }

    /// Whether what comes of this task is still waited for.
    pub fn awaits(&self, id: TaskId) -> bool {
        self.task.as_ref().is_some_and(|running| running.id == id)
    }

    /// Time passed.
    pub fn timed_out(&mut self, now: Moment) {
        if let Some(running) = self.task.take_if(|running| running.deadline <= now) {
            let why = Failure::new(
                FailureKind::TimedOut,
                "the far end did not say in time how the notebook is",
                "it is asked again when somebody comes",
            );
            self.did(now, &running, Did::Failed(why));
        }
    }

    /// Brings what is nearer to what is wanted. Doing it twice changes nothing.
    pub fn settle(&mut self, now: Moment) {
        self.seek_who_is_held(now);
        if let Some(via) = self.via
            && self.task.is_none()
            && let Some(task) = self.due_task(now)
        {
            let id = TaskId(self.next_task);
            self.next_task += 1;
            if task == Task::Queue {
                self.queue_asked_at = Some(now);
            }
            self.task = Some(Running { id, task, deadline: now + TASK_LASTS });
            self.outputs.push_back(Output::Notebook(via, self.spec.name.clone(), id, task));
        }
        self.announce();
    }

    fn due_task(&self, now: Moment) -> Option<Task> {
        let wants = |wish| self.wishes.iter().any(|wanted| wanted.wish == wish);
        if wants(Wish::Stop) {
            return Some(Task::Stop);
        }
        if self.queue.as_ref().is_some_and(|queue| queue.next_at <= now) {
            return Some(Task::Queue);
        }
        let is_due = self.search.as_ref().is_some_and(|search| search.next_at <= now);
        // How a job fares, the queue says.
        let awaited = self.started_until.is_some() && !self.in_a_cluster();
        is_due.then_some(if awaited { Task::Await } else { Task::Find })
    }

    /// Everybody who waits is told that it is in vain.
    pub fn strand(&mut self, settled: &Settled) {
        for wanted in self.wishes.drain(..) {
            self.outputs.push_back(Output::Answer(wanted.wait, settled.clone()));
        }
    }

    fn in_a_cluster(&self) -> bool {
        matches!(self.spec.launcher, Launcher::Slurm(_))
    }

    fn runs(&self) -> bool {
        self.job.as_ref().is_some_and(|(job, _)| job.node().is_some())
    }

    /// Its job, as far as it is known.
    pub fn job(&self) -> Option<&Job> {
        self.job.as_ref().map(|(job, _)| job)
    }

    /// What it is doing, in one word.
    pub fn state(&self) -> NotebookState {
        let task = self.task.as_ref().map(|running| running.task);
        if self.via.is_none() {
            return NotebookState::Unknown;
        }
        match (task, &self.place) {
            (Some(Task::Stop), _) => NotebookState::Stopping,
            (_, Some(_)) => NotebookState::Found,
            (Some(Task::Start | Task::Submit), None) => NotebookState::Starting,
            (_, None) if self.in_a_cluster() && self.job.is_some() && !self.runs() => NotebookState::Pending,
            (_, None) if self.started_until.is_some() => NotebookState::Starting,
            (_, None) if self.was_there => NotebookState::Lost,
            (Some(Task::Find | Task::Await | Task::Queue), None) if self.why.is_none() => {
                NotebookState::Finding
            }
            (_, None) => match &self.why {
                Some(why) if why.kind == FailureKind::NotebookMissing => NotebookState::Lost,
                Some(_) => NotebookState::Failed,
                None => NotebookState::Unknown,
            },
        }
    }

    /// What users see of it.
    pub fn view(&self) -> NotebookView {
        NotebookView {
            spec: self.spec.clone(),
            state: self.state(),
            target: self.place.as_ref().map(Target::to_string),
            problem: self.why.clone().filter(|_| self.via.is_some()),
            job: self.job.clone(),
        }
    }

    fn announce(&mut self) {
        let state = self.state();
        // That somebody looks is no news.
        if state == self.announced || state == NotebookState::Finding {
            return;
        }
        let from = std::mem::replace(&mut self.announced, state).word();
        let about = About::Notebook(self.spec.name.to_string());
        let why = self.why.clone().filter(|_| self.via.is_some());
        let transition = Transition { about, from, to: state.word(), why, retry_in: None };
        self.outputs.push_back(Output::Announce(transition));
    }
}

#[cfg(test)]
mod tests;
