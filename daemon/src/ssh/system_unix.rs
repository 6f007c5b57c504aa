//! Unix: modes, owners, where agents are, and TCP_USER_TIMEOUT where there is one.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use russh::keys::agent::client::AgentClient;
use socket2::SockRef;
use tokio::net::UnixStream;

/// A connection to an agent.
pub(in crate::ssh) type Agent = AgentClient<UnixStream>;

/// Makes a directory that only its owner can enter.
pub(in crate::ssh) fn make_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A file made with these options is only its owner's.
pub(in crate::ssh) fn private(options: &mut OpenOptions) {
    options.mode(0o600);
}

/// Whether `file` is what `path` leads to now.
pub(in crate::ssh) fn is_same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// Gives `file` the owner, the group and the mode of what it is to stand in the place of.
///
/// # Errors
/// That is another's, and nothing may be given away: who reads it now could not do so any more.
pub(in crate::ssh) fn take_the_place_of(was: &Metadata, file: &File) -> io::Result<()> {
    let is = file.metadata()?;
    let mut mode = was.mode() & 0o7777;
    if (is.uid(), is.gid()) != (was.uid(), was.gid()) {
        let given = std::os::unix::fs::fchown(file, Some(was.uid()), Some(was.gid()));
        if is.uid() != was.uid() {
            given?;
        } else if given.is_err() {
            // A group that we are not in: what it might do is not for another one.
            mode &= !0o070;
        }
    }
    file.set_permissions(Permissions::from_mode(mode))
}

/// The bits of the mode that decide who may read it.
pub(in crate::ssh) fn mode(metadata: &Metadata) -> u32 {
    metadata.mode() & 0o7777
}

/// Whether a private key of ours can be read by others: the rule of ssh(1), which leaves keys of other
/// owners (root's, on a managed machine) to those.
pub(in crate::ssh) fn is_exposed(metadata: &Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o077 != 0
}

/// `GlobalKnownHostsFile` of ssh_config(5).
pub(in crate::ssh) fn known_hosts() -> Vec<PathBuf> {
    vec!["/etc/ssh/ssh_known_hosts".into(), "/etc/ssh/ssh_known_hosts2".into()]
}

/// Where agents usually are: those of the desktops, the one that OpenSSH brings for systemd, those of GnuPG and
/// 1Password.
pub(in crate::ssh) fn known_agents(home: &Path) -> Vec<PathBuf> {
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let in_runtime_dir =
        ["gcr/ssh", "keyring/ssh", "ssh-agent.socket", "openssh_agent", "gnupg/S.gpg-agent.ssh"];
    let in_home = [
        ".gnupg/S.gpg-agent.ssh",
        ".1password/agent.sock",
        "Library/Group Containers/2BUA8C4S2C.com.1password/t/agent.sock",
    ];
    let mut known: Vec<PathBuf> =
        runtime_dir.iter().flat_map(|dir| in_runtime_dir.map(|name| dir.join(name))).collect();
    known.extend(in_home.map(|name| home.join(name)));
    known
}

/// Connects to an agent.
///
/// # Errors
/// There is nobody at that socket.
pub(in crate::ssh) async fn connect_agent(socket: &Path) -> io::Result<Agent> {
    Ok(AgentClient::connect(UnixStream::connect(socket).await?))
}

/// Bytes that nobody acknowledges for so long end the connection (tcp(7)). Only Linux has it per socket;
/// elsewhere the probes find out.
pub(in crate::ssh) fn bound_silence(socket: SockRef<'_>, limit: Duration) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(limit))?;
    #[cfg(not(target_os = "linux"))]
    let _ = (socket, limit);
    Ok(())
}

/// Whether this process, or the machine, ran out of something.
pub(in crate::ssh) fn is_exhausted(error: &io::Error) -> bool {
    let all = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EAGAIN];
    error.raw_os_error().is_some_and(|code| all.contains(&code))
}
