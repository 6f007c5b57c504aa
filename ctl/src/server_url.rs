//! The address that a notebook server prints when it starts, or that stands in a browser:
//! `http://localhost:8888/lab?token=…`. Where the server is and its token are taken; the path is found by asking it.

use std::fmt;
use std::net::IpAddr;

use crate::ssh_line::{Refusal, is_ssh};

/// What it says.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl {
    /// Whether it speaks TLS.
    pub is_https: bool,
    /// A name or an address, without brackets.
    pub host: String,
    /// The one that the scheme stands for, if it names none.
    pub port: u16,
    /// What lets a client in. It is never shown.
    pub token: Option<String>,
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| "…");
        f.debug_struct("ServerUrl")
            .field("is_https", &self.is_https)
            .field("host", &self.host)
            .field("port", &self.port)
            .field("token", &token)
            .finish()
    }
}

impl ServerUrl {
    /// Whether the server is on the machine where the address was printed, wherever that is.
    pub fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(address) => address.is_loopback() || address.is_unspecified(),
            Err(_) => {
                let host = self.host.to_ascii_lowercase();
                host == "localhost" || host.ends_with(".localhost")
            }
        }
    }
}

/// What in `text` is meant as such an address: a word alone, be it with a slip or without its beginning, since what is
/// taken for anything else may be shown with its token; or the first address in what a server printed.
pub fn meant(text: &str) -> Option<&str> {
    let mut words = text.split_whitespace();
    match (words.next(), words.next()) {
        (Some(word), None) => {
            let is_ssh = word.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("ssh://"));
            (!is_ssh && (word.contains("://") || word.contains("token="))).then_some(word)
        }
        _ if text.split_whitespace().any(is_ssh) => None,
        _ => text.split_whitespace().find(|word| scheme(word).is_some()),
    }
}

/// Whether it is https, and what follows the scheme.
fn scheme(word: &str) -> Option<(bool, &str)> {
    [("http://", false), ("https://", true)].into_iter().find_map(|(scheme, is_https)| {
        let (start, rest) = word.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some((is_https, rest))
    })
}

/// Reads the address. What it says in a refusal never holds the token.
///
/// # Errors
/// It is not the address of a server.
pub fn parse(text: &str) -> Result<ServerUrl, Refusal> {
    let text = text.trim();
    let (is_https, rest) =
        scheme(text).ok_or_else(|| refuse("the address does not begin with http:// or https://"))?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    if authority.contains('@') {
        return Err(refuse("the address holds a user, which a notebook server has no use for"));
    }
    let name_end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match authority[name_end..].rfind(':').map(|colon| name_end + colon) {
        Some(colon) => (&authority[..colon], Some(&authority[colon + 1..])),
        None => (authority, None),
    };
    let port = match port {
        None | Some("") if is_https => 443,
        None | Some("") => 80,
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port > 0 => port,
            _ => return Err(refuse(format!("{port:?} is not a port"))),
        },
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    // Older servers print `http://(gpu7 or 127.0.0.1):8888/`.
    let either = host.strip_prefix('(').and_then(|host| host.strip_suffix(')'));
    let host = either.and_then(|either| either.split(" or ").last()).unwrap_or(host);
    let is_plain = |c: char| !c.is_control() && !c.is_whitespace() && !"'\"`$\\;&<>|(){}%".contains(c);
    if host.is_empty() || host.starts_with('-') || host.len() > 255 || !host.chars().all(is_plain) {
        return Err(refuse("the address has no host that could be one"));
    }
    // What was copied along from the line that printed it ends the address, as `#` does.
    let rest = rest.split(|c: char| c == '#' || c.is_whitespace()).next().unwrap_or_default();
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    let token =
        query.split('&').find_map(|pair| pair.strip_prefix("token=")).filter(|token| !token.is_empty());
    let token = token.map(decoded).transpose()?;
    Ok(ServerUrl { is_https, host: host.to_owned(), port, token })
}

/// Undoes what a form does to a value: `%41` is `A`, and `+` a space.
fn decoded(text: &str) -> Result<String, Refusal> {
    let unreadable = || refuse("the token in the address is not written as in an address");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
                let (high, low) = (digit(), digit());
                let value = high.zip(low).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
                value.ok_or_else(unreadable)?
            }
            byte => byte,
        });
    }
    let token = String::from_utf8(bytes).map_err(|_| unreadable())?;
    if token.chars().any(char::is_control) { Err(unreadable()) } else { Ok(token) }
}

fn refuse(message: impl Into<String>) -> Refusal {
    Refusal::new(message, "give it as the server prints it, as in http://localhost:8888/lab?token=…")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `host:port`, with an `s` for https, and the token.
    fn shown(text: &str) -> String {
        match parse(text) {
            Ok(url) => {
                let shown = format!("{:?} {}", url, if url.is_https { "s" } else { "" });
                assert!(url.token.as_ref().is_none_or(|token| !shown.contains(token)), "{shown}");
                let secure = if url.is_https { "s " } else { "" };
                format!("{secure}{}:{} {}", url.host, url.port, url.token.unwrap_or_default())
            }
            Err(refusal) => refusal.message,
        }
    }

    #[test]
    fn addresses_as_servers_print_them() {
        for (text, expected) in [
            ("http://localhost:8888/?token=abc", "localhost:8888 abc"),
            ("http://localhost:8888/lab?token=0f1e", "localhost:8888 0f1e"),
            ("HTTP://gpu7:8889/tree?x=y&token=a%2Bb#top", "gpu7:8889 a+b"),
            ("https://127.0.0.1:8888/user/me/lab?token=abc&reset", "s 127.0.0.1:8888 abc"),
            ("http://[::1]:8888/lab", "::1:8888 "),
            ("http://[::1]", "::1:80 "),
            ("http://(gpu7 or 127.0.0.1):8888/?token=abc", "127.0.0.1:8888 abc"),
            ("https://hub.example.org", "s hub.example.org:443 "),
            ("http://h:8888?token=", "h:8888 "),
            (" http://h:1/ ", "h:1 "),
            ("http://h:1/?token=abc\n    or http://127.0.0.1:1/?token=abc", "h:1 abc"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
        for host in ["localhost", "LOCALHOST", "a.localhost", "127.0.0.5", "[::1]", "0.0.0.0"] {
            assert!(parse(&format!("http://{host}:1")).unwrap().is_loopback(), "{host}");
        }
        assert!(!parse("http://localhost.example.org").unwrap().is_loopback());
    }

    #[test]
    fn what_is_no_address_is_refused_without_its_token() {
        for text in [
            "ftp://h",
            "http://",
            "http://:8888/?token=abc",
            "http://h:0/?token=abc",
            "http://h:x/?token=abc",
            "http://me:pw@h/?token=abc",
            "http://-h/?token=abc",
            "http://a b/?token=abc",
            "http://h/?token=%zz-abc",
            "http://h/?token=%0aabc",
            "http://h/?token=%ff",
        ] {
            let refusal = parse(text).unwrap_err();
            assert!(!refusal.message.contains("abc") && !refusal.hint.contains("abc"), "{refusal:?}");
        }
        for word in ["https://h", " http://h\n", "htp://h/?token=abc", "localhost:8888/lab?token=abc"] {
            assert_eq!(meant(word), Some(word.trim()));
        }
        for text in
            ["ssh http://h", "A=http://h /usr/bin/ssh h", "http", "ssh://h", "SSH://a://b", "h:1", "me@h", ""]
        {
            assert_eq!(meant(text), None, "{text}");
        }
    }

    #[test]
    fn an_address_is_found_in_what_a_server_printed() {
        for text in [
            "[I 10:00:00.000 ServerApp] http://gpu7:8888/lab?token=abc",
            "    or http://gpu7:8888/lab?token=abc",
            "    To access the server, open this file in a browser:\n        file:///run/jpserver-1-open.html\n    \
             Or copy and paste one of these URLs:\n        http://gpu7:8888/lab?token=abc\n        \
             http://127.0.0.1:8888/lab?token=abc\n",
        ] {
            assert_eq!(meant(text), Some("http://gpu7:8888/lab?token=abc"), "{text}");
        }
    }
}
