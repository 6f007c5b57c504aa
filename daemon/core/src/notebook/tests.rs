mod chance;
mod cluster;
mod held;

use super::*;
use crate::spec::Name;

/// A notebook, the time, and what it said.
struct Bed {
    notebook: Notebook,
    now: Moment,
    waits: u64,
}

const LINK: Epoch = Epoch(7);

impl Bed {
    fn new(change: impl FnOnce(&mut NotebookSpec)) -> Bed {
        let mut spec = NotebookSpec {
            name: Name::parse("alice").unwrap(),
            host: "localhost".into(),
            which: Which::default(),
            local_port: 6000,
            scheme: Scheme::Auto,
            start: None,
            dir: None,
            launcher: Launcher::Here,
            owner_only: None,
        };
        change(&mut spec);
        Bed {
            notebook: Notebook::new(spec, TaskId(0)),
            now: Moment::from_origin(Duration::from_secs(1000)),
            waits: 0,
        }
    }

    /// One whose link is there, and which was found at `port`.
    fn found_at(port: u16, change: impl FnOnce(&mut NotebookSpec)) -> Bed {
        let mut bed = Bed::new(change);
        let (id, task) = bed.up();
        assert_eq!(task, Task::Find);
        bed.did(id, found(port));
        assert_eq!(bed.notebook.target(), Target::Tcp("localhost".into(), port));
        bed
    }

    fn up(&mut self) -> (TaskId, Task) {
        self.notebook.over(self.now, Some(LINK));
        self.task().expect("it looks as soon as it can")
    }

    fn settle(&mut self) -> Vec<Output> {
        self.notebook.settle(self.now);
        std::iter::from_fn(|| self.notebook.poll_output()).collect()
    }

    /// The one task that it wants done now.
    fn task(&mut self) -> Option<(TaskId, Task)> {
        task_of(&self.settle())
    }

    fn did(&mut self, id: TaskId, did: Did) -> Vec<Output> {
        self.notebook.handle(self.now, NotebookInput::Did(id, did));
        self.settle()
    }

    fn wish(&mut self, wish: Wish) -> (WaitId, Vec<Output>) {
        self.waits += 1;
        let wait = WaitId(self.waits);
        self.notebook.handle(self.now, NotebookInput::Wish(wait, wish));
        (wait, self.settle())
    }

    /// Lets time pass until it wants something, and returns how long that was.
    fn until_due(&mut self) -> Duration {
        let (at, reason) = self.notebook.poll_timeout().expect("it wants to be woken");
        assert_eq!(reason, TimerReason::Notebook);
        let passed = at.since(self.now);
        self.now = at;
        self.notebook.timed_out(self.now);
        passed
    }
}

fn task_of(outputs: &[Output]) -> Option<(TaskId, Task)> {
    let mut tasks = outputs.iter().filter_map(|output| match output {
        Output::Notebook(LINK, _, id, task) => Some((*id, *task)),
        _ => None,
    });
    let task = tasks.next();
    assert_eq!(tasks.next(), None, "one task at a time: {outputs:?}");
    task
}

fn answers(outputs: &[Output]) -> Vec<(WaitId, &Settled)> {
    let answers = outputs.iter().filter_map(|output| match output {
        Output::Answer(wait, settled) => Some((*wait, settled)),
        _ => None,
    });
    answers.collect()
}

fn found(port: u16) -> Did {
    Did::Found(Target::Tcp("localhost".into(), port))
}

fn missing() -> Did {
    Did::Missing(Failure::new(FailureKind::NotebookMissing, "no server", "start one"))
}

#[test]
fn another_link_leads_nobody_where_it_was_before() {
    let mut bed = Bed::found_at(7000, |_| {});
    bed.notebook.over(bed.now, Some(Epoch(8)));
    assert_eq!(bed.notebook.target().notebook(), Some(&bed.notebook.spec().name.clone()));
    bed.notebook.over(bed.now, Some(LINK));
    let (id, task) = bed.task().unwrap();
    assert_eq!(task, Task::Find);
    bed.did(id, found(7001));
    assert_eq!(bed.notebook.target(), Target::Tcp("localhost".into(), 7001));
}

#[test]
fn a_refused_connection_starts_a_search_twice_a_second_and_then_seldom() {
    let mut bed = Bed::found_at(7000, |_| {});
    bed.notebook.refused(bed.now);
    let (mut id, began) = (bed.task().unwrap().0, bed.now);
    let mut pauses = Vec::new();
    while bed.now.since(began) < Duration::from_secs(600) {
        bed.did(id, missing());
        assert_eq!(bed.notebook.state(), NotebookState::Lost);
        pauses.push((bed.now.since(began), bed.until_due()));
        id = bed.task().unwrap().0;
    }
    let (fast, slow): (Vec<_>, Vec<_>) = pauses.into_iter().partition(|(at, _)| *at < SEEK_FAST);
    assert!(fast.len() == 60 && fast.iter().all(|(_, pause)| *pause == SEEK_EVERY), "{fast:?}");
    assert!(slow.iter().map(|(_, pause)| *pause).is_sorted(), "{slow:?}");
    assert_eq!(slow.last().unwrap().1, LONGEST_PAUSE);
    // Whoever comes then has it looked for soon, and not twice a second again.
    bed.did(id, missing());
    bed.notebook.sought(bed.now);
    assert_eq!(bed.until_due(), Duration::from_secs(2));
    let (id, _) = bed.task().unwrap();
    bed.did(id, missing());
    assert_eq!(bed.until_due(), Duration::from_secs(4));
}

#[test]
fn many_who_are_refused_make_no_hurry() {
    let mut bed = Bed::found_at(7000, |_| {});
    bed.notebook.refused(bed.now);
    let (id, _) = bed.task().unwrap();
    bed.did(id, missing());
    for _ in 0..100 {
        bed.notebook.refused(bed.now);
        bed.notebook.sought(bed.now);
        assert_eq!(bed.task(), None);
    }
}

#[test]
fn a_wish_is_answered_by_what_was_looked_up_after_it_came() {
    let mut bed = Bed::found_at(7000, |_| {});
    let (_, outputs) = bed.wish(Wish::Find);
    let (first, _) = task_of(&outputs).unwrap();
    let (late, outputs) = bed.wish(Wish::Find);
    assert_eq!(task_of(&outputs), None);
    let outputs = bed.did(first, found(7000));
    assert!(!answers(&outputs).iter().any(|(wait, _)| *wait == late), "{outputs:?}");
    let (second, _) = task_of(&outputs).unwrap();
    let outputs = bed.did(second, found(7000));
    assert_eq!(answers(&outputs), [(late, &Settled::Reached)]);
}

#[test]
fn what_an_older_task_says_changes_nothing() {
    let mut bed = Bed::new(|_| {});
    let (id, _) = bed.up();
    bed.notebook.over(bed.now, None);
    bed.did(id, found(7000));
    assert_eq!(bed.notebook.state(), NotebookState::Unknown);
    assert!(bed.notebook.target().notebook().is_some());
}

#[test]
fn a_server_is_started_once_for_all_who_open_it() {
    let mut bed = Bed::new(|spec| spec.start = Some("jupyter lab".into()));
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
    let mut bed = Bed::new(|spec| spec.start = Some("jupyter lab".into()));
    let (id, _) = bed.up();
    bed.did(id, missing());
    let (wait, outputs) = bed.wish(Wish::Open);
    let (id, _) = task_of(&outputs).unwrap();
    let (id, _) = task_of(&bed.did(id, missing())).unwrap();
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
}

#[test]
fn what_ends_while_it_is_waited_for_is_given_up_at_once_and_may_be_started_again() {
    let mut bed = Bed::new(|spec| spec.start = Some("jupyter lab".into()));
    let (id, _) = bed.up();
    bed.did(id, missing());
    let (wait, outputs) = bed.wish(Wish::Open);
    let (id, _) = task_of(&outputs).unwrap();
    let (id, _) = task_of(&bed.did(id, missing())).unwrap();
    let (id, _) = task_of(&bed.did(id, Did::Started)).unwrap();
    assert_eq!(answers(&bed.did(id, missing())), []);
    bed.until_due();
    let (id, _) = bed.task().unwrap();
    let why = Failure::new(FailureKind::NotebookFailed, "it ended with status 3", "mend it");
    let outputs = bed.did(id, Did::Ended(why.clone()));
    assert_eq!(answers(&outputs), [(wait, &Settled::Stuck(why))]);
    assert_eq!((bed.notebook.state(), bed.notebook.poll_timeout()), (NotebookState::Failed, None));
    let (_, outputs) = bed.wish(Wish::Open);
    let (id, task) = task_of(&outputs).unwrap();
    assert_eq!(task, Task::Find);
    assert_eq!(task_of(&bed.did(id, missing())).map(|(_, task)| task), Some(Task::Start));
}

#[test]
fn who_only_asks_hears_within_seconds_that_nothing_is_found_and_the_search_goes_on_for_who_is_held() {
    let mut bed = Bed::found_at(7000, |_| {});
    bed.notebook.refused(bed.now);
    let (mut id, _) = bed.task().unwrap();
    // Somebody may be refused every second; whoever asked is not made to wait by that.
    let (wait, _) = bed.wish(Wish::Find);
    let asked = bed.now;
    let answered = loop {
        assert!(bed.now.since(asked) <= WISH_LASTS + 2 * SEEK_EVERY, "nobody answers");
        let outputs = bed.did(id, missing());
        if !answers(&outputs).is_empty() {
            break answers(&outputs)
                .into_iter()
                .map(|(wait, settled)| (wait, settled.clone()))
                .collect::<Vec<_>>();
        }
        bed.notebook.refused(bed.now);
        bed.until_due();
        id = bed.task().unwrap().0;
    };
    assert!(matches!(answered.as_slice(), [(to, Settled::Stuck(_))] if *to == wait), "{answered:?}");
    assert!(bed.now.since(asked) >= WISH_LASTS, "a server that comes back within seconds is found");
    assert_eq!(bed.until_due(), SEEK_EVERY, "it is looked for as quickly as before");
    let (id, _) = bed.task().unwrap();
    bed.did(id, found(7001));
    assert_eq!(bed.notebook.target(), Target::Tcp("localhost".into(), 7001));
}

#[test]
fn who_only_asks_starts_nothing() {
    let mut bed = Bed::new(|spec| spec.start = Some("jupyter lab".into()));
    let (id, _) = bed.up();
    bed.did(id, missing());
    let (wait, outputs) = bed.wish(Wish::Find);
    let (id, _) = task_of(&outputs).unwrap();
    let outputs = bed.did(id, missing());
    assert!(matches!(answers(&outputs).as_slice(), [(answered, Settled::Stuck(_))] if *answered == wait));
    assert_eq!(task_of(&outputs), None);
}

#[test]
fn a_port_that_is_given_for_good_serves_where_nobody_may_look() {
    let mut bed = Bed::new(|spec| spec.which.port = Some(7000));
    let (id, _) = bed.up();
    let denied = Failure::new(FailureKind::ForwardingDenied, "nothing can be run there", "");
    bed.did(id, Did::Failed(denied));
    assert_eq!(bed.notebook.target(), Target::Tcp("localhost".into(), 7000));
    assert_eq!(bed.notebook.poll_timeout(), None);
}

#[test]
fn a_task_has_a_deadline() {
    let mut bed = Bed::new(|_| {});
    bed.up();
    let (wait, _) = bed.wish(Wish::Find);
    bed.until_due();
    // What came after it began is looked up once more.
    let (_, task) = bed.task().unwrap();
    assert_eq!(task, Task::Find);
    bed.until_due();
    let outputs = bed.settle();
    assert!(matches!(answers(&outputs).as_slice(), [(answered, Settled::Stuck(_))] if *answered == wait));
}

#[test]
fn what_is_ended_is_over_for_all() {
    let mut bed = Bed::found_at(7000, |_| {});
    let (wait, outputs) = bed.wish(Wish::Stop);
    let (id, task) = task_of(&outputs).unwrap();
    assert_eq!((task, bed.notebook.state()), (Task::Stop, NotebookState::Stopping));
    assert_eq!(answers(&bed.did(id, Did::Stopped)), [(wait, &Settled::Reached)]);
    assert_eq!(bed.notebook.state(), NotebookState::Unknown);
}

#[test]
fn whoever_comes_after_a_while_is_led_there_after_another_look() {
    let mut bed = Bed::found_at(7000, |_| {});
    bed.notebook.sought(bed.now);
    let (id, task) = bed.task().unwrap();
    assert_eq!(task, Task::Find);
    assert!(bed.notebook.target().notebook().is_some(), "nobody is led there meanwhile");
    assert_eq!(bed.notebook.state(), NotebookState::Found, "and that is no news");
    bed.did(id, found(7000));
    assert_eq!(bed.notebook.target(), Target::Tcp("localhost".into(), 7000));
}

#[test]
fn a_doubt_that_comes_while_it_is_looked_for_has_it_looked_for_once_more() {
    let mut bed = Bed::new(|_| {});
    let (id, _) = bed.up();
    bed.notebook.handle(bed.now, NotebookInput::Doubt);
    let (id, task) = task_of(&bed.did(id, found(7000))).unwrap();
    assert_eq!(task, Task::Find);
    assert_eq!(task_of(&bed.did(id, found(7000))), None);
}

#[test]
fn a_look_that_failed_for_a_while_leads_nobody_to_a_port_that_nobody_looked_at() {
    let mut bed = Bed::new(|spec| spec.which.port = Some(7000));
    let (id, _) = bed.up();
    bed.did(id, Did::Failed(Failure::new(FailureKind::TimedOut, "too slow", "")));
    assert!(bed.notebook.target().notebook().is_some());
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
