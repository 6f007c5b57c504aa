//! What is on the wire, byte for byte, and what happens to bytes that nobody of ours sent.

use proptest::prelude::*;

use super::*;
use crate::answer::{Prompt, Question, Secret};
use crate::event::{Event, LogLine};
use crate::finding::Finding;
use crate::keys::{Keys, OfferedKey};
use crate::reply::{HostKeyOffer, Outcome, Reached, RecordedKey, Reply, SshHost};
use crate::request::{Order, Request, Selection};
use crate::status::{
    DaemonStatus, FileProblem, ForwardStatus, History, NotebookStatus, PastFailure, Problem, Status,
    TunnelStatus,
};

fn problem() -> Problem {
    Problem { code: "dns".into(), message: "m".into(), hint: "h".into() }
}

fn file_problem() -> FileProblem {
    FileProblem {
        file: Some("f".into()),
        line: Some(3),
        column: None,
        source: Some("s".into()),
        message: "m".into(),
        hint: "h".into(),
    }
}

fn tunnel(name: &str, message: &str) -> TunnelStatus {
    TunnelStatus {
        name: name.into(),
        wanted: "up".into(),
        state: "up".into(),
        step: None,
        health: Some("ok".into()),
        host: "h".into(),
        port: 22,
        user: "u".into(),
        via: vec!["v".into()],
        since_s: 1.5,
        attempt: 0,
        retry_in_s: None,
        reconnects: 300,
        rtt_ms: Some(0.5),
        tags: vec!["t".into()],
        problem: Some(Problem { code: "dns".into(), message: message.into(), hint: "h".into() }),
        forwards: vec![ForwardStatus {
            kind: "local".into(),
            listen: "l".into(),
            listens: vec!["l".into()],
            target: "t".into(),
            open: 1,
            held: 2,
            total: 3,
            bytes_in: 1 << 40,
            bytes_out: 5,
            note: Some("n".into()),
            problem: None,
            refused: 6,
        }],
        notebooks: vec![NotebookStatus { name: "n".into(), ..NotebookStatus::default() }],
        draining: 1,
        history: History {
            since_ms: 1_700_000_000_000,
            reconnects: 300,
            up_s: 1.5,
            longest_gap_s: 0.5,
            last_failure: Some(PastFailure { at_ms: 1, code: "dns".into(), message: "m".into() }),
        },
        asking: Some("you".into()),
        answer_in_s: Some(1.5),
    }
}

fn status(tunnels: Vec<TunnelStatus>) -> Reply {
    let daemon = DaemonStatus {
        version: "0.1.0".into(),
        protocol: 1,
        pid: 70000,
        uptime_s: 1.5,
        config_dir: "c".into(),
        socket: "s".into(),
        now_ms: 1_700_000_000_000,
    };
    Reply::Status(Box::new(Status { daemon, tunnels, problems: vec![file_problem()] }))
}

fn requests() -> Vec<(&'static str, Request)> {
    let order = |select, order, wait| Request::Order { select, order, wait };
    vec![
        ("status", Request::Status { names: vec!["a".into(), "b*".into()] }),
        ("start", order(Selection::All, Order::Start, true)),
        ("stop", order(Selection::Names(vec!["a".into()]), Order::Stop, false)),
        ("restart", order(Selection::Tag("t".into()), Order::Restart, false)),
        ("reload", Request::Reload),
        ("logs", Request::Logs { name: Some("a".into()), lines: 1000, follow: true }),
        ("events", Request::Events),
        ("host-key", Request::HostKey { name: "a".into() }),
        ("trust", Request::Trust { name: "a".into(), fingerprint: "f".into(), replace: true }),
        ("unlock", Request::Unlock { name: "a".into() }),
        ("environment", Request::Environment { agent: "/a".into() }),
        (
            "answers",
            Request::Answers {
                number: 3,
                answers: vec![Secret::new("x".into()), Secret::new(String::new())],
            },
        ),
        ("doctor", Request::Doctor { name: Some("a".into()) }),
        ("keys", Request::Keys { name: "a".into() }),
        ("test-key", Request::TestKey { name: "a".into(), file: Some("f".into()) }),
        ("proxy", Request::Proxy { name: "a".into(), target: Some("h:22".into()) }),
        ("proxy-end", Request::ProxyEnd { number: 7 }),
        ("ssh-hosts", Request::SshHosts { names: vec!["a".into()] }),
    ]
}

fn replies() -> Vec<(&'static str, Reply)> {
    let outcome = |name: &str, reached| Outcome { name: name.into(), reached };
    let mut all = vec![
        ("status", status(vec![tunnel("a", "m")])),
        (
            "ordered",
            Reply::Ordered(vec![
                outcome("a", Reached::Accepted),
                outcome("b", Reached::There),
                outcome("c", Reached::Stuck(problem())),
                outcome("d", Reached::Overtaken),
            ]),
        ),
        (
            "reloaded",
            Reply::Reloaded {
                added: vec!["a".into()],
                changed: vec!["b".into()],
                removed: vec!["c".into()],
                problems: vec![file_problem()],
            },
        ),
        ("log", Reply::Log(LogLine { at_ms: 1_700_000_000_000, tunnel: None, text: "x".into() })),
        (
            "event",
            Reply::Event(Box::new(Event {
                at_ms: 1,
                tunnel: Some("a".into()),
                forward: Some("l:t".into()),
                notebook: None,
                from: "up".into(),
                to: "waiting".into(),
                problem: Some(problem()),
                retry_in_s: Some(0.5),
                text: "x".into(),
            })),
        ),
        ("done", Reply::Done),
        (
            "host-key",
            Reply::HostKey(Box::new(HostKeyOffer {
                name: "a".into(),
                hop: "h:22".into(),
                jump: 1,
                jumps: 2,
                alias: Some("a".into()),
                algorithm: "ssh-ed25519".into(),
                fingerprint: "SHA256:x".into(),
                randomart: "r".into(),
                file: "f".into(),
                trusted: false,
                recorded: vec![RecordedKey {
                    file: "f".into(),
                    line: 7,
                    algorithm: "ssh-rsa".into(),
                    fingerprint: "SHA256:y".into(),
                    randomart: "r".into(),
                    pattern: Some("*".into()),
                    stays: true,
                }],
                revoked: true,
                revoked_at: Some("f:9".into()),
                doubt: None,
            })),
        ),
        ("trusted", Reply::Trusted { file: "f".into(), replaced: vec!["f:7".into()] }),
    ];
    all.push((
        "ask",
        Reply::Ask(Box::new(Question {
            number: 3,
            tunnel: "a".into(),
            from: "u@h:22".into(),
            title: "t".into(),
            instructions: "i".into(),
            prompts: vec![Prompt { text: "p".into(), echo: true }],
        })),
    ));
    for code in FAULTS {
        all.push((code.word(), Reply::Fault(Fault::new(code, "m", "h"))));
    }
    all.push((
        "finding",
        Reply::Finding(Box::new(Finding {
            tunnel: Some("a".into()),
            layer: "tcp".into(),
            hop: Some("h:22".into()),
            forward: None,
            verdict: "broken".into(),
            code: Some("refused".into()),
            message: "m".into(),
            hint: "h".into(),
            took_ms: Some(300),
        })),
    ));
    let key = OfferedKey {
        file: Some("f".into()),
        holder: "file".into(),
        public: Some("p".into()),
        fingerprint: None,
        certificate: None,
        verdict: Some("taken".into()),
    };
    let account = "u@h:22".into();
    let keys = Keys { account, keys: vec![key], notes: vec!["n".into()], let_in: Some(true) };
    all.push(("keys", Reply::Keys(Box::new(keys))));
    all.push(("proxied", Reply::Proxied { number: 7 }));
    let host = SshHost {
        name: "a".into(),
        host: "h".into(),
        port: 22,
        user: "u".into(),
        alias: None,
        identity_files: vec!["f".into()],
        certificate_files: vec!["c".into()],
        identities_only: true,
        identity_agent: Some("a".into()),
        known_hosts: vec!["k".into()],
        options: vec![("o".into(), "v".into())],
        asks: true,
        on_the_way: vec!["w".into()],
    };
    let (unknown, on_the_way) = (vec![("b".into(), "y".into())], vec!["w".into()]);
    all.push(("ssh-hosts", Reply::SshHosts { hosts: vec![host], unknown, on_the_way }));
    all
}

const FAULTS: [FaultCode; 11] = [
    FaultCode::Failed,
    FaultCode::Usage,
    FaultCode::NoSuchTunnel,
    FaultCode::NeedsYou,
    FaultCode::Version,
    FaultCode::Busy,
    FaultCode::Stopping,
    FaultCode::TooSlow,
    FaultCode::Protocol,
    FaultCode::NoDaemon,
    FaultCode::TimedOut,
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// When this fails and the change is meant, bump `hello::PROTOCOL` and put what it prints into the file.
#[test]
fn every_message_has_the_bytes_that_it_always_had() {
    let mut now = String::new();
    for (name, request) in requests() {
        let bytes = encode(&request, MAX_REQUEST).unwrap();
        assert_eq!(decode::<Request>(&bytes).unwrap(), request);
        now += &format!("request {name} {}\n", hex(&bytes));
    }
    for (name, reply) in replies() {
        let frames = reply_frames(&reply).unwrap();
        assert_eq!(frames.len(), 1, "{name}");
        assert_eq!(Assembly::default().push::<Reply>(&frames[0]).unwrap(), Some(reply));
        now += &format!("reply {name} {}\n", hex(&frames[0]));
    }
    assert_eq!(now, include_str!("golden.txt"), "the wire changed; it is now\n{now}");
}

#[test]
fn what_is_left_over_is_rejected() {
    let mut bytes = encode(&Request::Reload, MAX_REQUEST).unwrap();
    bytes.push(0);
    assert!(decode::<Request>(&bytes).unwrap_err().message.contains("1 bytes too many"));
}

#[test]
fn a_request_has_a_bound_and_says_so() {
    let names = vec!["x".repeat(64); 1100];
    assert!(encode(&Request::Status { names }, MAX_REQUEST).unwrap_err().message.contains("64 KiB"));
}

#[test]
fn the_status_of_a_thousand_tunnels_goes_through_in_frames_of_a_bounded_size() {
    let long = "what happened ".repeat(200);
    let reply = status((0..1000).map(|i| tunnel(&format!("t{i}"), &long)).collect());
    let frames = reply_frames(&reply).unwrap();
    assert!(frames.len() > 2 && frames.iter().all(|frame| frame.len() <= MAX_FRAME));
    let mut assembly = Assembly::default();
    let (last, first) = frames.split_last().unwrap();
    for frame in first {
        assert!(assembly.push::<Reply>(frame).unwrap().is_none());
    }
    assert_eq!(assembly.push::<Reply>(last).unwrap(), Some(reply));
    assert_eq!(assembly.push::<Reply>(&reply_frames(&Reply::Done).unwrap()[0]).unwrap(), Some(Reply::Done));
}

#[test]
fn a_reply_without_an_end_is_cut_off() {
    let mut assembly = Assembly::default();
    let frame = [vec![MORE], vec![0; MAX_FRAME - 1]].concat();
    let stopped = (0..100).find_map(|_| assembly.push::<Reply>(&frame).err());
    assert!(stopped.unwrap().message.contains("65536 KiB"));
}

#[test]
fn a_frame_of_four_gibibytes_is_refused_before_it_comes() {
    let mut source = BytesMut::from(&b"\xff\xff\xff\xffabc"[..]);
    let fault = Frames::new(MAX_REQUEST).decode(&mut source).unwrap_err();
    assert_eq!(fault.code, FaultCode::Protocol);
    assert!(fault.message.contains("64 KiB"));
}

#[test]
fn a_frame_that_breaks_off_is_known_at_every_byte() {
    let whole = [&[0, 0, 0, 3][..], b"abc"].concat();
    for cut in 1..whole.len() {
        let mut frames = Frames::new(MAX_REQUEST);
        let mut source = BytesMut::from(&whole[..cut]);
        assert!(frames.decode(&mut source).unwrap().is_none() && frames.midway, "{cut}");
        assert!(frames.decode_eof(&mut source).is_err(), "{cut}");
    }
    let mut frames = Frames::new(MAX_REQUEST);
    let mut source = BytesMut::from(&whole[..]);
    assert_eq!(frames.decode(&mut source).unwrap().unwrap(), &b"abc"[..]);
    assert!(!frames.midway && frames.decode_eof(&mut source).unwrap().is_none());
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode::<Request>(&bytes);
        let _ = decode::<Reply>(&bytes);
        let _ = Assembly::default().push::<Reply>(&bytes);
        let mut source = BytesMut::from(&bytes[..]);
        let mut frames = Frames::new(MAX_REQUEST);
        while let Ok(Some(_)) = frames.decode(&mut source) {}
    }

    #[test]
    fn a_message_with_some_bytes_changed_never_panics(which in 0usize..20, at in 0usize..200, to: u8) {
        let replies = replies();
        let mut bytes = encode(&replies[which % replies.len()].1, MAX_REPLY).unwrap();
        let at = at % bytes.len();
        bytes[at] = to;
        let _ = decode::<Reply>(&bytes);
    }
}
