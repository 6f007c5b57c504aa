//! Asks the kernel about one TCP socket of this machine by its addresses (sock_diag(7)). The kernel answers while it is
//! being asked, so that nothing here waits.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with,
};

/// Messages of netlink (linux/netlink.h) and of sock_diag (linux/sock_diag.h).
const NLMSG_ERROR: u16 = 2;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;

/// The size of `struct nlmsghdr`, and with it of `inet_diag_req_v2` (linux/inet_diag.h).
const HEADER: usize = 16;
const QUESTION: usize = HEADER + 56;

const IPPROTO_TCP: u8 = 6;
/// A socket that is bound to the loopback device is found only by that device, the first one of every network
/// (LOOPBACK_IFINDEX in net/flow.h); others are found by any.
const LOOPBACK_DEVICE: u32 = 1;

/// States of a TCP socket (net/tcp_states.h).
const ESTABLISHED: u8 = 1;
const FIN_WAIT1: u8 = 4;
const FIN_WAIT2: u8 = 5;
const LISTEN: u8 = 10;

/// What the kernel knows of one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    near: SocketAddr,
    far: SocketAddr,
    state: u8,
    /// Who made it, as this user namespace sees that user.
    pub(super) uid: u32,
    /// 0 once no program has it any more; then `uid` means nothing.
    pub(super) inode: u32,
}

impl Entry {
    /// Whether a program has it, and it is one that may have been accepted at its other end: not one that asks for the
    /// same address again while what it had before is still there.
    pub(super) fn is_connected(&self) -> bool {
        self.inode != 0 && matches!(self.state, ESTABLISHED | FIN_WAIT1 | FIN_WAIT2)
    }

    pub(super) fn listens(&self) -> bool {
        self.state == LISTEN
    }
}

/// A line to the kernel.
#[derive(Debug)]
pub(super) struct Diag {
    socket: OwnedFd,
    asked: u32,
}

impl Diag {
    /// # Errors
    /// There is no such line here: in a sandbox, or for want of descriptors.
    pub(super) fn open() -> io::Result<Diag> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(SOCK_DIAG))?;
        // From now on it takes nothing from anybody but the kernel.
        connect(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Diag { socket, asked: 0 })
    }

    /// A line to nobody.
    #[cfg(test)]
    pub(super) fn broken() -> Diag {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap();
        Diag { socket, asked: 0 }
    }

    /// The socket at `near` that is connected to `far`; or the one that listens at `near`, with
    /// nowhere (address and port zero) for `far`.
    ///
    /// # Errors
    /// The kernel does not say: its answer was lost, or it answers nobody here.
    pub(super) fn entry(&mut self, near: SocketAddr, far: SocketAddr) -> io::Result<Option<Entry>> {
        self.asked = self.asked.wrapping_add(1);
        let question = question(self.asked, near, far);
        if send(&self.socket, &question, SendFlags::empty())? != question.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        loop {
            let mut buffer = [0; 1024];
            let (length, _) = recv(&self.socket, &mut buffer, RecvFlags::empty())?;
            // What answers an earlier question came too late for it.
            if let Some(found) = answer(&buffer[..length.min(buffer.len())], self.asked)? {
                // Where nobody is connected, the kernel names who listens there.
                return Ok(found.filter(|entry| (entry.near, entry.far) == (near, far)));
            }
        }
    }
}

/// `inet_diag_req_v2` behind its header. Addresses and ports are in network order, numbers in the machine's.
fn question(number: u32, near: SocketAddr, far: SocketAddr) -> Vec<u8> {
    let family = if near.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut bytes = Vec::with_capacity(QUESTION);
    bytes.extend((QUESTION as u32).to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    bytes.extend(number.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend([family as u8, IPPROTO_TCP, 0, 0]);
    // In every state.
    bytes.extend([0xff; 4]);
    bytes.extend(near.port().to_be_bytes());
    bytes.extend(far.port().to_be_bytes());
    bytes.extend(octets(near.ip()));
    bytes.extend(octets(far.ip()));
    bytes.extend(LOOPBACK_DEVICE.to_ne_bytes());
    // Whichever socket has these addresses (INET_DIAG_NOCOOKIE).
    bytes.extend([0xff; 8]);
    bytes
}

fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// What the answer to question `number` says: the socket, or that there is none. `None` for another answer.
fn answer(bytes: &[u8], number: u32) -> io::Result<Option<Option<Entry>>> {
    let short = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let bytes = Fields(bytes);
    if bytes.number(8).ok_or_else(short)? != number {
        return Ok(None);
    }
    match u16::from_ne_bytes(bytes.at(4).ok_or_else(short)?) {
        SOCK_DIAG_BY_FAMILY => bytes.entry().ok_or_else(short).map(|entry| Some(Some(entry))),
        NLMSG_ERROR => match i32::from_ne_bytes(bytes.at(HEADER).ok_or_else(short)?).saturating_neg() {
            libc::ENOENT => Ok(Some(None)),
            0 => Err(io::ErrorKind::InvalidData.into()),
            error => Err(io::Error::from_raw_os_error(error)),
        },
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The bytes of an answer, by their places in it.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn at<const N: usize>(&self, place: usize) -> Option<[u8; N]> {
        self.0.get(place..place + N)?.try_into().ok()
    }

    fn number(&self, place: usize) -> Option<u32> {
        self.at(place).map(u32::from_ne_bytes)
    }

    /// `inet_diag_msg` behind its header.
    fn entry(&self) -> Option<Entry> {
        let [family, state] = self.at(HEADER)?;
        let address = |port: usize, ip: usize| {
            let ip = match i32::from(family) {
                libc::AF_INET => IpAddr::from(self.at::<4>(HEADER + ip)?),
                // An IPv4 connection of an IPv6 socket stands there as ::ffff:a.b.c.d.
                _ => IpAddr::from(self.at::<16>(HEADER + ip)?).to_canonical(),
            };
            Some(SocketAddr::new(ip, u16::from_be_bytes(self.at(HEADER + port)?)))
        };
        Some(Entry {
            near: address(4, 8)?,
            far: address(6, 24)?,
            state,
            uid: self.number(HEADER + 64)?,
            inode: self.number(HEADER + 68)?,
        })
    }
}

#[cfg(test)]
#[path = "diag_tests.rs"]
mod tests;
