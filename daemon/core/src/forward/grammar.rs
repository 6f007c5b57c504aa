//! The grammar of `ssh -L`, `-D` and `-R` (ssh(1)): fields between colons, an address in brackets, a socket
//! wherever a field has a `/`, and `\` before what is meant literally.

use std::str::FromStr;

use super::{ForwardSpec, ListenAt, RemoteSpec, Target};

const MAX_SOCKET_PATH: usize = ListenAt::LONGEST_PATH;

impl FromStr for ForwardSpec {
    type Err = String;

    /// Parses what `ssh -L` takes: `[bind_address:]port:host:hostport`, `[bind_address:]port:remote_socket`,
    /// `local_socket:host:hostport`, `local_socket:remote_socket`.
    ///
    /// # Errors
    /// One sentence that says what is wrong with it.
    fn from_str(text: &str) -> Result<Self, String> {
        const SHAPE: &str = "expected [bind_address:]port:host:hostport, as in \"6000:localhost:7000\"";
        let fields = split(text)?;
        let (listen, rest) = listen_and_rest(&fields, SHAPE, port)?;
        Ok(ForwardSpec::new(listen, target(rest, SHAPE)?))
    }
}

impl ForwardSpec {
    /// Parses what `ssh -D` takes: `[bind_address:]port`, or a local socket.
    ///
    /// # Errors
    /// One sentence that says what is wrong with it.
    pub fn dynamic(text: &str) -> Result<ForwardSpec, String> {
        const SHAPE: &str = "expected [bind_address:]port, as in \"1080\"";
        let fields = split(text)?;
        Ok(ForwardSpec::new(only_listen(&fields, port)?.ok_or(SHAPE)?, Target::Socks))
    }
}

impl FromStr for RemoteSpec {
    type Err = String;

    /// Parses what `ssh -R` takes: as for `-L`, with the two sides exchanged, a port that may be 0, and
    /// without a target for a proxy: `[bind_address:]port` or `remote_socket`.
    ///
    /// # Errors
    /// One sentence that says what is wrong with it.
    fn from_str(text: &str) -> Result<Self, String> {
        const SHAPE: &str = "expected [bind_address:]port:host:hostport, as in \"8080:localhost:3000\", or [bind_address:]port";
        let fields = split(text)?;
        if let Some(listen) = only_listen(&fields, port_or_any)? {
            return Ok(RemoteSpec { listen, target: Target::Socks });
        }
        let (listen, rest) = listen_and_rest(&fields, SHAPE, port_or_any)?;
        Ok(RemoteSpec { listen, target: target(rest, SHAPE)? })
    }
}

type ReadPort = fn(&str) -> Result<u16, String>;

/// Where it listens, if `fields` say nothing else.
fn only_listen(fields: &[String], port: ReadPort) -> Result<Option<ListenAt>, String> {
    Ok(Some(match fields {
        [socket] if is_socket(socket) => ListenAt::Socket(socket_path(socket)?.into()),
        [only] => ListenAt::Loopback(port(only)?),
        [bind, second] if !is_socket(bind) && !is_socket(second) => listen_at(bind, port(second)?)?,
        _ => return Ok(None),
    }))
}

/// Where it listens, and the fields of its target.
fn listen_and_rest<'a>(
    fields: &'a [String],
    shape: &str,
    port: ReadPort,
) -> Result<(ListenAt, &'a [String]), String> {
    let (listen, rest) = match fields {
        [] | [_] => return Err(shape.into()),
        [socket, ..] if is_socket(socket) => (ListenAt::Socket(socket_path(socket)?.into()), 1),
        // `port:socket` and `port:host:hostport`; with a bind address there is one more field in front.
        [first, _] => (ListenAt::Loopback(port(first)?), 1),
        [first, _, last] if !is_socket(last) => (ListenAt::Loopback(port(first)?), 1),
        [bind, second, ..] => (listen_at(bind, port(second)?)?, 2),
    };
    Ok((listen, &fields[rest..]))
}

fn target(fields: &[String], shape: &str) -> Result<Target, String> {
    match fields {
        [socket] if is_socket(socket) => Ok(Target::Socket(socket_path(socket)?)),
        [host, _] if host.is_empty() => Err(format!("the target has no host; {shape}")),
        [host, target_port] => Ok(Target::Tcp(host_name(host)?, port(target_port)?)),
        _ => Err(shape.into()),
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
    let is_odd = |c: char| c.is_whitespace() || matches!(c, '[' | ']' | '\\' | '/');
    if host.is_empty() || host.len() > 255 || host.chars().any(is_odd) {
        return Err(format!("not a host name or address: {host:?}"));
    }
    Ok(host.to_owned())
}

fn port(field: &str) -> Result<u16, String> {
    match port_or_any(field)? {
        0 => Err("port 0 is not a port; ports go from 1 to 65535".into()),
        port => Ok(port),
    }
}

/// A port at the far end, where 0 lets the server choose (RFC 4254 §7.1).
fn port_or_any(field: &str) -> Result<u16, String> {
    let digits = !field.is_empty() && field.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| field.parse::<u32>().unwrap_or(u32::MAX));
    match number.map(u16::try_from) {
        Some(Ok(port)) => Ok(port),
        Some(Err(_)) => Err(format!("{field} is not a port; ports go from 1 to 65535")),
        None => Err(format!("{field:?} is not a port; ports go from 1 to 65535")),
    }
}

/// Splits at `:`, keeping `[…]` together and dropping its brackets, and taking what follows a `\` literally.
fn split(text: &str) -> Result<Vec<String>, String> {
    if text.chars().any(|c| c.is_control()) {
        return Err("a forward cannot contain control characters".into());
    }
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let mut field = String::new();
        if let Some(inner) = rest.strip_prefix('[') {
            let end = inner.find(']').ok_or("a '[' has no ']'")?;
            field.push_str(&inner[..end]);
            rest = &inner[end + 1..];
            if !(rest.is_empty() || rest.starts_with(':')) {
                return Err("after ']' comes ':' or the end".into());
            }
        } else {
            let mut chars = rest.chars();
            while !chars.as_str().is_empty() && !chars.as_str().starts_with(':') {
                match chars.next() {
                    Some('\\') => field.push(chars.next().ok_or("nothing follows the last '\\'")?),
                    Some(c) => field.push(c),
                    None => break,
                }
            }
            rest = chars.as_str();
        }
        fields.push(field);
        match rest.strip_prefix(':') {
            Some(after) => rest = after,
            None => return Ok(fields),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn local(text: &str) -> String {
        match text.parse::<ForwardSpec>() {
            Ok(spec) => format!("{:?} -> {:?}", spec.listen, spec.target),
            Err(why) => format!("error: {why}"),
        }
    }

    fn remote(text: &str) -> String {
        match text.parse::<RemoteSpec>() {
            Ok(spec) => format!("{:?} -> {:?}", spec.listen, spec.target),
            Err(why) => format!("error: {why}"),
        }
    }

    fn dynamic(text: &str) -> String {
        match ForwardSpec::dynamic(text) {
            Ok(spec) => format!("{:?}", spec.listen),
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
            (r"/tmp/a\:1:[/tmp/b:2]", r#"Socket("/tmp/a:1") -> Socket("/tmp/b:2")"#),
        ];
        for (text, expected) in cases {
            assert_eq!(local(text), expected, "{text}");
        }
    }

    #[test]
    fn the_grammar_of_ssh_dash_d() {
        let cases = [
            ("1080", "Loopback(1080)"),
            ("localhost:1080", "Loopback(1080)"),
            (":1080", "Any(1080)"),
            ("*:1080", "Any(1080)"),
            ("[::1]:1080", r#"Address("::1", 1080)"#),
            ("/run/proxy", r#"Socket("/run/proxy")"#),
        ];
        for (text, expected) in cases {
            assert_eq!(dynamic(text), expected, "{text}");
        }
        for bad in ["", "0", "x", "a:b", "1080:h:1", "1:2:3", "+80", "99999999999"] {
            assert!(dynamic(bad).starts_with("error: "), "{bad}: {}", dynamic(bad));
        }
    }

    #[test]
    fn the_grammar_of_ssh_dash_r() {
        let cases = [
            ("8080:localhost:3000", r#"Loopback(8080) -> Tcp("localhost", 3000)"#),
            ("0:localhost:3000", r#"Loopback(0) -> Tcp("localhost", 3000)"#),
            ("*:8080:h:3000", r#"Any(8080) -> Tcp("h", 3000)"#),
            (":8080:h:3000", r#"Any(8080) -> Tcp("h", 3000)"#),
            ("[::1]:0:[::1]:3000", r#"Address("::1", 0) -> Tcp("::1", 3000)"#),
            ("8080:/run/here", r#"Loopback(8080) -> Socket("/run/here")"#),
            ("b:8080:/run/here", r#"Address("b", 8080) -> Socket("/run/here")"#),
            ("/run/there:/run/here", r#"Socket("/run/there") -> Socket("/run/here")"#),
            ("/run/there:localhost:3000", r#"Socket("/run/there") -> Tcp("localhost", 3000)"#),
            ("1080", "Loopback(1080) -> Socks"),
            ("0", "Loopback(0) -> Socks"),
            ("*:1080", "Any(1080) -> Socks"),
            ("/run/proxy", r#"Socket("/run/proxy") -> Socks"#),
        ];
        for (text, expected) in cases {
            assert_eq!(remote(text), expected, "{text}");
        }
        for bad in ["", "x", "1:h:0", "8080:h", "8080::3000", "a:b:c:d:e", "/a:/b:1", "70000:h:1"] {
            assert!(remote(bad).starts_with("error: "), "{bad}: {}", remote(bad));
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
            "6000:h:1\\",
        ] {
            assert!(local(bad).starts_with("error: "), "{bad}: {}", local(bad));
        }
    }

    fn piece() -> impl Strategy<Value = String> {
        prop_oneof![
            Just(":".to_owned()),
            Just("[".to_owned()),
            Just("]".to_owned()),
            Just("*".to_owned()),
            Just("\\".to_owned()),
            Just("localhost".to_owned()),
            Just("::1".to_owned()),
            "/[a-z:\\\\\\[\\]]{0,6}",
            (0..70000u32).prop_map(|port| port.to_string()),
            "[a-zä-ö ]{0,4}",
        ]
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![any::<String>(), prop::collection::vec(piece(), 0..9).prop_map(|pieces| pieces.concat())]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn whatever_is_read_is_shown_so_that_it_can_be_read_again(text in text()) {
            if let Ok(spec) = text.parse::<ForwardSpec>() {
                prop_assert_eq!(spec.to_string().parse::<ForwardSpec>(), Ok(spec));
            }
            if let Ok(spec) = ForwardSpec::dynamic(&text) {
                prop_assert_eq!(ForwardSpec::dynamic(&spec.to_string()), Ok(spec));
            }
            if let Ok(spec) = text.parse::<RemoteSpec>() {
                prop_assert_eq!(spec.to_string().parse::<RemoteSpec>(), Ok(spec));
            }
        }
    }
}
