//! Who owns a socket, for messages. Where the system does not tell, nobody is named. Who may come in is `guard`'s
//! business.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::sys;

/// Whoever owns a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux tells cheaply who it is"))]
pub(super) enum Owner {
    /// This process.
    Process { pid: u32, name: String },
    /// A process of this user, which only that user may look at.
    User(u32),
}

/// Whoever is at the other end of a local connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux tells cheaply who it is"))]
pub(super) enum Caller {
    /// A program of our own user.
    Ourselves,
    /// One of another user, with the inode of its socket.
    Other { uid: u32, inode: u64 },
    /// One that is gone already, so that nobody knows whose it was.
    Gone,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Process { pid, name } => {
                // A process chooses its own name: nothing of it may reach a terminal as a control sequence.
                let name: String = name.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
                write!(f, "{name} (pid {pid})")
            }
            Owner::User(uid) => write!(f, "a program of the user with uid {uid}"),
        }
    }
}

/// A name is a courtesy: a message does not wait longer for it.
const LONGEST_SEARCH: Duration = Duration::from_secs(2);

/// Who listens at `address`.
pub(super) async fn of_listener(address: SocketAddr) -> Option<Owner> {
    search(move || sys::listener_at(address)).await
}

/// Who is at the other end of a connection from `client` to our listener at `ours`.
pub(super) async fn of_client(client: SocketAddr, ours: SocketAddr) -> Option<Owner> {
    search(move || sys::owner_of(client, ours)).await
}

/// The process that has the socket with this inode.
pub(super) async fn with_inode(inode: u64) -> Option<Owner> {
    search(move || sys::process_with(inode)).await
}

async fn search(find: impl FnOnce() -> Option<Owner> + Send + 'static) -> Option<Owner> {
    timeout(LONGEST_SEARCH, spawn_blocking(find)).await.ok()?.ok()?
}
