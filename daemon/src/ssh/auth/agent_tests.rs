//! Agents as people have them: with many keys, locked, hung, asking their user, gone and back elsewhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nbtunnel_core::FailureKind;
use tempfile::TempDir;
use tokio::net::UnixListener;

use super::Asked;
use super::bed::{Seen, log_in, log_in_seen, ssh_add};
use crate::ssh::AgentAt;
use crate::ssh::agent::Agents;
use crate::ssh::hop::Hop;
use crate::ssh::testbed::{Killed, SshAgent, Sshd, keygen, until};
use crate::test_program::write_program;

fn agents(at: AgentAt) -> Arc<Agents> {
    Agents::new(at, "/nonexistent".into())
}

/// Only what the agent holds.
fn bare(sshd: &Sshd) -> Hop {
    let mut hop = sshd.hop();
    hop.login.identity_files.clear();
    hop
}

/// An agent that asks before each use of its keys, by a program of the test's.
struct Asking {
    socket: PathBuf,
    dir: TempDir,
    _child: Killed,
}

impl Asking {
    /// `script` is what the program does; `$D` is a directory of its own.
    fn start(key: &Path, script: &str) -> Asking {
        let dir = tempfile::tempdir().unwrap();
        let (socket, askpass) = (dir.path().join("agent"), dir.path().join("askpass"));
        write_program(&askpass, &format!("#!/bin/sh\nD={}\n{script}\n", dir.path().display()));
        let mut command = Command::new("ssh-agent");
        command.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null());
        command.env("SSH_ASKPASS", &askpass).env("SSH_ASKPASS_REQUIRE", "force").env("DISPLAY", ":0");
        let child = Killed(command.spawn().unwrap());
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(ssh_add(&socket, &["-q", "-c", key.to_str().unwrap()], None));
        Asking { socket, dir, _child: child }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn times_asked(&self) -> usize {
        fs::read_to_string(self.at("asked")).unwrap_or_default().lines().count()
    }
}

/// Notes the question and waits for the word of the test: `yes` or `no`.
const WAITS: &str = "echo asked >>$D/asked; while [ -d $D ] && [ ! -e $D/yes ] && [ ! -e $D/no ]; do sleep 0.05; done; [ -e $D/yes ]";

#[tokio::test]
async fn an_agent_that_asks_its_user_is_waited_for_and_said_to_be() {
    let sshd = Sshd::start("ed25519", "");
    let asking = Asking::start(&sshd.at("id"), WAITS);
    let agents = agents(AgentAt::Socket(asking.socket.clone()));
    let hop = bare(&sshd);
    let seen = Seen::default();
    let shown = Arc::clone(&seen);
    let attempt = tokio::spawn(async move { log_in_seen(&hop, &agents, None, shown).await });
    until("it is said", || seen.lock().unwrap().contains(&"asking Agent".to_owned())).await;
    until("it asks", || asking.times_asked() == 1).await;
    fs::write(asking.at("yes"), "").unwrap();
    let attempt = attempt.await.unwrap();
    assert_eq!(attempt.is_in(), Asked::Person);
    assert!(attempt.saw("asking Agent") && attempt.saw("asking Nobody"), "{:?}", attempt.seen);
    assert_eq!(asking.times_asked(), 1);
}

#[tokio::test]
async fn a_user_who_says_no_is_not_asked_for_the_other_tunnels_that_wait() {
    let sshd = Sshd::start("ed25519", "");
    let asking = Asking::start(&sshd.at("id"), WAITS);
    let agents = agents(AgentAt::Socket(asking.socket.clone()));
    let waits = "asking Agent".to_owned();
    let seen: Vec<Seen> = (0..5).map(|_| Seen::default()).collect();
    let attempts: Vec<_> = seen
        .iter()
        .map(|seen| {
            let (hop, agents, seen) = (bare(&sshd), Arc::clone(&agents), Arc::clone(seen));
            tokio::spawn(async move { log_in_seen(&hop, &agents, None, seen).await })
        })
        .collect();
    // All of them want it before anybody answers.
    until("all wait", || seen.iter().all(|seen| seen.lock().unwrap().contains(&waits))).await;
    fs::write(asking.at("no"), "").unwrap();
    for attempt in attempts {
        let attempt = attempt.await.unwrap();
        let failure = attempt.failure();
        assert_eq!(failure.kind, FailureKind::AnswerNeeded);
        assert!(failure.message.contains("did not sign"), "{failure}");
        assert!(failure.hint.contains("nbctl start t"), "{failure}");
        assert!(attempt.saw(&waits), "{:?}", attempt.seen);
    }
    assert_eq!(asking.times_asked(), 1);
}

#[tokio::test]
async fn tunnels_ask_one_after_the_other_and_one_that_is_closed_leaves_the_queue() {
    let sshd = Sshd::start("ed25519", "");
    let log = "echo asked >>$D/asked; mkdir $D/busy || echo two >>$D/at_once; sleep 0.2; rmdir $D/busy";
    let asking = Asking::start(&sshd.at("id"), log);
    let agents = agents(AgentAt::Socket(asking.socket.clone()));
    let start = || {
        let (hop, agents) = (bare(&sshd), Arc::clone(&agents));
        tokio::spawn(async move { log_in(&hop, &agents, None).await })
    };
    let attempts = [start(), start(), start()];
    let closed = start();
    until("all are taken", || sshd.log().matches("Postponed publickey").count() == 4).await;
    closed.abort();
    for attempt in attempts {
        attempt.await.unwrap().is_in();
    }
    assert!(!asking.at("at_once").exists());
    assert!(asking.times_asked() <= 4);
}

#[tokio::test]
async fn an_agent_that_hangs_is_passed_over_and_named() {
    let sshd = Sshd::start("ed25519", "");
    let agent = SshAgent::start();
    agent.add(&sshd.at("id"));
    // What was passed comes before what is known: the first takes clients and never answers.
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".1password")).unwrap();
    std::os::unix::fs::symlink(&agent.socket, home.path().join(".1password/agent.sock")).unwrap();
    let mute = home.path().join("mute");
    let _mute = UnixListener::bind(&mute).unwrap();
    let agents = Agents::new(AgentAt::Usual, home.path().to_owned());
    agents.passed_by_nbctl(mute.clone());
    let attempt = log_in(&bare(&sshd), &agents, None).await;
    attempt.is_in();
    assert!(attempt.saw("does not answer") && attempt.saw("last nbctl"), "{:?}", attempt.seen);
    let surveyed = agents.survey(None).await;
    let mute = surveyed.iter().find(|said| said.agent.contains("mute")).unwrap();
    assert!(!mute.answers && mute.says.contains("does not answer"), "{mute:?}");
    assert!(surveyed.iter().any(|said| said.answers && said.says.contains("SHA256:")), "{surveyed:?}");
}

#[tokio::test]
async fn twelve_wrong_keys_are_no_harm_with_identities_only() {
    let sshd = Sshd::start("ed25519", "");
    let agent = SshAgent::start();
    for number in 0..12 {
        let key = sshd.at(&format!("stranger{number}"));
        keygen(&key, "ed25519", "");
        agent.add(&key);
    }
    let agents = agents(agent.place());
    let mut hop = sshd.hop();
    hop.login.identities_only = true;
    log_in(&hop, &agents, None).await.is_in();
    assert_eq!(sshd.log().matches("Failed publickey").count(), 0);
    // The right one only in the agent: named by its public half.
    agent.add(&sshd.at("id"));
    fs::remove_file(sshd.at("id")).unwrap();
    log_in(&hop, &agents, None).await.is_in();
    assert_eq!(sshd.log().matches("Failed publickey").count(), 0);
    hop.login.identity_files.clear();
    let nothing = log_in(&hop, &agents, None).await;
    assert_eq!(nothing.failure().kind, FailureKind::AuthRefused);
    assert_eq!(sshd.log().matches("Failed publickey").count(), 0);
}

#[tokio::test]
async fn keys_go_in_the_order_of_ssh() {
    let sshd = Sshd::start("ed25519", "");
    let agent = SshAgent::start();
    for name in ["stranger", "file", "both"] {
        keygen(&sshd.at(name), "ed25519", "");
    }
    agent.add(&sshd.at("stranger"));
    agent.add(&sshd.at("both"));
    let mut hop = sshd.hop();
    hop.login.identity_files = vec![sshd.at("file"), sshd.at("both")];
    log_in(&hop, &agents(agent.place()), None).await.failure();
    let tried = |log: &str| -> Vec<String> {
        let failed = log.lines().filter(|line| line.contains("Failed publickey"));
        failed.map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect()
    };
    until("sshd has logged them", || tried(&sshd.log()).len() == 3).await;
    let ours = tried(&sshd.log());
    let mut ssh = Command::new("ssh");
    ssh.args([
        "-F",
        "none",
        "-o",
        "BatchMode=yes",
        "-o",
        "StrictHostKeyChecking=yes",
        "-p",
        &hop.port.to_string(),
    ]);
    ssh.arg("-o").arg(format!("UserKnownHostsFile={}", sshd.at("known_hosts").display()));
    for file in &hop.login.identity_files {
        ssh.arg("-i").arg(file);
    }
    ssh.arg("127.0.0.1").arg("true").env("SSH_AUTH_SOCK", &agent.socket).stdin(Stdio::null());
    assert!(!ssh.output().unwrap().status.success());
    until("sshd has logged it", || tried(&sshd.log()).len() == 6).await;
    assert_eq!(tried(&sshd.log())[3..], ours);
}

#[tokio::test]
async fn a_key_that_is_only_for_one_host_signs_there_and_nowhere_else() {
    let (sshd, other) = (Sshd::start("ed25519", ""), Sshd::start("ed25519", ""));
    fs::copy(sshd.at("authorized"), other.at("authorized")).unwrap();
    let line = fs::read_to_string(sshd.at("known_hosts")).unwrap();
    fs::write(sshd.at("box"), format!("box {}", line.split_once(' ').unwrap().1)).unwrap();
    let (agent, named) = (SshAgent::start(), [sshd.at("box"), sshd.at("id")]);
    let [known, key] = named.each_ref().map(|path| path.to_str().unwrap());
    assert!(ssh_add(&agent.socket, &["-q", "-H", known, "-h", "box", key], None));
    let agents = agents(agent.place());
    // The agent signs only for a session that was bound to it, with the host key that it knows (PROTOCOL.agent).
    log_in(&bare(&sshd), &agents, None).await.is_in();
    let attempt = log_in(&bare(&other), &agents, None).await;
    assert_eq!(attempt.failure().kind, FailureKind::AnswerNeeded, "{:?}", attempt.seen);
    assert!(attempt.failure().message.contains("did not sign"), "{}", attempt.failure());
}
