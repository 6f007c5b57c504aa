//! What answers at a place: whether it is a Jupyter server, which, where its pages begin, and how it is spoken to.
//! The first question carries no token.

use std::sync::Arc;

use nbtunnel_core::{Failure, Scheme};
use nbtunnel_proto::Secret;
use serde::Deserialize;

use super::http::{self, Answer, NoAnswer, Place};
use super::{Kind, server_file, words};
use crate::forward::far_side::FarSide;

/// What answers.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) https: bool,
    pub(super) base_url: String,
    pub(super) version: Option<String>,
    pub(super) kind: Kind,
}

/// Why nothing that helps does.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The link is gone.
    Link(Failure),
    /// No server on the port.
    Port(Failure),
    /// It speaks the other scheme.
    Scheme(Failure),
    /// It is no Jupyter server.
    Server(Failure),
    /// It says nothing.
    Silent(Failure),
}

impl Trouble {
    pub(super) fn failure(self) -> Failure {
        match self {
            Trouble::Link(why)
            | Trouble::Port(why)
            | Trouble::Scheme(why)
            | Trouble::Server(why)
            | Trouble::Silent(why) => why,
        }
    }
}

/// Whether a token lets one in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Open,
    Shut,
}

/// What is known before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guess<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) scheme: Scheme,
    /// As the server wrote it down.
    pub(super) https: bool,
    /// As the server wrote it down; none: it has to be learned.
    pub(super) base_url: Option<&'a str>,
}

/// Asks what it is. Of two schemes that come into question, the likelier is tried first.
pub(super) async fn identify(far: &Arc<dyn FarSide>, guess: Guess<'_>) -> Result<Answers, Trouble> {
    let https = match guess.scheme {
        Scheme::Auto => guess.https,
        Scheme::Http => false,
        Scheme::Https => true,
    };
    let first = speak(far, guess, https).await;
    let Err(NoAnswer::OtherTongue) = first else {
        return first.map_err(|why| trouble(guess, why)).and_then(found(guess));
    };
    let second = speak(far, guess, !https).await;
    let Ok(answers) = second else {
        return Err(match second {
            Err(why @ (NoAnswer::Link(_) | NoAnswer::Certificate(_))) => trouble(guess, why),
            _ => Trouble::Server(words::not_jupyter(guess.port)),
        });
    };
    match guess.scheme {
        Scheme::Auto => found(guess)(answers),
        Scheme::Http => Err(Trouble::Scheme(words::https_on_http(guess.port))),
        Scheme::Https => Err(Trouble::Scheme(words::http_on_https(guess.port))),
    }
}

fn found(guess: Guess<'_>) -> impl Fn(Option<Answers>) -> Result<Answers, Trouble> {
    move |answers| answers.ok_or_else(|| Trouble::Server(words::not_jupyter(guess.port)))
}

pub(super) fn trouble(guess: Guess<'_>, why: NoAnswer) -> Trouble {
    match why {
        NoAnswer::Link(why) => Trouble::Link(why),
        NoAnswer::Closed(why) => Trouble::Port(words::port_refused(guess.port, why)),
        NoAnswer::OtherTongue => Trouble::Server(words::not_jupyter(guess.port)),
        NoAnswer::Silent => Trouble::Silent(words::silent(guess.port)),
        NoAnswer::Certificate(why) => Trouble::Server(words::certificate(guess.host, guess.port, &why)),
    }
}

/// None: it answers, and is no Jupyter server.
async fn speak(far: &Arc<dyn FarSide>, guess: Guess<'_>, https: bool) -> Result<Option<Answers>, NoAnswer> {
    let place = Place { host: guess.host, port: guess.port, https };
    let base_url = guess.base_url.unwrap_or("/");
    let answer = http::get(far, place, &format!("{base_url}api"), None).await?;
    if let Some(answers) = jupyter(&answer, https, base_url) {
        return Ok(Some(answers));
    }
    // Every page of it that is not found names its own style sheet, below where the pages begin.
    let Some(learned) = pages_begin(&answer).filter(|_| guess.base_url.is_none()) else { return Ok(None) };
    let answer = http::get(far, place, &format!("{learned}api"), None).await?;
    Ok(jupyter(&answer, https, &learned))
}

fn jupyter(answer: &Answer, https: bool, base_url: &str) -> Option<Answers> {
    #[derive(Deserialize)]
    struct Api {
        version: String,
    }
    let version = match answer.status {
        200 => {
            let api: Api = serde_json::from_slice(&answer.body).ok()?;
            let usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-');
            Some(api.version).filter(|version| version.len() <= 64 && version.chars().all(usual))
        }
        // Some let nobody see even that.
        401 | 403 if answer.tornado => None,
        _ => return None,
    };
    // notebook 7 is jupyter-server 2 again, but the server tells the server's version: 1 and 2 are new.
    let major = version.as_deref().and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    let kind = match major {
        _ if answer.hub => Kind::Hub,
        Some(1..=3) => Kind::Server2,
        Some(4..=6) => Kind::Notebook6,
        _ => Kind::Unknown,
    };
    Some(Answers { https, base_url: base_url.to_owned(), version, kind })
}

fn pages_begin(answer: &Answer) -> Option<String> {
    if let Some(path) = answer.location.as_deref().and_then(|to| to.strip_suffix("/api")) {
        return server_file::base_url(path).filter(|base| base != "/");
    }
    let page = std::str::from_utf8(&answer.body).ok()?;
    let (before, _) = page.split_once("static/")?;
    let path = &before[before.rfind(['"', '\''])? + 1..];
    server_file::base_url(path).filter(|base| base != "/")
}

/// Knocks with `token`, or without one.
pub(super) async fn knock(
    far: &Arc<dyn FarSide>,
    guess: Guess<'_>,
    answers: &Answers,
    token: Option<&Secret>,
) -> Result<(Door, Answer), Trouble> {
    let place = Place { host: guess.host, port: guess.port, https: answers.https };
    let path = format!("{}api/status", answers.base_url);
    let answer = http::get(far, place, &path, token).await.map_err(|why| trouble(guess, why))?;
    match answer.status {
        200 => Ok((Door::Open, answer)),
        // A server with a login page may also lead there.
        301..=303 | 307 | 308 | 401 | 403 => Ok((Door::Shut, answer)),
        // What it is, it has told.
        status => Err(Trouble::Server(words::status_untold(guess.port, status))),
    }
}

/// Whether it lets in whoever knows a password: its page for that says so, and speaks of no token.
pub(super) async fn asks_password(
    far: &Arc<dyn FarSide>,
    guess: Guess<'_>,
    answers: &Answers,
) -> Result<bool, Trouble> {
    let place = Place { host: guess.host, port: guess.port, https: answers.https };
    let path = format!("{}login", answers.base_url);
    let answer = http::get(far, place, &path, None).await.map_err(|why| trouble(guess, why))?;
    let page = String::from_utf8_lossy(&answer.body);
    Ok(answer.status == 200
        && page.contains("name=\"password\"")
        && !page.contains("Token authentication is enabled"))
}
