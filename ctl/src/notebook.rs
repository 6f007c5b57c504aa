//! A notebook as the commands see it: asking the daemon for one, and its URL.

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use nbtunnel_proto::{NotebookAsk, NotebookAt, Reply, Request};
use tokio::time::sleep;

use crate::args::Face;
use crate::daemon::{Daemon, hung_up, unexpected};
use crate::exit::{CommandError, Exit};
use crate::printer::Printer;

/// How long a notebook may be looked for, whatever the daemon says meanwhile: its host may be away for days. One that is
/// started may take its time, a cluster's job longer than anybody's patience.
const SILENCE: Duration = Duration::from_secs(60);
/// A server, or a job, that is to end gets its time for that.
const STOPPING: Duration = Duration::from_secs(120);

/// Asks, shows what is being done meanwhile, and returns the last word.
///
/// # Errors
/// What the daemon said, or that it said nothing in time.
pub(crate) async fn ask(
    name: &str,
    ask: NotebookAsk,
    daemon: &Daemon,
    printer: &Printer,
) -> Result<Reply, CommandError> {
    let mut client = daemon.connect().await?;
    client.send(&Request::Notebook { name: name.to_owned(), ask }).await?;
    let patience = match ask {
        NotebookAsk::Open | NotebookAsk::Restart => None,
        NotebookAsk::Stop => Some(STOPPING),
        NotebookAsk::Find | NotebookAsk::Log { .. } => Some(SILENCE),
    };
    let mut progress = printer.progress();
    last_word(async || Ok(client.next().await?), patience, |text| progress.show(text)).await
}

/// The last of the replies that come. `patience` is for all of them together.
async fn last_word(
    mut next: impl AsyncFnMut() -> Result<Option<Reply>, CommandError>,
    patience: Option<Duration>,
    mut show: impl FnMut(&str),
) -> Result<Reply, CommandError> {
    let mut late = pin!(async {
        match patience {
            Some(patience) => {
                sleep(patience).await;
                patience
            }
            None => pending().await,
        }
    });
    let mut said = None;
    loop {
        let reply = tokio::select! {
            reply = next() => reply?,
            patience = &mut late => return Err(silent(patience, said.as_deref())),
        };
        match reply {
            Some(Reply::Progress(text)) => {
                show(&text);
                said = Some(text);
            }
            Some(reply) => return Ok(reply),
            None => return Err(hung_up()),
        }
    }
}

/// The same where the answer is the place of a notebook. What a user should know of it is said.
///
/// # Errors
/// As [`ask`].
pub(crate) async fn locate(
    name: &str,
    wanted: NotebookAsk,
    daemon: &Daemon,
    printer: &Printer,
) -> Result<NotebookAt, CommandError> {
    match ask(name, wanted, daemon, printer).await? {
        Reply::Notebook(at) => {
            at.notes.iter().for_each(|note| printer.note(note));
            Ok(*at)
        }
        other => Err(unexpected(&other)),
    }
}

fn silent(patience: Duration, said: Option<&str>) -> CommandError {
    let said = said.map(|said| format!(": {said}")).unwrap_or_default();
    CommandError::new(
        Exit::TimedOut,
        format!("nbtunneld does not know where the notebook is after {} s{said}", patience.as_secs()),
        "look at `nbctl status`; `nbctl doctor` says which part of the way does not answer",
    )
}

/// Its URL without a token.
pub(crate) fn url(at: &NotebookAt, face: Face) -> String {
    let scheme = if at.https { "https" } else { "http" };
    let base = at.base_url.trim_matches('/');
    let slash = if base.is_empty() { "" } else { "/" };
    format!("{scheme}://{}:{}/{}{slash}{}", at.host, at.local_port, encode(base, "/%"), face.path())
}

/// Its URL with its token, if it has one.
pub(crate) fn whole_url(at: &NotebookAt, face: Face) -> String {
    let url = url(at, face);
    match &at.token {
        Some(token) => format!("{url}?token={}", encode(token.expose(), "")),
        None => url,
    }
}

/// Percent-encodes all but unreserved characters (RFC 3986 §2.3) and those of `also`: a server cannot end a line of a
/// header, or begin another part of the URL.
fn encode(text: &str, also: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ if also.as_bytes().contains(&byte) => encoded.push(byte.into()),
            _ => encoded += &format!("%{byte:02X}"),
        }
    }
    encoded
}

/// That it has no token which could be printed.
pub(crate) fn no_token(at: &NotebookAt, url: &str) -> CommandError {
    let name = &at.name;
    let (message, hint) = if at.password {
        (
            format!("{name} asks for a password and has no token"),
            format!("log in at {url} in a browser, or start its server with a token"),
        )
    } else {
        (
            format!("the server of {name} names no token"),
            format!(
                "it may need none: try {url}; else write token = \"…\" into [notebook.{name}] of tunnels/{}.toml",
                at.tunnel
            ),
        )
    };
    CommandError::new(Exit::NeedsYou, message, hint).with("url", url.into())
}

#[cfg(test)]
mod tests {
    use nbtunnel_proto::Secret;

    use super::*;

    /// A daemon that says `words` of progress, each after a moment, and is done then.
    async fn hear(words: u32, patience: Option<Duration>) -> Result<Reply, CommandError> {
        let mut said = 0;
        let next = async || {
            sleep(Duration::from_millis(10)).await;
            said += 1;
            Ok(Some(if said > words { Reply::Done } else { Reply::Progress(format!("step {said}")) }))
        };
        let heard = last_word(next, patience, |_| ());
        tokio::time::timeout(Duration::from_secs(60), heard).await.expect("it waits for ever")
    }

    #[tokio::test]
    async fn whatever_is_said_meanwhile_the_patience_is_for_all_of_it() {
        let late = hear(u32::MAX, Some(Duration::from_millis(100))).await.unwrap_err();
        assert_eq!(late.exit, Exit::TimedOut);
        assert!(late.message.contains(": step "), "{}", late.message);
        assert!(matches!(hear(20, None).await, Ok(Reply::Done)));
        assert!(matches!(hear(1, Some(SILENCE)).await, Ok(Reply::Done)));
    }

    fn at(base_url: &str, token: Option<&str>) -> NotebookAt {
        NotebookAt {
            host: "localhost".into(),
            tunnel: "lab".into(),
            name: "alice".into(),
            local_port: 6000,
            https: false,
            base_url: base_url.into(),
            token: token.map(|token| Secret::new(token.into())),
            password: false,
            kind: "jupyter-server".into(),
            notes: vec![],
        }
    }

    #[test]
    fn a_url_has_the_base_the_face_and_the_token() {
        let (lab, tree) = (Face { lab: true, ..Face::default() }, Face { tree: true, ..Face::default() });
        let plain = Face::default();
        for (base, token, face, expected) in [
            ("/", None, plain, "http://localhost:6000/"),
            ("/", Some("ab"), lab, "http://localhost:6000/lab?token=ab"),
            (
                "/user/me/",
                Some("a b&c=ü"),
                tree,
                "http://localhost:6000/user/me/tree?token=a%20b%26c%3D%C3%BC",
            ),
            ("", Some(""), plain, "http://localhost:6000/?token="),
            ("/a%20b", None, plain, "http://localhost:6000/a%20b/"),
            (
                "/a\r\nSet-Cookie: x?y#z/",
                None,
                lab,
                "http://localhost:6000/a%0D%0ASet-Cookie%3A%20x%3Fy%23z/lab",
            ),
            ("//evil.example.org/", None, plain, "http://localhost:6000/evil.example.org/"),
        ] {
            assert_eq!(whole_url(&at(base, token), face), expected);
        }
        let https = NotebookAt { https: true, ..at("/", Some("secret")) };
        assert_eq!(url(&https, lab), "https://localhost:6000/lab");
    }
}
