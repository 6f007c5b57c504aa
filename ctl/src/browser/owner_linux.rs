//! Whose program is at the other end of a loopback connection, by the kernel's table of them (proc(5), `net/tcp`).

use std::net::{IpAddr, SocketAddr};

/// Whether the program at `peer`, which is connected to us at `here`, is this user's. Root sees all that we have in any
/// case, and stands behind the browser where that runs outside, as with WSL. A kernel that does not tell is no reason
/// to keep everybody out: nobody else knows the path.
pub(super) fn may_enter(peer: SocketAddr, here: SocketAddr) -> bool {
    let us = rustix::process::getuid().as_raw();
    // The table is read in pieces, and one that changes meanwhile may lack a line.
    for _ in 0..3 {
        let Ok(table) = std::fs::read_to_string("/proc/net/tcp") else { return true };
        if let Some(uid) = owner(&table, peer, here) {
            return uid == us || uid == 0;
        }
    }
    false
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
        let look = || owner(&std::fs::read_to_string("/proc/net/tcp").unwrap(), peer, here);
        assert_eq!(look(), Some(rustix::process::getuid().as_raw()));
        assert!(may_enter(peer, here));
        drop(client);
        assert_eq!(look(), None);
        assert!(!may_enter(peer, here));
    }
}
