//! One question of a server, by HTTP/1.1 over a way to it: no local port, no cookie, no redirect that is followed.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, HOST, HeaderMap, HeaderValue, LOCATION, SERVER, USER_AGENT,
};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use nbtunnel_core::{Failure, Target};
use nbtunnel_proto::Secret;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{is_loopback, tls};
use crate::forward::far_side::{FarSide, FarStream, Unopened};

/// An answer is there by then, whole.
const PATIENCE: Duration = Duration::from_secs(10);
/// So much of an answer is read.
const MOST: usize = 1 << 20;

/// Whom to ask, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) https: bool,
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// A JupyterHub's server says so in each answer.
    pub(super) hub: bool,
    /// Jupyter's servers are built on this one.
    pub(super) tornado: bool,
    pub(super) location: Option<String>,
    pub(super) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// The link is gone.
    Link(Failure),
    /// Nothing takes the connection.
    Closed(Failure),
    /// Something takes it and does not speak as it should: TLS where there should be none, or the reverse.
    OtherTongue,
    /// It says nothing in time, or more than any server does.
    Silent,
    /// Its certificate cannot be trusted; why.
    Certificate(String),
}

/// Fetches `path`.
pub(super) async fn get(
    far: &Arc<dyn FarSide>,
    place: Place<'_>,
    path: &str,
    token: Option<&Secret>,
) -> Result<Answer, NoAnswer> {
    let request = request(place, path, token).ok_or(NoAnswer::Silent)?;
    let target = Target::Tcp(place.host.to_owned(), place.port);
    let opening = timeout(far.opens_within(), Arc::clone(far).open(target));
    let stream = match opening.await {
        Ok(Ok(stream)) => stream,
        Ok(Err(Unopened::LinkGone(why))) => return Err(NoAnswer::Link(why)),
        Ok(Err(Unopened::Denied(why))) => return Err(NoAnswer::Closed(why)),
        Err(_) => return Err(NoAnswer::Silent),
    };
    timeout(PATIENCE, ask(stream, place, request)).await.unwrap_or(Err(NoAnswer::Silent))
}

async fn ask(
    stream: FarStream,
    place: Place<'_>,
    request: Request<Empty<Bytes>>,
) -> Result<Answer, NoAnswer> {
    let stream: FarStream = if place.https { Box::new(tls::over(stream, place.host).await?) } else { stream };
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|_| NoAnswer::OtherTongue)?;
    // Ended with this call, whatever becomes of it.
    let mut task = JoinSet::new();
    task.spawn(connection);
    let answer = sender.send_request(request).await.map_err(|_| NoAnswer::OtherTongue)?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, MOST).collect().await.map_err(|_| NoAnswer::Silent)?.to_bytes();
    Ok(Answer {
        status: head.status.as_u16(),
        hub: head.headers.contains_key("x-jupyterhub-version"),
        tornado: says(&head.headers, SERVER).is_some_and(|server| server.starts_with("Tornado")),
        location: says(&head.headers, LOCATION).map(str::to_owned),
        body,
    })
}

fn says(headers: &HeaderMap, name: hyper::header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// None where something cannot stand in a request; all of it was checked before.
fn request(place: Place<'_>, path: &str, token: Option<&Secret>) -> Option<Request<Empty<Bytes>>> {
    // Jupyter refuses names that it does not know; localhost it knows.
    let host = match place.host {
        host if is_loopback(host) => "localhost".to_owned(),
        host if host.contains(':') => format!("[{host}]"),
        host => host.to_owned(),
    };
    let mut request = Request::get(path)
        .header(HOST, format!("{host}:{}", place.port))
        .header(USER_AGENT, "nbtunnel")
        .header(ACCEPT, "application/json")
        .header(CONNECTION, "close");
    if let Some(token) = token {
        let mut value = HeaderValue::from_str(&format!("token {}", token.expose())).ok()?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    request.body(Empty::new()).ok()
}
