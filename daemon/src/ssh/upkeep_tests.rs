//! What a link tells while it is up, against a real sshd.

use std::process::Command;
use std::time::Duration;

use nbtunnel_core::{LinkReport, Policy};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::testbed::{Sshd, Watched, links, run, start, start_with, until};
use super::tunnelbed::{Tunnel, echo};
use super::{AgentAt, LinkEvent};
use crate::forward::{Budgets, GateNow};

/// The next report, which must come soon enough not to be one of a later silence.
async fn next(link: &mut Watched) -> LinkReport {
    timeout(Duration::from_secs(20), link.report()).await.unwrap()
}

async fn is_quiet(link: &mut Watched) {
    let more = timeout(Duration::from_millis(300), link.report()).await;
    assert!(more.is_err(), "{more:?}");
}

#[tokio::test]
async fn a_frozen_server_is_unanswered_once_and_not_heard_and_then_answers() {
    let tunnel = Tunnel::new(echo().await).await;
    let mut link = tunnel.link().await;
    let mut local = tunnel.connect().await;
    local.write_all(b"x").await.unwrap();
    local.read_u8().await.unwrap();
    let frozen = tunnel.sshd.freeze();
    local.write_all(b"y").await.unwrap();
    assert_eq!(next(&mut link).await, LinkReport::Unanswered);
    link.link.probe();
    local.write_all(b"z").await.unwrap();
    // Longer than what it takes to be heard, or to be unanswered again.
    assert!(timeout(Duration::from_secs(4), link.report()).await.is_err());
    drop(frozen);
    assert!(matches!(next(&mut link).await, LinkReport::Answers(rtt) if rtt > Duration::from_secs(3)));
    let mut back = [0; 2];
    local.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"yz");
}

/// Lets everything through to `to`, and what comes back only in drops.
async fn dripping(to: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
        let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
            (client.into_split(), server.into_split());
        tokio::spawn(async move { copy(&mut from_client, &mut to_server).await });
        let mut drop = vec![0; 32 << 10];
        while let Ok(count @ 1..) = from_server.read(&mut drop).await {
            to_client.write_all(&drop[..count]).await.unwrap();
            sleep(Duration::from_millis(20)).await;
        }
    });
    port
}

#[tokio::test]
async fn a_server_whose_answer_is_stuck_behind_other_bytes_is_heard() {
    let tunnel = Tunnel::new(echo().await).await;
    let mut route = tunnel.sshd.route();
    let line = tunnel.sshd.host_line();
    let port = dripping(tunnel.sshd.port).await;
    route.port = Some(port);
    let through = line.replace(&format!(":{} ", tunnel.sshd.port), &format!(":{port} "));
    std::fs::write(tunnel.sshd.at("known_hosts"), through).unwrap();
    let mut link = start(&links(AgentAt::Nowhere), route);
    link.up().await;
    tunnel.gate.send_replace(GateNow::Serve(link.carrier.clone().unwrap()));
    let (mut from, mut to) = tunnel.connect().await.into_split();
    // As much as is in flight both ways, so that what comes back fills the way back for seconds.
    tokio::spawn(async move { to.write_all(&vec![7; 32 << 20]).await });
    let mut some = vec![0; 2 << 20];
    from.read_exact(&mut some).await.unwrap();
    link.link.probe();
    assert_eq!(next(&mut link).await, LinkReport::Heard);
}

#[tokio::test]
async fn a_link_that_carries_nothing_is_drained_at_once_and_takes_nothing_more() {
    let tunnel = Tunnel::new(echo().await).await;
    let mut link = tunnel.link().await;
    link.link.drain();
    assert_eq!(next(&mut link).await, LinkReport::Drained);
    // The gate still leads there: who comes is held, not lost.
    let mut late = tunnel.connect().await;
    until("it is held", || tunnel.activity.held_and_open() == (1, 0)).await;
    let _second = tunnel.link().await;
    late.write_all(b"x").await.unwrap();
    assert_eq!(late.read_u8().await.unwrap(), b'x');
    link.link.drain();
    is_quiet(&mut link).await;
}

#[tokio::test]
async fn a_link_is_drained_when_its_last_connection_ends() {
    let tunnel = Tunnel::new(echo().await).await;
    let mut link = tunnel.link().await;
    let mut open = tunnel.connect().await;
    open.write_all(b"x").await.unwrap();
    open.read_u8().await.unwrap();
    let _second = tunnel.link().await;
    link.link.drain();
    is_quiet(&mut link).await;
    open.write_all(b"y").await.unwrap();
    assert_eq!(open.read_u8().await.unwrap(), b'y', "what is open goes on");
    drop(open);
    assert_eq!(next(&mut link).await, LinkReport::Drained);
}

#[tokio::test]
async fn who_waits_for_a_channel_of_a_silent_link_is_carried_by_the_next_one() {
    let tunnel = Tunnel::new(echo().await).await;
    let _first = tunnel.link().await;
    // No more waiting is granted: it must not even be held in between.
    tunnel.policy.send_modify(|policy| policy.hold = Duration::ZERO);
    let _frozen = tunnel.sshd.freeze();
    let mut waiting = tunnel.connect().await;
    waiting.write_all(b"x").await.unwrap();
    until("it waits for a channel", || tunnel.activity.held_and_open() == (0, 1)).await;
    let mut second = tunnel.link().await;
    assert_eq!(timeout(Duration::from_secs(5), waiting.read_u8()).await.unwrap().unwrap(), b'x');
    second.link.drain();
    is_quiet(&mut second).await;
}

#[tokio::test]
async fn a_worn_link_says_so_once_when_the_policy_wants_to_know() {
    let sshd = Sshd::start("ed25519", "");
    let policy = watch::Sender::new(Policy { renew_bytes: 0, ..Policy::default() });
    let mut link = start_with(&links(AgentAt::Nowhere), sshd.route(), policy);
    link.up().await;
    link.link.probe();
    assert!(matches!(next(&mut link).await, LinkReport::Answers(_)));
    link.policy.send_modify(|policy| policy.renew_bytes = 1);
    link.link.probe();
    assert_eq!(next(&mut link).await, LinkReport::Worn);
    for _ in 0..2 {
        assert!(matches!(next(&mut link).await, LinkReport::Answers(_)));
        link.link.probe();
    }
}

#[tokio::test]
async fn what_is_carried_wears_a_link_without_any_probe() {
    let policy = Policy { renew_bytes: 1 << 20, ..Policy::default() };
    let tunnel = Tunnel::with(echo().await, Budgets::default(), policy).await;
    let mut link = tunnel.link().await;
    let (mut from, mut to) = tunnel.connect().await.into_split();
    let mut back = vec![0; 512 << 10];
    to.write_all(&vec![1; 256 << 10]).await.unwrap();
    from.read_exact(&mut back[..256 << 10]).await.unwrap();
    assert!(timeout(Duration::from_secs(4), link.report()).await.is_err());
    to.write_all(&vec![2; 512 << 10]).await.unwrap();
    from.read_exact(&mut back).await.unwrap();
    assert_eq!(next(&mut link).await, LinkReport::Worn);
}

#[tokio::test]
async fn a_session_that_is_left_unread_is_clogged_until_it_is_read_again() {
    let budgets = Budgets { memory: 0, spool: 0 };
    let tunnel = Tunnel::with(echo().await, budgets, Policy { buffer: 0, ..Policy::default() }).await;
    let mut link = tunnel.link().await;
    let (mut unread, mut to) = tunnel.connect().await.into_split();
    let sending = tokio::spawn(async move {
        to.write_all(&vec![7; 64 << 20]).await.unwrap();
        to.shutdown().await.unwrap();
    });
    assert_eq!(next(&mut link).await, LinkReport::Clogged(true));
    // A little room now and then does not count as being read.
    let mut some = vec![0; 4 << 20];
    for _ in 0..4 {
        unread.read_exact(&mut some).await.unwrap();
        sleep(Duration::from_millis(200)).await;
    }
    while let Ok(event) = link.events.try_recv() {
        assert!(!matches!(event, LinkEvent::Report(LinkReport::Clogged(_))));
    }
    let mut back = Vec::new();
    unread.read_to_end(&mut back).await.unwrap();
    sending.await.unwrap();
    assert_eq!(back.len(), (64 << 20) - 4 * some.len());
    loop {
        match next(&mut link).await {
            LinkReport::Unanswered => {}
            report => break assert_eq!(report, LinkReport::Clogged(false)),
        }
    }
    // One that ends while it is unread counts no more either.
    let mut gone = tunnel.connect().await;
    let filling = async { while gone.write_all(&[7; 64 << 10]).await.is_ok() {} };
    tokio::select! {
        () = filling => panic!("it is not taken"),
        report = next(&mut link) => assert_eq!(report, LinkReport::Clogged(true)),
    }
    socket2::SockRef::from(&gone).set_linger(Some(Duration::ZERO)).unwrap();
    drop(gone);
    loop {
        match next(&mut link).await {
            LinkReport::Unanswered => {}
            report => break assert_eq!(report, LinkReport::Clogged(false)),
        }
    }
}

#[tokio::test]
async fn a_link_that_is_closed_while_it_is_left_unread_lets_go_of_everything() {
    let budgets = Budgets { memory: 0, spool: 0 };
    let tunnel = Tunnel::with(echo().await, budgets, Policy { buffer: 0, ..Policy::default() }).await;
    let mut link = tunnel.link().await;
    let (unread, mut to) = tunnel.connect().await.into_split();
    let sending = tokio::spawn(async move { to.write_all(&vec![7; 64 << 20]).await });
    assert_eq!(next(&mut link).await, LinkReport::Clogged(true));
    // Until what lies between the session and the connection is full, too.
    loop {
        link.link.probe();
        if timeout(Duration::from_secs(2), link.report()).await.is_err() {
            break;
        }
    }
    link.link.close();
    loop {
        match next(&mut link).await {
            LinkReport::Unanswered => {}
            report => break assert_eq!(report, LinkReport::Closed),
        }
    }
    // Nobody has read a byte more.
    until("the connection is over", || tunnel.activity.held_and_open() == (0, 0)).await;
    until("sshd has no session left", || !tunnel.sshd.has_sessions()).await;
    assert!(sending.await.unwrap().is_err());
    drop(unread);
}

/// Runs itself again in a network of its own, where addresses can come and go.
#[tokio::test]
async fn a_link_whose_address_is_gone_says_so_instead_of_asking() {
    const INSIDE: &str = "NBTUNNEL_TEST_NETWORK";
    if std::env::var_os(INSIDE).is_none() {
        let name = "ssh::upkeep_tests::a_link_whose_address_is_gone_says_so_instead_of_asking";
        let mut command = Command::new("unshare");
        command.arg("--net").arg(std::env::current_exe().unwrap()).args(["--exact", name, "--nocapture"]);
        let output = command.env(INSIDE, "1").output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && told.contains("1 passed"), "{output:?}");
        return;
    }
    run("ip", &["link", "set", "lo", "up"]);
    // RFC 5737: an address for examples.
    run("ip", &["addr", "add", "192.0.2.7/32", "dev", "lo"]);
    let sshd = Sshd::start("ed25519", "ListenAddress 192.0.2.7");
    let mut route = sshd.route();
    route.host = "192.0.2.7".into();
    std::fs::write(sshd.at("known_hosts"), sshd.host_line().replace("127.0.0.1", "192.0.2.7")).unwrap();
    let mut link = start(&links(AgentAt::Nowhere), route);
    link.up().await;
    link.link.probe();
    assert!(matches!(next(&mut link).await, LinkReport::Answers(_)));
    let frozen = sshd.freeze();
    link.link.probe();
    is_quiet(&mut link).await;
    run("ip", &["addr", "del", "192.0.2.7/32", "dev", "lo"]);
    // Also while an answer is awaited.
    link.link.probe();
    assert_eq!(next(&mut link).await, LinkReport::AddressGone);
    drop(frozen);
    // No end of the connection reaches it any more.
    sshd.kill_sessions();
}
