//! What nbctl writes into the config directory, and what it leaves alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nbtunnel_proto::{Problem, Reply, Request};

use crate::LINE;
use crate::support::{Bed, status, tunnel};

#[test]
fn add_writes_a_private_file_once_and_proposes_a_free_name() {
    let bed = Bed::new();
    let ran = bed.nbctl(&["add", LINE]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("note: left out: -N") && ran.stderr.contains("no daemon watches it yet"));
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
fn add_does_not_promise_an_address_that_somebody_else_has() {
    let bed = Bed::new();
    let config = bed.config().to_string_lossy().into_owned();
    let _daemon = bed.daemon(move |request| match request {
        Request::Reload => {
            vec![Reply::Reloaded { added: vec![], changed: vec![], removed: vec![], problems: vec![] }]
        }
        _ => {
            let mut alice = tunnel("alice", "up");
            alice.forwards[0].problem = Some(Problem {
                code: "port_in_use".into(),
                message: "port 6000 is in use by python3".into(),
                hint: "stop it".into(),
            });
            let Reply::Status(mut status) = status(vec![alice]) else { unreachable!() };
            status.daemon.config_dir.clone_from(&config);
            vec![Reply::Status(status)]
        }
    });
    let ran = bed.nbctl(&["add", "alice", "--", "ssh", "-L", "6000:localhost:7000", "me@h"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(!ran.stderr.contains("http://127.0.0.1:6000 leads"), "{}", ran.stderr);
    assert!(ran.stderr.contains("note: port 6000 is in use by python3; stop it"), "{}", ran.stderr);
}

#[test]
fn add_leaves_nothing_when_the_file_would_be_wrong_the_checker_is_missing_or_the_disk_is_full() {
    let bed = Bed::new();
    let ran = bed.nbctl(&["add", "alice", "ssh -L BAD h"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("tunnels/alice.toml:2:1: not a forward")
            && ran.stderr.matches("hint: as in").count() == 1,
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
    assert!(ran.stderr.contains("alice.toml cannot be written: "), "{}", ran.stderr);
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
    assert!(ran.stderr.contains("tunnels/bob.toml: "), "{}", ran.stderr);
    let by_name = bed.nbctl(&["check", "bob"]);
    assert_eq!((by_name.code, by_name.stdout), (1, ran.stdout), "a name will do");
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
fn a_home_that_does_not_exist_is_one_clear_sentence() {
    let bed = Bed::new();
    for command in [&["add", "alice", LINE][..], &["check"], &["check", "alice"]] {
        let ran = bed.nbctl_env(command, &[("NBTUNNEL_CONFIG_DIR", ""), ("HOME", "/nonexistent")]);
        assert_eq!(ran.code, 1);
        assert!(
            ran.stderr.starts_with("error: HOME is /nonexistent, which is not a directory\n"),
            "{}",
            ran.stderr
        );
    }
}
