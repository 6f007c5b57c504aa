//! The grammar of ProxyJump and `ssh -J`: `[user@]host[:port]` or `ssh://[user@]host[:port]`, one after another.

use std::fmt;
use std::str::FromStr;

use super::vet;

/// One jump host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JumpHost {
    /// The user there, if it is named.
    pub user: Option<String>,
    /// A name, an address or a Host alias of ssh_config.
    pub host: String,
    /// The port there, if it is named.
    pub port: Option<u16>,
}

impl JumpHost {
    /// The hops of a list such as `me@first.example:2222,second.example`; none for `none`.
    ///
    /// # Errors
    /// One sentence that says what is wrong with which of them.
    pub fn list(text: &str) -> Result<Vec<JumpHost>, String> {
        if text.eq_ignore_ascii_case("none") {
            return Ok(Vec::new());
        }
        text.split(',').map(|hop| hop.trim().parse()).collect()
    }
}

impl FromStr for JumpHost {
    type Err = String;

    fn from_str(text: &str) -> Result<JumpHost, String> {
        let (user, place) = match text.split_at_checked(6) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("ssh://") => {
                let rest = rest.trim_end_matches('/');
                match rest.split_once('@') {
                    Some((user, place)) => (Some(decoded(user).ok_or_else(|| unlike(text))?), place),
                    None => (None, rest),
                }
            }
            _ => match text.rsplit_once('@') {
                Some((user, place)) => (Some(user.to_owned()), place),
                None => (None, text),
            },
        };
        let (host, port) = host_and_port(place).ok_or_else(|| unlike(text))?;
        let port = match port {
            None => None,
            Some(port) => match port.parse::<u16>() {
                Ok(number) if number != 0 && !port.starts_with('+') => Some(number),
                _ => return Err(format!("{port:?} is not a port, in the jump host {text:?}")),
            },
        };
        if host.is_empty() || host.contains(['[', ']', '@']) {
            return Err(unlike(text));
        }
        vet::host(host).map_err(|why| format!("{why}, in the jump host {text:?}"))?;
        if let Some(user) = &user {
            vet::user(user).map_err(|why| format!("{why}, in the jump host {text:?}"))?;
        }
        Ok(JumpHost { user, host: host.to_owned(), port })
    }
}

fn unlike(text: &str) -> String {
    format!("{text:?} is not a jump host; expected [user@]host[:port]")
}

/// The user of a URI as ssh reads it: without parameters (`user;fingerprint=…`), `%40` for an '@', `+` for a space.
fn decoded(text: &str) -> Option<String> {
    let mut rest = text.split(';').next()?.as_bytes();
    let mut user = Vec::new();
    while let [first, after @ ..] = rest {
        let (byte, after) = match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                (u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?, after)
            }
            (b'%', _) => return None,
            (b'+', _) => (b' ', after),
            _ => (*first, after),
        };
        user.push(byte);
        rest = after;
    }
    String::from_utf8(user).ok()
}

/// Splits off a port, and takes the brackets from an address. A bare IPv6 address has none to split off.
fn host_and_port(place: &str) -> Option<(&str, Option<&str>)> {
    if let Some(inner) = place.strip_prefix('[') {
        let (host, rest) = inner.split_once(']')?;
        return match rest {
            "" => Some((host, None)),
            _ => Some((host, Some(rest.strip_prefix(':')?))),
        };
    }
    match place.split_once(':') {
        None => Some((place, None)),
        Some((_, rest)) if rest.contains(':') => Some((place, None)),
        Some((host, port)) => Some((host, Some(port))),
    }
}

impl fmt::Display for JumpHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match (self.host.contains(':'), self.port) {
            (true, _) => write!(f, "[{}]", self.host)?,
            (false, _) => f.write_str(&self.host)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_are_read_as_ssh_reads_them_and_read_back() {
        let cases = [
            ("h", "h"),
            ("me@a.b:2222", "me@a.b:2222"),
            ("[::1]:33", "[::1]:33"),
            ("::1", "[::1]"),
            ("ssh://x@h:9", "x@h:9"),
            ("SSH://[fe80::1%eth0]/", "[fe80::1%eth0]"),
            ("a@b@c", "a@b@c"),
            ("ssh://a%40b;x=%zz@c:9", "a@b@c:9"),
            ("DOM\\me@h", "DOM\\me@h"),
        ];
        for (text, shown) in cases {
            let hop: JumpHost = text.parse().unwrap();
            assert_eq!(hop.to_string(), shown, "{text}");
            assert_eq!(shown.parse::<JumpHost>().unwrap(), hop, "{text}");
        }
        assert_eq!(JumpHost::list("a, b:2,ssh://c").unwrap().len(), 3);
        assert_eq!(JumpHost::list("None").unwrap(), []);
    }

    #[test]
    fn what_is_no_jump_host_is_refused() {
        for bad in [
            "",
            "a,,b",
            "-oProxyCommand=x",
            "a b",
            "h:0",
            "h:x",
            "h:+2",
            "h:70000",
            "ssh://a@b@c",
            "ssh://a%4@c",
            "ssh://a%zz@c",
            "ssh://a%00@c",
            "ssh://a+b@c",
            "[::1",
            "[::1]x",
            "[a.b:2222l[::1]:33",
            "$(x)@h",
            "-l@h",
            "h;id",
        ] {
            assert!(JumpHost::list(bad).is_err(), "{bad}");
        }
    }
}
