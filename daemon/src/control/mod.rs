//! The server of the control socket: takes clients, passes their requests to the driver, and carries the
//! answers back. It knows no tunnel; `convert` is the only crossing between core and the wire.

pub mod convert;
#[cfg_attr(unix, path = "raw_unix.rs")]
#[cfg_attr(windows, path = "raw_windows.rs")]
mod raw;

use std::sync::Arc;
use std::time::Duration;

use nbtunnel_proto::server::{Connection, Incoming, Listener};
use nbtunnel_proto::{Fault, FaultCode, Reply, Request};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use crate::event::{Asked, ClientId, Event, Events};

/// At most so many clients at a time.
const CLIENTS: usize = 32;
/// So many answers may wait for a client that is slow to read; then it is dropped.
const ANSWERS: usize = 4096;
/// A client that does not take an answer in this time is dropped.
const SEND_DEADLINE: Duration = Duration::from_secs(5);
/// So long do clients have to take their last answers when the daemon stops.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// How long accepting pauses when it failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// A queue that gives no client for so long is empty.
const QUEUE_EMPTY: Duration = Duration::from_millis(50);

/// What everybody is told who asks or waits while the daemon stops.
pub fn stopping() -> Fault {
    Fault::new(
        FaultCode::Stopping,
        "nbtunneld is stopping",
        "start it again, for example with `systemctl --user start nbtunneld`",
    )
}

/// Serves clients until `closing` says so and they have their last answers, then unlinks the socket. The
/// caller still holds its lock.
pub async fn serve(listener: Listener, events: Events, mut closing: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CLIENTS));
    let mut clients = JoinSet::new();
    let mut next = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = closing.wait_for(|closing| *closing) => break,
            Some(_) = clients.join_next() => continue,
        };
        match accepted {
            Ok(incoming) => {
                next += 1;
                let client = ClientId(next);
                let (events, places) = (events.clone(), Arc::clone(&places));
                let mut closing = closing.clone();
                clients.spawn(async move { greet(incoming, client, &events, &places, &mut closing).await });
            }
            Err(why) => {
                tracing::warn!("nbctl could not be accepted: {why}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    listener.unlink();
    // One that does not read them is not waited for.
    let _ = tokio::time::timeout(LAST_WORDS, async { while clients.join_next().await.is_some() {} }).await;
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

async fn greet(
    incoming: Incoming,
    client: ClientId,
    events: &Events,
    places: &Semaphore,
    closing: &mut watch::Receiver<bool>,
) {
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
    let _leaving = Leaving { client, events };
    match converse(&mut connection, client, events, closing).await {
        Ok(Over::HungUp) => {}
        Ok(Over::Raw) => match connection.into_raw().map_err(|fault| fault.message).and_then(raw::stream) {
            Ok(stream) => drop(events.send(Event::Raw(client, stream))),
            Err(why) => tracing::debug!("a client is gone: {why}"),
        },
        Err(fault) => {
            tracing::debug!("a client is gone: {fault}");
            let _ = send(&mut connection, &Reply::Fault(fault)).await;
        }
    }
}

/// How a conversation ended.
enum Over {
    HungUp,
    /// What comes now is no protocol.
    Raw,
}

/// Says that a client is gone, however its conversation ended.
struct Leaving<'a> {
    client: ClientId,
    events: &'a Events,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let _ = self.events.send(Event::HungUp(self.client));
    }
}

/// One request after the other, until the client hangs up.
async fn converse(
    connection: &mut Connection,
    client: ClientId,
    events: &Events,
    closing: &mut watch::Receiver<bool>,
) -> Result<Over, Fault> {
    loop {
        let request = tokio::select! {
            biased;
            request = connection.next_request() => request?,
            // It may have come to ask: whatever it asks now, this answers it.
            _ = closing.wait_for(|closing| *closing) => return Err(stopping()),
        };
        let Some(request) = request else { return Ok(Over::HungUp) };
        let streams = matches!(request, Request::Events | Request::Logs { follow: true, .. });
        let has_answer = !matches!(request, Request::Environment { .. });
        let is_asked = matches!(request, Request::Unlock { .. });
        let (answer, mut answers) = mpsc::channel(ANSWERS);
        tracing::debug!("client {} asks for {}", client.0, request.word());
        if events.send(Event::Asked(Asked { client, request, answer })).is_err() {
            return Err(stopping());
        }
        if !has_answer {
            continue;
        }
        let mut refused = false;
        // The answers end when the driver drops its end: at once for most, at the end of a stream for the
        // rest. A client that hangs up or asks again meanwhile has had enough.
        loop {
            tokio::select! {
                reply = answers.recv() => match reply {
                    Some(reply) => {
                        refused |= matches!(reply, Reply::Fault(_));
                        send(connection, &reply).await?;
                        if matches!(reply, Reply::Proxied { .. }) {
                            return Ok(Over::Raw);
                        }
                    }
                    // A stream has no end but a fault: without one, more came than the client took.
                    None if streams && !refused => return Err(left_behind()),
                    None => break,
                },
                next = connection.next_request() => {
                    return match next? {
                        None => Ok(Over::HungUp),
                        Some(Request::Answers { number, answers }) if is_asked => {
                            match events.send(Event::Answers(client, number, answers)) {
                                Ok(()) => continue,
                                Err(_) => Err(stopping()),
                            }
                        }
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
}

fn left_behind() -> Fault {
    Fault::new(
        FaultCode::TooSlow,
        format!("more than {ANSWERS} lines waited for the client, and it was left behind"),
        "read faster, or ask again",
    )
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
