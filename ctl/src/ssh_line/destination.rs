//! Where a command line of ssh(1) leads: `host`, `user@host`, `ssh://user@host:port`. What was said first
//! wins, as in ssh.

use super::{Refusal, Tunnel, refuse};

/// What keeps ssh_config from naming a jump host.
const NO_JUMP: &str = "ProxyJump=none";
/// How an option begins that leads there by a command.
const PROXY: &str = "ProxyCommand=";

/// Reads the destination.
pub(super) fn read(tunnel: &mut Tunnel, word: &str) -> Result<(), Refusal> {
    let uri = word.strip_prefix("ssh://");
    let rest = uri.map_or(word, |uri| uri.strip_suffix('/').unwrap_or(uri));
    // The user may hold an '@' itself: the last one counts. In a URI it is written as %40.
    let split = if uri.is_some() { rest.split_once('@') } else { rest.rsplit_once('@') };
    let (user, mut host) = split.map_or((None, rest), |(user, host)| (Some(user), host));
    match user {
        Some(user) if uri.is_some() => {
            let user = decoded(user).ok_or_else(|| {
                let hint = "write it as in ssh://me%40corp@host, or as -l me@corp";
                refuse(format!("not a user name of a URI: {user:?}"), hint)
            })?;
            set_user(tunnel, &user)?;
        }
        Some(user) => set_user(tunnel, user)?,
        None => {}
    }
    if uri.is_some() {
        let (name, port) = match (host.rfind(']'), host.rfind(':')) {
            (Some(bracket), Some(colon)) if colon > bracket => (&host[..colon], Some(&host[colon + 1..])),
            (None, Some(colon)) => (&host[..colon], Some(&host[colon + 1..])),
            _ => (host, None),
        };
        host = name;
        if let Some(port) = port {
            set_port(tunnel, port)?;
        }
    }
    if tunnel.host.is_empty() { set_host(tunnel, host) } else { check_host(host) }
}

/// The user of a URI as ssh reads it: `%40` is an '@', and `+` a space.
fn decoded(text: &str) -> Option<String> {
    // RFC 3986 userinfo parameters (`user;fingerprint=…`) were never standardised; ssh ignores them too.
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

/// Takes a host name or address, if none was given before.
pub(super) fn set_host(tunnel: &mut Tunnel, host: &str) -> Result<(), Refusal> {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    check_host(host)?;
    if tunnel.host.is_empty() {
        host.clone_into(&mut tunnel.host);
    }
    Ok(())
}

/// Whether it could be the name or the address of a host.
pub(super) fn check_host(host: &str) -> Result<(), Refusal> {
    const HINT: &str = "give a name or an address, as in host.example.org or 10.0.0.1";
    // ssh(1) would look for a host of that whole name. What stands after `%` is the zone of an address.
    let address = host.split('%').next().unwrap_or(host);
    if let Some((name, port)) = host.rsplit_once(':')
        && address.parse::<std::net::Ipv6Addr>().is_err()
        && port.parse::<u16>().is_ok()
    {
        let message = format!("{host:?} is a host and a port, and ssh takes only the host there");
        return Err(refuse(message, format!("give the host as {name} and the port as -p {port}")));
    }
    if host.is_empty() {
        return Err(refuse("the host is empty", HINT));
    }
    if host.starts_with('-') {
        return Err(refuse(format!("a host does not begin with '-': {host:?}"), HINT));
    }
    if host.len() > 255
        || host.chars().any(|c| c.is_whitespace() || c.is_control() || "/'\"`$\\;&<>|(){}[]@".contains(c))
    {
        return Err(refuse(format!("not a host name or address: {host:?}"), HINT));
    }
    Ok(())
}

/// Takes a user, if none was given before.
pub(super) fn set_user(tunnel: &mut Tunnel, user: &str) -> Result<(), Refusal> {
    if user.is_empty() || user.starts_with('-') || user.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(refuse(format!("not a user name: {user:?}"), "give it as in me@host or -l me"));
    }
    tunnel.user.get_or_insert_with(|| user.to_owned());
    Ok(())
}

/// Whether it is known already which way leads there.
pub(super) fn has_way(tunnel: &Tunnel) -> bool {
    let is_way = |option: &String| option == NO_JUMP || option.starts_with(PROXY);
    !tunnel.jump.is_empty() || tunnel.options.iter().any(is_way)
}

/// Takes the jump hosts of a list, if no way is known yet; `none` is a way without any.
pub(super) fn set_jump(tunnel: &mut Tunnel, list: &str) {
    if has_way(tunnel) {
        return;
    }
    if list.trim().eq_ignore_ascii_case("none") {
        return tunnel.options.push(NO_JUMP.to_owned());
    }
    tunnel.jump = list.split(',').map(|host| host.trim().to_owned()).collect();
}

/// Takes a command that leads there, if no way is known yet.
pub(super) fn set_proxy(tunnel: &mut Tunnel, command: &str) {
    if !has_way(tunnel) {
        tunnel.options.push(format!("{PROXY}{command}"));
    }
}

/// Takes a port, if none was given before.
pub(super) fn set_port(tunnel: &mut Tunnel, port: &str) -> Result<(), Refusal> {
    match port.parse::<u16>() {
        Ok(number) if number > 0 => {
            tunnel.port.get_or_insert(number);
            Ok(())
        }
        _ => Err(refuse(format!("{port:?} is not a port"), "ports go from 1 to 65535")),
    }
}
