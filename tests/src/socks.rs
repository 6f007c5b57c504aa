//! A SOCKS client of our own (RFC 1928, and 4a), which can say odd things that real ones do not.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Result, bail, ensure};

use crate::{net, wait};

/// What is asked for, in which version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask<'a> {
    /// Version 5, by name.
    Five(&'a str),
    /// Version 5, by IPv4 address.
    FiveAddress([u8; 4]),
    /// Version 5, by IPv6 address.
    FiveAddress6([u8; 16]),
    /// Version 4, by address.
    Four([u8; 4]),
    /// Version 4a, by name.
    FourA(&'a str),
}

impl Ask<'_> {
    fn request(self, port: u16) -> Vec<u8> {
        let port = port.to_be_bytes();
        match self {
            Ask::Five(name) => {
                let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
                [&[5, 1, 0, 3, length], name.as_bytes(), &port].concat()
            }
            Ask::FiveAddress(address) => [&[5, 1, 0, 1], &address[..], &port].concat(),
            Ask::FiveAddress6(address) => [&[5, 1, 0, 4], &address[..], &port].concat(),
            Ask::Four(address) => [&[4, 1], &port[..], &address, b"me\0"].concat(),
            Ask::FourA(name) => [&[4, 1], &port[..], &[0, 0, 0, 1], b"me\0", name.as_bytes(), b"\0"].concat(),
        }
    }

    fn is_five(self) -> bool {
        matches!(self, Ask::Five(_) | Ask::FiveAddress(_) | Ask::FiveAddress6(_))
    }
}

/// Connects to what `ask` names, through the proxy on 127.0.0.1:`proxy`. `early` is sent right behind the
/// request, before the answer.
///
/// # Errors
/// The proxy is not there, or says no: then its code stands in the error.
pub fn connect(proxy: u16, ask: Ask<'_>, port: u16, early: &[u8]) -> Result<TcpStream> {
    let stream = net::connect(proxy, wait::SOON)?;
    converse(stream, ask, port, early)
}

/// The same over a connection that is there.
///
/// # Errors
/// As [`connect`].
pub fn converse<S: Read + Write>(mut stream: S, ask: Ask<'_>, port: u16, early: &[u8]) -> Result<S> {
    if ask.is_five() {
        stream.write_all(&[5, 1, 0])?;
        let mut method = [0; 2];
        stream.read_exact(&mut method)?;
        ensure!(method == [5, 0], "another method than none: {method:?}");
    }
    stream.write_all(&[&ask.request(port), early].concat())?;
    let mut answer = vec![0; if ask.is_five() { 10 } else { 8 }];
    stream.read_exact(&mut answer)?;
    match (ask.is_five(), answer[1]) {
        (true, 0) | (false, 90) => Ok(stream),
        (_, code) => bail!("the proxy says {code}"),
    }
}
