//! The words that a notebook's machine and the shell speak.

use std::time::Duration;

use crate::failure::Failure;
use crate::forward::Target;
use crate::io::WaitId;
use crate::moment::Moment;

/// Numbers what the shell is asked to do for one notebook. What an older one says changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub u64);

/// What is to be done at the far end. Each is answered by [`NotebookInput::Did`], unless its link ends before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    /// Look where its server is. Answered by [`Did::Found`], [`Did::Missing`] or [`Did::Failed`].
    Find,
    /// The same for one that was started: what has ended again is not waited for. Answered as [`Task::Find`], or by
    /// [`Did::Ended`].
    Await,
    /// Start its server, unless there is one, or somebody starts it. Answered by [`Did::Started`] or
    /// [`Did::Failed`].
    Start,
    /// End its server or job. Answered by [`Did::Stopped`] or [`Did::Failed`].
    Stop,
    /// Look for its job, by its lasting name. Answered by [`Did::Job`] or [`Did::Failed`].
    Queue,
    /// Submit its job, after the queue was asked and a marker taken. Answered by [`Did::Job`] or [`Did::Failed`].
    Submit,
}

/// What came of a [`Task`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Did {
    /// Its server is there, seen from the far end, and the user's.
    Found(Target),
    /// There is none.
    Missing(Failure),
    /// Somebody starts it: wait for it.
    Started,
    /// What was started has ended, and nothing is there.
    Ended(Failure),
    /// It is over.
    Stopped,
    /// How its job stands; none: there is none.
    Job(Option<Job>),
    /// It could not be done.
    Failed(Failure),
}

impl Did {
    /// Whether it can come of `task`.
    pub(super) fn answers(&self, task: Task) -> bool {
        match self {
            Did::Found(..) | Did::Missing(_) => matches!(task, Task::Find | Task::Await),
            Did::Ended(_) => task == Task::Await,
            Did::Started => task == Task::Start,
            Did::Stopped => task == Task::Stop,
            Did::Job(_) => matches!(task, Task::Queue | Task::Submit),
            Did::Failed(_) => true,
        }
    }
}

/// A job of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its number.
    pub id: u64,
    /// How it stands.
    pub state: JobState,
    /// The cluster's own word for that.
    pub word: String,
    /// Until its time is up, counted when it was asked for.
    pub left: Option<Duration>,
}

impl Job {
    /// Where it runs, if it does.
    pub fn node(&self) -> Option<&str> {
        match &self.state {
            JobState::Running { node } => Some(node),
            JobState::Pending { .. } | JobState::Between => None,
        }
    }
}

/// How a job stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// It waits, for this reason, and may start then (seconds since 1970-01-01 UTC, as the cluster thinks).
    Pending {
        /// Why.
        reason: String,
        /// When.
        starts: Option<u64>,
    },
    /// It runs on this machine.
    Running {
        /// Its name, as the cluster knows it.
        node: String,
    },
    /// It is being moved, or cleared away.
    Between,
}

/// What happened to one notebook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotebookInput {
    /// Somebody wants something of it. Answered by [`crate::Output::Answer`], exactly once.
    Wish(WaitId, Wish),
    /// What came of a task.
    Did(TaskId, Did),
    /// Somebody looks: what is known may be old.
    Look,
    /// A probe of its server failed: it may be elsewhere.
    Doubt,
}

/// What somebody wants of a notebook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wish {
    /// Know where it is, looked up after this was said; start nothing.
    Find,
    /// The same, and start it if it is not there and its file says how.
    Open,
    /// End it.
    Stop,
}

/// What a notebook is doing, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotebookState {
    /// Nobody has looked, or there is no link.
    Unknown,
    /// Looking.
    Finding,
    /// It is there.
    Found,
    /// It was there, or should be, and is not.
    Lost,
    /// It was started and is not there yet.
    Starting,
    /// Its job waits.
    Pending,
    /// It is being ended.
    Stopping,
    /// Looking or starting failed.
    Failed,
}

impl NotebookState {
    /// The word that users see.
    pub const fn word(self) -> &'static str {
        match self {
            NotebookState::Unknown => "unknown",
            NotebookState::Finding => "finding",
            NotebookState::Found => "found",
            NotebookState::Lost => "lost",
            NotebookState::Starting => "starting",
            NotebookState::Pending => "pending",
            NotebookState::Stopping => "stopping",
            NotebookState::Failed => "failed",
        }
    }
}

/// A notebook as users see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotebookView {
    /// What its section says.
    pub spec: super::NotebookSpec,
    /// What it is doing.
    pub state: NotebookState,
    /// Where its server is, as `host:port` seen from the far end.
    pub target: Option<String>,
    /// What is wrong, if something is.
    pub problem: Option<Failure>,
    /// Its job, and when that was asked for.
    pub job: Option<(Job, Moment)>,
}
