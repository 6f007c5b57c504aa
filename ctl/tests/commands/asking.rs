//! What nbctl asks the daemon, and what it makes of the answers.

use nbtunnel_proto::{
    Event, Fault, FaultCode, FileProblem, LogLine, Order, Outcome, Problem, Reached, Reply, Request,
    Selection,
};

use crate::LINE;
use crate::support::{Bed, offer, status, tunnel};

fn stuck(code: &str) -> Reply {
    let problem = Problem { code: code.into(), message: "it said no".into(), hint: "ask it".into() };
    Reply::Ordered(vec![Outcome { name: "alice".into(), reached: Reached::Stuck(problem) }])
}

#[test]
fn without_a_daemon_the_exit_code_is_5_and_the_error_says_how_to_start_it() {
    let bed = Bed::new();
    for command in
        [&["status"][..], &["start", "--all"], &["reload"], &["events"], &["logs"], &["trust", "a"]]
    {
        let ran = bed.nbctl(command);
        assert_eq!((ran.code, ran.stdout.as_str()), (5, ""), "{command:?}");
        assert!(ran.stderr.starts_with("error: no nbtunneld is running at "), "{}", ran.stderr);
        assert!(ran.stderr.contains("\n  hint: "), "{}", ran.stderr);
        let ran = bed.nbctl(&[command, &["--json"]].concat());
        assert_eq!((ran.code, ran.stderr.as_str()), (5, ""));
        assert_eq!(ran.json()["error"]["code"], "no_daemon");
    }
}

#[test]
fn a_wait_of_less_than_nothing_is_a_usage_error() {
    let bed = Bed::new();
    assert_eq!(bed.nbctl(&["start", "x", "--wait=-1"]).code, 2, "before any daemon is asked");
}

#[test]
fn the_status_of_one_tunnel_is_not_about_the_mistakes_of_others() {
    let bed = Bed::new();
    let problem = |file: Option<&str>, message: &str| FileProblem {
        file: file.map(str::to_owned),
        line: None,
        column: None,
        source: None,
        message: message.into(),
        hint: String::new(),
    };
    let _daemon = bed.daemon(move |_| {
        let Reply::Status(mut status) = status(vec![tunnel("alice", "up")]) else { return vec![] };
        status.problems = vec![
            problem(Some("tunnels/alice.toml"), "of alice"),
            problem(Some("tunnels/bob.toml"), "of bob"),
            problem(None, "of all"),
        ];
        vec![Reply::Status(status)]
    });
    let ran = bed.nbctl(&["status", "alice"]);
    assert!(ran.stdout.contains("of alice") && ran.stdout.contains("of all"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("of bob") && bed.nbctl(&["status"]).stdout.contains("of bob"));
    let all = bed.nbctl(&["status", "alice", "--json"]).json();
    assert_eq!(all["problems"].as_array().map(Vec::len), Some(3));
}

#[test]
fn trust_of_a_tunnel_that_is_up_has_nothing_to_do() {
    let bed = Bed::new();
    let _daemon = bed.daemon(|request| match request {
        Request::HostKey { .. } => {
            vec![Reply::Fault(Fault::new(FaultCode::Failed, "alice is up", "there is nothing to do"))]
        }
        _ => vec![status(vec![tunnel("alice", "up")])],
    });
    let ran = bed.nbctl(&["trust", "alice"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "alice is up: its host key is trusted already\n"));
    let ran = bed.nbctl(&["trust", "alice", "--json"]);
    assert_eq!((ran.code, ran.json()["trusted"]["already"].as_bool()), (0, Some(true)));
}

#[test]
fn usage_errors_are_2_for_people_and_for_scripts() {
    let bed = Bed::new();
    for command in [
        &[][..],
        &["nonsense"],
        &["start"],
        &["start", "a", "--all"],
        &["logs", "-n", "-1"],
        &["add", "a", "b"],
        &["add", "ssh -w 0 h"],
        &["add", "a/b", LINE],
        &["start", "a", "--wait=-1"],
    ] {
        // The last of them is seen only with a daemon.
        let _daemon = bed.daemon(|_| vec![Reply::Done]);
        let ran = bed.nbctl(command);
        assert_eq!(ran.code, 2, "{command:?} {}", ran.stderr);
        assert!(ran.stdout.is_empty() && !ran.stderr.is_empty());
        let ran = bed.nbctl(&[&["--json"], command].concat());
        assert_eq!(ran.code, 2);
        assert_eq!(ran.json()["error"]["code"], "usage", "{}", ran.stdout);
    }
    assert_eq!(bed.nbctl(&["--help"]).code, 0);
    assert_eq!(bed.nbctl(&["--version"]).stdout, format!("nbctl {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn status_is_a_table_or_the_json_of_the_design_and_never_coloured_in_a_pipe() {
    let bed = Bed::new();
    let daemon = bed.daemon(|_| vec![status(vec![tunnel("alice", "up")])]);
    let ran = bed.nbctl(&["status", "al*"]);
    assert_eq!(ran.code, 0);
    assert!(ran.stdout.starts_with("NAME ") && ran.stdout.contains("\nalice  up "), "{}", ran.stdout);
    assert!(!ran.stdout.contains('\x1b'));
    assert_eq!(daemon.asked(), [Request::Status { names: vec!["al*".into()] }]);
    let json = bed.nbctl(&["status", "--json"]).json();
    assert_eq!(json["tunnels"][0]["name"], "alice");
    assert_eq!(json["tunnels"][0]["forwards"][0]["listens"][0], "127.0.0.1:6000");
    assert!(json["tunnels"][0]["problem"].is_null() && json["daemon"]["protocol"] == 1);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let bed = Bed::new();
    let line = LogLine { at_ms: 0, tunnel: Some("alice".into()), text: "x".repeat(500) };
    let _daemon = bed.daemon(move |_| vec![Reply::Log(line.clone()); 2000]);
    assert_eq!(bed.shell("\"$NBCTL\" logs -f | head -1 >/dev/null; exit ${PIPESTATUS[0]}").code, 0);
}

#[test]
fn orders_carry_their_selection_and_end_with_the_code_of_the_worst() {
    let bed = Bed::new();
    let daemon = bed.daemon(|_| {
        let outcome = |name: &str, reached| Outcome { name: name.into(), reached };
        vec![Reply::Ordered(vec![outcome("a", Reached::Accepted), outcome("b", Reached::There)])]
    });
    assert_eq!(bed.nbctl(&["start", "a", "lab-*"]).code, 0);
    assert_eq!(bed.nbctl(&["stop", "--all", "--wait"]).code, 0);
    let ran = bed.nbctl(&["restart", "--tag", "lab", "--json"]);
    assert_eq!(ran.json()["outcomes"][1]["reached"], "there");
    let order = |select, order, wait| Request::Order { select, order, wait };
    assert_eq!(
        daemon.asked(),
        [
            order(Selection::Names(vec!["a".into(), "lab-*".into()]), Order::Start, false),
            order(Selection::All, Order::Stop, true),
            order(Selection::Tag("lab".into()), Order::Restart, false),
        ]
    );
    drop(daemon);
    for (code, exit) in [
        ("host_key_unknown", 4),
        ("host_key_changed", 4),
        ("auth_refused", 4),
        ("no_credentials", 4),
        ("answer_needed", 4),
        ("config", 4),
        ("port_in_use", 1),
        ("no_common_algorithm", 1),
    ] {
        let _daemon = bed.daemon(move |_| vec![stuck(code)]);
        let ran = bed.nbctl(&["start", "alice", "--wait"]);
        assert_eq!(ran.code, exit, "{code}");
        assert!(ran.stderr.starts_with("error: alice: it said no\n  hint: "), "{}", ran.stderr);
        assert_eq!(
            ran.stderr.contains("`nbctl trust alice`"),
            code.starts_with("host_key"),
            "{}",
            ran.stderr
        );
        let json = bed.nbctl(&["start", "alice", "--wait", "--json"]).json();
        assert_eq!(json["error"]["code"], code);
    }
}

#[test]
fn a_wait_that_takes_too_long_says_how_far_it_got() {
    let bed = Bed::new();
    let _daemon = bed.daemon(|request| match request {
        Request::Order { .. } => vec![],
        _ => {
            let mut late = tunnel("alice", "waiting");
            late.problem = Some(Problem {
                code: "refused".into(),
                message: "nobody listens".into(),
                hint: "start it".into(),
            });
            vec![status(vec![tunnel("bob", "up"), late])]
        }
    });
    let ran = bed.nbctl(&["start", "--all", "--wait=0.2"]);
    assert_eq!(ran.code, 6);
    assert_eq!(
        ran.stderr,
        "error: not ready after 0.2 s\nalice is waiting: nobody listens\n  hint: start it\n"
    );
}

#[test]
fn what_the_daemon_refuses_keeps_its_code() {
    let bed = Bed::new();
    let fault = Fault::new(FaultCode::NoSuchTunnel, "no tunnel \"x\"", "see `nbctl status`");
    let _daemon = bed.daemon(move |_| vec![Reply::Fault(fault.clone())]);
    for command in [&["status", "x"][..], &["start", "x"], &["logs", "x"], &["trust", "x"]] {
        assert_eq!(bed.nbctl(command).code, 3, "{command:?}");
    }
}

#[test]
fn logs_end_when_the_daemon_says_so_and_follow_ends_with_it() {
    let bed = Bed::new();
    let line =
        LogLine { at_ms: 1_700_000_000_000, tunnel: Some("alice".into()), text: "is up\x1b[2J".into() };
    let daemon = bed.daemon(move |request| {
        let follow = matches!(request, Request::Logs { follow: true, .. });
        let end =
            if follow { Reply::Fault(Fault::new(FaultCode::Stopping, "going", "wait")) } else { Reply::Done };
        vec![Reply::Log(line.clone()), end]
    });
    let ran = bed.nbctl(&["logs", "alice", "-n", "5"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "2023-11-14 22:13:20 alice: is up [2J\n"));
    let ran = bed.nbctl(&["logs", "-f", "--json"]);
    assert_eq!(ran.code, 5);
    assert_eq!(
        serde_json::from_str::<LogLine>(ran.stdout.lines().next().unwrap()).unwrap().at_ms,
        1_700_000_000_000
    );
    assert_eq!(daemon.asked()[0], Request::Logs { name: Some("alice".into()), lines: 5, follow: false });
}

#[test]
fn trust_waits_for_the_key_and_writes_the_one_that_was_shown() {
    let bed = Bed::new();
    let mut looks = 0;
    let daemon = bed.daemon(move |request| match request {
        Request::Status { .. } => {
            looks += 1;
            vec![status(vec![tunnel("alice", if looks < 3 { "connecting" } else { "parked" })])]
        }
        Request::HostKey { .. } if looks < 3 => {
            vec![Reply::Fault(Fault::new(FaultCode::Failed, "no key yet", "wait"))]
        }
        Request::HostKey { .. } => vec![Reply::HostKey(Box::new(offer()))],
        _ => vec![Reply::Trusted { file: "/kh".into(), replaced: vec![] }],
    });
    let ran = bed.nbctl(&["trust", "alice"]);
    assert_eq!(ran.code, 4, "nobody is there to be asked");
    assert!(
        ran.stderr.contains("SHA256:new") && ran.stderr.contains("--yes --fingerprint SHA256:new"),
        "{}",
        ran.stderr
    );
    assert_eq!(bed.nbctl(&["trust", "alice", "--yes"]).code, 4);
    assert_eq!(bed.nbctl(&["trust", "alice", "--yes", "--fingerprint", "SHA256:other"]).code, 4);
    let ran = bed.nbctl(&["trust", "alice", "--yes", "--fingerprint", "SHA256:new", "--json"]);
    assert_eq!((ran.code, ran.json()["trusted"]["file"].as_str()), (0, Some("/kh")), "{}", ran.stdout);
    let trusts: Vec<Request> =
        daemon.asked().into_iter().filter(|request| matches!(request, Request::Trust { .. })).collect();
    let fingerprint = "SHA256:new".to_owned();
    assert_eq!(trusts, [Request::Trust { name: "alice".into(), fingerprint, replace: false }]);
}

#[test]
fn watch_looks_again_at_once_when_something_happens_and_ends_with_the_daemon() {
    let bed = Bed::new();
    let daemon = bed.daemon(|request| match request {
        Request::Events => {
            let event = Event {
                at_ms: 0,
                tunnel: Some("alice".into()),
                forward: None,
                notebook: None,
                from: "up".into(),
                to: "waiting".into(),
                problem: None,
                retry_in_s: None,
                text: "alice waits".into(),
            };
            vec![
                Reply::Event(Box::new(event)),
                Reply::Fault(Fault::new(FaultCode::Stopping, "going", "wait")),
            ]
        }
        _ => vec![status(vec![tunnel("alice", "up")])],
    });
    let ran = bed.nbctl(&["status", "--watch", "--json"]);
    assert_eq!(ran.code, 5, "{}", ran.stdout);
    let lines: Vec<serde_json::Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["tunnels"][0]["name"], "alice");
    assert_eq!(lines.last().unwrap()["error"]["code"], "stopping");
    drop(daemon);
    let _daemon = bed.daemon(|request| match request {
        Request::Events => vec![],
        _ => vec![status(vec![tunnel("alice", "up")])],
    });
    let ran = bed.shell("\"$NBCTL\" status --watch | head -4; exit ${PIPESTATUS[0]}");
    assert_eq!((ran.code, ran.stdout.matches("NAME").count()), (0, 2), "{}", ran.stdout);
}

#[test]
fn status_is_answered_by_the_daemon_that_takes_over() {
    let bed = Bed::new();
    let mut asked = 0;
    let daemon = bed.daemon(move |_| {
        asked += 1;
        match asked {
            1 | 2 => vec![Reply::Fault(Fault::new(FaultCode::Stopping, "going", "wait"))],
            _ => vec![status(vec![tunnel("alice", "up")])],
        }
    });
    assert_eq!(bed.nbctl(&["status"]).code, 0);
    assert_eq!(daemon.asked().len(), 3);
    drop(daemon);
    let _last = bed.daemon(|_| vec![Reply::Fault(Fault::new(FaultCode::Failed, "no", "wait"))]);
    assert_eq!(bed.nbctl(&["status"]).code, 1, "what a daemon refuses is not asked again");
}

#[test]
fn what_is_for_tests_alone_is_not_shown() {
    let bed = Bed::new();
    assert!(!bed.nbctl(&["--help"]).stdout.contains("debug"));
}
