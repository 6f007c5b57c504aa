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
fn many_who_come_while_it_is_started_make_no_hurry() {
    let (mut bed, _, id) = Bed::starting();
    let (id, _) = task_of(&bed.did(id, Did::Started)).unwrap();
    bed.did(id, missing());
    for _ in 0..100 {
        bed.notebook.sought(bed.now);
        assert_eq!(bed.task(), None);
    }
    assert_eq!(bed.until_due(), SEEK_EVERY);
    assert_eq!(bed.task().map(|(_, task)| task), Some(Task::Await));
}

/// How many tasks it wants done within an hour in which somebody comes every 20 s and nothing is found.
fn looks_in_an_hour(bed: &mut Bed, nothing: impl Fn(Task) -> Did) -> usize {
    let (began, mut comes_at, mut looks) = (bed.now, bed.now, 0);
    while bed.now.since(began) < Duration::from_secs(3600) {
        if bed.now >= comes_at {
            bed.notebook.sought(bed.now);
            comes_at = bed.now + Duration::from_secs(20);
        }
        while let Some((id, task)) = bed.task() {
            looks += 1;
            bed.did(id, nothing(task));
        }
        let due = bed.notebook.poll_timeout().map_or(comes_at, |(at, _)| at.min(comes_at));
        bed.now = due.max(bed.now + Duration::from_millis(1));
        bed.notebook.timed_out(bed.now);
    }
    looks
}

#[test]
fn a_page_that_asks_all_night_for_a_server_that_is_gone_is_no_burden_over_there() {
    let mut bed = Bed::found_at(7000, |_| ());
    let looks = looks_in_an_hour(&mut bed, |_| missing());
    assert!((180..800).contains(&looks), "{looks}");
}

#[test]
fn what_nobody_waits_for_is_looked_for_no_more_and_again_for_whoever_comes() {
    let mut bed = Bed::found_at(7000, |_| ());
    bed.notebook.handle(bed.now, NotebookInput::Doubt);
    let began = bed.now;
    while bed.now.since(began) < SEEK_FAST {
        let (id, _) = bed.task().unwrap();
        bed.did(id, missing());
        bed.notebook.rest(bed.now);
        bed.until_due();
    }
    let (id, _) = bed.task().unwrap();
    bed.did(id, missing());
    assert!(bed.notebook.poll_timeout().is_some(), "somebody may be held");
    // Whoever asks is no less looked for.
    let mut asked = Bed { notebook: bed.notebook.clone(), ..bed };
    asked.notebook.handle(bed.now, NotebookInput::Wish(WaitId(1), Wish::Find));
    asked.notebook.rest(bed.now);
    assert_eq!(asked.task().map(|(_, task)| task), Some(Task::Find));
    bed.notebook.rest(bed.now);
    assert_eq!((bed.task(), bed.notebook.poll_timeout()), (None, None));
    bed.notebook.sought(bed.now);
    assert_eq!(bed.task().map(|(_, task)| task), Some(Task::Find));
}

#[test]
fn whoever_is_held_is_looked_for_also_after_a_start_that_came_to_nothing() {
    let why = || Failure::new(FailureKind::NotebookFailed, "it ended with status 3", "mend it");
    for (is_begun, end) in
        [(false, Did::Failed(why())), (true, Did::Failed(why())), (true, Did::Ended(why()))]
    {
        let mut bed = Bed::found_at(7000, with_start);
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

#[test]
fn a_machine_that_is_busy_with_what_was_started_is_asked_again_and_whoever_opened_it_waits() {
    let (mut bed, wait, id) = Bed::starting();
    let (id, _) = task_of(&bed.did(id, Did::Started)).unwrap();
    let outputs = bed.did(id, Did::Failed(Failure::new(FailureKind::TimedOut, "busy", "")));
    assert_eq!(answers(&outputs), []);
    bed.until_due();
    let (id, task) = bed.task().unwrap();
    assert_eq!(task, Task::Await);
    let outputs = bed.did(id, found(7000));
    assert_eq!(answers(&outputs), [(wait, &Settled::Reached)]);
}

#[test]
fn who_asks_while_it_is_looked_for_seldom_is_looked_for_at_once() {
    let mut bed = Bed::found_at(7000, |_| ());
    bed.notebook.sought(bed.now);
    let (mut id, began) = (bed.task().unwrap().0, bed.now);
    while bed.now.since(began) < SEEK_FAST + LONGEST_PAUSE {
        bed.did(id, missing());
        bed.until_due();
        id = bed.task().unwrap().0;
    }
    // This look began before.
    let (wait, outputs) = bed.wish(Wish::Find);
    assert_eq!(task_of(&outputs), None);
    let outputs = bed.did(id, missing());
    let (id, _) = task_of(&outputs).expect("it does not wait for the next look at that pace");
    let outputs = bed.did(id, missing());
    assert!(matches!(answers(&outputs).as_slice(), [(answered, Settled::Stuck(_))] if *answered == wait));
    assert_eq!(task_of(&outputs), None);
    assert!(bed.until_due() > Duration::from_secs(10), "and then seldom again");
}
