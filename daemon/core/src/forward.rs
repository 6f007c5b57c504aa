//! The grammar of `ssh -L` (ssh(1)): `[bind_address:]port:host:hostport`, `[bind_address:]port:remote_socket`,
//! `local_socket:host:hostport`, `local_socket:remote_socket`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// One local forward: where to listen here, where to go from the far end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ForwardSpec {
    /// Where connections come in, on this machine.
    pub listen: ListenAt,
    /// Where they go, seen from the SSH server.
    pub target: Target,
}

/// Where a local forward listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAt {
    /// 127.0.0.1 and ::1, as `localhost` in ssh.
    Loopback(u16),
    /// Every address of this machine (`*`).
    Any(u16),
    /// One address or name of this machine.
    Address(String, u16),
    /// A Unix socket.
    Socket(PathBuf),
}

/// Where a forward leads, seen from the SSH server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A host and a port.
    Tcp(String, u16),
    /// A Unix socket over there.
    Socket(String),
}

impl fmt::Display for ListenAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAt::Loopback(port) => write!(f, "localhost:{port}"),
            ListenAt::Any(port) => write!(f, "*:{port}"),
            ListenAt::Address(host, port) => write_host_port(f, host, *port),
            ListenAt::Socket(path) => write!(f, "{}", path.display()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tcp(host, port) => write_host_port(f, host, *port),
            Target::Socket(path) => f.write_str(path),
        }
    }
}

impl fmt::Display for ForwardSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.listen, self.target)
    }
}

fn write_host_port(f: &mut fmt::Formatter<'_>, host: &str, port: u16) -> fmt::Result {
    if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
}

/// The longest path of a Unix socket that every system takes: `sun_path` is 104 bytes on macOS, 108 on
/// Linux (unix(7)), with the final NUL.
const MAX_SOCKET_PATH: usize = 103;

impl FromStr for ForwardSpec {
    type Err = String;

    /// Parses one forward.
    ///
    /// # Errors
    /// One sentence that says what is wrong with it.
    fn from_str(text: &str) -> Result<Self, String> {
        const SHAPE: &str = "expected [bind_address:]port:host:hostport, as in \"6000:localhost:7000\"";
        if text.chars().any(|c| c.is_control()) {
            return Err("a forward cannot contain control characters".into());
        }
        let fields = split(text)?;
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        let (listen, rest): (ListenAt, &[&str]) = match *fields.as_slice() {
            [] | [_] => return Err(SHAPE.into()),
            [socket, ..] if is_socket(socket) => {
                (ListenAt::Socket(socket_path(socket)?.into()), &fields[1..])
            }
            // `port:host:hostport` and `port:socket`; with a bind address there is one more field in front.
            [first, _] | [first, _, _] if fields.len() == 2 || !is_socket(fields[2]) => {
                (ListenAt::Loopback(port(first)?), &fields[1..])
            }
            [bind, second, ..] => (listen_at(bind, port(second)?)?, &fields[2..]),
        };
        let target = match *rest {
            [socket] if is_socket(socket) => Target::Socket(socket_path(socket)?),
            ["", _] => return Err(format!("the target has no host; {SHAPE}")),
            [host, target_port] => Target::Tcp(host_name(host)?, port(target_port)?),
            _ => return Err(SHAPE.into()),
        };
        Ok(ForwardSpec { listen, target })
    }
}

fn is_socket(field: &str) -> bool {
    field.contains('/')
}

fn socket_path(field: &str) -> Result<String, String> {
    if field.len() > MAX_SOCKET_PATH {
        return Err(format!(
            "the path of a socket has at most {MAX_SOCKET_PATH} bytes, this has {}",
            field.len()
        ));
    }
    Ok(field.to_owned())
}

fn listen_at(bind: &str, port: u16) -> Result<ListenAt, String> {
    Ok(match bind {
        "" | "*" => ListenAt::Any(port),
        "localhost" => ListenAt::Loopback(port),
        other => ListenAt::Address(host_name(other)?, port),
    })
}

fn host_name(host: &str) -> Result<String, String> {
    if host.starts_with('-') {
        return Err(format!("a host does not begin with '-': {host:?}"));
    }
    if host.is_empty() || host.len() > 255 || host.chars().any(|c| c.is_whitespace()) {
        return Err(format!("not a host name or address: {host:?}"));
    }
    Ok(host.to_owned())
}

fn port(field: &str) -> Result<u16, String> {
    match field.parse::<u32>() {
        Ok(0) => Err("port 0 is not a port; ports go from 1 to 65535".into()),
        Ok(n) => u16::try_from(n).map_err(|_| format!("{n} is not a port; ports go from 1 to 65535")),
        Err(_) => Err(format!("{field:?} is not a port; ports go from 1 to 65535")),
    }
}

/// Splits at `:`, or at `/` as old ssh allowed when no `:` is there, keeping `[…]` together and dropping
/// its brackets.
fn split(text: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let field;
        if let Some(inner) = rest.strip_prefix('[') {
            let end = inner.find(']').ok_or("a '[' has no ']'")?;
            field = &inner[..end];
            rest = &inner[end + 1..];
            if !(rest.is_empty() || rest.starts_with(':')) {
                return Err("after ']' comes ':' or the end".into());
            }
        } else {
            let end = rest.find(':').unwrap_or(rest.len());
            field = &rest[..end];
            rest = &rest[end..];
        }
        fields.push(field.to_owned());
        match rest.strip_prefix(':') {
            Some(after) => rest = after,
            None => return Ok(fields),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        match text.parse::<ForwardSpec>() {
            Ok(spec) => format!("{:?} -> {:?}", spec.listen, spec.target),
            Err(why) => format!("error: {why}"),
        }
    }

    #[test]
    fn the_grammar_of_ssh_dash_l() {
        let cases = [
            ("6000:localhost:7000", r#"Loopback(6000) -> Tcp("localhost", 7000)"#),
            ("localhost:6000:localhost:7000", r#"Loopback(6000) -> Tcp("localhost", 7000)"#),
            ("*:6000:db:7000", r#"Any(6000) -> Tcp("db", 7000)"#),
            (":6000:db:7000", r#"Any(6000) -> Tcp("db", 7000)"#),
            ("[::1]:6000:[fe80::1]:7000", r#"Address("::1", 6000) -> Tcp("fe80::1", 7000)"#),
            ("127.0.0.5:1:h:65535", r#"Address("127.0.0.5", 1) -> Tcp("h", 65535)"#),
            ("6000:/run/x.sock", r#"Loopback(6000) -> Socket("/run/x.sock")"#),
            ("127.0.0.1:6000:/run/x", r#"Address("127.0.0.1", 6000) -> Socket("/run/x")"#),
            ("/tmp/a:/tmp/b", r#"Socket("/tmp/a") -> Socket("/tmp/b")"#),
            ("/tmp/a:h:80", r#"Socket("/tmp/a") -> Tcp("h", 80)"#),
        ];
        for (text, expected) in cases {
            assert_eq!(parsed(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_forward_is_refused_with_a_reason() {
        for bad in [
            "",
            "6000",
            "6000:localhost",
            "0:h:1",
            "70000:h:1",
            "6000:h:0",
            "6000:h:70000",
            "6000::7000",
            "a:b:c:d:e",
            "[::1:6000:h:1",
            "6000:-oProxyCommand=x:22",
            "x:y:z",
            "6000:h:1\n",
            "6000:a b:1",
        ] {
            assert!(parsed(bad).starts_with("error: "), "{bad}: {}", parsed(bad));
        }
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        for text in ["localhost:6000:localhost:7000", "*:1:h:2", "[::1]:6000:[fe80::1]:7000", "/tmp/a:/tmp/b"]
        {
            let spec: ForwardSpec = text.parse().unwrap();
            assert_eq!(spec.to_string().parse::<ForwardSpec>().unwrap(), spec);
        }
    }
}
