//! Servers that follow one another, over the daemon's lives, too.

use nbtunnel_core::{Scheme, SlurmSpec, Which};
use nbtunnel_proto::Secret;

use super::*;
use crate::notebook::Kind;

fn name(name: &str) -> Name {
    Name::parse(name).unwrap()
}

fn key() -> Key {
    (name("lab"), name("alice"))
}

fn asked(number: u64) -> Question {
    Question(number)
}

fn server(pid: u32, port: u16, dir: &str) -> Server {
    Server {
        token: Some(Secret::new("hush-hush".to_owned())),
        root_dir: Some(dir.to_owned()),
        pid: Some(pid),
        kind: Kind::Server2,
        ..Server::bare(port)
    }
}

/// What the next daemon knows.
fn after_a_crash(lives: &Lives) -> Lives {
    let text = serde_json::to_string(&lives.kept(&name("lab"))).unwrap();
    assert!(!text.contains("hush"), "{text}");
    let mut next = Lives::default();
    next.remember(&name("lab"), serde_json::from_str(&text).unwrap());
    next
}

#[test]
fn the_next_daemon_knows_which_server_it_was_and_what_nobody_has_heard_yet() {
    let mut lives = Lives::default();
    assert_eq!(lives.found(&key(), asked(7), &server(41, 8888, "/home/alice")), None);
    let lives = after_a_crash(&lives);
    let last = Last { pid: Some(41), port: 8888, root_dir: Some("/home/alice".to_owned()) };
    assert_eq!((lives.last(&key()), lives.news(&key())), (Some(&last), None));
    // It ends while no daemon is there to see it.
    let mut lives = after_a_crash(&lives);
    let next = Server { last_ended: true, ..server(42, 8889, "/home/alice") };
    assert_eq!(lives.found(&key(), asked(7), &next).as_deref(), Some(GONE));
    let mut lives = after_a_crash(&lives);
    assert_eq!(lives.take_news(&key()).as_deref(), Some(GONE));
    assert_eq!(after_a_crash(&lives).news(&key()), None);
}

#[test]
fn what_is_kept_is_bounded_and_what_makes_no_sense_is_not_read() {
    let mut lives = Lives::default();
    lives.found(&key(), asked(7), &server(41, 8888, &"d".repeat(LONGEST_DIR + 1)));
    assert_eq!(after_a_crash(&lives).last(&key()).unwrap().root_dir, None);
    let odd = r#"{"alice":{"pid":41},"../bob":{"port":7000},"carol":{"port":7001,"token":"x","later":[]}}"#;
    let mut lives = Lives::default();
    lives.remember(&name("lab"), serde_json::from_str(odd).unwrap());
    let kept = lives.kept(&name("lab"));
    assert_eq!(kept.keys().collect::<Vec<_>>(), ["carol"], "{kept:?}");
    assert_eq!(kept["carol"], PastServer { port: 7001, ..PastServer::default() });
}

#[test]
fn the_question_is_which_server_is_meant_and_where_and_not_how_it_is_reached_or_started() {
    let spec = NotebookSpec {
        name: name("alice"),
        host: "localhost".to_owned(),
        which: Which::default(),
        local_port: 20_001,
        scheme: Scheme::Auto,
        start: None,
        dir: None,
        launcher: Launcher::Here,
        owner_only: None,
    };
    let route = Route::to("dest.ination.com");
    let question = Question::of(&route, &spec);
    // A daemon that counts otherwise would forget everybody's once.
    assert_eq!(question, Question(2_235_571_862_008_453_685));
    let slurm = |job: Option<&str>| {
        let slurm = SlurmSpec { job: job.map(str::to_owned), ..SlurmSpec::default() };
        NotebookSpec { launcher: Launcher::Slurm(Box::new(slurm)), ..spec.clone() }
    };
    let which = |which: Which| NotebookSpec { which, ..spec.clone() };
    let mut questions = vec![
        question,
        Question::of(&route, &NotebookSpec { host: "n1".to_owned(), ..spec.clone() }),
        Question::of(&route, &which(Which { port: Some(7000), ..Which::default() })),
        Question::of(&route, &which(Which { owner: Some("bob".to_owned()), ..Which::default() })),
        Question::of(&route, &which(Which { dir: Some("bob".to_owned()), ..Which::default() })),
        Question::of(&route, &which(Which { ports: Some((7000, 7009)), ..Which::default() })),
        Question::of(&route, &slurm(None)),
        Question::of(&route, &slurm(Some("mine"))),
        Question::of(&Route::to("elsewhere"), &spec),
        Question::of(&Route { port: Some(2222), ..route.clone() }, &spec),
        Question::of(&Route { user: Some("alice".to_owned()), ..route.clone() }, &spec),
    ];
    let count = questions.len();
    questions.sort_unstable_by_key(|question| question.0);
    questions.dedup();
    assert_eq!(questions.len(), count);
    let start = Some("jupyter lab".to_owned());
    let other = NotebookSpec { local_port: 1, scheme: Scheme::Https, start, ..spec };
    let way = Route { jump: Some(vec!["login".to_owned()]), share: true, ..route };
    assert_eq!(Question::of(&way, &other), question);
}

#[test]
fn a_server_that_nobody_asks_for_any_more_is_forgotten() {
    let mut lives = Lives::default();
    let bob = (name("lab"), name("bob"));
    lives.found(&key(), asked(7), &server(41, 8888, "/a"));
    lives.found(&bob, asked(8), &server(42, 8889, "/b"));
    assert_eq!(lives.retain(|_, _| true), BTreeSet::new());
    let of = lives.retain(|key, question| *key != bob || question == asked(9));
    assert_eq!(of, BTreeSet::from([name("lab")]));
    assert_eq!(lives.kept(&name("lab")).into_keys().collect::<Vec<_>>(), ["alice"]);
    lives.stopped(&key());
    assert_eq!(lives.kept(&name("lab")), BTreeMap::new());
}
