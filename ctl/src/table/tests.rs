//! The table, letter for letter.

use nbtunnel_proto::{DaemonStatus, History, JobStatus, NotebookServer, NotebookStatus, PastFailure};

use super::*;
use crate::text::local_time;

fn forward(listen: &str, target: &str, open: u32, held: u32) -> ForwardStatus {
    ForwardStatus {
        kind: "local".into(),
        listen: listen.into(),
        listens: vec![listen.into()],
        target: target.into(),
        open,
        held,
        total: 0,
        bytes_in: 0,
        bytes_out: 0,
        note: None,
        problem: None,
        refused: 0,
    }
}

fn tunnel(name: &str, state: &str, forwards: Vec<ForwardStatus>) -> TunnelStatus {
    TunnelStatus {
        name: name.into(),
        wanted: "up".into(),
        state: state.into(),
        step: None,
        health: None,
        host: "h.example.org".into(),
        port: 22,
        user: "me".into(),
        via: vec![],
        since_s: 4.2,
        attempt: 0,
        retry_in_s: None,
        reconnects: 0,
        rtt_ms: None,
        tags: vec![],
        problem: None,
        forwards,
        notebooks: vec![],
        draining: 0,
        asking: None,
        answer_in_s: None,
        history: History::default(),
    }
}

fn problem(message: &str, hint: &str) -> Option<Problem> {
    Some(Problem { code: "x".into(), message: message.into(), hint: hint.into() })
}

fn status(tunnels: Vec<TunnelStatus>, problems: Vec<FileProblem>) -> Status {
    let daemon = DaemonStatus {
        version: "0.1.0".into(),
        protocol: 1,
        pid: 1,
        uptime_s: 0.0,
        config_dir: "/c".into(),
        socket: "/s".into(),
        now_ms: 1_700_000_000_000,
    };
    Status { daemon, tunnels, problems }
}

fn bad_file() -> FileProblem {
    FileProblem {
        file: Some("tunnels/x.toml".into()),
        line: Some(12),
        column: Some(3),
        source: Some("a ü= 1".into()),
        message: "unknown key".into(),
        hint: "did you mean b?".into(),
    }
}

#[test]
fn every_column_is_aligned_and_every_problem_has_its_lines() {
    let mut waiting =
        tunnel("bob", "waiting", vec![forward("127.0.0.1:1", "a:2", 0, 3), forward("*:3", "b:4", 2, 1)]);
    waiting.retry_in_s = Some(12.0);
    waiting.port = 2222;
    waiting.problem = problem("h.example.org does not answer", "is it up?");
    waiting.forwards[1].problem = problem("port 3 is taken", "");
    waiting.forwards[1].refused = 7;
    let mut suspect = tunnel("long-name", "up", vec![]);
    suspect.health = Some("suspect".into());
    suspect.user = String::new();
    let mut dialling = tunnel("c", "connecting", vec![]);
    dialling.step = Some("dns".into());
    let mut up = tunnel("alice", "up", vec![forward("127.0.0.1:6000", "localhost:7000", 0, 0)]);
    up.forwards[0].note = Some("not on ::1: port 6000 is in use by node (pid 7)".into());
    let text = render(&status(vec![up, waiting, suspect, dialling], vec![bad_file()]), Paint(false));
    assert!(!text.contains('\x1b') && !text.lines().any(|line| line.ends_with(' ')), "{text}");
    let columns: Vec<usize> = text.lines().take(6).filter_map(|line| line.find("->")).collect();
    assert_eq!(columns.len(), 3, "{text}");
    assert_eq!(text, include_str!("expected.txt"), "{text}");
}

#[test]
fn without_tunnels_it_says_where_they_come_from() {
    assert_eq!(render(&status(vec![], vec![]), Paint(false)), "no tunnels; they are read from /c\n");
}

#[test]
fn colour_does_not_move_the_columns() {
    let status = status(vec![tunnel("alice", "parked", vec![forward("l", "t", 0, 0)])], vec![bad_file()]);
    let coloured = render(&status, Paint(true));
    assert!(coloured.contains("\x1b[31mparked\x1b[0m"), "{coloured:?}");
    let stripped = coloured
        .split('\x1b')
        .enumerate()
        .map(|(i, part)| if i == 0 { part } else { part.split_once('m').unwrap().1 })
        .collect::<String>();
    assert_eq!(stripped, render(&status, Paint(false)));
}

#[test]
fn a_problem_is_shown_as_a_compiler_shows_it() {
    assert_eq!(
        diagnosis(&bad_file(), Paint(false)),
        "tunnels/x.toml:12:3: unknown key\n  12 | a ü= 1\n     |   ^\n  hint: did you mean b?\n"
    );
    let mut odd = bad_file();
    odd.column = Some(u32::MAX);
    assert!(diagnosis(&odd, Paint(false)).contains("     |       ^\n"));
    let bare = FileProblem { file: None, line: None, column: None, source: None, ..bad_file() };
    assert_eq!(diagnosis(&bare, Paint(false)), "unknown key\n  hint: did you mean b?\n");
}

#[test]
fn what_a_server_sent_cannot_draw_on_the_screen() {
    let mut bad = tunnel("alice", "parked", vec![]);
    bad.problem = problem("\x1b[2Jgone\nalice up", "\r");
    let text = render(&status(vec![bad], vec![]), Paint(false));
    assert!(!text.contains(['\x1b', '\r']) && text.lines().count() == 5, "{text:?}");
}

#[test]
fn what_a_tunnel_went_through_is_one_line() {
    let mut tunnel = tunnel("alice", "up", vec![]);
    let now = 1_700_000_000_000;
    assert_eq!(past(&tunnel, now, Paint(false)), "", "nothing happened yet");
    tunnel.history = History {
        since_ms: 1,
        reconnects: 12,
        up_s: 3.0 * 86400.0 + 4.0 * 3600.0 + 5.0,
        longest_gap_s: 41.2,
        last_failure: Some(PastFailure {
            at_ms: now - 7_200_000,
            code: "dead_peer".into(),
            message: "the server stopped\x1b[2J answering".into(),
        }),
    };
    assert_eq!(
        past(&tunnel, now, Paint(false)),
        "\nreconnected 12 times, up 3 d 4 h in all, longest gap 41 s, \
         last failure 2 h ago: the server stopped [2J answering\n"
    );
    // A wall clock that was set back in between.
    assert!(past(&tunnel, 5, Paint(false)).contains("last failure: the server"));
    tunnel.history = History { reconnects: 1, longest_gap_s: 0.3, ..History::default() };
    tunnel.draining = 1;
    assert_eq!(
        past(&tunnel, now, Paint(false)),
        "\nreconnected once, no gap as long as a second, an older session finishes what it carries\n"
    );
}

#[test]
fn the_way_is_told_to_who_asks_for_one_tunnel() {
    let mut tunnel = tunnel("alice", "up", vec![]);
    tunnel.via = vec!["proxy command".into(), "me@gate\x1b[2J:22".into()];
    assert_eq!(past(&tunnel, 0, Paint(false)), "\nby way of proxy command > me@gate [2J:22\n");
}

#[test]
fn a_link_that_may_be_dead_looks_so_while_another_is_dialled() {
    let mut suspect = tunnel("alice", "up", vec![]);
    (suspect.health, suspect.step) = (Some("suspect".into()), Some("tcp".into()));
    assert!(render(&status(vec![suspect], vec![]), Paint(false)).contains("up (suspect)"));
}

#[test]
fn what_is_wrong_for_many_files_alike_is_told_once() {
    let of = |file: &str, message: &str| FileProblem {
        file: Some(file.into()),
        line: Some(1),
        column: Some(8),
        source: None,
        message: message.into(),
        hint: "mend it".into(),
    };
    let all = ["a.toml", "b.toml", "c.toml"].map(|file| of(file, "config: line 1: bad"));
    let mut problems = all.to_vec();
    problems.insert(1, of("a.toml", "not a forward"));
    let text = render(&status(vec![], problems.clone()), Paint(false));
    assert!(
        text.contains("a.toml:1:8: config: line 1: bad, and so for 2 more files\n  hint: mend it\n"),
        "{text}"
    );
    assert!(text.contains("a.toml:1:8: not a forward\n") && !text.contains("b.toml"), "{text}");
    problems.truncate(3);
    assert!(render(&status(vec![], problems), Paint(false)).contains("for 1 more file\n"));
}

#[test]
fn what_is_wrong_now_is_not_told_again_as_the_last_failure() {
    let mut alice = tunnel("alice", "waiting", vec![]);
    alice.history.last_failure = Some(PastFailure { at_ms: 0, code: "x".into(), message: "gone".into() });
    alice.problem = problem("gone", "");
    assert_eq!(past(&alice, 1000, Paint(false)), "");
    alice.problem = problem("another", "");
    assert!(past(&alice, 1000, Paint(false)).contains("last failure 1 s ago: gone"));
}

#[test]
fn notebooks_have_their_row_their_layers_and_their_lines() {
    let forwards = ["6001", "6002", "6003", "6004", "6005"]
        .map(|port| forward(&format!("localhost:{port}"), "notebook", 0, 0));
    let mut lab = tunnel("lab", "up", forwards.to_vec());
    let notebook = |name: &str, port: u16, state: &str| NotebookStatus {
        name: name.into(),
        state: state.into(),
        local_port: port,
        ..NotebookStatus::default()
    };
    let server = NotebookServer {
        version: Some("2.14.1".into()),
        kernels: Some(3),
        busy: Some(1),
        last_activity: Some("2023-11-14T22:08:20Z".into()),
        asked_ms: 1_699_999_000_000,
    };
    let alice = NotebookStatus {
        url: Some("http://localhost:6001/".into()),
        target: Some("localhost:7000".into()),
        server: Some(server),
        health: Some("server ok".into()),
        health_ms: Some(1_699_999_000_000),
        health_since_ms: Some(1_690_000_000_000),
        note: Some("its certificate vouches for itself; ssh vouches for it here".into()),
        ..notebook("alice", 6001, "found")
    };
    let refused = Problem {
        code: "token_refused".into(),
        message: "the server on port 7002 does not take the token".into(),
        hint: "correct token in [notebook.bob]".into(),
    };
    let bob = NotebookStatus {
        target: Some("localhost:7002".into()),
        problem: Some(refused),
        health: Some("server ok · token refused".into()),
        health_ms: Some(1_699_999_999_000),
        health_since_ms: Some(1_699_999_998_000),
        ..notebook("bob", 6002, "found")
    };
    let silent = problem("server does not answer on 7005", "restart it");
    let erin = NotebookStatus {
        target: Some("localhost:7005".into()),
        problem: silent,
        health: Some("port ok · server does not answer on 7005".into()),
        health_ms: Some(1_699_999_990_000),
        health_since_ms: Some(1_699_999_880_000),
        ..notebook("erin", 6005, "found")
    };
    let job = |state: &str| JobStatus { id: 17, state: state.into(), ..JobStatus::default() };
    let starts_ms = 1_700_007_500_000;
    let waits = JobStatus { reason: Some("Resources".into()), starts_ms: Some(starts_ms), ..job("PENDING") };
    let runs = JobStatus { node: Some("n7".into()), left_s: Some(7500.0), ..job("RUNNING") };
    let carol = NotebookStatus { job: Some(waits), ..notebook("carol", 6003, "pending") };
    let dave = NotebookStatus { job: Some(runs), ..notebook("dave", 6004, "starting") };
    lab.notebooks = vec![alice, bob, carol, dave, erin];
    let status = status(vec![lab.clone()], vec![]);
    let text = render(&status, Paint(false)) + &details(&lab, status.daemon.now_ms, Paint(false));
    // Where people live differs.
    let text = text.replace(&local_time(starts_ms), "2023-11-15 00:18:20");
    assert_eq!(text, include_str!("notebooks.txt"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100 && !line.ends_with(' ')), "{text}");
}
