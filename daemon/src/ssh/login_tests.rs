//! Logging in to a real sshd with keys from everywhere, in the order that uses up the fewest tries.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use nbtunnel_core::FailureKind;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::AgentAt;
use super::testbed::{SshAgent, Sshd, keygen, links, start};

/// An agent that holds twelve keys which no server knows.
fn agent_of_strangers(sshd: &Sshd) -> SshAgent {
    let agent = SshAgent::start();
    for number in 0..12 {
        let key = sshd.at(&format!("stranger{number}"));
        keygen(&key, "ed25519", "");
        agent.add(&key);
    }
    agent
}

#[tokio::test]
async fn a_key_in_a_named_file_goes_before_a_crowd_of_strangers_in_the_agent() {
    let sshd = Sshd::start("ed25519", "MaxAuthTries 2");
    let agent = agent_of_strangers(&sshd);
    start(&links(agent.place()), sshd.route()).up().await;
}

#[tokio::test]
async fn a_public_key_alone_names_a_key_of_the_agent() {
    let sshd = Sshd::start("ed25519", "MaxAuthTries 2");
    let agent = agent_of_strangers(&sshd);
    agent.add(&sshd.at("id"));
    fs::remove_file(sshd.at("id")).unwrap();
    fs::set_permissions(sshd.at("id.pub"), fs::Permissions::from_mode(0o644)).unwrap();
    for named in ["id", "id.pub"] {
        let mut route = sshd.route();
        route.identity_files = Some(vec![sshd.at(named)]);
        let mut link = start(&links(agent.place()), route);
        link.up().await;
        assert!(!link.seen.iter().any(|seen| seen.starts_with("note")), "{:?}", link.seen);
    }
}

#[tokio::test]
async fn a_key_of_a_kind_that_is_unknown_here_does_not_hide_the_others() {
    let sshd = Sshd::start("ed25519", "");
    let agent = SshAgent::start();
    keygen(&sshd.at("old"), "dsa", "");
    agent.add(&sshd.at("old"));
    agent.add(&sshd.at("id"));
    let mut route = sshd.route();
    route.identity_files = Some(Vec::new());
    start(&links(agent.place()), route).up().await;
}

#[tokio::test]
async fn a_key_that_the_agent_will_not_sign_with_is_passed_over() {
    let sshd = Sshd::start("ed25519", "");
    let agent = SshAgent::start();
    // Each use of it has to be confirmed, and nobody is there to do so.
    let mut command = Command::new("ssh-add");
    command.arg("-q").arg("-c").arg(sshd.at("id")).env("SSH_AUTH_SOCK", &agent.socket);
    assert!(command.stdin(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    keygen(&sshd.at("second"), "ed25519", "");
    let both = [fs::read_to_string(sshd.at("id.pub")), fs::read_to_string(sshd.at("second.pub"))];
    fs::write(sshd.at("authorized"), both.map(Result::unwrap).concat()).unwrap();
    let mut route = sshd.route();
    route.identity_files = Some(vec![sshd.at("id"), sshd.at("second")]);
    let mut link = start(&links(agent.place()), route);
    link.up().await;
    assert!(link.seen.iter().any(|seen| seen.contains("did not sign")), "{:?}", link.seen);
}

#[tokio::test]
async fn a_server_that_names_no_way_to_log_in_refuses_and_is_not_gone() {
    let sshd = Sshd::start("ed25519", "PubkeyAuthentication no");
    let failure = start(&links(AgentAt::Nowhere), sshd.route()).lost().await;
    assert_eq!(failure.kind, FailureKind::AuthRefused, "{failure}");
}

#[tokio::test]
async fn a_crowd_of_refused_keys_makes_no_endless_message() {
    let sshd = Sshd::start("ed25519", "MaxAuthTries 100");
    let mut route = sshd.route();
    route.identity_files = Some((0..20).map(|number| sshd.at(&format!("stranger{number}"))).collect());
    route.identity_files.iter().flatten().for_each(|path| keygen(path, "ed25519", ""));
    let failure = start(&links(AgentAt::Nowhere), route).lost().await;
    assert_eq!(failure.kind, FailureKind::AuthRefused);
    assert_eq!(failure.message.matches("SHA256:").count(), 5, "{failure}");
    assert!(failure.message.contains("15 more"), "{failure}");
}

#[tokio::test]
async fn a_server_of_the_old_protocol_is_told_as_such() {
    let sshd = Sshd::start("ed25519", "");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut route = sshd.route();
    route.port = Some(listener.local_addr().unwrap().port());
    let mut link = start(&links(AgentAt::Nowhere), route);
    let (mut old, _) = listener.accept().await.unwrap();
    old.write_all(b"SSH-1.5-ancient\r\n").await.unwrap();
    let failure = link.lost().await;
    assert_eq!(failure.kind, FailureKind::NoCommonAlgorithm, "{failure}");
}
