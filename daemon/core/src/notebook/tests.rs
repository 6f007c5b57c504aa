mod chance;
mod cluster;
mod held;
mod started;

use super::*;
use crate::spec::Name;

/// A notebook, the time, and what it said.
struct Bed {
    notebook: Notebook,
    now: Moment,
    waits: u64,
}

const LINK: Epoch = Epoch(7);

/// Alice's notebook, of whose file nothing else is known.
pub(super) fn spec() -> NotebookSpec {
    NotebookSpec {
        name: Name::parse("alice").unwrap(),
        host: "localhost".into(),
        which: Which::default(),
        local_port: 6000,
        scheme: Scheme::Auto,
        start: None,
        dir: None,
        launcher: Launcher::Here,
        owner_only: None,
    }
}

/// Its file says how it is started.
fn with_start(spec: &mut NotebookSpec) {
    spec.start = Some("jupyter lab".into());
}

impl Bed {
    fn new(change: impl FnOnce(&mut NotebookSpec)) -> Bed {
        let mut spec = spec();
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

    /// One whose link is there, which is not, and whose start somebody waits for.
    fn starting() -> (Bed, WaitId, TaskId) {
        let mut bed = Bed::new(with_start);
        let (id, _) = bed.up();
        bed.did(id, missing());
        let (wait, id) = bed.opened();
        (bed, wait, id)
    }

    /// Somebody opens what is not there: the start that follows a look.
    fn opened(&mut self) -> (WaitId, TaskId) {
        let (wait, outputs) = self.wish(Wish::Open);
        let (id, task) = task_of(&outputs).unwrap();
        assert_eq!(task, Task::Find);
        let (id, task) = task_of(&self.did(id, missing())).unwrap();
        assert_eq!(task, Task::Start);
        (wait, id)
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

/// One sentence says what happened, and one what to do.
pub(super) fn is_said_well(why: &Failure) -> bool {
    let is_sentence = |text: &str| {
        !text.is_empty() && !text.starts_with(char::is_uppercase) && !text.ends_with(['.', ' ', ':'])
    };
    is_sentence(&why.message) && is_sentence(&why.hint)
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
    assert!(bed.notebook.target().notebook().is_some(), "nobody else is led where it is gone from");
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
fn a_port_that_is_given_for_good_serves_where_nobody_may_look() {
    let mut bed = Bed::new(|spec| spec.which.port = Some(7000));
    let (id, _) = bed.up();
    let denied = Failure::new(FailureKind::ForwardingDenied, "nothing can be run there", "");
    bed.did(id, Did::Failed(denied));
    assert_eq!(bed.notebook.target(), Target::Tcp("localhost".into(), 7000));
    assert_eq!(bed.notebook.poll_timeout(), None);
}

#[test]
fn who_is_led_where_nobody_may_look_is_not_looked_for_any_more() {
    let mut bed = Bed::new(|spec| spec.which.port = Some(7000));
    let mut next = Some(bed.up());
    bed.notebook.sought(bed.now);
    let began = bed.now;
    while let Some((id, task)) = next {
        assert_eq!(task, Task::Find);
        assert!(bed.now.since(began) <= 2 * SEEK_FAST, "it goes on for ever");
        let why = Failure::new(FailureKind::NoShell, "nothing can be run there", "");
        next = task_of(&bed.did(id, Did::Failed(why)));
        assert_eq!(bed.notebook.target(), Target::Tcp("localhost".into(), 7000));
        if next.is_none() && bed.notebook.poll_timeout().is_some() {
            bed.until_due();
            next = bed.task();
        }
    }
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
    let (id, _) = task_of(&bed.wish(Wish::Stop).1).unwrap();
    let outputs = bed.did(id, Did::Failed(Failure::new(FailureKind::TimedOut, "too slow", "")));
    assert_eq!(answers(&outputs).len(), 1);
    let (id, task) = task_of(&outputs).unwrap();
    assert_eq!(task, Task::Find, "it is tried once for who asks once");
    bed.did(id, found(7000));
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
    // Nobody is held any more: one look is enough for who asks.
    let (id, _) = task_of(&bed.wish(Wish::Find).1).unwrap();
    bed.did(id, missing());
    assert_eq!(bed.notebook.poll_timeout(), None);
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
