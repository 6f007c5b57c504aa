use super::*;

fn job(state: JobState) -> Job {
    Job { id: 12, state, word: "X".into(), left: None }
}

pub(super) fn running_on(node: &str) -> Did {
    Did::Job(Some(job(JobState::Running { node: node.into() })))
}

fn pending(reason: &str) -> Did {
    Did::Job(Some(job(JobState::Pending { reason: reason.into(), starts: None })))
}

fn found_on(node: &str, port: u16) -> Did {
    Did::Found(Target::Tcp(node.into(), port))
}

fn in_slurm(spec: &mut NotebookSpec) {
    with_start(spec);
    spec.launcher = Launcher::Slurm(Box::default());
}

impl Bed {
    /// One whose job runs on `n1`, where it was found a while ago.
    fn found_in_job() -> Bed {
        let mut bed = Bed::new(in_slurm);
        let (id, _) = bed.up();
        let (id, task) = task_of(&bed.did(id, running_on("n1"))).unwrap();
        assert_eq!(task, Task::Find);
        bed.did(id, found_on("n1", 8888));
        assert_eq!(bed.notebook.target(), Target::Tcp("n1".into(), 8888));
        bed.now = bed.now + QUEUE_EVERY;
        bed
    }
}

#[test]
fn a_job_is_submitted_only_when_the_queue_has_none_and_somebody_opens_it() {
    let mut bed = Bed::new(in_slurm);
    let (id, task) = bed.up();
    assert_eq!(task, Task::Queue);
    assert_eq!(task_of(&bed.did(id, Did::Job(None))), None, "nobody wants it");
    assert_eq!(bed.notebook.poll_timeout(), None, "and the cluster is not asked again for nobody");
    let (wait, outputs) = bed.wish(Wish::Open);
    let (id, task) = task_of(&outputs).unwrap();
    assert_eq!(task, Task::Queue, "the queue is asked first");
    let trouble = Failure::new(FailureKind::NotebookFailed, "the controller does not answer", "");
    let outputs = bed.did(id, Did::Failed(trouble));
    assert_eq!(task_of(&outputs), None, "who could not ask submits nothing");
    assert!(matches!(answers(&outputs).as_slice(), [(answered, Settled::Stuck(_))] if *answered == wait));
    let (_, outputs) = bed.wish(Wish::Open);
    let (id, _) = task_of(&outputs).unwrap();
    let (id, task) = task_of(&bed.did(id, Did::Job(None))).unwrap();
    assert_eq!(task, Task::Submit);
    assert_eq!(task_of(&bed.did(id, pending("Priority"))), None);
    assert_eq!(bed.notebook.state(), NotebookState::Pending);
}

#[test]
fn a_job_that_is_lost_while_it_is_submitted_is_looked_for_first() {
    let mut bed = Bed::new(in_slurm);
    let (id, _) = bed.up();
    bed.did(id, Did::Job(None));
    let (_, outputs) = bed.wish(Wish::Open);
    let (id, _) = task_of(&outputs).unwrap();
    let (_, task) = task_of(&bed.did(id, Did::Job(None))).unwrap();
    assert_eq!(task, Task::Submit);
    // The link is gone before anybody knows whether it was submitted.
    bed.notebook.over(bed.now, None);
    assert_eq!(bed.task(), None);
    let (_, task) = bed.up();
    assert_eq!(task, Task::Queue);
}

#[test]
fn a_job_is_followed_to_another_machine_under_the_same_address() {
    let mut bed = Bed::found_in_job();
    // A connection is refused: the job was requeued.
    bed.notebook.refused(bed.now);
    let (id, task) = bed.task().unwrap();
    assert_eq!(task, Task::Queue);
    let outputs = bed.did(id, pending("BeginTime"));
    assert_eq!((task_of(&outputs), bed.notebook.state()), (None, NotebookState::Pending));
    bed.until_due();
    let (id, task) = bed.task().unwrap();
    assert_eq!(task, Task::Queue);
    let (id, task) = task_of(&bed.did(id, running_on("n2"))).unwrap();
    assert_eq!(task, Task::Find);
    bed.did(id, found_on("n2", 9999));
    assert_eq!(bed.notebook.target(), Target::Tcp("n2".into(), 9999));
}

#[test]
fn that_a_job_ends_soon_is_told_once() {
    let mut bed = Bed::new(in_slurm);
    let (mut id, _) = bed.up();
    let mut told = Vec::new();
    for left in [700, 601, 600, 300, 10] {
        let left = Some(Duration::from_secs(left));
        let state = JobState::Running { node: "n1".into() };
        let mut outputs = bed.did(id, Did::Job(Some(Job { left, ..job(state) })));
        if let Some((search, Task::Find)) = task_of(&outputs) {
            outputs.extend(bed.did(search, found_on("n1", 8888)));
        }
        told.extend(outputs.into_iter().filter_map(|output| match output {
            Output::Announce(transition) if transition.to == "ending" => transition.why,
            _ => None,
        }));
        bed.until_due();
        id = bed.task().unwrap().0;
    }
    let messages: Vec<_> = told.iter().map(|why| why.message.as_str()).collect();
    assert_eq!(messages, ["the time of alice's job 12 is up in 10 min"]);
}

#[test]
fn who_only_asks_hears_at_once_that_the_job_waits_and_who_opens_it_waits_with_it() {
    let mut bed = Bed::new(in_slurm);
    let (id, _) = bed.up();
    bed.did(id, pending("Resources"));
    let (opens, outputs) = bed.wish(Wish::Open);
    let (id, _) = task_of(&outputs).unwrap();
    let (asks, _) = bed.wish(Wish::Find);
    let outputs = bed.did(id, pending("Resources"));
    assert_eq!(answers(&outputs), [], "that was asked for before");
    let (id, _) = task_of(&outputs).unwrap();
    let outputs = bed.did(id, pending("Resources"));
    let told = answers(&outputs);
    assert!(matches!(told.as_slice(), [(wait, Settled::Stuck(_))] if *wait == asks), "{told:?}");
    bed.until_due();
    let (id, _) = bed.task().unwrap();
    let (id, task) = task_of(&bed.did(id, running_on("n1"))).unwrap();
    assert_eq!(task, Task::Find);
    assert_eq!(answers(&bed.did(id, found_on("n1", 8888))), [(opens, &Settled::Reached)]);
}

#[test]
fn who_sees_that_its_server_is_gone_has_the_queue_asked() {
    let mut bed = Bed::found_in_job();
    bed.notebook.handle(bed.now, NotebookInput::Doubt);
    let (id, task) = bed.task().unwrap();
    assert_eq!(task, Task::Queue);
    // However many see it: the cluster has others to serve.
    bed.did(id, pending("Priority"));
    for _ in 0..100 {
        bed.notebook.sought(bed.now);
        assert_eq!(bed.task(), None);
    }
    assert!(bed.until_due() <= QUEUE_EVERY);
    assert_eq!(bed.task().map(|(_, task)| task), Some(Task::Queue));
}

#[test]
fn who_opens_it_just_after_its_job_ended_has_another_one_submitted() {
    let mut bed = Bed::found_in_job();
    let (_, outputs) = bed.wish(Wish::Open);
    let (id, task) = task_of(&outputs).unwrap();
    assert_eq!(task, Task::Queue);
    assert_eq!(task_of(&bed.did(id, Did::Job(None))).map(|(_, task)| task), Some(Task::Submit));
}

#[test]
fn who_comes_while_another_is_answered_is_looked_up_for_at_once() {
    let mut bed = Bed::new(in_slurm);
    let (id, _) = bed.up();
    let (id, _) = task_of(&bed.did(id, running_on("n1"))).unwrap();
    let (wait, outputs) = bed.wish(Wish::Find);
    assert_eq!(task_of(&outputs), None);
    let (id, task) = task_of(&bed.did(id, found_on("n1", 8888))).unwrap();
    assert_eq!(task, Task::Find);
    assert_eq!(answers(&bed.did(id, found_on("n1", 8888))), [(wait, &Settled::Reached)]);
}

#[test]
fn a_notebook_that_is_no_job_any_more_has_none() {
    let mut bed = Bed::new(in_slurm);
    let (id, _) = bed.up();
    bed.did(id, running_on("n1"));
    let mut spec = bed.notebook.spec().clone();
    spec.launcher = Launcher::Here;
    bed.notebook.respec(bed.now, spec);
    assert_eq!(bed.notebook.job(), None);
    assert_eq!(bed.task().map(|(_, task)| task), Some(Task::Find));
}

#[test]
fn whoever_is_held_has_the_queue_asked_also_after_a_stop() {
    let mut bed = Bed::found_in_job();
    bed.notebook.sought(bed.now);
    let (_, outputs) = bed.wish(Wish::Stop);
    let (id, task) = task_of(&outputs).unwrap();
    assert_eq!(task, Task::Stop);
    let outputs = bed.did(id, Did::Stopped);
    assert_eq!(task_of(&outputs).map(|(_, task)| task), Some(Task::Queue), "somebody may submit another");
}

#[test]
fn whoever_is_held_for_what_a_job_runs_is_looked_for_also_when_it_did_not_come_up_in_time() {
    let mut bed = Bed::new(in_slurm);
    let (id, _) = bed.up();
    bed.notebook.sought(bed.now);
    let mut next = task_of(&bed.did(id, running_on("n1")));
    let (began, mut looks) = (bed.now, 0);
    while bed.now.since(began) < START_LASTS + SEEK_FAST {
        next = match next {
            Some((id, Task::Find)) => {
                looks += u32::from(bed.now.since(began) > START_LASTS);
                task_of(&bed.did(id, missing()))
            }
            Some((id, _)) => task_of(&bed.did(id, running_on("n1"))),
            None => {
                bed.until_due();
                bed.task()
            }
        };
    }
    assert!(looks > 30, "{looks}: not only when the queue is asked next");
}

#[test]
fn while_somebody_looks_the_queue_is_asked_every_ten_seconds() {
    let mut bed = Bed::found_in_job();
    let (mut asked, began) = (0, bed.now);
    while bed.now.since(began) < Duration::from_secs(61) {
        bed.notebook.handle(bed.now, NotebookInput::Look);
        if let Some((id, task)) = bed.task() {
            assert_eq!(task, Task::Queue);
            asked += 1;
            bed.did(id, running_on("n1"));
        }
        bed.now = bed.now + Duration::from_secs(1);
    }
    assert_eq!(asked, 6);
}

#[test]
fn nobody_is_led_to_the_machine_that_its_job_has_left() {
    for stands in [running_on("n2"), Did::Job(None)] {
        let mut bed = Bed::new(in_slurm);
        let (id, _) = bed.up();
        let (id, _) = task_of(&bed.did(id, running_on("n1"))).unwrap();
        bed.did(id, Did::Found(Target::Tcp("n1".into(), 8888)));
        bed.until_due();
        let (id, task) = bed.task().unwrap();
        assert_eq!(task, Task::Queue);
        bed.did(id, stands);
        let leads = bed.notebook.target();
        assert!(leads.notebook().is_some(), "it was found at n1: {leads:?}");
    }
}

#[test]
fn where_somebody_else_submits_its_job_nothing_is_submitted() {
    let mut bed = Bed::new(|spec| {
        in_slurm(spec);
        let mine = SlurmSpec { job: Some("mine".into()), ..SlurmSpec::default() };
        spec.launcher = Launcher::Slurm(Box::new(mine));
    });
    let (id, _) = bed.up();
    bed.did(id, Did::Job(None));
    let (wait, outputs) = bed.wish(Wish::Open);
    let (id, task) = task_of(&outputs).unwrap();
    assert_eq!(task, Task::Queue);
    let outputs = bed.did(id, Did::Job(None));
    assert_eq!(task_of(&outputs), None);
    assert!(matches!(answers(&outputs).as_slice(), [(answered, Settled::Stuck(_))] if *answered == wait));
}

#[test]
fn who_opens_it_after_its_job_was_ended_has_the_queue_asked_first() {
    let mut bed = Bed::new(in_slurm);
    let (id, _) = bed.up();
    let (id, _) = task_of(&bed.did(id, running_on("n1"))).unwrap();
    bed.did(id, Did::Found(Target::Tcp("n1".into(), 8888)));
    let (_, outputs) = bed.wish(Wish::Stop);
    let (id, task) = task_of(&outputs).unwrap();
    assert_eq!(task, Task::Stop);
    bed.did(id, Did::Stopped);
    assert_eq!((bed.notebook.job(), bed.notebook.state()), (None, NotebookState::Unknown));
    let (_, outputs) = bed.wish(Wish::Open);
    assert_eq!(task_of(&outputs).map(|(_, task)| task), Some(Task::Queue));
}

#[test]
fn who_opens_it_waits_for_the_server_of_a_job_that_has_just_begun() {
    let mut bed = Bed::new(in_slurm);
    let (id, _) = bed.up();
    let pending = || Did::Job(Some(job(JobState::Pending { reason: "Resources".into(), starts: None })));
    bed.did(id, pending());
    let (opens, outputs) = bed.wish(Wish::Open);
    bed.did(task_of(&outputs).unwrap().0, pending());
    bed.until_due();
    let (id, _) = bed.task().unwrap();
    let (id, task) = task_of(&bed.did(id, running_on("n1"))).unwrap();
    assert_eq!(task, Task::Find);
    assert_eq!(answers(&bed.did(id, missing())), [], "it takes a moment to start");
    assert_eq!((bed.notebook.state(), bed.until_due()), (NotebookState::Starting, SEEK_EVERY));
    let (id, _) = bed.task().unwrap();
    let there = Did::Found(Target::Tcp("n1".into(), 8888));
    assert_eq!(answers(&bed.did(id, there)), [(opens, &Settled::Reached)]);
}

#[test]
fn the_queue_is_not_asked_on_for_somebody_who_left() {
    for has_left in [false, true] {
        let mut bed = Bed::new(in_slurm);
        let (id, _) = bed.up();
        bed.did(id, Did::Job(None));
        bed.now = bed.now + QUEUE_EVERY;
        bed.notebook.sought(bed.now);
        let (id, task) = bed.task().unwrap();
        assert_eq!(task, Task::Queue);
        if has_left {
            bed.notebook.rest(bed.now);
        }
        bed.did(id, Did::Job(None));
        assert_eq!(bed.notebook.poll_timeout().is_none(), has_left);
    }
}
