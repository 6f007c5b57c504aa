//! Whether a server has the face that somebody asks for. JupyterLab and Jupyter Notebook are programs of their own, and
//! where one was never installed its page is not found: then it is what the server shows by itself, and said so.

use std::io;
use std::time::Duration;

use nbtunnel_proto::NotebookAt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::args::Face;
use crate::notebook::url;
use crate::printer::Printer;

/// How long a server may think about it. One that does not answer gets its browser all the same.
const PATIENCE: Duration = Duration::from_secs(5);

/// The face that is there. What a user should know of it is said, and stands among the notes.
pub(crate) async fn there(at: &mut NotebookAt, wanted: Face, printer: &Printer) -> Face {
    let what = match (wanted.lab, wanted.notebook || wanted.tree) {
        (true, _) => "JupyterLab",
        (_, true) => "page of Jupyter Notebook",
        (false, false) => return wanted,
    };
    if !is_missing(at, wanted).await {
        return wanted;
    }
    let note = format!("the server of {} has no {what}: this is what it shows by itself", at.name);
    printer.note(&note);
    at.notes.push(note);
    Face::default()
}

async fn is_missing(at: &NotebookAt, wanted: Face) -> bool {
    if at.https {
        // It is for the browser to judge its certificate; what is known is known.
        return wanted.lab && at.kind == "notebook6";
    }
    matches!(timeout(PATIENCE, status(at, wanted)).await, Ok(Ok(404)))
}

/// What the server answers to whoever asks for this page (RFC 9112 §4).
async fn status(at: &NotebookAt, wanted: Face) -> io::Result<u16> {
    let whole = url(at, wanted);
    let authority = format!("{}:{}", at.host, at.local_port);
    let path = whole.split_once(&authority).map_or("/", |(_, path)| path);
    let mut request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n");
    // To a stranger some servers say nothing of what they have.
    let token = at.token.as_ref().map(|token| token.expose());
    if let Some(token) = token.filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic())) {
        request.push_str(&format!("Authorization: token {token}\r\n"));
    }
    request.push_str("\r\n");
    let mut stream = TcpStream::connect((at.host.as_str(), at.local_port)).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut begin = [0; "HTTP/1.1 404".len()];
    stream.read_exact(&mut begin).await?;
    let said = String::from_utf8_lossy(&begin);
    let code = said.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
    code.ok_or_else(|| io::ErrorKind::InvalidData.into())
}
