//! Windows: exclusive ports, no Unix-domain sockets, and the errors that mean a want of sockets.

use std::fs::DirBuilder;
use std::io;
use std::io::IoSlice;
use std::os::windows::io::AsRawSocket;
use std::path::Path;

use bytes::BytesMut;
use socket2::{SockRef, Socket};
use tokio::io::{Interest, Ready};
use windows_sys::Win32::Networking::WinSock;

use super::super::owner::Owner;

/// Keeps every other program from binding the port while we have it (SO_EXCLUSIVEADDRUSE).
#[allow(unsafe_code)]
pub(in super::super) fn claim(socket: &Socket) -> io::Result<()> {
    let on: i32 = 1;
    let handle = socket.as_raw_socket() as WinSock::SOCKET;
    // SAFETY: the socket is open for as long as it is borrowed, and the option's value is an i32 that lives
    // through the call, with its own length.
    let failed = unsafe {
        WinSock::setsockopt(
            handle,
            WinSock::SOL_SOCKET,
            WinSock::SO_EXCLUSIVEADDRUSE,
            (&raw const on).cast(),
            size_of::<i32>() as i32,
        )
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Directories in a user's profile are private by inheritance.
pub(in super::super) fn private(_builder: &mut DirBuilder) {}

/// Whether there were no sockets or buffers left.
pub(in super::super) fn is_exhaustion(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(WinSock::WSAEMFILE | WinSock::WSAENOBUFS))
}

/// Whether somebody else has the address: one that is held exclusively says "access denied".
pub(in super::super) fn is_taken(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(WinSock::WSAEADDRINUSE | WinSock::WSAEACCES))
}

/// What a program has as a connection; one that came over a pipe is carried to it.
pub(in super::super) type RawStream = std::net::TcpStream;

/// Takes over a socket. To be called on the runtime that is to serve it.
pub(in super::super) fn adopt(raw: RawStream) -> io::Result<tokio::net::TcpStream> {
    raw.set_nonblocking(true)?;
    tokio::net::TcpStream::from_std(raw)
}

/// There are none here.
#[derive(Debug)]
pub(in super::super) enum UnixSocket {}

/// There are none here.
#[derive(Debug)]
pub(in super::super) enum UnixStream {}

/// Why a Unix-domain socket could not be had.
#[derive(Debug)]
#[allow(dead_code, reason = "the other systems have more reasons, and callers tell them apart")]
pub(in super::super) enum Unlistenable {
    Taken(Option<Owner>),
    NotASocket,
    Other(io::Error),
}

impl From<io::Error> for Unlistenable {
    fn from(error: io::Error) -> Self {
        Unlistenable::Other(error)
    }
}

impl UnixSocket {
    pub(in super::super) fn bind(_path: &Path, _backlog: i32) -> Result<UnixSocket, Unlistenable> {
        Err(Unlistenable::Other(io::ErrorKind::Unsupported.into()))
    }

    pub(in super::super) fn adopt(_socket: Socket, _path: &Path, _backlog: i32) -> io::Result<UnixSocket> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(in super::super) fn stays(&mut self) {
        match *self {}
    }

    pub(in super::super) fn socket(&self) -> SockRef<'_> {
        match *self {}
    }

    pub(in super::super) async fn accept(&self) -> io::Result<UnixStream> {
        match *self {}
    }
}

/// There are none here.
pub(in super::super) async fn connect(_path: &Path) -> io::Result<UnixStream> {
    Err(io::ErrorKind::Unsupported.into())
}

impl UnixStream {
    pub(in super::super) async fn ready(&self, _interest: Interest) -> io::Result<Ready> {
        match *self {}
    }

    pub(in super::super) fn try_read_buf(&self, _buffer: &mut BytesMut) -> io::Result<usize> {
        match *self {}
    }

    pub(in super::super) fn try_write_vectored(&self, _slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match *self {}
    }
}

/// There are none here.
pub(in super::super) fn peer_process(stream: &UnixStream) -> Option<Owner> {
    match *stream {}
}

/// There are none here.
pub(in super::super) fn shutdown_write(stream: &UnixStream) -> io::Result<()> {
    match *stream {}
}
