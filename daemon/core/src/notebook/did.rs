//! What came of the tasks of a notebook, and whom that answers.

use super::{
    Did, Job, JobState, LONGEST_PAUSE, Launcher, Notebook, NotebookSpec, Pause, QUEUE_AT_LEAST_EVERY,
    QUEUE_EVERY, Running, SEEK_EVERY, START_LASTS, Search, TASK_LASTS, Task, TaskId, WARNED_BEFORE,
    WISH_LASTS, Wanted, Wish,
};
use crate::failure::{Failure, FailureKind};
use crate::forward::Target;
use crate::io::{About, Output, Settled, Transition};
use crate::moment::Moment;

impl Notebook {
    pub(super) fn did(&mut self, now: Moment, running: &Running, did: Did) {
        match if did.answers(running.task) { did } else { Did::Failed(unfit()) } {
            Did::Found(place) => {
                (self.search, self.started_until, self.why, self.sought) = (None, None, None, false);
                self.was_there = true;
                (self.place, self.doubted) = (Some(place), false);
                self.answer(now, running, &[Wish::Find, Wish::Open], &Settled::Reached);
            }
            Did::Missing(why) => self.missing(now, running, why),
            Did::Started => {
                self.started_until = Some(now + START_LASTS);
                self.why = None;
                self.search = Some(Search { next_at: now, fast_until: None, pause: SEEK_EVERY });
            }
            Did::Ended(why) => {
                (self.place, self.search, self.started_until) = (None, None, None);
                self.why = Some(why.clone());
                self.give_up(now, running, &why);
            }
            Did::Stopped => {
                (self.place, self.started_until, self.job, self.was_there) = (None, None, None, false);
                (self.search, self.queue, self.why) = (None, None, None);
                self.answer(now, running, &[Wish::Stop], &Settled::Reached);
                if self.is_wanted() {
                    self.look(now);
                }
            }
            Did::Job(job) => self.job_stands(now, running, job),
            Did::Failed(why) => self.failed(now, running, why),
        }
        if std::mem::take(&mut self.again) && self.task.is_none() && self.search.is_none() {
            self.look(now);
        }
    }

    /// There is no server.
    fn missing(&mut self, now: Moment, running: &Running, why: Failure) {
        self.place = None;
        self.why = Some(why.clone());
        let may_open = self.wishes.iter().any(|w| w.wish == Wish::Open && w.since <= running.id);
        if let Some(until) = self.started_until {
            if now < until {
                self.search = Some(Search { next_at: now + SEEK_EVERY, fast_until: None, pause: SEEK_EVERY });
                return;
            }
            (self.started_until, self.search) = (None, None);
            self.give_up(now, running, &not_come_up(&self.spec, &why));
            return;
        }
        // Where somebody else has the port that its file gives for good, one that starts would be looked for in vain.
        let is_taken = why.kind == FailureKind::NotYours && self.spec.which.port.is_some();
        if may_open && self.spec.start.is_some() && !is_taken && !self.in_a_cluster() {
            self.order(now, Task::Start);
            return;
        }
        match &mut self.search {
            Some(search) if search.is_fast(now) => {
                search.next_at = now + SEEK_EVERY;
                self.give_up_who_waits_long(now, running, &why);
                return;
            }
            Some(search) if search.fast_until.is_some() => search.later(now),
            Some(_) | None => self.search = None,
        }
        self.give_up(now, running, &why);
    }

    /// A search goes on for those who are held, and whoever only asked hears what it came to so far.
    fn give_up_who_waits_long(&mut self, now: Moment, running: &Running, why: &Failure) {
        let mut stuck = Vec::new();
        self.wishes.retain_mut(|wanted| {
            let looked_for = wanted.since <= running.id && matches!(wanted.wish, Wish::Find | Wish::Open);
            let waits_long = looked_for && now.since(*wanted.vain_since.get_or_insert(now)) >= WISH_LASTS;
            if waits_long {
                stuck.push(wanted.wait);
            }
            !waits_long
        });
        let answers = stuck.into_iter().map(|wait| Output::Answer(wait, Settled::Stuck(why.clone())));
        self.outputs.extend(answers);
    }

    fn failed(&mut self, now: Moment, running: &Running, why: Failure) {
        self.why = Some(why.clone());
        match running.task {
            Task::Stop => self.answer(now, running, &[Wish::Stop], &Settled::Stuck(why)),
            Task::Start | Task::Submit => {
                self.search = None;
                self.give_up(now, running, &why);
            }
            // A machine that is busy with what was started there: it is waited for all the same.
            Task::Find | Task::Await if self.is_awaited(now) && may_pass(why.kind) => {
                let next_at = now + QUEUE_EVERY;
                self.search = Some(Search { next_at, fast_until: None, pause: SEEK_EVERY });
            }
            Task::Find | Task::Await => {
                self.started_until = None;
                // Where nothing may be run, nobody can look: its port is what its file says.
                let nobody_looks = matches!(why.kind, FailureKind::NoShell | FailureKind::ForwardingDenied);
                let fixed = self.spec.which.port.filter(|_| nobody_looks && !self.in_a_cluster());
                if let Some(port) = fixed {
                    self.place = Some(Target::Tcp(self.spec.host.clone(), port));
                    (self.doubted, self.sought) = (false, false);
                }
                match &mut self.search {
                    Some(search) if search.is_fast(now) => search.next_at = now + SEEK_EVERY,
                    Some(search) if search.fast_until.is_some() && fixed.is_none() => search.later(now),
                    Some(_) | None => self.search = None,
                }
                self.give_up(now, running, &why);
            }
            Task::Queue => {
                if let Some(queue) = &mut self.queue {
                    queue.pause = (queue.pause * 2).min(QUEUE_AT_LEAST_EVERY);
                    queue.next_at = now + queue.pause;
                }
                self.give_up(now, running, &why);
            }
        }
    }

    fn is_awaited(&self, now: Moment) -> bool {
        self.started_until.is_some_and(|until| now < until)
    }

    /// How its job stands; none: there is none.
    fn job_stands(&mut self, now: Moment, running: &Running, job: Option<Job>) {
        let before = self.job.take();
        let node_before = before.as_ref().and_then(|(job, _)| job.node().map(str::to_owned));
        let Some(job) = job else {
            (self.place, self.search) = (None, None);
            // Somebody else may submit one.
            self.queue = self.queue.take().filter(|_| self.sought);
            if let Some(queue) = &mut self.queue {
                queue.pause = (queue.pause * 2).min(LONGEST_PAUSE);
                queue.next_at = now + queue.pause;
            }
            let wanted = self.wishes.iter().any(|w| w.wish == Wish::Open && w.since <= running.id);
            let adopts = matches!(&self.spec.launcher, Launcher::Slurm(slurm) if slurm.job.is_some());
            if wanted && !adopts && running.task == Task::Queue {
                self.order(now, Task::Submit);
            } else {
                let why = no_job(&self.spec, before.is_some());
                self.why = Some(why.clone());
                self.give_up(now, running, &why);
            }
            return;
        };
        self.why = None;
        let node = job.node().map(str::to_owned);
        let pause = match (&node, &self.queue) {
            (Some(_), _) => QUEUE_AT_LEAST_EVERY,
            (None, Some(queue)) if node_before.is_none() => (queue.pause * 2).min(QUEUE_AT_LEAST_EVERY),
            (None, _) => QUEUE_EVERY,
        };
        self.queue = Some(Pause { next_at: now + pause, pause });
        self.warn_of_its_end(&job);
        self.job = Some((job, now));
        if node.is_none() {
            (self.place, self.search, self.warned) = (None, None, None);
            // Who only asks where it is need not wait for the cluster.
            if let Some(why) = self.waits_for_the_cluster() {
                self.answer(now, running, &[Wish::Find], &Settled::Stuck(why));
            }
        } else if node != node_before {
            self.place = None;
            self.started_until = Some(now + START_LASTS);
            self.search = Some(Search::once(now));
        } else if self.place.is_none() || self.is_wanted() {
            self.search.get_or_insert(Search::once(now));
        }
    }

    /// Why its job does not run yet.
    fn waits_for_the_cluster(&self) -> Option<Failure> {
        let (job, _) = self.job.as_ref()?;
        let reason = match &job.state {
            JobState::Pending { reason, .. } => reason.as_str(),
            JobState::Running { .. } | JobState::Between => job.word.as_str(),
        };
        let (name, id) = (&self.spec.name, job.id);
        Some(Failure::new(
            FailureKind::NotebookMissing,
            format!("{name}'s job {id} does not run yet ({reason})"),
            format!("see `nbctl status` for when it may start; `nbctl open {name}` waits for it"),
        ))
    }

    /// Tells once when the time of a job that runs is nearly up.
    fn warn_of_its_end(&mut self, job: &Job) {
        let ends_soon = job.node().is_some() && job.left.is_some_and(|left| left <= WARNED_BEFORE);
        if !ends_soon || self.warned == Some(job.id) {
            return;
        }
        self.warned = Some(job.id);
        let minutes = job.left.unwrap_or_default().as_secs().div_ceil(60);
        let (name, id) = (&self.spec.name, job.id);
        let why = Failure::new(
            FailureKind::NotebookMissing,
            format!("the time of {name}'s job {id} is up in {minutes} min"),
            "save what matters; kernels end with the job",
        );
        let about = About::Notebook(name.to_string());
        let from = self.state().word();
        let ending = Transition { about, from, to: "ending", why: Some(why), retry_in: None };
        self.outputs.push_back(Output::Announce(ending));
    }

    /// Begins `task` at once, as the next one.
    fn order(&mut self, now: Moment, task: Task) {
        let Some(via) = self.via else { return };
        let id = TaskId(self.next_task);
        self.next_task += 1;
        self.search = None;
        self.task = Some(Running { id, task, deadline: now + TASK_LASTS });
        self.outputs.push_back(Output::Notebook(via, self.spec.name.clone(), id, task));
    }

    /// Whoever waits for it waits in vain.
    fn give_up(&mut self, now: Moment, running: &Running, why: &Failure) {
        self.answer(now, running, &[Wish::Find, Wish::Open], &Settled::Stuck(why.clone()));
    }

    fn answer(&mut self, now: Moment, running: &Running, to: &[Wish], settled: &Settled) {
        let answers = |wanted: &Wanted| to.contains(&wanted.wish) && wanted.since <= running.id;
        for wanted in self.wishes.extract_if(.., |wanted| answers(wanted)) {
            self.outputs.push_back(Output::Answer(wanted.wait, settled.clone()));
        }
        let came_meanwhile = self.wishes.iter().any(|wanted| wanted.since > running.id);
        if came_meanwhile && self.task.is_none() {
            // Somebody came meanwhile, and what was looked up before does not count for him. Nor does he wait for the
            // next look at a pace that is for those who are held.
            self.look(now);
        }
    }
}

/// Whether a look that failed may succeed in a moment.
fn may_pass(kind: FailureKind) -> bool {
    matches!(kind, FailureKind::TimedOut | FailureKind::Refused | FailureKind::Disconnected)
}

/// An answer to another question than the one that was asked.
fn unfit() -> Failure {
    Failure::new(
        FailureKind::Internal,
        "the look at the notebook came to what was not asked",
        "please report this with the log of the daemon",
    )
}

fn not_come_up(spec: &NotebookSpec, why: &Failure) -> Failure {
    let (name, seconds) = (&spec.name, START_LASTS.as_secs());
    let log = format!("see what it says with `nbctl notebook log {name}`");
    let hint = match unsaid_ports(spec) {
        Some(ports) => format!(
            "it is looked for on {ports}, of which start says nothing: add --port={{port}} to that, unless a file of \
             Jupyter's own does; {log}"
        ),
        None => log,
    };
    let message = format!("{name} was started and is not there after {seconds} s: {}", why.message);
    Failure::new(FailureKind::NotebookMissing, message, hint)
}

/// Where it is looked for, if its start names no such port.
fn unsaid_ports(spec: &NotebookSpec) -> Option<String> {
    let start = spec.start.as_ref().filter(|start| !start.contains("{port}"))?;
    let (first, last) = spec.which.port.map(|port| (port, port)).or(spec.which.ports)?;
    let mut numbers = start.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok());
    let says = numbers.any(|number: u16| (first..=last).contains(&number));
    (!says).then(|| if first == last { format!("port {first}") } else { format!("ports {first}-{last}") })
}

fn no_job(spec: &NotebookSpec, was_there: bool) -> Failure {
    let name = &spec.name;
    let (message, hint) = match &spec.launcher {
        Launcher::Slurm(slurm) if slurm.job.is_some() => {
            let job = slurm.job.clone().unwrap_or_default();
            (format!("the cluster has no job {job:?} of yours"), "submit it, or correct its name".into())
        }
        Launcher::Slurm(_) | Launcher::Here if was_there => {
            (format!("the job of {name} is over"), format!("submit another with `nbctl open {name}`"))
        }
        Launcher::Slurm(_) | Launcher::Here => {
            (format!("{name} has no job in the cluster"), format!("submit it with `nbctl open {name}`"))
        }
    };
    Failure::new(FailureKind::NotebookMissing, message, hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notebook::tests::{is_said_well, spec};
    use crate::notebook::{SlurmSpec, Which};

    #[test]
    fn what_never_came_up_or_is_over_is_said_in_a_sentence_with_a_hint() {
        let slurm = |job: Option<&str>| {
            let job = job.map(str::to_owned);
            let launcher = Launcher::Slurm(Box::new(SlurmSpec { job, ..SlurmSpec::default() }));
            NotebookSpec { launcher, ..spec() }
        };
        let gone = Failure::new(FailureKind::NotebookMissing, "port refused", "start it");
        let all = [
            unfit(),
            not_come_up(&spec(), &gone),
            no_job(&slurm(None), false),
            no_job(&slurm(None), true),
            no_job(&slurm(Some("mine")), false),
        ];
        for why in all {
            assert!(is_said_well(&why), "{why}");
        }
    }

    #[test]
    fn a_start_that_does_not_name_the_port_that_is_looked_for_is_told_so_when_nothing_comes_up() {
        let gone = Failure::new(FailureKind::NotebookMissing, "nobody listens", "start it");
        let hint = |start: &str, port, ports| {
            let which = Which { port, ports, ..Which::default() };
            let spec = NotebookSpec { which, start: Some(start.into()), ..spec() };
            not_come_up(&spec, &gone).hint
        };
        for (start, port, ports, told) in [
            ("jupyter lab", Some(7000), None, Some("port 7000")),
            ("jupyter lab --port=70001", Some(7000), None, Some("port 7000")),
            ("jupyter lab --port=7000", Some(7000), None, None),
            ("PORT=7000 ./serve", Some(7000), None, None),
            ("jupyter lab --port={port}", Some(7000), None, None),
            ("jupyter lab", None, Some((7000, 7099)), Some("ports 7000-7099")),
            ("jupyter lab --port 7042", None, Some((7000, 7099)), None),
            ("jupyter lab --port 8888", None, Some((7000, 7099)), Some("ports 7000-7099")),
            ("jupyter lab", None, None, None),
        ] {
            let hint = hint(start, port, ports);
            assert_eq!(told.is_some(), hint.contains("--port={port}"), "{start}: {hint}");
            assert!(told.is_none_or(|told| hint.contains(told)), "{start}: {hint}");
            assert!(hint.contains("nbctl notebook log alice"), "{hint}");
        }
    }
}
