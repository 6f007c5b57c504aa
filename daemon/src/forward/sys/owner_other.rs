//! Systems that tell nobody cheaply who owns a socket.

use std::io;
use std::net::SocketAddr;

use super::super::owner::{Caller, Owner};

/// Whether this system tells whose the other end of a local connection is.
pub(in super::super) const TELLS_CALLERS: bool = false;

/// Knows nobody.
#[derive(Debug, Default)]
pub(in super::super) struct Callers;

impl Callers {
    /// It cannot be told who comes in anywhere.
    pub(in super::super) fn are_told(&mut self, _listener: SocketAddr) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// It cannot be told who that is.
    pub(in super::super) fn caller(&mut self, _peer: SocketAddr, _ours: SocketAddr) -> io::Result<Caller> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// No process is known to have a socket.
pub(in super::super) fn process_with(_inode: u64) -> Option<Owner> {
    None
}

/// Nobody is known to listen at `address`.
pub(in super::super) fn listener_at(_address: SocketAddr) -> Option<Owner> {
    None
}

/// Nobody is known to own the near end of the connection from `near` to `far`.
pub(in super::super) fn owner_of(_near: SocketAddr, _far: SocketAddr) -> Option<Owner> {
    None
}
