//! The control socket with a driver of the test's own behind it.

#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use nbtunnel_proto::client::Client;
use nbtunnel_proto::server::Listener;
use nbtunnel_proto::{Endpoint, FaultCode, LogLine, Reply, Request};
use nbtunneld::control;
use nbtunneld::event::{Asked, Event};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

struct Door {
    _dir: tempfile::TempDir,
    endpoint: Endpoint,
    inbox: mpsc::UnboundedReceiver<Event>,
    closing: watch::Sender<bool>,
    serving: tokio::task::JoinHandle<()>,
}

impl Door {
    fn open() -> Door {
        let dir = tempfile::tempdir().unwrap();
        let endpoint = Endpoint::resolve(Some(dir.path().join("d/s"))).unwrap();
        endpoint.prepare().unwrap();
        let (events, inbox) = mpsc::unbounded_channel();
        let (closing, closed) = watch::channel(false);
        let serving = tokio::spawn(control::serve(Listener::bind(&endpoint).unwrap(), events, closed));
        Door { _dir: dir, endpoint, inbox, closing, serving }
    }

    async fn asked(&mut self, request: &Request) -> (Client, Asked) {
        let mut client = Client::connect(&self.endpoint).await.unwrap();
        client.send(request).await.unwrap();
        loop {
            if let Event::Asked(asked) = soon(self.inbox.recv()).await.unwrap() {
                return (client, asked);
            }
        }
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), what).await.unwrap()
}

fn line(n: u64) -> Reply {
    Reply::Log(LogLine { at_ms: n, tunnel: None, text: "happened".into() })
}

#[tokio::test]
async fn a_stream_that_breaks_off_says_so_instead_of_falling_silent() {
    let mut door = Door::open();
    let follow = Request::Logs { name: None, lines: 0, follow: true };
    for request in [Request::Events, follow] {
        let (mut client, asked) = door.asked(&request).await;
        asked.answer(line(1));
        drop(asked);
        assert_eq!(soon(client.next()).await.unwrap(), Some(line(1)));
        assert_eq!(soon(client.next()).await.unwrap_err().code, FaultCode::TooSlow);
        assert_eq!(soon(client.next()).await.unwrap(), None, "it is hung up");
    }
}

#[tokio::test]
async fn the_last_answers_go_out_before_the_socket_closes() {
    let mut door = Door::open();
    let (mut client, asked) = door.asked(&Request::Events).await;
    for n in 0..1000 {
        asked.answer(line(n));
    }
    asked.answer(Reply::Fault(control::stopping()));
    drop(asked);
    door.closing.send_replace(true);
    let reading = tokio::spawn(async move {
        for n in 0..1000 {
            assert_eq!(client.next().await.unwrap(), Some(line(n)));
        }
        client.next().await.unwrap_err().code
    });
    // What was not sent by then is lost.
    soon(&mut door.serving).await.unwrap();
    assert_eq!(soon(reading).await.unwrap(), FaultCode::Stopping);
    assert!(!door.endpoint.path().exists());
}

#[tokio::test]
async fn who_asks_a_driver_that_is_gone_is_told_that_the_daemon_stops() {
    let mut door = Door::open();
    door.inbox.close();
    let mut client = Client::connect(&door.endpoint).await.unwrap();
    let fault = soon(client.ask(&Request::Reload)).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::Stopping);
}

#[tokio::test]
async fn a_client_that_only_listens_does_not_hold_up_the_end() {
    let mut door = Door::open();
    let (_client, _asked) = door.asked(&Request::Events).await;
    door.closing.send_replace(true);
    timeout(Duration::from_secs(2), &mut door.serving).await.unwrap().unwrap();
}
