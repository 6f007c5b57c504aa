//! The server's side of a SOCKS handshake, as pure functions of the bytes so far: version 5 without
//! authentication (RFC 1928), 4 and 4a. Only CONNECT. Names are handed on as they are, resolved by whoever
//! connects.

use std::net::{Ipv4Addr, Ipv6Addr};

use nbtunnel_core::{FailureKind, Target};

/// Longest user id or host name, in bytes.
const LONGEST: usize = 255;

/// The handshake of one client: what its bytes so far mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handshake {
    /// Version 5 has agreed on a method.
    greeted: bool,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// More bytes are needed.
    More,
    /// So many bytes are done; send this and go on with the rest.
    Answer {
        /// Bytes of the client that are done.
        consumed: usize,
        /// What to send.
        reply: &'static [u8],
    },
    /// So many bytes are done, and this is what the client wants. What follows them is for the target.
    Ask {
        /// Bytes of the client that are done.
        consumed: usize,
        /// What it wants.
        request: Request,
    },
    /// Send this, if it is anything, and end the connection.
    Refuse(&'static [u8]),
}

/// Where a client wants to be connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The host and the port.
    pub target: Target,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Four,
    Five,
}

/// Answers of version 5 (RFC 1928 §6): the address that we are bound to there is nobody's business.
macro_rules! five {
    ($code:literal) => {
        &[5, $code, 0, 1, 0, 0, 0, 0, 0, 0]
    };
}
/// Answers of version 4.
macro_rules! four {
    ($code:literal) => {
        &[0, $code, 0, 0, 0, 0, 0, 0]
    };
}

const FIVE_FAILED: &[u8] = five!(1);
const FOUR_FAILED: &[u8] = four!(0x5B);

impl Handshake {
    /// What `bytes`, all that came and are not done, mean. Total: every input has an answer, and a client that
    /// sends on without end is refused.
    pub fn next(&mut self, bytes: &[u8]) -> Turn {
        match (self.greeted, bytes.first()) {
            (_, None) => Turn::More,
            (false, Some(5)) => self.greet(bytes),
            (true, Some(5)) => five(bytes).unwrap_or(Turn::More),
            (false, Some(4)) => four(bytes).unwrap_or(Turn::More),
            (_, Some(_)) => Turn::Refuse(&[]),
        }
    }

    /// Version 5: which ways to log in it has (RFC 1928 §3).
    fn greet(&mut self, bytes: &[u8]) -> Turn {
        let Some(count) = bytes.get(1).copied().map(usize::from) else { return Turn::More };
        let Some(methods) = bytes.get(2..2 + count) else { return Turn::More };
        if !methods.contains(&0) {
            return Turn::Refuse(&[5, 0xFF]);
        }
        self.greeted = true;
        Turn::Answer { consumed: 2 + count, reply: &[5, 0] }
    }
}

/// RFC 1928 §4; `None` if more bytes are needed.
fn five(bytes: &[u8]) -> Option<Turn> {
    if *bytes.get(1)? != 1 {
        return Some(Turn::Refuse(five!(7)));
    }
    let (host, at) = match *bytes.get(3)? {
        1 => (Some(Ipv4Addr::from(array::<4>(bytes, 4)?).to_string()), 8),
        3 => {
            let length = usize::from(*bytes.get(4)?);
            (name(bytes.get(5..5 + length)?), 5 + length)
        }
        4 => (Some(Ipv6Addr::from(array::<16>(bytes, 4)?).to_string()), 20),
        _ => return Some(Turn::Refuse(five!(8))),
    };
    let port = u16::from_be_bytes(array(bytes, at)?);
    Some(ask(Version::Five, host, port, at + 2).unwrap_or(Turn::Refuse(FIVE_FAILED)))
}

/// SOCKS 4, and 4a where the address is 0.0.0.x; `None` if more bytes are needed.
fn four(bytes: &[u8]) -> Option<Turn> {
    if *bytes.get(1)? != 1 {
        return Some(Turn::Refuse(FOUR_FAILED));
    }
    let port = u16::from_be_bytes(array(bytes, 2)?);
    let address = array::<4>(bytes, 4)?;
    let text = |from: usize| {
        let rest = bytes.get(from..).unwrap_or_default();
        match rest.iter().take(LONGEST + 1).position(|byte| *byte == 0) {
            Some(length) => Ok(Some((&rest[..length], from + length + 1))),
            None if rest.len() > LONGEST => Err(()),
            None => Ok(None),
        }
    };
    let Ok(user) = text(8) else { return Some(Turn::Refuse(FOUR_FAILED)) };
    let (_, after) = user?;
    let (host, consumed) = if matches!(address, [0, 0, 0, last] if last != 0) {
        let Ok(host) = text(after) else { return Some(Turn::Refuse(FOUR_FAILED)) };
        let (host, consumed) = host?;
        (name(host), consumed)
    } else {
        (Some(Ipv4Addr::from(address).to_string()), after)
    };
    Some(ask(Version::Four, host, port, consumed).unwrap_or(Turn::Refuse(FOUR_FAILED)))
}

fn ask(version: Version, host: Option<String>, port: u16, consumed: usize) -> Option<Turn> {
    let target = Target::Tcp(host?, (port != 0).then_some(port)?);
    Some(Turn::Ask { consumed, request: Request { target, version } })
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// A host name, or `None` if it is none: it is shown to people and handed to resolvers.
fn name(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let odd = |c: char| c.is_control() || c.is_whitespace();
    (!text.is_empty() && !text.contains(odd)).then(|| text.to_owned())
}

impl Request {
    /// It is connected: what follows comes from there.
    pub fn granted(&self) -> &'static [u8] {
        match self.version {
            Version::Four => four!(0x5A),
            Version::Five => five!(0),
        }
    }

    /// It could not be connected, for this reason.
    pub fn refused(&self, kind: FailureKind) -> &'static [u8] {
        match (self.version, kind) {
            (Version::Four, _) => FOUR_FAILED,
            (Version::Five, FailureKind::ForwardingDenied) => five!(2),
            (Version::Five, FailureKind::Unreachable | FailureKind::Dns | FailureKind::TimedOut) => five!(4),
            (Version::Five, FailureKind::Refused) => five!(5),
            (Version::Five, _) => FIVE_FAILED,
        }
    }
}

#[cfg(test)]
#[path = "socks_tests.rs"]
mod tests;
