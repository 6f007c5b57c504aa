//! Servers that are started from here.

use super::*;

#[test]
fn a_server_is_started_once_for_all_who_open_it() {
    let mut bed = Bed::new(with_start);
    let (id, _) = bed.up();
    let wishes: Vec<WaitId> = (0..10).map(|_| bed.wish(Wish::Open).0).collect();
    // That look began before anybody wanted it.
    let (id, task) = task_of(&bed.did(id, missing())).unwrap();
    assert_eq!(task, Task::Find);
    let (id, task) = task_of(&bed.did(id, missing())).unwrap();
    assert_eq!(task, Task::Start);
    assert_eq!(bed.notebook.state(), NotebookState::Starting);
    let (late, _) = bed.wish(Wish::Open);
    let (mut id, task) = task_of(&bed.did(id, Did::Started)).unwrap();
    assert_eq!(task, Task::Await);
    for _ in 0..20 {
        assert_eq!(answers(&bed.did(id, missing())), []);
        assert_eq!(bed.until_due(), SEEK_EVERY);
        let (next, task) = bed.task().unwrap();
        assert_eq!(task, Task::Await, "nothing is started twice");
        id = next;
    }
    let outputs = bed.did(id, found(7000));
    let answered: Vec<WaitId> = answers(&outputs).into_iter().map(|(wait, _)| wait).collect();
    assert_eq!(answered, [wishes, vec![late]].concat());
}

#[test]
fn a_server_that_never_comes_up_is_given_up() {
    let (mut bed, wait, id) = Bed::starting();
    let (mut id, _) = task_of(&bed.did(id, Did::Started)).unwrap();
    let began = bed.now;
    loop {
        let outputs = bed.did(id, missing());
        if let [(answered, Settled::Stuck(why))] = answers(&outputs).as_slice() {
            assert_eq!((*answered, why.kind), (wait, FailureKind::NotebookMissing));
            assert!(why.hint.contains("notebook log alice"), "{why}");
            break;
        }
        bed.until_due();
        id = bed.task().unwrap().0;
    }
    assert!(bed.now.since(began) >= START_LASTS);
    // Who opens it once more has another one started.
    let (_, outputs) = bed.wish(Wish::Open);
    let (id, task) = task_of(&outputs).unwrap();
    assert_eq!(task, Task::Find);
    assert_eq!(task_of(&bed.did(id, missing())).map(|(_, task)| task), Some(Task::Start));
}

#[test]
fn what_ends_while_it_is_waited_for_is_given_up_at_once_and_may_be_started_again() {
    let (mut bed, wait, id) = Bed::starting();
    let (id, _) = task_of(&bed.did(id, Did::Started)).unwrap();
    assert_eq!(answers(&bed.did(id, missing())), []);
    bed.until_due();
    let (id, _) = bed.task().unwrap();
    let why = Failure::new(FailureKind::NotebookFailed, "it ended with status 3", "mend it");
    let outputs = bed.did(id, Did::Ended(why.clone()));
    assert_eq!(answers(&outputs), [(wait, &Settled::Stuck(why))]);
    assert_eq!((bed.notebook.state(), bed.notebook.poll_timeout()), (NotebookState::Failed, None));
    bed.opened();
}

#[test]
fn who_only_asks_starts_nothing() {
    let mut bed = Bed::new(with_start);
    let (id, _) = bed.up();
    bed.did(id, missing());
    let (wait, outputs) = bed.wish(Wish::Find);
    let (id, _) = task_of(&outputs).unwrap();
    let outputs = bed.did(id, missing());
    assert!(matches!(answers(&outputs).as_slice(), [(answered, Settled::Stuck(_))] if *answered == wait));
    assert_eq!(task_of(&outputs), None);
}

#[test]
fn nothing_is_started_where_a_stranger_has_the_port_that_is_given_for_good() {
    let not_yours = || Did::Missing(Failure::new(FailureKind::NotYours, "another's", "ask"));
    for (port, task) in [(Some(7000), None), (None, Some(Task::Start))] {
        let mut bed = Bed::new(|spec| {
            spec.which.port = port;
            spec.start = Some("jupyter lab".into());
        });
        let (id, _) = bed.up();
        bed.did(id, not_yours());
        let (_, outputs) = bed.wish(Wish::Open);
        let (id, _) = task_of(&outputs).unwrap();
        let outputs = bed.did(id, not_yours());
        assert_eq!(task_of(&outputs).map(|(_, task)| task), task);
        assert_eq!(answers(&outputs).len(), usize::from(task.is_none()));
    }
}
