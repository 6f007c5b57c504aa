use std::fs;
use std::time::Duration;

use nbtunnel_core::FailureKind;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use super::*;
use crate::ssh::AgentAt;
use crate::ssh::hop::Plan;
use crate::ssh::testbed::{SshAgent, Sshd, keygen, links, start};

fn lookout(agent: AgentAt) -> (Lookout, UnboundedReceiver<(String, Changed)>) {
    let (tell, told) = unbounded_channel();
    let on_change = Arc::new(move |name: &str, what| drop(tell.send((name.to_owned(), what))));
    (Lookout::new(&Handle::current(), Agents::new(agent, "/".into()), on_change), told)
}

fn plan(sshd: &Sshd) -> Plan {
    Plan { jumps: Vec::new(), server: sshd.hop() }
}

#[tokio::test]
async fn a_key_that_comes_to_the_agent_is_noticed_within_two_seconds_and_the_server_saw_nothing() {
    let sshd = Sshd::start("ed25519", "");
    let agent = SshAgent::start();
    let links = links(agent.place());
    let mut route = sshd.route();
    route.identity_files = Some(Vec::new());
    let before = sshd.log();
    let mut link = start(&links, route.clone());
    assert_eq!(link.lost().await.kind, FailureKind::NoCredentials);
    let (lookout, mut told) = lookout(agent.place());
    lookout.watch("t", link.snapshot.unwrap(), Changed::Credentials);
    // Nothing changed, nothing is told.
    assert!(timeout(Duration::from_millis(1500), told.recv()).await.is_err());
    agent.add(&sshd.at("id"));
    const { assert!(EVERY.as_secs() <= 1) };
    let change = timeout(Duration::from_secs(20), told.recv()).await.unwrap();
    assert_eq!(change, Some(("t".to_owned(), Changed::Credentials)));
    assert_eq!(sshd.log(), before);
    start(&links, route).up().await;
    // Once is once.
    keygen(&sshd.at("more"), "ed25519", "");
    agent.add(&sshd.at("more"));
    assert!(timeout(Duration::from_millis(1500), told.recv()).await.is_err());
}

#[tokio::test]
async fn a_key_file_that_appears_and_one_that_becomes_usable_are_noticed() {
    use std::os::unix::fs::PermissionsExt;
    let sshd = Sshd::start("ed25519", "");
    let id = sshd.at("id");
    let (lookout, mut told) = lookout(AgentAt::Nowhere);
    fs::rename(&id, sshd.at("away")).unwrap();
    let before = Snapshot::of(&plan(&sshd), Vec::new());
    lookout.watch("appears", before, Changed::Credentials);
    fs::rename(sshd.at("away"), &id).unwrap();
    assert_eq!(timeout(Duration::from_secs(20), told.recv()).await.unwrap().unwrap().0, "appears");
    fs::set_permissions(&id, fs::Permissions::from_mode(0o644)).unwrap();
    let before = Snapshot::of(&plan(&sshd), Vec::new());
    lookout.watch("mode", before, Changed::Credentials);
    fs::set_permissions(&id, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(timeout(Duration::from_secs(20), told.recv()).await.unwrap().unwrap().0, "mode");
}

#[tokio::test]
async fn each_watch_sees_only_what_it_waits_for() {
    let sshd = Sshd::start("ed25519", "");
    let (lookout, mut told) = lookout(AgentAt::Nowhere);
    let before = Snapshot::of(&plan(&sshd), Vec::new());
    lookout.watch("keys", before.clone(), Changed::Credentials);
    lookout.watch("gone", before.clone(), Changed::KnownHosts);
    lookout.watch("hosts", before, Changed::KnownHosts);
    lookout.unwatch("gone");
    fs::write(sshd.at("known_hosts"), "changed\n").unwrap();
    let change = timeout(Duration::from_secs(20), told.recv()).await.unwrap().unwrap();
    assert_eq!(change, ("hosts".to_owned(), Changed::KnownHosts));
    assert!(timeout(Duration::from_millis(1500), told.recv()).await.is_err());
}
