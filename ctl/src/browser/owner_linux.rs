//! Whose program is at the other end of a loopback connection, by the kernel's table of them (proc(5), `net/tcp`). One
//! line is looked for by its text: that is less than a reader of the whole table, or a question to the daemon, would be.

use std::net::{IpAddr, SocketAddr};

const TABLE: &str = "/proc/net/tcp";

/// Whether it can be told whose a connection is.
pub(super) fn are_told() -> bool {
    std::fs::File::open(TABLE).is_ok()
}

/// Whether the program at `peer`, which is connected to us at `here`, is this user's; none: nobody can tell. Root sees
/// all that we have in any case, and stands behind the browser where that runs outside, as with WSL.
pub(super) fn is_ours(peer: SocketAddr, here: SocketAddr) -> Option<bool> {
    let us = rustix::process::getuid().as_raw();
    // The table is read in pieces, and one that changes meanwhile may lack a line.
    for _ in 0..3 {
        let table = std::fs::read_to_string(TABLE).ok()?;
        if let Some(uid) = owner(&table, peer, here) {
            return Some(uid == us || uid == 0);
        }
    }
    // What a Windows browser opens in WSL's mirrored network has no end in this table.
    let release = rustix::system::uname();
    if is_wsl(&release.release().to_string_lossy()) { None } else { Some(false) }
}

/// Whether this is the Linux of a Windows, by the release of its kernel: `5.15.90.1-microsoft-standard-WSL2`,
/// `4.4.0-19041-Microsoft`.
fn is_wsl(release: &str) -> bool {
    release.to_ascii_lowercase().contains("microsoft")
}

/// The user of the socket from `from` to `to`. One that is closed already is nobody's, although it is written down as
/// root's.
fn owner(table: &str, from: SocketAddr, to: SocketAddr) -> Option<u32> {
    let (from, to) = (written(from)?, written(to)?);
    table.lines().skip(1).find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (local, remote) = (words.nth(1)?, words.next()?);
        if local != from || remote != to {
            return None;
        }
        // State, queues, timer and retransmissions stand between.
        let (uid, inode) = (words.nth(4)?, words.nth(1)?);
        if inode == "0" { None } else { uid.parse().ok() }
    })
}

/// An address as the table has it: in the order of this machine's bytes.
fn written(address: SocketAddr) -> Option<String> {
    let IpAddr::V4(ip) = address.ip() else { return None };
    Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), address.port()))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_is_its_users_while_it_is_open_and_nobodys_afterwards() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = listener.local_addr().unwrap();
        let client = TcpStream::connect(here).unwrap();
        let (_accepted, peer) = listener.accept().unwrap();
        let look = || owner(&std::fs::read_to_string(TABLE).unwrap(), peer, here);
        assert_eq!(look(), Some(rustix::process::getuid().as_raw()));
        assert_eq!(is_ours(peer, here), Some(true));
        drop(client);
        // Another test's child may hold the descriptor between its fork and its exec.
        let gone = (0..500).any(|_| {
            let owner = look();
            if owner.is_some() {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            owner.is_none()
        });
        assert!(gone, "a closed connection still has an owner");
        assert_eq!(is_ours(peer, here), Some(false));
    }

    #[test]
    fn the_linux_of_a_windows_is_known_by_its_kernel() {
        for (release, expected) in [
            ("5.15.90.1-microsoft-standard-WSL2", true),
            ("4.4.0-19041-Microsoft", true),
            ("6.1.0-18-amd64", false),
            ("", false),
        ] {
            assert_eq!(is_wsl(release), expected, "{release}");
        }
    }
}
