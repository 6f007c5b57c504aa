use bytes::Bytes;
use nbtunnel_core::LinkReport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::RwLock;
use tokio::time::sleep;

use super::*;
use crate::forward::far::{FarMessage, FarReader, FarWriter};
use crate::ssh::AgentAt;
use crate::ssh::agent::Agents;
use crate::ssh::algorithms::preferred;
use crate::ssh::auth::Login;
use crate::ssh::credentials::Offer;
use crate::ssh::handler::Client;
use crate::ssh::known_hosts::{KnownHosts, Names};
use crate::ssh::report::{LinkEvent, Reporter, Told};
use crate::ssh::settings::settings;
use crate::ssh::testbed::{Sshd, free_port, links, start, until};
use crate::ssh::wire::Wire;

/// A receive window as near servers have it.
const WINDOW: u32 = 8 << 20;

/// A carrier whose inside can be reached, over a session of its own.
async fn carrier(sshd: &Sshd) -> Arc<SshCarrier> {
    let to = Arc::new(sshd.hop());
    let shared = Shared::new(
        Arc::clone(&to),
        Reporter::new("t", Arc::new(|_| {}), Told::default()),
        crate::wake::stopwatch(),
    );
    let tcp = tokio::net::TcpStream::connect(("127.0.0.1", sshd.port)).await.unwrap();
    let wire = Wire::new(tcp, Arc::clone(&shared.tap));
    let known = KnownHosts::read(&to, &Names::of(&to, None));
    let config = Arc::new(settings(preferred(&to, &known).unwrap().0, WINDOW));
    let mut session = russh::client::connect_stream(config, wire, Client(Arc::clone(&shared))).await.unwrap();
    let offer = Offer::load(&to.login, None);
    let agents = Agents::new(AgentAt::Nowhere, "/".into());
    Login::new(&shared, &mut session, &agents, None).run(&offer).await.unwrap();
    Arc::new(SshCarrier::new(Arc::new(RwLock::new(session)), &shared, Handle::current()))
}

fn origin() -> (String, u16) {
    ("127.0.0.1".into(), 1)
}

fn tcp(port: u16) -> Target {
    Target::Tcp("127.0.0.1".into(), port)
}

async fn denial(carrier: &Arc<SshCarrier>, target: Target) -> Failure {
    match carrier.reach(&target, origin()).await {
        Err(Unreached::Denied(why)) => denied(&carrier.hop, &target, &why),
        Err(Unreached::Late | Unreached::LinkGone) => panic!("the link is gone"),
        Ok(_) => panic!("it was opened"),
    }
}

#[tokio::test]
async fn bytes_half_closes_and_closes_go_through_both_ways() {
    let sshd = Sshd::start("ed25519", "");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let carrier = carrier(&sshd).await;
    let target = tcp(listener.local_addr().unwrap().port());
    let Ok(Far { mut reader, mut writer }) = carrier.reach(&target, origin()).await else {
        panic!("not opened")
    };
    let (mut server, _) = listener.accept().await.unwrap();
    writer.write(Bytes::from_static(b"question")).await.unwrap();
    writer.eof().await.unwrap();
    let mut question = String::new();
    server.read_to_string(&mut question).await.unwrap();
    assert_eq!(question, "question");
    // After our end, the other direction still carries.
    server.write_all(b"answer").await.unwrap();
    assert_eq!(reader.next().await, FarMessage::Data(Bytes::from_static(b"answer")));
    drop(server);
    assert_eq!(reader.next().await, FarMessage::Eof);
    assert_eq!(reader.next().await, FarMessage::Close);
    assert!(writer.write(Bytes::from_static(b"late")).await.is_err());
    writer.close().await;
}

#[tokio::test]
async fn a_socket_at_the_far_end_is_reached_too() {
    let sshd = Sshd::start("ed25519", "");
    let path = sshd.at("service");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let carrier = carrier(&sshd).await;
    let target = Target::Socket(path.to_str().unwrap().to_owned());
    let Ok(mut far) = carrier.reach(&target, origin()).await else { panic!("not opened") };
    let (mut server, _) = listener.accept().await.unwrap();
    server.write_all(b"hello").await.unwrap();
    assert_eq!(far.reader.next().await, FarMessage::Data(Bytes::from_static(b"hello")));
}

#[tokio::test]
async fn a_channel_that_is_dropped_is_closed_at_the_far_end() {
    let sshd = Sshd::start("ed25519", "");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let carrier = carrier(&sshd).await;
    let target = tcp(listener.local_addr().unwrap().port());
    let Ok(far) = carrier.reach(&target, origin()).await else { panic!("not opened") };
    let (mut server, _) = listener.accept().await.unwrap();
    drop(far);
    let mut rest = Vec::new();
    timeout(Duration::from_secs(10), server.read_to_end(&mut rest)).await.unwrap().unwrap();
    // And one whose opening nobody waits for any more.
    drop(carrier.open_channel(Wanted::Way(target, origin())));
    let (mut server, _) = listener.accept().await.unwrap();
    timeout(Duration::from_secs(10), server.read_to_end(&mut rest)).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_the_server_denies_is_told_by_kind() {
    let open = free_port();
    let sshd = Sshd::start("ed25519", &format!("PermitOpen 127.0.0.1:{open}"));
    let carrier = carrier(&sshd).await;
    let forbidden = denial(&carrier, tcp(free_port())).await;
    assert_eq!(forbidden.kind, FailureKind::ForwardingDenied);
    assert!(forbidden.hint.contains("PermitOpen"));
    let nobody = denial(&carrier, tcp(open)).await;
    assert_eq!(nobody.kind, FailureKind::Refused);
    assert!(nobody.message.contains("nothing answers"), "{nobody}");
}

#[tokio::test]
async fn many_refused_channels_leave_the_session_as_it_was() {
    let sshd = Sshd::start("ed25519", "");
    let carrier = carrier(&sshd).await;
    let nobody = free_port();
    for _ in 0..TIDY_EVERY * 3 {
        assert_eq!(denial(&carrier, tcp(nobody)).await.kind, FailureKind::Refused);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = tcp(listener.local_addr().unwrap().port());
    assert!(carrier.reach(&target, origin()).await.is_ok());
    assert!(!carrier.session.read().await.is_closed());
}

#[tokio::test]
async fn a_session_that_dies_ends_readers_writers_and_openings() {
    let sshd = Sshd::start("ed25519", "");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let carrier = carrier(&sshd).await;
    let target = tcp(listener.local_addr().unwrap().port());
    let Ok(mut far) = carrier.reach(&target, origin()).await else { panic!("not opened") };
    let _server = listener.accept().await.unwrap();
    // Nobody over there reads, so the window runs out and the write waits.
    let stuck = tokio::spawn(async move {
        loop {
            if far.writer.write(Bytes::from(vec![0; 1 << 20])).await.is_err() {
                return;
            }
        }
    });
    sleep(Duration::from_millis(200)).await;
    assert!(!stuck.is_finished());
    sshd.kill_sessions();
    assert_eq!(far.reader.next().await, FarMessage::Gone);
    timeout(Duration::from_secs(10), stuck).await.unwrap().unwrap();
    assert!(matches!(carrier.reach(&target, origin()).await, Err(Unreached::LinkGone)));
}

#[tokio::test]
async fn a_link_that_is_closed_ends_what_its_carrier_carries() {
    let sshd = Sshd::start("ed25519", "");
    let mut link = start(&links(AgentAt::Nowhere), sshd.route());
    link.up().await;
    let carrier = link.carrier.take().unwrap();
    link.link.close();
    assert_eq!(link.report().await, LinkReport::Closed);
    // The carrier outlives the link without keeping its session alive.
    until("sshd has no session left", || !sshd.has_sessions()).await;
    drop(carrier);
    assert!(!matches!(link.events.try_recv(), Ok(LinkEvent::Report(_))));
}
