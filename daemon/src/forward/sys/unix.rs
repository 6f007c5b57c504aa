//! Unix: address reuse, Unix-domain listeners, and the errors that mean a want of descriptors.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::net::UnixListener;
pub(in super::super) use tokio::net::UnixStream;

use super::super::owner::Owner;

/// Lets a port be bound again while connections of its last listener are still ending. On these systems
/// that never takes a port from a program that listens.
pub(in super::super) fn claim(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_address(true)
}

/// Makes directories that only their owner may enter.
pub(in super::super) fn private(builder: &mut DirBuilder) {
    builder.mode(0o700);
}

/// Whether there were no descriptors or buffers left (accept(2)).
pub(in super::super) fn is_exhaustion(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}

/// Whether somebody else has the address.
pub(in super::super) fn is_taken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

/// What a program has as a connection.
pub(in super::super) type RawStream = std::os::fd::OwnedFd;

/// Takes over a Unix-domain socket. To be called on the runtime that is to serve it.
pub(in super::super) fn adopt(raw: RawStream) -> io::Result<UnixStream> {
    let stream = std::os::unix::net::UnixStream::from(raw);
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// A Unix-domain socket that listens. Unlinked when dropped, if it is still the one at its path.
#[derive(Debug)]
pub(in super::super) struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    device_and_inode: (u64, u64),
    stays: bool,
}

/// Why a Unix-domain socket could not be had.
#[derive(Debug)]
pub(in super::super) enum Unlistenable {
    /// Somebody answers there.
    Taken(Option<Owner>),
    /// Something else than a socket is there.
    NotASocket,
    /// Another reason.
    Other(io::Error),
}

impl From<io::Error> for Unlistenable {
    fn from(error: io::Error) -> Self {
        Unlistenable::Other(error)
    }
}

impl UnixSocket {
    /// Listens at `path`, for its owner only. A socket that is there already is unlinked if nobody answers
    /// at it.
    pub(in super::super) fn bind(path: &Path, backlog: i32) -> Result<UnixSocket, Unlistenable> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        let address = SockAddr::unix(path)?;
        if let Err(error) = socket.bind(&address) {
            if !is_taken(&error) {
                return Err(error.into());
            }
            remove_stale(path)?;
            socket.bind(&address)?;
        }
        // Nobody can connect before it listens, so there is no moment at which others could.
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        Ok(UnixSocket::adopt(socket, path, backlog)?)
    }

    /// Listens with `socket`, to which `path` leads. One that listens already is told once more, so that
    /// clients see us as their peer.
    pub(in super::super) fn adopt(socket: Socket, path: &Path, backlog: i32) -> io::Result<UnixSocket> {
        socket.set_nonblocking(true)?;
        let device_and_inode = identity(path)?;
        socket.listen(backlog)?;
        let listener = UnixListener::from_std(socket.into())?;
        Ok(UnixSocket { listener, path: path.to_owned(), device_and_inode, stays: false })
    }

    /// Somebody else has the socket open too, so it is not unlinked.
    pub(in super::super) fn stays(&mut self) {
        self.stays = true;
    }

    pub(in super::super) fn socket(&self) -> SockRef<'_> {
        SockRef::from(&self.listener)
    }

    pub(in super::super) async fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.listener.accept().await?.0)
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if !self.stays && identity(&self.path).is_ok_and(|now| now == self.device_and_inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Connects to the Unix-domain socket at `path`.
pub(in super::super) async fn connect(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn remove_stale(path: &Path) -> Result<(), Unlistenable> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(Unlistenable::NotASocket);
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A full backlog then says so at once instead of waiting.
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(fs::remove_file(path)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(_) => Err(Unlistenable::Taken(None)),
        Ok(()) => Err(Unlistenable::Taken(peer_process(&probe))),
    }
}

/// The process at the other end of a Unix-domain connection.
#[cfg(target_os = "linux")]
pub(in super::super) fn peer_process(stream: &impl std::os::fd::AsFd) -> Option<Owner> {
    let peer = rustix::net::sockopt::socket_peercred(stream).ok()?;
    super::process(u32::try_from(peer.pid.as_raw_nonzero().get()).ok()?)
}

/// The process at the other end of a Unix-domain connection: not told here.
#[cfg(not(target_os = "linux"))]
pub(in super::super) fn peer_process(_stream: &impl std::os::fd::AsFd) -> Option<Owner> {
    None
}

/// Ends the writing half of a Unix-domain connection.
pub(in super::super) fn shutdown_write(stream: &UnixStream) -> io::Result<()> {
    socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Write)
}
