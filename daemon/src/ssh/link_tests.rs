//! Links to a real sshd, from the first step to the last.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use nbtunnel_core::{FailureKind, HostKeyPolicy, LinkReport, Policy, Step};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::testbed::{SshAgent, Sshd, Watched, free_port, keygen, links, public, start, until};
use super::{AgentAt, LinkEvent, trust};

fn dial(sshd: &Sshd) -> Watched {
    start(&links(AgentAt::Nowhere), sshd.route())
}

#[tokio::test]
async fn a_link_tells_its_steps_in_order_answers_probes_and_closes() {
    let sshd = Sshd::start("ed25519", "");
    let mut link = dial(&sshd);
    link.up().await;
    assert_eq!(link.seen, ["resolving", "tcp", "banner", "key_exchange", "authenticating", "authenticating"]);
    assert!(link.carrier.is_some() && link.snapshot.is_some());
    for _ in 0..3 {
        link.link.probe();
        link.link.probe();
        assert!(matches!(link.report().await, LinkReport::Answers(rtt) if rtt > Duration::ZERO));
    }
    link.link.close();
    loop {
        match link.report().await {
            LinkReport::Answers(_) => {}
            report => break assert_eq!(report, LinkReport::Closed),
        }
    }
    link.is_silent().await;
}

#[tokio::test]
async fn a_dropped_link_closes_and_the_server_notices() {
    let sshd = Sshd::start("ed25519", "");
    let mut watched = dial(&sshd);
    watched.up().await;
    // Once it answers, the server has nothing left to say that a close could cut off.
    watched.link.probe();
    assert!(matches!(watched.report().await, LinkReport::Answers(_)));
    let Watched { link, mut events, .. } = watched;
    drop(link);
    assert!(matches!(events.recv().await, Some(LinkEvent::Report(LinkReport::Closed))));
    until("the server is told", || sshd.log().contains("closed by nbtunnel")).await;
}

#[tokio::test]
async fn every_kind_of_host_key_and_of_user_key_works() {
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let sshd = Sshd::start(kind, "");
        fs::remove_file(sshd.at("id")).unwrap();
        fs::remove_file(sshd.at("id.pub")).unwrap();
        keygen(&sshd.at("id"), kind, "");
        fs::write(sshd.at("authorized"), public(&sshd.at("id"))).unwrap();
        let mut link = dial(&sshd);
        link.up().await;
        // And the same from an agent.
        let agent = SshAgent::start();
        agent.add(&sshd.at("id"));
        let mut route = sshd.route();
        route.identity_files = Some(Vec::new());
        let mut link = start(&links(agent.place()), route);
        link.up().await;
    }
}

#[tokio::test]
async fn an_unknown_host_key_stops_the_link_before_anything_could_authenticate() {
    let sshd = Sshd::start("ed25519", "");
    fs::write(sshd.at("known_hosts"), "").unwrap();
    let mut link = dial(&sshd);
    let failure = link.lost().await;
    assert_eq!(failure.kind, FailureKind::HostKeyUnknown);
    let offered = link.host_key.unwrap();
    assert_eq!(offered.public_key, public(&sshd.at("hostkey")));
    assert!(failure.message.contains(&offered.fingerprint));
    let log = sshd.log();
    assert!(!log.contains("Postponed") && !log.contains("Failed") && !log.contains("Accepted"), "{log}");
    // What was shown can be trusted, and then the link comes up.
    trust("test", &sshd.hop(), &offered, false).unwrap();
    assert_eq!(fs::read_to_string(sshd.at("known_hosts")).unwrap(), sshd.host_line());
    dial(&sshd).up().await;
}

#[tokio::test]
async fn a_changed_or_revoked_host_key_stops_the_link_even_with_accept_new() {
    let sshd = Sshd::start("ed25519", "");
    keygen(&sshd.at("other"), "ed25519", "");
    let changed = sshd.host_line().replace(&public(&sshd.at("hostkey")), &public(&sshd.at("other")));
    let revoked = format!("@revoked * {}\n{}", public(&sshd.at("hostkey")), sshd.host_line());
    for (file, is_revoked) in [(changed, false), (revoked, true)] {
        fs::write(sshd.at("known_hosts"), &file).unwrap();
        let mut route = sshd.route();
        route.host_key = Some(HostKeyPolicy::AcceptNew);
        let mut link = start(&links(AgentAt::Nowhere), route.clone());
        assert_eq!(link.lost().await.kind, FailureKind::HostKeyChanged);
        let offered = link.host_key.unwrap();
        assert_eq!((offered.revoked.is_some(), offered.recorded.len()), (is_revoked, 1));
        assert_eq!(
            trust("test", &sshd.hop(), &offered, false).unwrap_err().kind,
            FailureKind::HostKeyChanged
        );
        assert_eq!(fs::read_to_string(sshd.at("known_hosts")).unwrap(), file);
        assert!(!sshd.log().contains("Accepted"));
    }
}

#[tokio::test]
async fn accept_new_writes_the_key_down_and_goes_on() {
    let sshd = Sshd::start("ed25519", "");
    fs::remove_file(sshd.at("known_hosts")).unwrap();
    let mut route = sshd.route();
    route.host_key = Some(HostKeyPolicy::AcceptNew);
    let mut link = start(&links(AgentAt::Nowhere), route);
    link.up().await;
    assert_eq!(fs::read_to_string(sshd.at("known_hosts")).unwrap(), sshd.host_line());
    assert!(link.seen.iter().any(|seen| seen.contains("was written to")), "{:?}", link.seen);
}

#[tokio::test]
async fn a_host_known_by_another_type_of_key_is_asked_for_that_one() {
    let mut sshd = Sshd::start("ed25519", "");
    keygen(&sshd.at("rsa"), "rsa", "");
    sshd.restart_with(&format!("HostKey {}", sshd.at("rsa").display()));
    let line = format!("[127.0.0.1]:{} {}\n", sshd.port, public(&sshd.at("rsa")));
    fs::write(sshd.at("known_hosts"), line).unwrap();
    dial(&sshd).up().await;
}

#[tokio::test]
async fn with_nothing_to_offer_the_server_sees_nothing_at_all() {
    let sshd = Sshd::start("ed25519", "");
    let agent = SshAgent::start();
    let before = sshd.log();
    for identity_files in [vec![], vec![sshd.at("absent")]] {
        let mut route = sshd.route();
        route.identity_files = Some(identity_files);
        let mut link = start(&links(agent.place()), route);
        assert_eq!(link.lost().await.kind, FailureKind::NoCredentials);
        assert_eq!(link.seen, ["resolving"]);
    }
    assert_eq!(sshd.log(), before);
}

#[tokio::test]
async fn a_key_that_others_can_read_is_not_used_and_the_message_says_so() {
    let sshd = Sshd::start("ed25519", "");
    fs::set_permissions(sshd.at("id"), fs::Permissions::from_mode(0o640)).unwrap();
    let failure = dial(&sshd).lost().await;
    assert_eq!(failure.kind, FailureKind::NoCredentials);
    assert!(failure.message.contains("chmod 600"), "{failure}");
}

#[tokio::test]
async fn an_encrypted_key_needs_an_answer_unless_the_agent_has_it() {
    let sshd = Sshd::start("ed25519", "");
    keygen(&sshd.at("locked"), "ed25519", "secret words");
    let mut route = sshd.route();
    route.identity_files = Some(vec![sshd.at("locked")]);
    let failure = start(&links(AgentAt::Nowhere), route.clone()).lost().await;
    assert_eq!(failure.kind, FailureKind::PassphraseNeeded);
    assert!(failure.message.contains("locked") && failure.hint.contains("ssh-add"), "{failure}");
    // Another key that works makes the encrypted one irrelevant.
    route.identity_files.as_mut().unwrap().push(sshd.at("id"));
    start(&links(AgentAt::Nowhere), route.clone()).up().await;
    // One that does not work leaves it as the last hope, if the server takes it.
    keygen(&sshd.at("stranger"), "ed25519", "");
    route.identity_files = Some(vec![sshd.at("locked"), sshd.at("stranger")]);
    let failure = start(&links(AgentAt::Nowhere), route.clone()).lost().await;
    assert_eq!(failure.kind, FailureKind::AuthRefused, "{failure}");
    assert!(failure.message.contains("locked SHA256:"), "{failure}");
    fs::write(sshd.at("authorized"), public(&sshd.at("locked"))).unwrap();
    assert_eq!(start(&links(AgentAt::Nowhere), route).lost().await.kind, FailureKind::PassphraseNeeded);
}

#[tokio::test]
async fn refused_keys_are_listed_and_a_wrong_user_is_told() {
    let sshd = Sshd::start("ed25519", "");
    keygen(&sshd.at("stranger"), "ed25519", "");
    let agent = SshAgent::start();
    keygen(&sshd.at("held"), "rsa", "");
    agent.add(&sshd.at("held"));
    let mut route = sshd.route();
    route.identity_files = Some(vec![sshd.at("stranger")]);
    let failure = start(&links(agent.place()), route).lost().await;
    assert_eq!(failure.kind, FailureKind::AuthRefused);
    assert!(failure.message.contains("(agent)") && failure.message.contains("stranger SHA256:"), "{failure}");
    let mut route = sshd.route();
    route.user = Some("nobody-of-that-name".into());
    let failure = start(&links(AgentAt::Nowhere), route).lost().await;
    assert_eq!(failure.kind, FailureKind::AuthRefused);
    assert!(failure.message.contains("nobody-of-that-name"), "{failure}");
}

#[tokio::test]
async fn too_many_keys_are_told_as_such_and_a_named_key_goes_first() {
    let sshd = Sshd::start("ed25519", "MaxAuthTries 2");
    let agent = SshAgent::start();
    for number in 0..12 {
        let key = sshd.at(&format!("k{number}"));
        keygen(&key, "ed25519", "");
        agent.add(&key);
    }
    let mut route = sshd.route();
    route.identity_files = Some(Vec::new());
    let failure = start(&links(agent.place()), route).lost().await;
    assert_eq!(failure.kind, FailureKind::AuthRefused);
    assert!(failure.message.contains("too many keys (2 were offered)"), "{failure}");
    agent.add(&sshd.at("id"));
    start(&links(agent.place()), sshd.route()).up().await;
}

#[tokio::test]
async fn a_server_that_wants_a_password_needs_an_answer() {
    let sshd = Sshd::start("ed25519", "PasswordAuthentication yes\nPubkeyAuthentication no");
    let failure = dial(&sshd).lost().await;
    assert_eq!(failure.kind, FailureKind::AnswerNeeded, "{failure}");
    assert!(failure.message.contains("password"), "{failure}");
    // What is missing here is another key.
    let sshd = Sshd::start("ed25519", "AuthenticationMethods publickey,publickey");
    let failure = dial(&sshd).lost().await;
    assert_eq!(failure.kind, FailureKind::AuthRefused, "{failure}");
    assert!(failure.message.contains("wants publickey besides"), "{failure}");
}

#[tokio::test]
async fn a_session_that_is_killed_is_disconnected() {
    let sshd = Sshd::start("ed25519", "");
    let mut link = dial(&sshd);
    link.up().await;
    sshd.kill_sessions();
    assert_eq!(link.lost().await.kind, FailureKind::Disconnected);
}

#[tokio::test]
async fn what_is_no_ssh_server_is_told_with_its_own_words() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sshd = Sshd::start("ed25519", "");
    let mut route = sshd.route();
    route.port = Some(listener.local_addr().unwrap().port());
    let mut link = start(&links(AgentAt::Nowhere), route.clone());
    let (mut web, _) = listener.accept().await.unwrap();
    web.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await.unwrap();
    drop(web);
    let failure = link.lost().await;
    assert_eq!(failure.kind, FailureKind::Refused);
    assert!(
        failure.message.contains("no SSH server") && failure.message.contains("HTTP/1.1 400"),
        "{failure}"
    );
    route.port = Some(free_port());
    assert_eq!(start(&links(AgentAt::Nowhere), route).lost().await.kind, FailureKind::Refused);
}

#[tokio::test]
async fn a_silent_server_does_not_keep_a_link_from_closing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sshd = Sshd::start("ed25519", "");
    let mut route = sshd.route();
    route.port = Some(listener.local_addr().unwrap().port());
    for says in ["", "SSH-2.0-Silence\r\n"] {
        let mut link = start(&links(AgentAt::Nowhere), route.clone());
        let (mut silent, _) = listener.accept().await.unwrap();
        silent.write_all(says.as_bytes()).await.unwrap();
        link.step(if says.is_empty() { "banner" } else { "key_exchange" }).await;
        link.link.close();
        assert_eq!(link.report().await, LinkReport::Closed);
        // The session's task is gone too: it would hold the socket open.
        let mut rest = Vec::new();
        let gone = tokio::io::AsyncReadExt::read_to_end(&mut silent, &mut rest);
        assert!(tokio::time::timeout(Duration::from_secs(5), gone).await.is_ok());
    }
}

#[tokio::test]
async fn an_agent_that_never_answers_does_not_stop_a_key_file() {
    let sshd = Sshd::start("ed25519", "");
    let socket = sshd.at("hung");
    let _hung = tokio::net::UnixListener::bind(&socket).unwrap();
    start(&links(AgentAt::Socket(socket)), sshd.route()).up().await;
}

#[tokio::test]
async fn a_panic_in_a_link_is_that_links_failure_and_the_last_word() {
    let sshd = Sshd::start("ed25519", "");
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let on = move |event| match event {
        LinkEvent::Report(LinkReport::Step(Step::Banner)) => panic!("a fault of ours"),
        event => drop(tell.send(event)),
    };
    let _link = links(AgentAt::Nowhere).spawn_link(
        "test",
        sshd.route(),
        watch::channel(Policy::default()).1,
        None,
        Arc::new(on),
    );
    let mut last = None;
    while let Some(event) = told.recv().await {
        last = Some(event);
    }
    let Some(LinkEvent::Report(LinkReport::Lost(failure))) = last else { panic!("not lost") };
    assert_eq!(failure.kind, FailureKind::Internal);
}
