//! Whatever happens, in whatever order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::cluster::running_on;
use super::*;

#[derive(Clone, Debug)]
enum Op {
    Over(Option<u64>),
    /// The task that was begun last, or one before it, is answered.
    Did(bool, Did),
    Wish(Wish),
    Unwait,
    Refused,
    Sought,
    Look,
    Doubt,
    /// Somebody is held, or nobody is any more.
    Held(bool),
    Respec(bool),
    Pass(Duration),
}

fn did() -> impl Strategy<Value = Did> {
    let failure = |kind| Failure::new(kind, "m", "h");
    let pending = JobState::Pending { reason: "r".into(), starts: None };
    let running = JobState::Running { node: "n1".into() };
    prop_oneof![
        3 => (7000..7003u16).prop_map(found),
        3 => Just(missing()),
        2 => Just(Did::Started),
        1 => Just(Did::Ended(failure(FailureKind::NotebookFailed))),
        1 => Just(Did::Stopped),
        1 => Just(Did::Job(None)),
        2 => prop_oneof![Just(pending), Just(running), Just(JobState::Between)].prop_map(|state| {
            Did::Job(Some(Job { id: 1, state, word: "W".into(), left: Some(Duration::from_secs(500)) }))
        }),
        2 => Just(Did::Failed(failure(FailureKind::NotebookFailed))),
    ]
}

fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![Just(Wish::Find), Just(Wish::Open), Just(Wish::Stop)]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => prop::option::weighted(0.7, 1..4u64).prop_map(Op::Over),
        6 => (prop::bool::weighted(0.8), did()).prop_map(|(newest, did)| Op::Did(newest, did)),
        3 => wish().prop_map(Op::Wish),
        1 => Just(Op::Unwait),
        1 => Just(Op::Refused),
        1 => Just(Op::Sought),
        1 => Just(Op::Look),
        1 => Just(Op::Doubt),
        1 => any::<bool>().prop_map(Op::Held),
        1 => any::<bool>().prop_map(Op::Respec),
        4 => (0..100_000u64).prop_map(|ms| Op::Pass(Duration::from_millis(ms))),
    ]
}

/// What is known of it from outside.
struct Watcher {
    notebook: Notebook,
    now: Moment,
    via: Option<Epoch>,
    running: Option<(TaskId, Task)>,
    newest: Option<TaskId>,
    last: Option<(Task, Did)>,
    waiting: BTreeMap<WaitId, (Wish, Option<TaskId>)>,
    /// Since when looks for those who wait have found nothing.
    vain: BTreeMap<WaitId, Moment>,
    waits: u64,
    held: bool,
}

impl Watcher {
    fn settle(&mut self) -> Result<(), TestCaseError> {
        if !self.held {
            self.notebook.rest(self.now);
        }
        self.notebook.settle(self.now);
        self.hear()?;
        let before = self.notebook.clone();
        self.notebook.settle(self.now);
        prop_assert_eq!(&before, &self.notebook, "settling twice changes something");
        prop_assert!(self.via.is_some() || self.notebook.target().notebook().is_some());
        Ok(())
    }

    fn hear(&mut self) -> Result<(), TestCaseError> {
        while let Some(output) = self.notebook.poll_output() {
            match output {
                Output::Notebook(epoch, _, id, task) => {
                    prop_assert_eq!(Some(epoch), self.via);
                    prop_assert!(self.running.is_none(), "two tasks at a time");
                    prop_assert!(self.newest.is_none_or(|newest| newest < id), "numbers grow");
                    let after = |wanted: fn(&(Task, Did)) -> bool| self.last.as_ref().is_some_and(wanted);
                    prop_assert!(
                        task != Task::Start || after(|last| matches!(last, (Task::Find, Did::Missing(_))))
                    );
                    prop_assert!(
                        task != Task::Submit || after(|last| matches!(last, (Task::Queue, Did::Job(None))))
                    );
                    let opens = self.waiting.values().any(|(wish, _)| *wish == Wish::Open);
                    prop_assert!(
                        !matches!(task, Task::Start | Task::Submit) || opens,
                        "nobody wants it started"
                    );
                    (self.running, self.newest) = (Some((id, task)), Some(id));
                }
                Output::Answer(wait, settled) => {
                    let asked = self.waiting.remove(&wait);
                    prop_assert!(asked.is_some(), "answered twice, or never asked");
                    if let Settled::Stuck(why) = &settled {
                        prop_assert!(is_said_well(why), "{:?}", why);
                    }
                    if let (Some((_, before)), Settled::Reached) = (asked, &settled) {
                        prop_assert!(self.newest > before, "answered by what was known before");
                    }
                }
                Output::Announce(told) => {
                    prop_assert!(told.from != told.to || told.to == "ending");
                    prop_assert!(told.why.iter().all(is_said_well), "{told:?}");
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
        Ok(())
    }

    /// Nothing was found. Unless a start is awaited, nobody waits for long who only asked.
    fn found_nothing(&mut self, look: TaskId) -> Result<(), TestCaseError> {
        let starts = self.notebook.started_until.is_some()
            || self.running.is_some_and(|(_, task)| matches!(task, Task::Start));
        if starts {
            // What was waited before does not count.
            self.vain.clear();
            return Ok(());
        }
        for (wait, (wish, before)) in &self.waiting {
            if *wish != Wish::Stop && before.is_none_or(|before| before < look) {
                let since = *self.vain.entry(*wait).or_insert(self.now);
                let span = self.now.since(since);
                prop_assert!(span < WISH_LASTS, "{wait:?} hears nothing for {span:?}");
            }
        }
        Ok(())
    }

    fn take(&mut self, op: Op, in_slurm: bool) -> Result<(), TestCaseError> {
        let vain = match (&op, self.running) {
            (Op::Did(true, Did::Missing(_)), Some((look, Task::Find))) => Some(look),
            _ => None,
        };
        match op {
            Op::Over(via) => {
                self.via = via.map(Epoch);
                let is_new = self.notebook.via != self.via;
                self.notebook.over(self.now, self.via);
                if is_new {
                    self.running = None;
                }
            }
            Op::Did(newest, did) => {
                let id = match (newest, self.running) {
                    (true, Some((id, task))) => {
                        self.last = Some((task, did.clone()));
                        self.running = None;
                        id
                    }
                    _ => TaskId(self.newest.map_or(9, |newest| newest.0.wrapping_sub(1))),
                };
                if Some(id) != self.newest || newest {
                    self.notebook.handle(self.now, NotebookInput::Did(id, did));
                }
            }
            Op::Wish(wish) => {
                self.waits += 1;
                self.waiting.insert(WaitId(self.waits), (wish, self.newest));
                self.notebook.handle(self.now, NotebookInput::Wish(WaitId(self.waits), wish));
            }
            Op::Unwait => {
                if let Some((wait, _)) = self.waiting.pop_first() {
                    self.notebook.unwait(wait);
                }
            }
            Op::Refused => self.notebook.refused(self.now),
            Op::Sought => self.notebook.sought(self.now),
            Op::Look => self.notebook.handle(self.now, NotebookInput::Look),
            Op::Doubt => self.notebook.handle(self.now, NotebookInput::Doubt),
            Op::Held(is_held) => self.held = is_held,
            Op::Respec(other) => {
                let mut spec = self.notebook.spec().clone();
                spec.host = if other { "elsewhere".into() } else { "localhost".into() };
                if !in_slurm {
                    spec.start = other.then(|| "jupyter".into());
                }
                if spec != *self.notebook.spec() {
                    self.running = None;
                }
                self.notebook.respec(self.now, spec);
            }
            Op::Pass(span) => {
                self.now = self.now + span;
                let due = self.notebook.poll_timeout().is_some_and(|(at, _)| at <= self.now);
                if self.running.is_some() && due {
                    self.last = None;
                    self.running = None;
                }
                self.notebook.timed_out(self.now);
            }
        }
        self.settle()?;
        if let Some(look) = vain {
            self.found_nothing(look)?;
        }
        // Nothing spins: what is due has been done.
        if let Some((at, _)) = self.notebook.poll_timeout() {
            prop_assert!(at > self.now || self.running.is_some(), "it wants to be woken in the past");
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_its_promises_hold(
        ops in prop::collection::vec(op(), 1..60), starts: bool, slurm: bool, port in prop::option::weighted(0.3, Just(7000u16)),
    ) {
        let bed = Bed::new(|spec| {
            spec.which.port = port;
            spec.start = (starts || slurm).then(|| "jupyter".into());
            if slurm {
                spec.launcher = Launcher::Slurm(Box::default());
            }
        });
        let mut watcher = Watcher {
            notebook: bed.notebook,
            now: bed.now,
            via: None,
            running: None,
            newest: None,
            last: None,
            waiting: BTreeMap::new(),
            vain: BTreeMap::new(),
            waits: 0,
            held: true,
        };
        for op in ops {
            watcher.take(op, slurm)?;
        }
        // In a fair world everybody is answered before long.
        watcher.take(Op::Over(Some(9)), slurm)?;
        for _ in 0..100 {
            if watcher.waiting.is_empty() {
                break;
            }
            let answer = match watcher.running.map(|(_, task)| task) {
                Some(Task::Find | Task::Await) => found(7000),
                Some(Task::Start) => Did::Started,
                Some(Task::Stop) => Did::Stopped,
                Some(Task::Queue | Task::Submit) => running_on("n1"),
                None => {
                    watcher.take(Op::Pass(Duration::from_secs(1)), slurm)?;
                    continue;
                }
            };
            watcher.take(Op::Did(true, answer), slurm)?;
        }
        prop_assert!(watcher.waiting.is_empty(), "somebody waits for ever: {:?}", watcher.waiting);
    }
}
