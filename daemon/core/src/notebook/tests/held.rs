//! Whoever was not led there yet.

use super::*;

#[test]
fn whoever_is_held_is_looked_for_also_after_a_stop_and_another_section() {
    for change in [true, false] {
        let mut bed = Bed::found_at(7000, |_| ());
        bed.notebook.sought(bed.now);
        let (id, task) = bed.task().unwrap();
        assert_eq!(task, Task::Find);
        bed.did(id, missing());
        if change {
            let spec = NotebookSpec { local_port: 6001, ..bed.notebook.spec().clone() };
            bed.notebook.respec(bed.now, spec);
        } else {
            let (_, outputs) = bed.wish(Wish::Stop);
            let (id, task) = task_of(&outputs).unwrap();
            assert_eq!(task, Task::Stop);
            let outputs = bed.did(id, Did::Stopped);
            bed.did(task_of(&outputs).expect("it is looked for at once").0, missing());
        }
        for _ in 0..5 {
            while bed.task().is_none() {
                bed.until_due();
            }
            bed.did(TaskId(bed.notebook.next_task().0 - 1), missing());
        }
        assert!(bed.notebook.poll_timeout().is_some(), "another section: {change}");
    }
}

#[test]
fn whoever_is_held_is_looked_for_also_after_a_start_that_came_to_nothing() {
    let why = || Failure::new(FailureKind::NotebookFailed, "it ended with status 3", "mend it");
    for (is_begun, end) in
        [(false, Did::Failed(why())), (true, Did::Failed(why())), (true, Did::Ended(why()))]
    {
        let mut bed = Bed::found_at(7000, |spec| spec.start = Some("jupyter lab".into()));
        bed.notebook.sought(bed.now);
        let (id, _) = bed.task().unwrap();
        let (wait, _) = bed.wish(Wish::Open);
        bed.did(id, missing());
        bed.until_due();
        let (id, _) = bed.task().expect("another look for who came meanwhile");
        let (mut id, task) = task_of(&bed.did(id, missing())).unwrap();
        assert_eq!(task, Task::Start);
        if is_begun {
            (id, _) = task_of(&bed.did(id, Did::Started)).unwrap();
        }
        let outputs = bed.did(id, end.clone());
        assert_eq!(answers(&outputs), [(wait, &Settled::Stuck(why()))], "{end:?}");
        let (id, _) = task_of(&outputs).expect("who is held is looked for at once");
        bed.did(id, found(7001));
        assert_eq!(bed.notebook.target(), Target::Tcp("localhost".into(), 7001));
        assert_eq!(bed.notebook.poll_timeout(), None, "and not once it is found");
    }
}
