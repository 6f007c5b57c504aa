//! What becomes of the words of a section: of whom is looked for, of what is started, of what is submitted.

use std::time::Duration;

use nbtunnel_core::{JobState, Name, Scheme, SlurmSpec, Which};

use super::*;
use crate::forward::far_side::{Opening, Ran, Running, Unopened};
use crate::notebook::Checked;

const DIR: &str = "~/project";

fn errand(which: Which) -> Errand {
    Errand {
        spec: NotebookSpec {
            name: Name::parse("alice").unwrap(),
            host: "localhost".to_owned(),
            which,
            local_port: 6000,
            scheme: Scheme::Auto,
            start: None,
            dir: None,
            launcher: Launcher::Here,
            owner_only: None,
        },
        token: None,
        job: None,
        last: None,
        others: Vec::new(),
        ways: KnownWays::default(),
    }
}

fn port() -> Which {
    Which { port: Some(7001), ..Which::default() }
}

fn everything() -> Which {
    let (owner, dir) = (Some("bob".to_owned()), Some("/data".to_owned()));
    Which { owner, dir, ports: Some((7000, 7099)), ..port() }
}

#[test]
fn what_a_section_names_is_looked_for_and_nothing_else() {
    let plain = || Wanted::any();
    let cases = [
        (Which::default(), plain()),
        (port(), Wanted { port: Some(7001), ..plain() }),
        (
            Which { owner: Some("bob".into()), ..Which::default() },
            Wanted { owner: Some("bob".into()), ..plain() },
        ),
        (
            Which { dir: Some("/data".into()), ..Which::default() },
            Wanted { dir: Some("/data".into()), ..plain() },
        ),
        (Which { ports: Some((7, 9)), ..Which::default() }, Wanted { ports: Some((7, 9)), ..plain() }),
    ];
    for (which, wanted) in cases {
        assert_eq!(errand(which).wanted(None), wanted);
    }
    let mut all = errand(everything());
    all.spec.host = "node7".to_owned();
    all.spec.scheme = Scheme::Https;
    // Where it is started is not where it has to be: `find` says that.
    all.spec.dir = Some(DIR.to_owned());
    all.token = Some(Secret::new("t".to_owned()));
    all.last = Some(Last { pid: Some(77), port: 7001, root_dir: None });
    let wanted = Wanted {
        host: "node7".to_owned(),
        port: Some(7001),
        owner: Some("bob".to_owned()),
        dir: Some("/data".to_owned()),
        ports: Some((7000, 7099)),
        scheme: Scheme::Https,
        token: all.token.clone(),
        pid: None,
        last: all.last.clone(),
        ..Wanted::any()
    };
    assert_eq!(all.wanted(None), wanted);
}

#[test]
fn of_servers_that_are_started_from_here_each_section_means_its_own() {
    let (mut alice, mut bob) = (errand(Which::default()), errand(Which::default()));
    bob.spec.name = Name::parse("bob").unwrap();
    bob.spec.start = Some("jupyter lab".to_owned());
    alice.others = vec![bob.spec.clone(), errand(port()).spec];
    // One that is found, whoever started it.
    assert_eq!(alice.wanted(None), Wanted::any());
    alice.spec.start.clone_from(&bob.spec.start);
    let wanted = alice.wanted(None);
    assert_eq!(wanted.started_as, Some(alice.launch().directory()));
    assert_eq!(wanted.not, [bob.launch().directory()]);
}

/// A login machine to which nobody talks.
struct Mute;

impl FarSide for Mute {
    fn open(self: Arc<Self>, target: Target) -> Opening {
        let why = Failure::new(FailureKind::Refused, target.to_string(), "");
        Box::pin(async { Err(Unopened::Denied(why)) })
    }

    fn run(self: Arc<Self>, _: String, _: Duration) -> Running {
        Box::pin(async { Ok(Ran { output: Vec::new(), errors: String::new(), status: None }) })
    }
}

#[test]
fn the_machine_of_a_job_is_the_one_that_the_cluster_names() {
    let mut errand = errand(port());
    errand.spec.host = "node7".to_owned();
    let far: Arc<dyn FarSide> = Arc::new(Mute);
    let job = |state| Some(Job { id: 1, state, word: String::new(), left: None });
    for (job, on_node) in [
        (None, None),
        (job(JobState::Between), None),
        (job(JobState::Running { node: "n2".to_owned() }), Some("n2")),
    ] {
        errand.job = job;
        let node = errand.node(&far);
        let wanted = errand.wanted(node.as_deref());
        assert_eq!(wanted.host, if on_node.is_some() { "localhost" } else { "node7" });
        assert_eq!((wanted.node.as_deref(), errand.is_on_node()), (on_node, on_node.is_some()));
        assert_eq!(wanted.job, on_node.map(|_| 1));
    }
}

#[test]
fn a_port_without_an_owner_may_be_that_of_whom_the_section_is_named_after() {
    let named = |which| errand(which).namesake();
    assert_eq!(named(port()).as_deref(), Some("alice"));
    assert_eq!(named(everything()), None, "its file names the owner");
    let range = Which { ports: Some((7000, 7099)), dir: Some("/data".to_owned()), ..Which::default() };
    for which in [Which::default(), range] {
        assert_eq!(named(which), None, "what is looked for is our own");
    }
    let with_token = Errand { token: Some(Secret::new("t".to_owned())), ..errand(port()) };
    assert_eq!(with_token.namesake(), None, "a token is for the account that is named");
}

#[test]
fn what_is_started_or_submitted_is_what_the_section_says() {
    let (line, name) = ("jupyter lab --port={port}", Name::parse("alice").unwrap());
    let bare = errand(Which::default());
    let launch = Launch { name: name.clone(), command: String::new(), dir: None, port: None, ports: None };
    assert_eq!((bare.launch(), bare.batch()), (launch.clone(), None));
    let mut all = errand(everything());
    all.spec.start = Some(line.to_owned());
    all.spec.dir = Some(DIR.to_owned());
    let (dir, port, ports) = (Some(DIR.to_owned()), Some(7001), Some((7000, 7099)));
    assert_eq!(all.launch(), Launch { command: line.to_owned(), dir: dir.clone(), port, ports, ..launch });
    let spec = SlurmSpec { partition: Some("gpu".to_owned()), ..SlurmSpec::default() };
    all.spec.launcher = Launcher::Slurm(Box::new(spec.clone()));
    assert_eq!(all.batch(), Some(Batch { name, spec, command: Some(line.to_owned()), dir, port, ports }));
}

#[test]
fn a_server_on_either_loopback_is_told_from_one_that_is_elsewhere() {
    let server = |host: &str| Server { target: Target::Tcp(host.to_owned(), 7000), ..Server::bare(7000) };
    assert!(server("127.0.0.1").is_at("127.0.0.1:7000"));
    assert!(server("::1").is_at("[::1]:7000"));
    assert!(!server("::1").is_at("127.0.0.1:7000"));
}

impl Server {
    /// One at `port` of the far end's loopback, of which nothing else is known.
    pub(crate) fn bare(port: u16) -> Server {
        Server {
            host: "127.0.0.1".to_owned(),
            port,
            https: false,
            base_url: "/".to_owned(),
            token: None,
            password: false,
            root_dir: None,
            pid: None,
            version: None,
            kind: Kind::Unknown,
            checked: Checked::Mine,
            self_signed: false,
            owner: None,
            others: Vec::new(),
            last_ended: false,
            token_problem: None,
            node: None,
            target: Target::Tcp("127.0.0.1".to_owned(), port),
        }
    }
}
