//! Both ends over a real socket, and raw bytes against the daemon's end.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use nbtunnel_proto::hello::Hello;
use nbtunnel_proto::{
    Client, DaemonStatus, Endpoint, Fault, FaultCode, History, Listener, Reply, Request, Status, TunnelStatus,
};

fn endpoint(dir: &Path) -> Endpoint {
    let endpoint = Endpoint::resolve(Some(dir.join("control.sock"))).unwrap();
    endpoint.prepare().unwrap();
    endpoint
}

fn private_dir() -> tempfile::TempDir {
    tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o700)).tempdir().unwrap()
}

fn big_status(tunnels: usize) -> Reply {
    let tunnel = |i: usize| TunnelStatus {
        name: format!("t{i}"),
        wanted: "up".into(),
        state: "waiting".into(),
        step: None,
        health: None,
        host: "x".repeat(2000),
        port: 22,
        user: "me".into(),
        via: Vec::new(),
        since_s: 0.0,
        attempt: 1,
        retry_in_s: Some(1.0),
        reconnects: 0,
        rtt_ms: None,
        tags: vec![],
        problem: None,
        forwards: vec![],
        notebooks: vec![],
        draining: 0,
        asking: None,
        answer_in_s: None,
        history: History::default(),
    };
    Reply::Status(Box::new(Status {
        daemon: DaemonStatus {
            version: "0.1.0".into(),
            protocol: 1,
            pid: 1,
            uptime_s: 0.0,
            config_dir: "c".into(),
            socket: "s".into(),
            now_ms: 0,
        },
        tunnels: (0..tunnels).map(tunnel).collect(),
        problems: vec![],
    }))
}

/// Serves one client after the other: a status for `Status`, a fault for `Reload`, `Done` for the rest. Tells
/// a broken peer why. Gives back what each conversation ended with.
fn serve(listener: Listener) -> tokio::sync::mpsc::UnboundedReceiver<Result<(), Fault>> {
    let (ended, ends) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let incoming = listener.accept().await.unwrap();
            let ended = ended.clone();
            tokio::spawn(async move {
                let _ = ended.send(converse(incoming).await);
            });
        }
    });
    ends
}

async fn converse(incoming: nbtunnel_proto::Incoming) -> Result<(), Fault> {
    let mut connection = incoming.handshake().await?;
    loop {
        match connection.next_request().await {
            Ok(None) => return Ok(()),
            Ok(Some(Request::Status { .. })) => connection.send(&big_status(1000)).await?,
            Ok(Some(Request::Reload)) => {
                connection.send(&Reply::Fault(Fault::new(FaultCode::Busy, "no", "later"))).await?;
            }
            Ok(Some(_)) => connection.send(&Reply::Done).await?,
            Err(fault) => {
                connection.send(&Reply::Fault(fault.clone())).await?;
                return Err(fault);
            }
        }
    }
}

/// What a raw client gets for `bytes`, until the daemon hangs up; `hang_up` ends our own sending first.
async fn raw(endpoint: &Endpoint, bytes: Vec<u8>, hang_up: bool) -> Vec<u8> {
    let path = endpoint.path().to_owned();
    let talk = move || {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(&bytes).unwrap();
        if hang_up {
            stream.shutdown(std::net::Shutdown::Write).unwrap();
        }
        let mut got = Vec::new();
        // A reset after what was said counts as the end.
        let _ = stream.read_to_end(&mut got);
        got
    };
    tokio::task::spawn_blocking(talk).await.unwrap()
}

fn contains(bytes: &[u8], text: &str) -> bool {
    String::from_utf8_lossy(bytes).contains(text)
}

#[tokio::test]
async fn a_thousand_tunnels_a_fault_and_the_next_request_over_one_connection() {
    let dir = private_dir();
    let endpoint = endpoint(dir.path());
    let mut ends = serve(Listener::bind(&endpoint).unwrap());
    let mode = std::fs::metadata(endpoint.path()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let mut client = Client::connect(&endpoint).await.unwrap();
    assert_eq!(client.daemon(), &Hello::ours());
    assert_eq!(client.ask(&Request::Status { names: vec![] }).await.unwrap(), big_status(1000));
    assert_eq!(client.ask(&Request::Reload).await.unwrap_err().code, FaultCode::Busy);
    assert_eq!(client.ask(&Request::Events).await.unwrap(), Reply::Done);
    drop(client);
    assert_eq!(ends.recv().await.unwrap(), Ok(()));
}

#[tokio::test]
async fn nobody_there_is_told_apart_from_other_failures() {
    let dir = private_dir();
    let endpoint = endpoint(dir.path());
    assert_eq!(Client::connect(&endpoint).await.unwrap_err().code, FaultCode::NoDaemon);
    drop(UnixListener::bind(endpoint.path()).unwrap());
    assert_eq!(Client::connect(&endpoint).await.unwrap_err().code, FaultCode::NoDaemon);
}

#[tokio::test]
async fn garbage_and_other_versions_get_an_answer_and_the_end() {
    let dir = private_dir();
    let endpoint = endpoint(dir.path());
    let mut ends = serve(Listener::bind(&endpoint).unwrap());
    let hello = Hello::ours().encode();
    let after_hello = |bytes: &[u8]| [&hello[..], bytes].concat();

    let got = raw(&endpoint, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), false).await;
    assert!(got.starts_with(&hello) && contains(&got, "does not speak"), "{got:?}");
    assert_eq!(ends.recv().await.unwrap().unwrap_err().code, FaultCode::Protocol);

    let other = Hello { protocol: 999, build: "9.9.9".into() }.encode();
    assert_eq!(raw(&endpoint, other, false).await, hello);
    let fault = ends.recv().await.unwrap().unwrap_err();
    assert!(fault.message.contains("nbctl 9.9.9 speaks protocol 999"), "{fault}");

    let got = raw(&endpoint, after_hello(b"\xff\xff\xff\xff"), false).await;
    assert!(contains(&got, "longer than 64 KiB"), "{got:?}");
    assert_eq!(ends.recv().await.unwrap().unwrap_err().code, FaultCode::Protocol);

    let got = raw(&endpoint, after_hello(b"\0\0\0\x03\xfe\xfe\xfe"), false).await;
    assert!(contains(&got, "not a message"), "{got:?}");
    assert_eq!(ends.recv().await.unwrap().unwrap_err().code, FaultCode::Protocol);

    let got = raw(&endpoint, after_hello(b"\0\0\0\x09ab"), true).await;
    assert!(contains(&got, "in the middle of a message"), "{got:?}");
    assert_eq!(ends.recv().await.unwrap().unwrap_err().code, FaultCode::Protocol);

    let mut client = Client::connect(&endpoint).await.unwrap();
    assert_eq!(client.ask(&Request::Events).await.unwrap(), Reply::Done);
}

#[tokio::test]
async fn one_byte_and_then_silence_gets_its_end_while_others_are_served() {
    let dir = private_dir();
    let endpoint = endpoint(dir.path());
    let mut ends = serve(Listener::bind(&endpoint).unwrap());
    let hello = Hello::ours().encode();
    let before = raw(&endpoint, b"n".to_vec(), false);
    let after = raw(&endpoint, [&hello[..], b"\0"].concat(), false);
    let served = async {
        let mut client = Client::connect(&endpoint).await.unwrap();
        client.ask(&Request::Events).await.unwrap()
    };
    let (before, after, served) = tokio::join!(before, after, served);
    assert_eq!(served, Reply::Done);
    assert!(contains(&before, "did not say who it is"), "{before:?}");
    assert!(contains(&after, "not finished within"), "{after:?}");
    let mut slow = 0;
    for _ in 0..3 {
        slow += usize::from(ends.recv().await.unwrap().is_err_and(|f| f.code == FaultCode::TimedOut));
    }
    assert_eq!(slow, 2);
}

#[tokio::test]
async fn a_daemon_of_another_version_is_named_by_the_client() {
    let dir = private_dir();
    let endpoint = endpoint(dir.path());
    let listener = UnixListener::bind(endpoint.path()).unwrap();
    let daemon = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&Hello { protocol: 0, build: "0.0.9".into() }.encode()).unwrap();
        let _ = stream.read(&mut [0; 64]);
    });
    let fault = Client::connect(&endpoint).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::Version);
    assert!(fault.message.contains("the running daemon 0.0.9 speaks 0"), "{fault}");
    daemon.join().unwrap();
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_only_our_own_is_unlinked() {
    let dir = private_dir();
    let endpoint = endpoint(dir.path());
    drop(Listener::bind(&endpoint).unwrap());
    assert!(endpoint.path().exists(), "dropping alone does not unlink");
    let first = Listener::bind(&endpoint).unwrap();
    let fault = Listener::bind(&endpoint).unwrap_err();
    assert!(fault.message.contains("is listened at already"), "{fault}");
    std::fs::remove_file(endpoint.path()).unwrap();
    let second = Listener::bind(&endpoint).unwrap();
    first.unlink();
    assert!(endpoint.path().exists(), "the first is not to unlink the second's socket");
    second.unlink();
    assert!(!endpoint.path().exists());
    std::fs::write(endpoint.path(), "precious").unwrap();
    assert!(Listener::bind(&endpoint).unwrap_err().message.contains("is no socket"));
    assert_eq!(std::fs::read(endpoint.path()).unwrap(), b"precious");
}

#[tokio::test]
async fn a_socket_that_was_handed_over_serves_and_is_never_unlinked() {
    let dir = private_dir();
    let endpoint = endpoint(dir.path());
    let theirs = UnixListener::bind(endpoint.path()).unwrap();
    let listener = Listener::adopt(OwnedFd::from(theirs.try_clone().unwrap())).unwrap();
    let answered = async {
        let incoming = listener.accept().await.unwrap();
        converse(incoming).await
    };
    let asked = async {
        let mut client = Client::connect(&endpoint).await.unwrap();
        client.ask(&Request::Events).await.unwrap()
    };
    let (answered, asked) = tokio::join!(answered, asked);
    assert_eq!((answered, asked), (Ok(()), Reply::Done));
    listener.unlink();
    assert!(endpoint.path().exists());
    let file = std::fs::File::open("/dev/null").unwrap();
    assert!(Listener::adopt(OwnedFd::from(file)).is_err());
    let (one, _other) = UnixStream::pair().unwrap();
    assert!(Listener::adopt(OwnedFd::from(one)).unwrap_err().message.contains("cannot listen"));
}

#[tokio::test]
async fn a_connection_that_becomes_raw_loses_no_byte() {
    let dir = private_dir();
    let endpoint = endpoint(dir.path());
    let listener = Listener::bind(&endpoint).unwrap();
    let daemon = async {
        let mut connection = listener.accept().await.unwrap().handshake().await.unwrap();
        connection.next_request().await.unwrap().unwrap();
        connection.send(&Reply::Proxied { number: 7 }).await.unwrap();
        let mut raw = UnixStream::from(connection.into_raw().unwrap());
        // Right behind the answer, so that it may come together with it.
        raw.write_all(b"first").unwrap();
        raw
    };
    let client = async {
        let mut client = Client::connect(&endpoint).await.unwrap();
        let request = Request::Proxy { name: "a".into(), target: None };
        assert_eq!(client.ask(&request).await.unwrap(), Reply::Proxied { number: 7 });
        client
    };
    let (mut raw, client) = tokio::join!(daemon, client);
    let (mut heard, ours) = client.into_raw().unwrap();
    let mut ours = UnixStream::from(ours);
    ours.set_nonblocking(false).unwrap();
    raw.write_all(b" second").unwrap();
    drop(raw);
    ours.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"first second");
}
