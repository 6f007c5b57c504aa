use std::fs;
use std::sync::Arc;

use nbtunnel_core::session::NUDGED_DEADLINE;
use nbtunnel_core::{LinkReport, Policy, SshConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use super::*;
use crate::forward::far_side::{FarSide, FarStream, Unopened};
use crate::forward::{Budgets, Carrier};
use crate::ssh::testbed::{Sshd, Watched, free_port, links, run, start, until};
use crate::ssh::tunnelbed::{Tunnel, echo};
use crate::ssh::{Account, AgentAt};

const SOON: Duration = Duration::from_secs(10);

/// A login machine and a node, and what is said of the node here.
struct Cluster {
    login: Sshd,
    node: Sshd,
}

impl Cluster {
    fn new() -> Cluster {
        let cluster = Cluster { login: Sshd::start("ed25519", ""), node: Sshd::start("ed25519", "") };
        cluster.say("node", "");
        cluster
    }

    /// Its user is the one that the login machine has, and the way that its block names is none.
    fn say(&self, name: &str, more: &str) {
        let said = format!(
            "{more}Host {name}\n  HostName 127.0.0.1\n  Port {}\n  IdentityFile {}\n  UserKnownHostsFile {}\n  \
             ProxyCommand false\n",
            self.node.port,
            self.node.at("id").display(),
            self.node.at("known_hosts").display()
        );
        fs::write(self.login.at("config"), said).unwrap();
    }

    async fn link(&self) -> Watched {
        let mut link = start(&links(AgentAt::Nowhere), route(&self.login));
        link.up().await;
        link
    }
}

fn route(login: &Sshd) -> Route {
    Route { ssh_config: SshConfig::File(login.at("config")), ..login.route() }
}

fn far(link: &Watched) -> Arc<dyn FarSide> {
    let carrier: Arc<dyn Carrier> = link.carrier.clone().unwrap();
    carrier
}

async fn beyond(link: &Watched, name: &str) -> Result<Arc<dyn FarSide>, Failure> {
    far(link).beyond(name.to_owned()).await
}

fn on_node(port: u16) -> Target {
    Target::Beyond { machine: "node".into(), host: "127.0.0.1".into(), port }
}

fn logins(sshd: &Sshd) -> usize {
    sshd.log().matches("Accepted publickey").count()
}

async fn opened(link: &Watched, listener: &TcpListener) -> FarStream {
    let target = on_node(listener.local_addr().unwrap().port());
    let Ok(stream) = far(link).open(target).await else { panic!("not opened") };
    stream
}

#[tokio::test]
async fn a_machine_beyond_is_logged_in_to_once_over_the_session_that_is_there() {
    let cluster = Cluster::new();
    let mut link = cluster.link().await;
    let (there, again) = tokio::join!(beyond(&link, "node"), beyond(&link, "node"));
    let there = there.unwrap();
    again.unwrap();
    let ran = there.run("echo \"$SSH_CONNECTION\"".into(), SOON).await.unwrap();
    let said = String::from_utf8(ran.output).unwrap();
    assert!(said.trim_end().ends_with(&format!(" {}", cluster.node.port)), "{said}");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut stream = opened(&link, &listener).await;
    let (mut server, _) = listener.accept().await.unwrap();
    stream.write_all(b"question").await.unwrap();
    let mut heard = [0; 8];
    server.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"question");
    assert_eq!((logins(&cluster.login), logins(&cluster.node)), (1, 1));
    // What is open there ends with the link, and in order.
    link.link.close();
    assert_eq!(link.report().await, LinkReport::Closed);
    assert!(timeout(SOON, stream.read_u8()).await.unwrap().is_err());
    for sshd in [&cluster.node, &cluster.login] {
        until("its session is over", || !sshd.has_sessions()).await;
        assert!(sshd.log().contains("closed by nbtunnel"), "{}", sshd.log());
    }
    assert!(beyond(&link, "node").await.is_err());
}

#[tokio::test]
async fn a_session_beyond_that_is_gone_is_no_reason_to_doubt_the_link() {
    let cluster = Cluster::new();
    let mut link = cluster.link().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = on_node(listener.local_addr().unwrap().port());
    // Nobody asked for it yet.
    let Err(Unopened::Denied(why)) = far(&link).open(target.clone()).await else { panic!("opened") };
    assert_eq!(why.kind, FailureKind::Refused, "{why}");
    beyond(&link, "node").await.unwrap();
    let mut stream = opened(&link, &listener).await;
    let Err(Unopened::Denied(why)) = far(&link).open(on_node(free_port())).await else { panic!("opened") };
    let node = cluster.node.port.to_string();
    assert!(why.kind == FailureKind::Refused && why.message.ends_with(&node), "{why}");
    cluster.node.kill_sessions();
    assert!(timeout(SOON, stream.read_u8()).await.unwrap().is_err());
    let Err(Unopened::Denied(why)) = far(&link).open(target).await else { panic!("opened") };
    assert!(why.kind == FailureKind::Refused && why.message.contains("on node is over"), "{why}");
    super::super::ways_tests::answers(&mut link).await;
    beyond(&link, "node").await.unwrap();
    opened(&link, &listener).await;
    until("every login is written down", || logins(&cluster.node) == 2).await;
    assert_eq!(logins(&cluster.login), 1);
}

#[tokio::test]
async fn a_machine_that_nobody_uses_is_left_and_one_in_use_is_not() {
    let cluster = Cluster::new();
    let link = cluster.link().await;
    beyond(&link, "node").await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = opened(&link, &listener).await;
    let (mut server, _) = listener.accept().await.unwrap();
    assert!(timeout(IDLE * 2, server.read_u8()).await.is_err());
    assert!(cluster.node.has_sessions());
    drop(stream);
    until("it is left", || !cluster.node.has_sessions()).await;
    assert!(cluster.login.has_sessions());
}

#[tokio::test]
async fn a_machine_whose_key_nobody_knows_is_told_nothing_and_not_asked_in_a_hurry() {
    let cluster = Cluster::new();
    fs::write(cluster.node.at("known_hosts"), "").unwrap();
    let link = cluster.link().await;
    let why = beyond(&link, "node").await.err().unwrap();
    assert_eq!(why.kind, FailureKind::HostKeyUnknown, "{why}");
    let connections = || cluster.node.log().matches("Connection from").count();
    assert_eq!(beyond(&link, "node").await.err(), Some(why));
    assert!(connections() == 1 && !cluster.node.log().contains("Accepted"), "{}", cluster.node.log());
    // Somebody trusts it meanwhile.
    fs::write(cluster.node.at("known_hosts"), cluster.node.host_line()).unwrap();
    timeout(PAUSE + SOON * 2, async { while beyond(&link, "node").await.is_err() {} }).await.unwrap();
    assert_eq!(connections(), 2);
}

#[tokio::test]
async fn a_machine_that_hangs_keeps_nobody_from_another_and_what_was_begun_is_found_by_the_next() {
    let cluster = Cluster::new();
    // The one answers nobody, and of the other nobody waits for the end of the login.
    let hangs = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = hangs.local_addr().unwrap().port();
    cluster.say("node", &format!("Host hangs\n  HostName 127.0.0.1\n  Port {port}\n"));
    let link = cluster.link().await;
    let far = far(&link);
    let hanging = tokio::spawn(far.beyond("hangs".into()));
    hangs.accept().await.unwrap();
    let stopped = cluster.node.stop_listening();
    assert!(timeout(Duration::from_secs(1), beyond(&link, "node")).await.is_err());
    drop(stopped);
    until("the login goes on", || logins(&cluster.node) == 1).await;
    timeout(SOON, beyond(&link, "node")).await.unwrap().unwrap();
    assert_eq!(logins(&cluster.node), 1);
    hanging.abort();
}

#[tokio::test]
async fn a_machine_that_says_nothing_any_more_cuts_off_what_is_carried_there() {
    let cluster = Cluster::new();
    let mut link = cluster.link().await;
    beyond(&link, "node").await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut stream = opened(&link, &listener).await;
    let _frozen = cluster.node.freeze();
    assert!(timeout(SOON * 3, stream.read_u8()).await.unwrap().is_err());
    super::super::ways_tests::answers(&mut link).await;
}

#[tokio::test]
async fn it_is_dealt_with_by_its_own_words_and_with_the_keys_of_the_far_end() {
    let cluster = Cluster::new();
    let account = Account { home: "/nonexistent".into(), user: run("id", &["-un"]).trim().to_owned() };
    let links = Links::new(Handle::current(), crate::wake::stopwatch(), AgentAt::Nowhere, account);
    let beyond = |route: Route| {
        let (links, by) = (Arc::clone(&links), Weak::new());
        let reporter = Reporter::new("t", Arc::new(|_| {}), Arc::default());
        let (hop, machines, turns, unread, over, tasks) = Default::default();
        Beyond { links, by, hop, route, reporter, unread, machines, turns, over, tasks }
    };
    let mut like = cluster.login.hop();
    like.user = "somebody".into();
    like.login.identities_only = true;
    like.login.agent = Some(AgentAt::Nowhere);
    let mut route = route(&cluster.login);
    route.options = vec!["Port=1".into()];
    let hop = beyond(route.clone()).hop("node", &like).await.unwrap();
    assert_eq!((hop.user.as_str(), hop.port), ("somebody", cluster.node.port));
    assert_eq!(hop.dialling.proxy_command, None);
    let files = like.login.identity_files.clone();
    assert_eq!(hop.login.identity_files, [files, vec![cluster.node.at("id")]].concat());
    assert!(hop.login.identities_only && hop.login.agent == like.login.agent);
    assert!(hop.host_keys.known_hosts.contains(&cluster.node.at("known_hosts")));
    assert!(hop.host_keys.known_hosts.starts_with(&like.host_keys.known_hosts));
    assert_eq!(hop.host_keys.update, like.host_keys.update);
    // The same file is offered once, and a user who is named is that one.
    like.login.identity_files = vec![cluster.node.at("id")];
    cluster.say("node", "User another\n");
    let hop = beyond(route).hop("node", &like).await.unwrap();
    assert_eq!((hop.user.as_str(), &*hop.login.identity_files), ("another", &[cluster.node.at("id")][..]));
}

#[tokio::test]
async fn what_its_login_has_to_say_is_told_of_the_tunnel() {
    let cluster = Cluster::new();
    cluster.say("node", "StrictHostKeyChecking accept-new\n");
    fs::write(cluster.node.at("known_hosts"), "").unwrap();
    let mut link = start(&links(AgentAt::Nowhere), Route { host_key: None, ..route(&cluster.login) });
    link.up().await;
    beyond(&link, "node").await.unwrap();
    super::super::ways_tests::answers(&mut link).await;
    let node = format!("127.0.0.1:{}", cluster.node.port);
    let is_told = |seen: &String| seen.contains("is new and was written to") && seen.contains(&node);
    assert!(link.seen.iter().any(is_told), "{:?}", link.seen);
}

#[tokio::test]
async fn what_is_carried_there_for_a_slow_reader_is_not_cut_off() {
    const MUCH: usize = 64 << 20;
    let Cluster { login, node } = Cluster::new();
    let (budgets, policy) = (Budgets { memory: 0, spool: 0 }, Policy { buffer: 0, ..Policy::default() });
    let tunnel = Tunnel::by(login, on_node(echo().await), budgets, policy).await;
    let link = tunnel.link_by(route(&tunnel.sshd)).await;
    beyond(&link, "node").await.unwrap();
    let (mut from, mut to) = tunnel.connect().await.into_split();
    let sending = tokio::spawn(async move {
        to.write_all(&vec![7; MUCH]).await?;
        to.shutdown().await
    });
    // Longer than a machine may be silent.
    sleep((ALIVE + NUDGED_DEADLINE) * (MOST_IN_VAIN + 1)).await;
    let mut all = Vec::new();
    timeout(SOON * 6, from.read_to_end(&mut all)).await.unwrap().unwrap();
    assert!(all.len() == MUCH, "{} bytes came", all.len());
    sending.await.unwrap().unwrap();
    assert_eq!(logins(&node), 1);
}
