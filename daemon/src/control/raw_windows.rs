//! Connections that are no protocol any more, on Windows: pipes, which know no half-close, and cannot be waited for as
//! sockets can. A pair of loopback sockets stands in for each.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use nbtunnel_proto::server::Raw;

use crate::forward::RawStream;

/// A socket that leads to the pipe.
pub(super) fn stream(mut raw: Raw) -> Result<RawStream, String> {
    let (near, far) = pair().map_err(|error| format!("no loopback sockets can be had: {error}"))?;
    let mut near = tokio::net::TcpStream::from_std(near).map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        let _ = tokio::io::copy_bidirectional(&mut raw, &mut near).await;
    });
    Ok(far)
}

/// Two ends of one connection, neither of which anybody else has.
fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let ours = near.local_addr()?;
    loop {
        let (far, from) = listener.accept()?;
        if from == ours {
            near.set_nonblocking(true)?;
            near.set_nodelay(true)?;
            far.set_nodelay(true)?;
            return Ok((near, far));
        }
    }
}
