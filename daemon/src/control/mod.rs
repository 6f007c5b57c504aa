//! The server of the control socket: takes clients, passes their requests to the driver, and carries the
//! answers back. It knows no tunnel; `convert` is the only crossing between core and the wire.

pub mod convert;

use std::sync::Arc;
use std::time::Duration;

use nbtunnel_proto::server::{Connection, Incoming, Listener};
use nbtunnel_proto::{Fault, FaultCode, Reply};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::event::{Asked, ClientId, Event, Events};

/// At most so many clients at a time.
const CLIENTS: usize = 32;
/// So many answers may wait for a client that is slow to read; then it is dropped.
const ANSWERS: usize = 1024;
/// A client that does not take an answer in this time is dropped.
const SEND_DEADLINE: Duration = Duration::from_secs(5);
/// How long accepting pauses when it failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// A queue that gives no client for so long is empty.
const QUEUE_EMPTY: Duration = Duration::from_millis(50);

/// Serves clients until `closing` says so, then unlinks the socket. The caller still holds its lock.
pub async fn serve(listener: Listener, events: Events, mut closing: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CLIENTS));
    let mut next = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = closing.wait_for(|closing| *closing) => break,
        };
        match accepted {
            Ok(incoming) => {
                next += 1;
                let client = ClientId(next);
                let (events, places) = (events.clone(), Arc::clone(&places));
                tokio::spawn(async move { greet(incoming, client, &events, &places).await });
            }
            Err(why) => {
                tracing::warn!("nbctl could not be accepted: {why}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    listener.unlink();
}

/// Tells `fault` to every client that waits at a socket which a service manager handed over, when the daemon
/// cannot serve. Left in the queue, they would make the manager start it again at once, and again, until it
/// gives up the socket for good.
pub async fn turn_away(listener: Listener, fault: &Fault) {
    let all = async {
        while let Ok(Ok(incoming)) = tokio::time::timeout(QUEUE_EMPTY, listener.accept()).await {
            let Ok(mut connection) = incoming.handshake().await else { continue };
            // What it asked is read first: a client that cannot send does not look for an answer.
            let _ = connection.next_request().await;
            let _ = send(&mut connection, &Reply::Fault(fault.clone())).await;
        }
    };
    let _ = tokio::time::timeout(SEND_DEADLINE, all).await;
}

async fn greet(incoming: Incoming, client: ClientId, events: &Events, places: &Semaphore) {
    let mut connection = match incoming.handshake().await {
        Ok(connection) => connection,
        Err(fault) => return tracing::debug!("a client was turned away: {fault}"),
    };
    let Ok(_place) = places.try_acquire() else {
        let busy = Fault::new(
            FaultCode::Busy,
            format!("{CLIENTS} programs are talking to the daemon already"),
            "close some `nbctl events`, `nbctl logs -f` or `nbctl status --watch`",
        );
        let _ = send(&mut connection, &Reply::Fault(busy)).await;
        return;
    };
    if let Err(fault) = converse(&mut connection, client, events).await {
        tracing::debug!("a client is gone: {fault}");
        let _ = send(&mut connection, &Reply::Fault(fault)).await;
    }
    let _ = events.send(Event::HungUp(client));
}

/// One request after the other, until the client hangs up.
async fn converse(connection: &mut Connection, client: ClientId, events: &Events) -> Result<(), Fault> {
    while let Some(request) = connection.next_request().await? {
        let (answer, mut answers) = mpsc::channel(ANSWERS);
        if events.send(Event::Asked(Asked { client, request, answer })).is_err() {
            return Ok(());
        }
        // The answers end when the driver drops its end: at once for most, at the end of a stream for the
        // rest. A client that hangs up or asks again meanwhile has had enough.
        loop {
            tokio::select! {
                reply = answers.recv() => match reply {
                    Some(reply) => send(connection, &reply).await?,
                    None => break,
                },
                next = connection.next_request() => {
                    return match next? {
                        None => Ok(()),
                        Some(_) => Err(Fault::new(
                            FaultCode::Protocol,
                            "a second request came before the first was answered",
                            "send one request after the other",
                        )),
                    };
                }
            }
        }
    }
    Ok(())
}

async fn send(connection: &mut Connection, reply: &Reply) -> Result<(), Fault> {
    tokio::time::timeout(SEND_DEADLINE, connection.send(reply)).await.unwrap_or_else(|_| {
        Err(Fault::new(
            FaultCode::TooSlow,
            format!("the client did not read an answer within {} s", SEND_DEADLINE.as_secs()),
            "read faster, or ask again",
        ))
    })
}
