//! As much of HTTP/1.1 as the harness needs: one GET or POST, one answer, to loopback.

use std::io::{Read, Write};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::net;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// For example 200.
    pub status: u16,
    /// What a browser keeps, each as `NAME=VALUE`.
    pub cookies: Vec<String>,
    /// What came after the headers, as it came.
    pub body: String,
}

/// Fetches `path` from 127.0.0.1:`port`.
///
/// # Errors
/// No connection, no complete answer within `patience` of silence, or not HTTP.
pub fn get(port: u16, path: &str, headers: &[(&str, &str)], patience: Duration) -> Result<Answer> {
    let mut stream = net::connect(port, patience)?;
    let mut request = format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).context("cannot send an HTTP request")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).context("no complete HTTP answer")?;
    parse(&String::from_utf8_lossy(&answer))
}

fn parse(answer: &str) -> Result<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer has no end of headers")?;
    let status = head.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let cookies = fields.filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
    let cookies = cookies.map(|(_, value)| value.split(';').next().unwrap_or_default().trim().to_owned());
    let status = status.context("the answer has no status")?;
    Ok(Answer { status, cookies: cookies.collect(), body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_status_cookies_and_body() {
        let text = "HTTP/1.1 403 Forbidden\r\nA: b\r\nset-cookie: c=d; Path=/\r\n\r\nno\r\n\r\nway";
        let expected = Answer { status: 403, cookies: vec!["c=d".into()], body: "no\r\n\r\nway".into() };
        assert_eq!(parse(text).unwrap(), expected);
        assert!(parse("HTTP/1.1 200 OK\r\n").is_err());
        assert!(parse("hello\r\n\r\n").is_err());
    }
}
