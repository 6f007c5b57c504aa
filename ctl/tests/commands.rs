//! The real nbctl against a daemon's end of the socket that answers from a script, and a stand-in for
//! `nbtunneld --check`: exit codes, JSON, what is written and what is left alone.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nbtunnel_proto::{
    Fault, FaultCode, LogLine, Order, Outcome, Problem, Reached, Reply, Request, Selection,
};
use support::{Bed, offer, status, tunnel};

const LINE: &str = "ssh -N -f -L localhost:6000:localhost:7000 username@dest.ination.com";

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
fn usage_errors_are_2_for_people_and_for_scripts() {
    let bed = Bed::new();
    for command in [
        &[][..],
        &["nonsense"],
        &["start"],
        &["start", "a", "--all"],
        &["logs", "-n", "-1"],
        &["add", "a", "b"],
        &["add", "ssh -R 1:a:2 h"],
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
fn add_writes_a_private_file_once_and_proposes_a_free_name() {
    let bed = Bed::new();
    let ran = bed.nbctl(&["add", LINE]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("note: -N is left out") && ran.stderr.contains("no daemon watches it yet"));
    let file = bed.config().join("tunnels/dest.toml");
    let text =
        "host = \"dest.ination.com\"\nuser = \"username\"\nforward = [\"localhost:6000:localhost:7000\"]\n";
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(bed.config()).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(bed.tunnel_files(), ["dest.toml"]);

    let ran = bed.nbctl(&["add", "--json", LINE]);
    assert_eq!(ran.code, 1);
    assert_eq!(
        (&ran.json()["error"]["code"], &ran.json()["free_name"]),
        (&"name_taken".into(), &"dest-2".into())
    );
    assert_eq!(bed.nbctl(&["add", "DEST", LINE]).code, 1, "names that differ only in case clash");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn add_under_a_daemon_reloads_it_and_says_what_happens_next() {
    let bed = Bed::new();
    let config = bed.config().to_string_lossy().into_owned();
    let daemon = bed.daemon(move |request| match request {
        Request::Reload => {
            vec![Reply::Reloaded {
                added: vec!["alice".into()],
                changed: vec![],
                removed: vec![],
                problems: vec![],
            }]
        }
        _ => match status(vec![tunnel("alice", "connecting")]) {
            Reply::Status(mut status) => {
                status.daemon.config_dir.clone_from(&config);
                vec![Reply::Status(status)]
            }
            other => vec![other],
        },
    });
    let ran = bed.nbctl(&["add", "alice", "--", "ssh", "-L", "6000:localhost:7000", "me@h"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(
        ran.stderr,
        "alice: http://127.0.0.1:6000 leads to localhost:7000 at me@h (connecting now); see `nbctl status alice`\n"
    );
    assert_eq!(daemon.asked()[0], Request::Reload);
}

#[test]
fn add_leaves_nothing_when_the_file_would_be_wrong_the_checker_is_missing_or_the_disk_is_full() {
    let bed = Bed::new();
    let ran = bed.nbctl(&["add", "alice", "ssh -L BAD h"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("tunnels/alice.toml:2:1: not a forward") && ran.stderr.contains("hint: as in"),
        "{}",
        ran.stderr
    );
    assert_eq!(bed.tunnel_files(), [""; 0]);

    let ran = bed.nbctl_env(&["add", "alice", LINE], &[("NBTUNNELD", "/nonexistent/nbtunneld")]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("cannot be found") && ran.stderr.contains("NBTUNNELD"), "{}", ran.stderr);
    assert_eq!(bed.tunnel_files(), [""; 0]);

    // A file size limit of nothing stands in for a full disk.
    let ran = bed.shell("trap '' XFSZ; ulimit -f 0; \"$NBCTL\" add alice 'ssh -L 1:a:2 h' >/dev/null");
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert_eq!(bed.tunnel_files(), [""; 0]);
}

#[test]
fn check_shows_problems_like_a_compiler() {
    let bed = Bed::new();
    assert_eq!(bed.nbctl(&["add", "alice", LINE]).code, 0);
    let ran = bed.nbctl(&["check"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{}", ran.stderr);
    fs::write(bed.config().join("tunnels/bob.toml"), "host = \"h\"\nforward = \"BAD\"\n").unwrap();
    let ran = bed.nbctl(&["check", bed.config().join("tunnels/bob.toml").to_str().unwrap()]);
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.stdout,
        "tunnels/bob.toml:2:1: not a forward\n  2 | forward = \"BAD\"\n    | ^\n  hint: as in 6000:localhost:7000\n"
    );
    let ran = bed.nbctl(&["check", "--json"]);
    assert_eq!((ran.code, ran.json()["problems"][0]["line"].as_u64()), (1, Some(2)));
}

#[test]
fn rm_removes_all_or_nothing() {
    let bed = Bed::new();
    assert_eq!(bed.nbctl(&["add", "alice", LINE]).code, 0);
    let ran = bed.nbctl(&["rm", "alice", "bob"]);
    assert_eq!(ran.code, 3);
    assert!(
        ran.stderr.contains("no tunnel \"bob\"") && ran.stderr.contains("there are: alice"),
        "{}",
        ran.stderr
    );
    assert_eq!(bed.tunnel_files(), ["alice.toml"]);
    assert_eq!(bed.nbctl(&["rm", "../nbtunnel"]).code, 3);
    assert_eq!(bed.nbctl(&["rm", "alice"]).code, 0);
    assert_eq!(bed.tunnel_files(), [""; 0]);
}

#[test]
fn edit_takes_what_is_right_and_keeps_what_is_not() {
    let bed = Bed::new();
    assert_eq!(bed.nbctl(&["add", "alice", LINE]).code, 0);
    let file = bed.config().join("tunnels/alice.toml");
    let edit = |script: &str| bed.nbctl_env(&["edit", "alice"], &[("VISUAL", script)]);
    assert_eq!(edit("true").code, 0);
    let ran = edit("sed -i s/username/you/");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let right = fs::read_to_string(&file).unwrap();
    assert!(right.contains("user = \"you\""));
    let ran = edit("sed -i s/localhost:6000/BAD/");
    assert_eq!(ran.code, 1);
    assert_eq!(fs::read_to_string(&file).unwrap(), right);
    let kept = ran.stderr.split("is kept in ").nth(1).unwrap().trim();
    assert!(fs::read_to_string(kept).unwrap().contains("BAD"), "{kept}");
    assert_eq!(edit("false").code, 1);
    assert_eq!(edit("/nonexistent/editor").code, 1);
    assert_eq!(bed.nbctl(&["edit", "bob"]).code, 3);
}

#[test]
fn edit_follows_a_link_and_leaves_it_a_link() {
    let bed = Bed::new();
    assert_eq!(bed.nbctl(&["add", "alice", LINE]).code, 0);
    let file = bed.config().join("tunnels/alice.toml");
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("dotfile");
    fs::rename(&file, &target).unwrap();
    std::os::unix::fs::symlink(&target, &file).unwrap();
    let ran = bed.nbctl_env(&["edit", "alice"], &[("EDITOR", "sed -i s/username/you/")]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(fs::symlink_metadata(&file).unwrap().is_symlink());
    assert!(fs::read_to_string(&target).unwrap().contains("you"));
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);
    assert_eq!(bed.tunnel_files(), ["alice.toml"]);
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
fn a_home_that_does_not_exist_is_one_clear_sentence() {
    let bed = Bed::new();
    let ran =
        bed.nbctl_env(&["add", "alice", LINE], &[("NBTUNNEL_CONFIG_DIR", ""), ("HOME", "/nonexistent")]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.starts_with("error: HOME is /nonexistent, which is not a directory\n"),
        "{}",
        ran.stderr
    );
}
