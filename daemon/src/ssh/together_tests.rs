//! A lasting listener over real links: what is carried arrives whole, a slow reader harms nobody, and what
//! came while no link was there is carried by the next one.

use std::time::Duration;

use nbtunnel_core::LinkReport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::testbed::until;
use super::tunnelbed::{Tunnel, echo};

async fn round_trip(stream: TcpStream, bytes: Vec<u8>) {
    let (mut from, mut to) = stream.into_split();
    let sent = bytes.clone();
    let sending = tokio::spawn(async move {
        to.write_all(&sent).await.unwrap();
        to.shutdown().await.unwrap();
    });
    let mut back = Vec::new();
    timeout(Duration::from_secs(60), from.read_to_end(&mut back)).await.unwrap().unwrap();
    sending.await.unwrap();
    assert!(back == bytes, "{} bytes came back of {}", back.len(), bytes.len());
}

#[tokio::test]
async fn many_connections_at_once_bring_back_what_was_sent() {
    let tunnel = Tunnel::new(echo().await).await;
    let _link = tunnel.link().await;
    let trips = (0..40_u8).map(|n| {
        let tunnel = &tunnel;
        async move {
            let bytes: Vec<u8> = (0..1_u32 << 20).map(|i| (i.wrapping_mul(31) >> 3) as u8 ^ n).collect();
            round_trip(tunnel.connect().await, bytes).await;
        }
    });
    futures_util::future::join_all(trips).await;
    until("all is over", || tunnel.activity.held_and_open() == (0, 0)).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_neither_probes_nor_others() {
    let tunnel = Tunnel::new(echo().await).await;
    let mut link = tunnel.link().await;
    // Twice the window of a channel waits for one that reads nothing.
    let (mut unread, mut to) = tunnel.connect().await.into_split();
    let bytes = vec![7; 16 << 20];
    to.write_all(&bytes).await.unwrap();
    link.link.probe();
    loop {
        match timeout(Duration::from_secs(20), link.report()).await.unwrap() {
            // Its answer waits behind what comes for the other one.
            LinkReport::Heard => {}
            report => break assert!(matches!(report, LinkReport::Answers(_)), "{report:?}"),
        }
    }
    round_trip(tunnel.connect().await, b"unharmed".to_vec()).await;
    to.shutdown().await.unwrap();
    let mut back = Vec::new();
    unread.read_to_end(&mut back).await.unwrap();
    assert!(back == bytes);
}

#[tokio::test]
async fn what_comes_between_two_links_is_carried_by_the_second() {
    let tunnel = Tunnel::new(echo().await).await;
    let mut link = tunnel.link().await;
    let mut open = tunnel.connect().await;
    open.write_all(b"x").await.unwrap();
    open.read_u8().await.unwrap();
    tunnel.sshd.kill_sessions();
    assert!(matches!(link.report().await, LinkReport::Lost(_)));
    // What was open is reset at once; what comes now waits, though the gate still names the dead link.
    assert!(timeout(Duration::from_secs(5), open.read_u8()).await.unwrap().is_err());
    let held = tunnel.connect().await;
    until("it is held", || tunnel.activity.held_and_open() == (1, 0)).await;
    let _second = tunnel.link().await;
    round_trip(held, b"held and then answered".to_vec()).await;
}

/// A port where connecting takes for ever: nobody accepts, and the queue is full.
async fn swallowed() -> (socket2::Socket, Vec<std::net::TcpStream>, u16) {
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(500)) {
        queued.push(stream);
    }
    (listener, queued, address.port())
}

#[tokio::test]
async fn who_waits_for_a_channel_is_let_go_with_its_forward() {
    let (_listener, _queued, port) = swallowed().await;
    let tunnel = Tunnel::new(port).await;
    let _link = tunnel.link().await;
    let mut waiting = tunnel.connect().await;
    until("it is handed to the link", || tunnel.activity.held_and_open() == (0, 1)).await;
    drop(tunnel.forward);
    assert!(timeout(Duration::from_secs(5), waiting.read_u8()).await.unwrap().is_err());
}

#[tokio::test]
async fn who_resets_while_it_waits_for_a_channel_is_forgotten_at_once() {
    let (_listener, _queued, port) = swallowed().await;
    let tunnel = Tunnel::new(port).await;
    let _link = tunnel.link().await;
    let waiting = tunnel.connect().await;
    until("it is handed to the link", || tunnel.activity.held_and_open() == (0, 1)).await;
    socket2::SockRef::from(&waiting).set_linger(Some(Duration::ZERO)).unwrap();
    drop(waiting);
    until("nobody is left", || tunnel.activity.held_and_open() == (0, 0)).await;
}
