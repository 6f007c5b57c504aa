//! Ways over jump hosts, with real servers: each machine recognised and logged in to by its own settings, one
//! session to a jump host for all who need it, and what happens when it is refused, killed or frozen.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use nbtunnel_core::{FailureKind, LinkReport, Policy, Route, SshConfig};
use tokio::sync::watch;

use super::testbed::{Sshd, Watched, links, public, run, start, start_as, until};
use super::{AgentAt, Links};

fn user() -> String {
    run("id", &["-un"]).trim().to_owned()
}

/// What ssh_config says of a server under a name.
fn host(name: &str, sshd: &Sshd, more: &str) -> String {
    format!(
        "Host {name}\n  HostName 127.0.0.1\n  Port {}\n  User {}\n  IdentityFile {}\n  UserKnownHostsFile {}\n  \
         GlobalKnownHostsFile none\n  {more}\n",
        sshd.port,
        user(),
        sshd.at("id").display(),
        sshd.at("known_hosts").display()
    )
}

/// A server, and what ssh_config says of the way there.
struct Ways {
    server: Sshd,
    one: Sshd,
    two: Sshd,
}

impl Ways {
    fn new() -> Ways {
        let [server, one, two] = ["ed25519", "ecdsa", "rsa"].map(|kind| Sshd::start(kind, "MaxStartups 100"));
        Ways { server, one, two }
    }

    fn config(&self, extra: &str) -> SshConfig {
        let hosts = [
            host("server", &self.server, "ProxyJump two"),
            host("two", &self.two, "ProxyJump one"),
            host("one", &self.one, ""),
        ];
        let path = self.server.at("config");
        fs::write(&path, format!("{extra}\n{}", hosts.concat())).unwrap();
        SshConfig::File(path)
    }

    /// Over both jump hosts.
    fn route(&self) -> Route {
        Route { ssh_config: self.config(""), ..Route::to("server") }
    }

    /// Over the first alone.
    fn short(&self) -> Route {
        Route { jump: Some(vec!["one".into()]), ..self.route() }
    }
}

fn logins(sshd: &Sshd) -> usize {
    sshd.log().matches("Accepted publickey").count()
}

/// It tells a client before it writes its login down; at a jump host, whoever goes on over it was written down before.
async fn have_logged_in(sshd: &Sshd, many: usize) {
    until("every login is written down", || logins(sshd) >= many).await;
    assert_eq!(logins(sshd), many, "{}", sshd.log());
}

pub(super) fn here() -> Arc<Links> {
    links(AgentAt::Nowhere)
}

pub(super) async fn answers(link: &mut Watched) {
    link.link.probe();
    assert!(matches!(link.report().await, LinkReport::Answers(_)));
}

#[tokio::test]
async fn a_way_over_two_jump_hosts_logs_in_at_each_by_its_own_settings() {
    let ways = Ways::new();
    let mut link = start(&here(), ways.route());
    link.up().await;
    answers(&mut link).await;
    for sshd in [&ways.one, &ways.two, &ways.server] {
        assert_eq!(logins(sshd), 1, "{}", sshd.log());
    }
    link.link.close();
    assert_eq!(link.report().await, LinkReport::Closed);
    for sshd in [&ways.server, &ways.two, &ways.one] {
        until("its sessions are over", || !sshd.has_sessions()).await;
        assert!(
            sshd.log().contains("closed by nbtunnel"),
            "{} {} {} {}",
            ways.server.port,
            ways.two.port,
            ways.one.port,
            sshd.log()
        );
    }
}

#[tokio::test]
async fn many_tunnels_over_one_jump_host_log_in_there_once() {
    let ways = Ways::new();
    let links = here();
    let mut all: Vec<Watched> =
        (0..20).map(|number| start_as(&links, &format!("t{number}"), ways.short())).collect();
    for link in &mut all {
        link.up().await;
    }
    have_logged_in(&ways.server, 20).await;
    assert_eq!(logins(&ways.one), 1);
    // The session to the jump host lives for the last of them, and not longer.
    let last = all.pop().unwrap();
    for link in all {
        link.link.close();
    }
    let mut last = last;
    answers(&mut last).await;
    assert!(ways.one.has_sessions());
    last.link.close();
    until("nobody needs the jump host", || !ways.one.has_sessions()).await;
}

#[tokio::test]
async fn each_failure_names_the_machine_on_the_way() {
    let ways = Ways::new();
    // The second machine shows another key than the one on file.
    fs::write(
        ways.two.at("known_hosts"),
        ways.two.host_line().replace(&public(&ways.two.at("hostkey")), &public(&ways.one.at("hostkey"))),
    )
    .unwrap();
    let mut link = start(&here(), ways.route());
    let failure = link.lost().await;
    assert_eq!(failure.kind, FailureKind::HostKeyChanged);
    assert!(failure.message.contains(&ways.two.port.to_string()), "{failure}");
    assert!(link.host_key.is_some());
    // It forwards nothing.
    fs::write(ways.two.at("known_hosts"), ways.two.host_line()).unwrap();
    let mut ways = ways;
    ways.one.restart_with("AllowTcpForwarding no");
    let failure = start(&here(), ways.short()).lost().await;
    assert_eq!(failure.kind, FailureKind::ForwardingDenied);
    let jump = format!("jump host 127.0.0.1:{}", ways.one.port);
    assert!(failure.message.contains(&jump), "{failure}");
    // It does not know the key.
    let route = ways.short();
    ways.one.restart_with("AuthorizedKeysFile none");
    let failure = start(&here(), ways.short()).lost().await;
    assert_eq!(failure.kind, FailureKind::AuthRefused);
    assert!(failure.message.contains(&jump), "{failure}");
    // Nobody is there.
    drop(ways.one.child);
    let failure = start(&here(), route).lost().await;
    assert_eq!(failure.kind, FailureKind::Refused);
    assert!(failure.message.contains(&jump), "{failure}");
}

#[tokio::test]
async fn a_killed_jump_session_ends_what_goes_over_it_and_the_next_links_share_a_new_one() {
    let ways = Ways::new();
    let links = here();
    let mut all: Vec<Watched> = (0..4).map(|n| start_as(&links, &format!("t{n}"), ways.short())).collect();
    for link in &mut all {
        link.up().await;
    }
    ways.one.kill_sessions();
    for link in &mut all {
        let failure = link.lost().await;
        assert!(failure.message.contains("jump host") && failure.message.contains("is gone"), "{failure}");
        assert_eq!(failure.kind, FailureKind::Disconnected);
    }
    let mut all: Vec<Watched> = (0..4).map(|n| start_as(&links, &format!("t{n}"), ways.short())).collect();
    for link in &mut all {
        link.up().await;
    }
    assert_eq!(logins(&ways.one), 2);
}

#[tokio::test]
async fn a_jump_session_that_stands_still_is_set_aside_for_a_new_one() {
    let ways = Ways::new();
    let links = here();
    let mut old = start_as(&links, "t", ways.short());
    old.up().await;
    let frozen = ways.one.freeze();
    let mut next = start_as(&links, "t", ways.short());
    next.up().await;
    assert_eq!(logins(&ways.one), 2);
    answers(&mut next).await;
    drop(frozen);
    answers(&mut old).await;
    // From now on the new one is used.
    start_as(&links, "u", ways.short()).up().await;
    assert_eq!(logins(&ways.one), 2);
}

#[tokio::test]
async fn who_leaves_a_flight_harms_nobody_and_the_last_one_ends_it() {
    let ways = Ways::new();
    let links = here();
    let stopped = ways.one.stop_listening();
    let mut waiting = start_as(&links, "waits", ways.short());
    let mut leaving = start_as(&links, "leaves", ways.short());
    waiting.step("banner").await;
    leaving.step("banner").await;
    leaving.link.close();
    assert_eq!(leaving.report().await, LinkReport::Closed);
    drop(stopped);
    waiting.up().await;
    assert_eq!(logins(&ways.one), 1);
    drop(waiting);
    until("nobody is left", || !ways.one.has_sessions()).await;
    // The same, with nobody to wait for it.
    let stopped = ways.one.stop_listening();
    let mut leaving = start_as(&links, "leaves", ways.short());
    leaving.step("banner").await;
    leaving.link.close();
    assert_eq!(leaving.report().await, LinkReport::Closed);
    drop(stopped);
    start_as(&links, "waits", ways.short()).up().await;
}

#[tokio::test]
async fn tunnels_that_share_have_one_session_and_one_leaves_without_the_others() {
    let ways = Ways::new();
    let links = here();
    let route = Route { share: true, ..ways.short() };
    let policy = watch::Sender::new(Policy::default());
    let mut first = start_as(&links, "first", route.clone());
    let mut second = start_as(&links, "second", route.clone());
    first.up().await;
    second.up().await;
    let mut alone = start_as(&links, "alone", ways.short());
    alone.up().await;
    have_logged_in(&ways.server, 2).await;
    assert_eq!(logins(&ways.one), 1);
    drop(policy);
    first.link.close();
    assert_eq!(first.report().await, LinkReport::Closed);
    answers(&mut second).await;
    // Who has it and wants another gets another.
    let mut successor = start_as(&links, "second", route);
    successor.up().await;
    have_logged_in(&ways.server, 3).await;
    tokio::time::timeout(Duration::from_secs(10), answers(&mut second)).await.unwrap();
}
