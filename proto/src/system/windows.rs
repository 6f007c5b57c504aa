//! Windows: a named pipe that carries the user's SID in its name and lets in that user and the system alone.

use std::io;
use std::path::{Path, PathBuf};

use interprocess::local_socket::prelude::*;
use interprocess::local_socket::tokio::{Listener, Stream};
use interprocess::local_socket::{GenericFilePath, ListenerOptions};
use interprocess::os::windows::local_socket::ListenerOptionsExt;
use interprocess::os::windows::security_descriptor::SecurityDescriptor;
use widestring::U16CString;

use super::windows_sid::{our_sid, sid_of_process};
use crate::endpoint::Env;
use crate::fault::{Fault, FaultCode};
use crate::places::{NAME_CONFIG_DIR, home_var};

/// What every pipe of this machine begins with.
const PIPES: &str = r"\\.\pipe\";

pub(crate) fn config_home(env: Env<'_>) -> Result<PathBuf, Fault> {
    home_var(env, "APPDATA", "where the configuration is", NAME_CONFIG_DIR)
}

pub(crate) fn state_home(env: Env<'_>) -> Result<PathBuf, Fault> {
    home_var(env, "LOCALAPPDATA", "where to keep lasting state", "make that directory")
}

fn no_sid(error: io::Error) -> Fault {
    Fault::new(
        FaultCode::Failed,
        format!("Windows does not tell which user this is: {error}"),
        r"name the pipe with --socket, as in \\.\pipe\nbtunnel-me",
    )
}

/// A pipe.
pub(crate) type Raw = Stream;

/// The pipe as it is: it belongs to the runtime that it was made in.
pub(crate) fn raw(stream: Stream) -> io::Result<Raw> {
    Ok(stream)
}

pub(crate) fn default_endpoint(_env: Env<'_>) -> Result<PathBuf, Fault> {
    Ok(PathBuf::from(format!("{PIPES}nbtunnel-{}", our_sid().map_err(no_sid)?)))
}

pub(crate) fn check_endpoint(path: &Path) -> Result<(), Fault> {
    let name = path.to_str().and_then(|path| path.strip_prefix(PIPES)).unwrap_or_default();
    // CreateNamedPipe: at most 256 characters in all, and no further backslash.
    if name.is_empty() || name.contains('\\') || PIPES.len() + name.len() > 256 {
        return Err(Fault::new(
            FaultCode::Usage,
            format!("{} is not the name of a pipe of this machine", path.display()),
            r"give --socket (or $NBTUNNEL_SOCKET) a name such as \\.\pipe\nbtunnel-me",
        ));
    }
    Ok(())
}

/// Pipes have no directory: what belongs to one lies in the local application data, under its name.
pub(crate) fn beside(pipe: &Path, suffix: &str, env: Env<'_>) -> Result<PathBuf, Fault> {
    let name = pipe.to_str().and_then(|path| path.strip_prefix(PIPES)).unwrap_or("nbtunnel");
    Ok(state_home(env)?.join("nbtunnel").join("run").join(format!("{name}{suffix}")))
}

pub(crate) fn prepare_around(_pipe: &Path) -> Result<(), Fault> {
    Ok(())
}

/// The profile's own access list already keeps other users out.
pub(crate) fn prepare_dir(dir: &Path) -> Result<(), Fault> {
    std::fs::create_dir_all(dir).map_err(|error| {
        Fault::new(
            FaultCode::Failed,
            format!("{} cannot be made: {error}", dir.display()),
            "make sure that %LOCALAPPDATA% can be written to",
        )
    })
}

/// A pipe ends with its last handle: nothing is left to unlink.
#[derive(Debug)]
pub(crate) struct Bound;

impl Bound {
    pub(crate) fn unlink(self) {}
}

/// Binds. The default access list would let everyone read, so we name our own.
pub(crate) fn bind(path: &Path) -> Result<(Listener, Bound), Fault> {
    let listen = || -> io::Result<Listener> {
        let list = format!("D:P(A;;GA;;;{})(A;;GA;;;SY)", our_sid()?);
        let list = U16CString::from_str(list).map_err(io::Error::other)?;
        ListenerOptions::new()
            .name(path.to_fs_name::<GenericFilePath>()?)
            .reclaim_name(false)
            .security_descriptor(SecurityDescriptor::deserialize(&list)?)
            .create_tokio()
    };
    let listener = listen().map_err(|error| {
        Fault::new(
            FaultCode::Failed,
            format!("the control pipe {} cannot be made: {error}", path.display()),
            "name another one with --socket or $NBTUNNEL_SOCKET",
        )
    })?;
    Ok((listener, Bound))
}

/// A socket that somebody else bound: nobody hands pipes over.
#[derive(Debug)]
pub enum Inherited {}

/// Nothing to adopt.
pub(crate) fn adopt(pipe: Inherited) -> Result<Listener, Fault> {
    match pipe {}
}

/// Refuses a peer whose process belongs to somebody else: a name can be taken before we come.
pub(crate) fn check_peer(stream: &Stream, who: &str) -> Result<(), Fault> {
    let same = || -> io::Result<bool> {
        let pid = stream.peer_creds()?.pid().ok_or(io::ErrorKind::NotFound)?;
        Ok(sid_of_process(pid)? == our_sid()?)
    };
    if same().unwrap_or(false) {
        return Ok(());
    }
    Err(Fault::new(
        FaultCode::Failed,
        format!("{who} belongs to another user"),
        "run both programs as the same user, neither of them as administrator",
    ))
}
