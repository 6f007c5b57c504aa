//! The beginning of a connection, with servers that say things first, late, in pieces, or nothing at all.

use std::net::IpAddr;
use std::time::Duration;

use nbtunnel_core::{FailureKind, LinkReport};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};

use super::AgentAt;
use super::settings::GREETING;
use super::testbed::{Sshd, Watched, links, start, until};

/// How a link to `listener` begins.
fn dial(listener: &TcpListener, sshd: &Sshd) -> Watched {
    let mut route = sshd.route();
    // The key on file is that of the true port.
    let line = sshd.host_line().replace(&sshd.port.to_string(), &port(listener).to_string());
    std::fs::write(sshd.at("known_hosts"), line).unwrap();
    route.port = Some(port(listener));
    start(&links(AgentAt::Nowhere), route)
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().unwrap().port()
}

async fn read_line(stream: &mut TcpStream) -> Vec<u8> {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        line.push(stream.read_u8().await.unwrap());
    }
    line
}

#[tokio::test]
async fn a_server_that_hears_our_line_first_and_speaks_in_pieces_after_a_preamble_is_reached() {
    let (sshd, listener) = (Sshd::start("ed25519", ""), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let mut link = dial(&listener, &sshd);
    let (mut near, _) = listener.accept().await.unwrap();
    near.set_nodelay(true).unwrap();
    assert_eq!(read_line(&mut near).await, GREETING);
    link.step("banner").await;
    let mut far = TcpStream::connect(("127.0.0.1", sshd.port)).await.unwrap();
    far.write_all(GREETING).await.unwrap();
    let theirs = read_line(&mut far).await;
    let preamble = b"Welcome.\r\nAuthorized use only.\r\nSSH is spoken here.\r\n";
    for byte in preamble.iter().chain(&theirs) {
        near.write_u8(*byte).await.unwrap();
    }
    link.step("key_exchange").await;
    // Whatever comes now begins with the key exchange: our line is not sent twice.
    let mut packet = [0; 6];
    near.read_exact(&mut packet).await.unwrap();
    const SSH_MSG_KEXINIT: u8 = 20;
    assert_eq!(packet[5], SSH_MSG_KEXINIT);
    far.write_all(&packet).await.unwrap();
    let between = tokio::spawn(async move {
        let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (near.split(), far.split());
        tokio::join!(copy(&mut near_in, &mut far_out), copy(&mut far_in, &mut near_out))
    });
    link.up().await;
    link.link.probe();
    assert!(matches!(link.report().await, LinkReport::Answers(_)));
    between.abort();
}

#[tokio::test]
async fn a_server_that_says_too_much_or_an_old_version_or_nothing_ends_the_link() {
    let sshd = Sshd::start("ed25519", "");
    let endless = "x".repeat(300);
    let many = "welcome\r\n".repeat(30);
    for (says, kind, told) in [
        (endless.as_str(), FailureKind::Refused, "no SSH server"),
        (many.as_str(), FailureKind::Refused, "welcome"),
        ("hello\r\nSSH-1.5-Old\r\n", FailureKind::NoCommonAlgorithm, "protocol 1"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut link = dial(&listener, &sshd);
        let (mut strange, _) = listener.accept().await.unwrap();
        strange.write_all(says.as_bytes()).await.unwrap();
        // It stays open: no end of the stream helps.
        let failure = link.lost().await;
        assert_eq!(failure.kind, kind, "{failure}");
        assert!(failure.message.contains(told), "{failure}");
        assert!(!link.seen.iter().any(|seen| seen == "key_exchange"), "{:?}", link.seen);
    }
    for resets in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut link = dial(&listener, &sshd);
        let (mut silent, _) = listener.accept().await.unwrap();
        read_line(&mut silent).await;
        if resets {
            socket2::SockRef::from(&silent).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(silent);
        let failure = link.lost().await;
        assert_eq!(failure.kind, FailureKind::Disconnected);
        assert_eq!(failure.message.contains("was reset"), resets, "{failure}");
    }
}

#[tokio::test]
async fn what_probes_measure_is_known_when_the_next_link_begins() {
    let sshd = Sshd::start("ed25519", "");
    let links = links(AgentAt::Nowhere);
    let path = (IpAddr::from([127, 0, 0, 1]), ([127, 0, 0, 1], sshd.port).into());
    let mut link = start(&links, sshd.route());
    link.up().await;
    assert_eq!(links.distances.latest(&path), None);
    link.link.probe();
    let LinkReport::Answers(round_trip) = link.report().await else { panic!("no answer") };
    until("it is known", || links.distances.latest(&path) == Some(round_trip)).await;
}
