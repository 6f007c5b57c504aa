//! Windows: the agent's named pipe; access lists instead of modes, which ssh(1) of Microsoft leaves to the
//! profile directory.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use russh::keys::agent::client::AgentClient;
use socket2::SockRef;
use tokio::net::windows::named_pipe::NamedPipeClient;

/// A connection to an agent.
pub(in crate::ssh) type Agent = AgentClient<NamedPipeClient>;

/// Makes a directory; it inherits the access list of the profile.
pub(in crate::ssh) fn make_private_dir(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

/// Files inherit the access list of their directory.
pub(in crate::ssh) fn private(_options: &mut OpenOptions) {}

/// What is made beside a file inherits the same access list.
pub(in crate::ssh) fn take_the_place_of(was: &Metadata, file: &File) -> io::Result<()> {
    file.set_permissions(was.permissions())
}

/// A file that is open cannot be replaced here by another program.
pub(in crate::ssh) fn is_same_file(_file: &File, _path: &Path) -> bool {
    true
}

/// Where OpenSSH for Windows keeps the system's file.
pub(in crate::ssh) fn known_hosts() -> Vec<PathBuf> {
    std::env::var_os("ProgramData")
        .map(|dir| PathBuf::from(dir).join("ssh").join("ssh_known_hosts"))
        .into_iter()
        .collect()
}

/// There are no mode bits.
pub(in crate::ssh) fn mode(_metadata: &Metadata) -> u32 {
    0
}

/// There are no mode bits that could expose a key.
pub(in crate::ssh) fn is_exposed(_metadata: &Metadata) -> bool {
    false
}

/// The pipe of the agent service that comes with OpenSSH.
pub(in crate::ssh) fn known_agents(_home: &Path) -> Vec<PathBuf> {
    vec![PathBuf::from(r"\\.\pipe\openssh-ssh-agent")]
}

/// Connects to an agent.
///
/// # Errors
/// There is nobody at that pipe.
pub(in crate::ssh) async fn connect_agent(pipe: &Path) -> io::Result<Agent> {
    AgentClient::connect_named_pipe(pipe).await.map_err(|error| match error {
        russh::keys::Error::IO(error) => error,
        other => io::Error::other(other),
    })
}

/// There is no such option; the probes find out.
pub(in crate::ssh) fn bound_silence(_socket: SockRef<'_>, _limit: Duration) -> io::Result<()> {
    Ok(())
}

/// Whether this process, or the machine, ran out of something: WSAEMFILE, WSAENOBUFS,
/// ERROR_TOO_MANY_OPEN_FILES, ERROR_NOT_ENOUGH_MEMORY.
pub(in crate::ssh) fn is_exhausted(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| [10024, 10055, 4, 8].contains(&code))
}
