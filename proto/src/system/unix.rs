//! Unix: a socket file of mode 0600 in a directory of mode 0700, and a peer of our own uid.

use std::fs::{DirBuilder, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use interprocess::local_socket::prelude::*;
use interprocess::local_socket::tokio::{Listener, Stream};
use interprocess::local_socket::{GenericFilePath, ListenerOptions};
use interprocess::os::unix::local_socket::ListenerOptionsExt;

use crate::endpoint::Env;
use crate::fault::{Fault, FaultCode};
use crate::places::{NAME_CONFIG_DIR, home_var};

/// `sun_path` without its final NUL: unix(7), and `sys/un.h` of macOS and the BSDs.
const MAX_SOCKET_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// How many clients may wait to be accepted; std's own number.
const BACKLOG: i32 = 128;

fn our_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// An absolute directory from the environment; the specification says to ignore a relative one.
fn absolute_var(env: Env<'_>, name: &str) -> Option<PathBuf> {
    env(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

pub(crate) fn config_home(env: Env<'_>) -> Result<PathBuf, Fault> {
    match absolute_var(env, "XDG_CONFIG_HOME") {
        Some(dir) => Ok(dir),
        None => Ok(home_var(env, "HOME", "where the configuration is", NAME_CONFIG_DIR)?.join(".config")),
    }
}

pub(crate) fn state_home(env: Env<'_>) -> Result<PathBuf, Fault> {
    if let Some(dir) = absolute_var(env, "XDG_STATE_HOME") {
        return Ok(dir);
    }
    let home = home_var(env, "HOME", "where to keep lasting state", "name a directory with $XDG_STATE_HOME")?;
    Ok(home.join(if cfg!(target_os = "macos") { "Library/Application Support" } else { ".local/state" }))
}

#[cfg(target_os = "macos")]
pub(crate) fn default_endpoint(_env: Env<'_>) -> Result<PathBuf, Fault> {
    match super::macos::user_temp_dir() {
        Some(dir) => Ok(dir.join("nbtunnel/control.sock")),
        None => Ok(PathBuf::from(format!("/tmp/nbtunnel-{}/control.sock", our_uid()))),
    }
}

#[cfg(not(target_os = "macos"))]
pub(crate) fn default_endpoint(env: Env<'_>) -> Result<PathBuf, Fault> {
    let uid = our_uid();
    // A bare cron job or `su` has no XDG_RUNTIME_DIR, and yet the session's directory may be there.
    let session = || {
        let dir = PathBuf::from(format!("/run/user/{uid}"));
        std::fs::symlink_metadata(&dir).is_ok_and(|meta| meta.is_dir() && meta.uid() == uid).then_some(dir)
    };
    Ok(match absolute_var(env, "XDG_RUNTIME_DIR").or_else(session) {
        Some(dir) => dir.join("nbtunnel/control.sock"),
        None => PathBuf::from(format!("/tmp/nbtunnel-{uid}/control.sock")),
    })
}

pub(crate) fn check_endpoint(path: &Path) -> Result<(), Fault> {
    if path.file_name().is_none() {
        return Err(Fault::new(
            FaultCode::Usage,
            format!("{} cannot be the control socket: it has no file name", path.display()),
            "give --socket (or $NBTUNNEL_SOCKET) the path of a file",
        ));
    }
    let length = path.as_os_str().as_bytes().len();
    if length > MAX_SOCKET_PATH {
        return Err(Fault::new(
            FaultCode::Usage,
            format!(
                "the path of the control socket has {length} bytes, and this system takes at most \
                 {MAX_SOCKET_PATH}: {}",
                path.display()
            ),
            "name a shorter one with --socket or $NBTUNNEL_SOCKET",
        ));
    }
    Ok(())
}

pub(crate) fn beside(socket: &Path, suffix: &str, _env: Env<'_>) -> Result<PathBuf, Fault> {
    let mut name = socket.as_os_str().to_owned();
    name.push(suffix);
    Ok(name.into())
}

pub(crate) fn prepare_around(socket: &Path) -> Result<(), Fault> {
    socket.parent().map_or(Ok(()), prepare_dir)
}

/// A directory that is ours alone, made if it is missing.
pub(crate) fn prepare_dir(dir: &Path) -> Result<(), Fault> {
    let refuse = |why: String, hint: String| {
        Err(Fault::new(FaultCode::Failed, format!("{} {why}", dir.display()), hint))
    };
    let elsewhere = || "name another place with --socket or $NBTUNNEL_SOCKET".to_owned();
    // Not `create_dir_all` semantics alone: what exists is looked at below, without following a link.
    if let Err(error) = DirBuilder::new().recursive(true).mode(0o700).create(dir) {
        return refuse(format!("cannot be made: {error}"), elsewhere());
    }
    let meta = match std::fs::symlink_metadata(dir) {
        Ok(meta) => meta,
        Err(error) => return refuse(format!("cannot be looked at: {error}"), elsewhere()),
    };
    if meta.file_type().is_symlink() {
        return refuse("is a symbolic link, which somebody else may turn".into(), elsewhere());
    }
    if !meta.is_dir() {
        return refuse("is not a directory".into(), elsewhere());
    }
    if meta.uid() != our_uid() {
        return refuse(format!("belongs to uid {}, not to uid {}", meta.uid(), our_uid()), elsewhere());
    }
    let mode = meta.mode() & 0o777;
    if mode & 0o077 != 0 {
        return refuse(
            format!("has mode {mode:04o}, so that others may enter it"),
            format!("close it with `chmod 700 {}`, or {}", dir.display(), elsewhere()),
        );
    }
    Ok(())
}

/// Which file a socket is, so that only our own is ever unlinked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Bound {
    fn new(path: &Path, meta: &Metadata) -> Self {
        Bound { path: path.to_owned(), device: meta.dev(), inode: meta.ino() }
    }

    pub(crate) fn unlink(self) {
        let same =
            std::fs::symlink_metadata(&self.path).is_ok_and(|meta| Bound::new(&self.path, &meta) == self);
        if same {
            // A socket that stays behind is harmless: the next daemon unlinks it under its lock.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Binds, in place of what a dead daemon left. The caller holds the lock.
pub(crate) fn bind(path: &Path) -> Result<(Listener, Bound), Fault> {
    unlink_stale(path)?;
    let listen = |closed: bool| -> io::Result<Listener> {
        let options = ListenerOptions::new().name(path.to_fs_name::<GenericFilePath>()?).reclaim_name(false);
        if closed { options.mode(0o600).create_tokio() } else { options.create_tokio() }
    };
    // macOS cannot set the mode before the name appears; there the directory alone protects that instant.
    let listener = match listen(true) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => listen(false),
        other => other,
    };
    let cannot = |error: io::Error| {
        Fault::new(
            FaultCode::Failed,
            format!("the control socket {} cannot be bound: {error}", path.display()),
            "name another place with --socket or $NBTUNNEL_SOCKET",
        )
    };
    let listener = listener.map_err(cannot)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(cannot)?;
    let meta = std::fs::symlink_metadata(path).map_err(cannot)?;
    Ok((listener, Bound::new(path, &meta)))
}

fn unlink_stale(path: &Path) -> Result<(), Fault> {
    let elsewhere = "move it away, or name another place with --socket or $NBTUNNEL_SOCKET";
    let managed = "start the daemon with `systemctl --user start nbtunneld`, or name another place with \
                   --socket or $NBTUNNEL_SOCKET";
    let refuse = |why: String, hint: &str| {
        Err(Fault::new(FaultCode::Failed, format!("{} {why}", path.display()), hint))
    };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => refuse(format!("cannot be looked at: {error}"), elsewhere),
        Ok(meta) if !meta.file_type().is_socket() => {
            refuse("is there already, and is no socket".into(), elsewhere)
        }
        Ok(_) if is_listened_at(path) => {
            refuse("is listened at already, by a service manager it seems".into(), managed)
        }
        Ok(_) => match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                refuse(format!("cannot be removed: {error}"), elsewhere)
            }
            _ => Ok(()),
        },
    }
}

/// Whether somebody listens there. The lock is ours, so it is no daemon: a service manager keeps the socket for
/// one that it has not started. Taken away from it, nobody could reach the daemons that it starts later.
fn is_listened_at(path: &Path) -> bool {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};
    let knock = || {
        let probe = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        // A full queue then says so at once instead of waiting.
        rustix::io::ioctl_fionbio(&probe, true)?;
        connect(&probe, &SocketAddrUnix::new(path)?)
    };
    matches!(knock(), Ok(()) | Err(rustix::io::Errno::AGAIN))
}

/// A socket that somebody else bound.
pub(crate) type Inherited = std::os::fd::OwnedFd;

/// Adopts a listening socket that somebody else bound.
pub(crate) fn adopt(fd: Inherited) -> Result<Listener, Fault> {
    let refuse = |why: String| {
        Fault::new(
            FaultCode::Failed,
            format!("the socket that was handed over cannot be used: {why}"),
            "it has to be a listening Unix stream socket, as ListenStream= of a systemd.socket(5) unit makes it",
        )
    };
    // Children are not to inherit it.
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).map_err(|e| refuse(e.to_string()))?;
    let std_listener = std::os::unix::net::UnixListener::from(fd);
    std_listener.local_addr().map_err(|e| refuse(e.to_string()))?;
    // Listening once more changes nothing for a socket that listens, fails for one that cannot, and makes the
    // peer that clients see be us, whoever made the socket.
    rustix::net::listen(&std_listener, BACKLOG).map_err(|e| refuse(format!("it cannot listen: {e}")))?;
    let listener = interprocess::os::unix::uds_local_socket::tokio::Listener::try_from(
        std::os::fd::OwnedFd::from(std_listener),
    );
    Ok(listener.map_err(|e| refuse(e.to_string()))?.into())
}

/// Refuses a peer of another uid, root among them: file modes do not hold root off.
/// A socket.
pub(crate) type Raw = std::os::fd::OwnedFd;

/// The socket of `stream`, which some other runtime may take over.
pub(crate) fn raw(stream: Stream) -> io::Result<Raw> {
    // Another descriptor for it: the runtime that knows this one forgets it here.
    match stream {
        Stream::UdSocket(socket) => socket.as_fd().try_clone_to_owned(),
    }
}

pub(crate) fn check_peer(stream: &Stream, who: &str) -> Result<(), Fault> {
    let ours = our_uid();
    let theirs = stream.peer_creds().ok().and_then(|creds| creds.euid());
    if theirs == Some(ours) {
        return Ok(());
    }
    let theirs = theirs.map_or_else(|| "an unknown user".to_owned(), |uid| format!("uid {uid}"));
    Err(Fault::new(
        FaultCode::Failed,
        format!("{who} is {theirs}, but this is uid {ours}"),
        "run both programs as the same user, without sudo",
    ))
}
