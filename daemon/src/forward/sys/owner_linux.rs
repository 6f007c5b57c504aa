//! Who owns a socket, as Linux tells. For messages: its inode in `/proc/net/tcp` (proc_pid_net(5)), and the process
//! that has the inode among its descriptors. Other users' descriptors cannot be read; then their uid is known.
//! To decide who may come in: the kernel's word on that one socket, by `diag`.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::LazyLock;

use super::super::owner::{Caller, Owner};
use super::diag::{Diag, Entry};

/// Whether this system tells whose the other end of a local connection is.
pub(in super::super) const TELLS_CALLERS: bool = true;

/// Knows whose the other ends of local connections are.
#[derive(Debug, Default)]
pub(in super::super) struct Callers {
    line: Option<Diag>,
}

impl Callers {
    /// Whether it can be told who comes in at `listener`.
    ///
    /// # Errors
    /// Why not.
    pub(in super::super) fn are_told(&mut self, listener: SocketAddr) -> io::Result<()> {
        others_are_told_apart()?;
        let nowhere = match listener.ip() {
            IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        // We listen there, so that whoever knows the sockets of this network knows that one.
        match self.entry(listener, SocketAddr::new(nowhere, 0))? {
            Some(entry) if entry.listens() => Ok(()),
            _ => Err(io::Error::other("the kernel does not show the sockets of this network")),
        }
    }

    /// Who is at the other end of a connection from `peer` that was accepted at `ours`.
    ///
    /// # Errors
    /// The kernel does not say.
    pub(in super::super) fn caller(&mut self, peer: SocketAddr, ours: SocketAddr) -> io::Result<Caller> {
        others_are_told_apart()?;
        match self.entry(peer, ours)?.filter(Entry::is_connected) {
            Some(entry) if entry.uid == rustix::process::geteuid().as_raw() => Ok(Caller::Ourselves),
            Some(entry) => Ok(Caller::Other { uid: entry.uid, inode: entry.inode.into() }),
            // Where the kernel says that of every socket, it means nothing.
            None => self.are_told(ours).map(|()| Caller::Gone),
        }
    }

    /// Asks once more, over another line if there is one to be had, if the answer does not come.
    fn entry(&mut self, near: SocketAddr, far: SocketAddr) -> io::Result<Option<Entry>> {
        self.entry_by_this_line(near, far).or_else(|_| {
            self.line = Diag::open().ok().or(self.line.take());
            self.entry_by_this_line(near, far)
        })
    }

    fn entry_by_this_line(&mut self, near: SocketAddr, far: SocketAddr) -> io::Result<Option<Entry>> {
        let line = match &mut self.line {
            Some(line) => line,
            none => none.insert(Diag::open()?),
        };
        line.entry(near, far)
    }
}

/// States of a TCP socket in `/proc/net/tcp` (include/net/tcp_states.h).
const ESTABLISHED: &str = "01";
const CLOSE_WAIT: &str = "08";
const LISTEN: &str = "0A";

/// How many descriptors are looked at, over all processes: a bound on the work on a crowded machine.
const MOST_DESCRIPTORS: usize = 200_000;

/// The uid as which all users are shown who are not known in our user namespace, if there are any
/// (user_namespaces(7)).
static UNKNOWN_USERS: LazyLock<Option<u32>> = LazyLock::new(|| {
    let everybody_is_known = fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]));
    let uid = fs::read_to_string("/proc/sys/kernel/overflowuid").ok().and_then(|uid| uid.trim().parse().ok());
    (!everybody_is_known).then(|| uid.unwrap_or(65534))
});

fn others_are_told_apart() -> io::Result<()> {
    let ours = rustix::process::geteuid().as_raw();
    if *UNKNOWN_USERS == Some(ours) {
        return Err(io::Error::other(format!("in this container others look like us, uid {ours}")));
    }
    Ok(())
}

/// Who listens at `address`, or at every address with its port.
pub(in super::super) fn listener_at(address: SocketAddr) -> Option<Owner> {
    find(|row| {
        row.state == LISTEN
            && row.near.port() == address.port()
            && (row.near.ip() == address.ip()
                || row.near.ip().is_unspecified()
                || address.ip().is_unspecified())
    })
}

/// Who owns the near end of the connection from `near` to `far`.
pub(in super::super) fn owner_of(near: SocketAddr, far: SocketAddr) -> Option<Owner> {
    find(|row| (row.state == ESTABLISHED || row.state == CLOSE_WAIT) && row.near == near && row.far == far)
}

/// The process with this id, if it can be named.
pub(in super::super) fn process(pid: u32) -> Option<Owner> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(Owner::Process { pid, name: name.trim_end().to_owned() })
}

struct Row<'a> {
    near: SocketAddr,
    far: SocketAddr,
    state: &'a str,
    uid: u32,
    inode: u64,
}

fn find(wanted: impl Fn(&Row<'_>) -> bool) -> Option<Owner> {
    let (uid, inode) = ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| {
        let text = fs::read_to_string(table).ok()?;
        // A socket that nobody owns any more has inode 0 (and shows uid 0, which is not true).
        let row = text.lines().skip(1).filter_map(row).find(|row| row.inode != 0 && wanted(row))?;
        Some((row.uid, row.inode))
    })?;
    Some(process_with(inode).unwrap_or(Owner::User(uid)))
}

/// `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …`
fn row(line: &str) -> Option<Row<'_>> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    Some(Row {
        near: address(fields.get(1)?)?,
        far: address(fields.get(2)?)?,
        state: fields.get(3)?,
        uid: fields.get(7)?.parse().ok()?,
        inode: fields.get(9)?.parse().ok()?,
    })
}

/// `0100007F:1770`: words of 32 bits in the machine's byte order, then the port.
fn address(field: &str) -> Option<SocketAddr> {
    let (ip, port) = field.split_once(':')?;
    let words = (0..ip.len() / 8).map(|i| u32::from_str_radix(ip.get(8 * i..8 * i + 8)?, 16).ok());
    let bytes: Vec<u8> = words.collect::<Option<Vec<u32>>>()?.iter().flat_map(|w| w.to_ne_bytes()).collect();
    let ip: IpAddr = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(four) => Ipv4Addr::from(four).into(),
        // An IPv4 connection of an IPv6 socket stands there as ::ffff:a.b.c.d.
        Err(_) => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)).to_canonical(),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// The process that has the socket with this inode among its descriptors, as far as they can be read.
pub(in super::super) fn process_with(inode: u64) -> Option<Owner> {
    let link = format!("socket:[{inode}]");
    let mut left = MOST_DESCRIPTORS;
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(entry.path().join("fd")) else { continue };
        for descriptor in descriptors.flatten() {
            if fs::read_link(descriptor.path()).is_ok_and(|to| to == Path::new(&link)) {
                return process(pid);
            }
            left = left.checked_sub(1)?;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn me() -> Owner {
        process(std::process::id()).unwrap()
    }

    #[test]
    fn a_listener_and_both_ends_of_a_connection_are_found() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(host) else { continue };
            let at = listener.local_addr().unwrap();
            assert_eq!(listener_at(at), Some(me()));
            let client = TcpStream::connect(at).unwrap();
            let near = client.local_addr().unwrap();
            assert_eq!(owner_of(near, at), Some(me()));
            assert_eq!(owner_of(at, at), None);
            drop(listener);
            // Another test's child may hold the descriptor between its fork and its exec.
            let gone = (0..500).any(|_| {
                let owner = listener_at(at);
                if owner.is_some() {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
                owner.is_none()
            });
            assert!(gone, "a closed listener still has an owner");
        }
    }

    #[test]
    fn who_comes_in_is_told_also_when_the_line_to_the_kernel_broke() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let client = TcpStream::connect(at).unwrap();
        let near = client.local_addr().unwrap();
        let mut callers = Callers { line: Some(Diag::broken()) };
        assert_eq!(callers.caller(near, at).unwrap(), Caller::Ourselves);
        assert_eq!(callers.caller(SocketAddr::new(at.ip(), 1), at).unwrap(), Caller::Gone);
        drop(listener);
        // As where the kernel knows none of the sockets of this network.
        let unknown = (0..500).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            callers.are_told(at).is_err() && callers.caller(SocketAddr::new(at.ip(), 1), at).is_err()
        });
        assert!(unknown, "nothing is known there, and that is not said");
    }

    #[test]
    fn a_line_that_makes_no_sense_is_passed_over() {
        for line in ["", "0: x y", "0: 0100007F 0100007F:1 0A 0 0 0 0 0 1", "0: 01:1 01:1 0A 0 0 0 0 0 1"] {
            assert!(row(line).is_none(), "{line}");
        }
    }
}
