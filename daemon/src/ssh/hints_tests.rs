//! What ssh_config says of silence, of old keys and of asking, with real servers: ServerAliveCountMax, RekeyLimit,
//! BatchMode.

use std::fs;
use std::time::Duration;

use nbtunnel_core::{FailureKind, LinkReport, Route, SshConfig};
use tokio::time::timeout;

use super::testbed::{Sshd, keygen, start, start_asking, until};
use super::ways_tests::{answers, here};
use crate::ask::Asker;

/// The way to `server`, of which ssh_config says this in addition.
fn route(server: &Sshd, more: &str) -> Route {
    let path = server.at("config");
    fs::write(&path, format!("Host 127.0.0.1\n  {more}\n")).unwrap();
    Route { ssh_config: SshConfig::File(path), ..server.route() }
}

/// The same over a jump host, of which it says `of_jump`.
fn over(jump: &Sshd, server: &Sshd, of_jump: &str) -> Route {
    let to = jump.route();
    let text = format!(
        "Host jump\n  HostName 127.0.0.1\n  Port {}\n  User {}\n  IdentityFile {}\n  UserKnownHostsFile {}\n  {of_jump}\n",
        jump.port,
        to.user.unwrap(),
        jump.at("id").display(),
        jump.at("known_hosts").display()
    );
    let path = server.at("config");
    fs::write(&path, text).unwrap();
    Route { ssh_config: SshConfig::File(path), jump: Some(vec!["jump".into()]), ..server.route() }
}

#[tokio::test]
async fn a_jump_host_that_owes_as_many_answers_as_it_may_is_given_up() {
    let (jump, server) = (Sshd::start("ed25519", ""), Sshd::start("ed25519", ""));
    let said = "ServerAliveInterval 1\n  ServerAliveCountMax 2";
    let mut link = start(&here(), over(&jump, &server, said));
    link.up().await;
    // One that answers may be quiet for as long as it likes.
    assert!(timeout(Duration::from_secs(5), link.report()).await.is_err());
    let _frozen = jump.freeze();
    let mut report = link.report().await;
    while report == LinkReport::Unanswered {
        report = link.report().await;
    }
    let LinkReport::Lost(failure) = report else { panic!("{report:?}") };
    assert_eq!(failure.kind, FailureKind::DeadPeer);
    assert!(
        failure.message.contains("jump host") && failure.message.contains("stopped answering"),
        "{failure}"
    );
}

#[tokio::test]
async fn new_keys_are_agreed_on_when_those_in_use_are_old() {
    let server = Sshd::start("ed25519", "LogLevel DEBUG1");
    let exchanges = || server.log().matches("SSH2_MSG_KEXINIT received").count();
    let mut link = start(&here(), route(&server, "RekeyLimit 1G 1"));
    link.up().await;
    until("keys were exchanged twice more", || exchanges() >= 3).await;
    answers(&mut link).await;
    let mut other = start(&here(), route(&server, ""));
    other.up().await;
    link.link.close();
    assert_eq!(link.report().await, LinkReport::Closed);
    // What it said last may not have been read yet.
    until("its session is over", || server.sessions().len() == 1).await;
    let before = exchanges();
    assert!(timeout(Duration::from_secs(3), other.report()).await.is_err());
    assert_eq!(exchanges(), before, "nobody said so for this one");
}

#[tokio::test]
async fn under_batch_mode_nobody_is_asked_and_told_why() {
    let server = Sshd::start("ed25519", "PasswordAuthentication yes");
    let said = |kind: FailureKind, about: &'static str| {
        let route = route(&server, "BatchMode yes");
        async move {
            let (asker, mut questions) = Asker::new();
            let failure = start_asking(&here(), "t", route, asker).lost().await;
            assert_eq!(failure.kind, kind, "{failure}");
            assert!(failure.message.contains("BatchMode") && failure.message.contains(about), "{failure}");
            assert!(failure.hint.contains("BatchMode") && !failure.hint.contains("unlock"), "{failure}");
            assert!(questions.try_recv().is_err(), "somebody was asked");
        }
    };
    for name in ["id", "id.pub"] {
        fs::remove_file(server.at(name)).unwrap();
    }
    keygen(&server.at("id"), "ed25519", "secret");
    fs::copy(server.at("id.pub"), server.at("authorized")).unwrap();
    said(FailureKind::NoCredentials, "passphrase").await;
    // Somebody else's key, so that only the password is left.
    for name in ["id", "id.pub"] {
        fs::remove_file(server.at(name)).unwrap();
    }
    keygen(&server.at("id"), "ed25519", "");
    let (asker, mut questions) = Asker::new();
    let failure = start_asking(&here(), "t", route(&server, "BatchMode yes"), asker).lost().await;
    assert_eq!(failure.kind, FailureKind::AuthRefused);
    assert!(failure.hint.contains("password, but BatchMode"), "{failure}");
    assert!(questions.try_recv().is_err() && !server.log().contains("Failed password"));
    let preferred = "BatchMode yes\n  PreferredAuthentications password";
    let (asker, _questions) = Asker::new();
    let failure = start_asking(&here(), "t", route(&server, preferred), asker).lost().await;
    assert!(failure.message.contains("BatchMode"), "{failure}");
    // Without it, the same login says that it needs an answer, whatever keys there are, and asks whoever is there.
    let preferred = route(&server, "PreferredAuthentications password");
    let failure = start(&here(), preferred).lost().await;
    assert_eq!(failure.kind, FailureKind::AnswerNeeded, "{failure}");
    assert!(failure.hint.contains("nbctl unlock"), "{failure}");
    // What is left out is not named as a way in.
    let failure = start(&here(), route(&server, "PreferredAuthentications publickey")).lost().await;
    assert!(!failure.hint.contains("unlock"), "{failure}");
    let (asker, mut questions) = Asker::new();
    let _link = start_asking(&here(), "t", route(&server, ""), asker);
    let question = timeout(Duration::from_secs(20), questions.recv()).await.unwrap().unwrap();
    assert!(question.prompts[0].text.contains("password"));
}
