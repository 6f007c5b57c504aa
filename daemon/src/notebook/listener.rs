//! Who listens at the far end, in the words of its system: Linux's tables, ss, sockstat of the BSDs, lsof.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    /// It shows everybody's sockets.
    Everybodys,
    /// It shows those of whoever asks, and no others.
    Own,
}

impl Table {
    pub(super) fn called(name: &str) -> Option<Table> {
        match name {
            "proc" | "ss" | "sockstat" => Some(Table::Everybodys),
            "lsof" => Some(Table::Own),
            _ => None,
        }
    }
}

/// A socket that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    /// None for every address of both families.
    pub(super) address: Option<IpAddr>,
    pub(super) port: u16,
    pub(super) uid: u32,
    /// None where it is not told.
    pub(super) inode: Option<u64>,
}

impl Listener {
    /// Whether a connection to `address` may come here.
    pub(super) fn answers(&self, address: IpAddr) -> bool {
        match self.address {
            None => true,
            // `::` takes IPv4, too, unless it was told not to: taken for the worse.
            Some(IpAddr::V6(own)) if own.is_unspecified() => true,
            Some(IpAddr::V4(own)) if own.is_unspecified() => address.is_ipv4(),
            Some(own) => own.to_canonical() == address,
        }
    }
}

/// A line of `/proc/net/tcp` or `tcp6`: each 32 bits of the address are in the machine's own order.
pub(super) fn proc(address: &str, port: &str, uid: &str, inode: &str, big_endian: bool) -> Option<Listener> {
    let word = |hex| {
        let bytes = u32::from_str_radix(hex, 16).ok();
        bytes.map(if big_endian { u32::to_be_bytes } else { u32::to_le_bytes })
    };
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(address)?)),
        32 => {
            let mut all = [0; 16];
            for (place, at) in all.chunks_mut(4).zip((0..32).step_by(8)) {
                place.copy_from_slice(&word(address.get(at..at + 8)?)?);
            }
            IpAddr::V6(Ipv6Addr::from(all))
        }
        _ => return None,
    };
    let inode: u64 = inode.parse().ok()?;
    // A socket without an inode is being closed, and its uid says nothing.
    (inode != 0).then_some(())?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(Listener { address: Some(address), port, uid: uid.parse().ok()?, inode: Some(inode) })
}

/// A line of `ss -ltneH`: a uid of 0 is not shown.
pub(super) fn ss(line: &str) -> Option<Listener> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (address, port) = place(fields.get(3)?)?;
    let told = |name: &str| fields.iter().find_map(|field| field.strip_prefix(name));
    let uid = told("uid:").map_or(Some(0), |uid| uid.parse().ok())?;
    Some(Listener { address, port, uid, inode: told("ino:").and_then(|inode| inode.parse().ok()) })
}

/// A line of `sockstat -46lnP tcp`: user, command, process, descriptor, protocol, local and foreign address. The
/// command may hold spaces.
pub(super) fn sockstat(line: &str) -> Option<Listener> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let at = fields.iter().rposition(|field| field.starts_with("tcp"))?;
    let (address, port) = place(fields.get(at + 1)?)?;
    Some(Listener { address, port, uid: fields.first()?.parse().ok()?, inode: None })
}

/// A line of `lsof -F pun`: a letter and a value; the user of a process stands before its sockets.
pub(super) fn lsof(line: &str, user: &mut Option<u32>) -> Option<Listener> {
    match line.split_at_checked(1)? {
        ("p", _) => *user = None,
        ("u", uid) => *user = uid.parse().ok(),
        ("n", name) => {
            let (address, port) = place(name)?;
            return Some(Listener { address, port, uid: (*user)?, inode: None });
        }
        _ => {}
    }
    None
}

/// `127.0.0.1:80`, `[::1]:80`, `*:80`, `127.0.0.53%lo:53`, `:::80`.
fn place(text: &str) -> Option<(Option<IpAddr>, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = host.split('%').next()?;
    let address = if host == "*" { None } else { Some(host.parse().ok()?) };
    Some((address, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str, port: u16, uid: u32, inode: Option<u64>) -> Option<Listener> {
        Some(Listener { address: address.parse().ok(), port, uid, inode })
    }

    #[test]
    fn every_systems_words_are_understood() {
        assert_eq!(proc("0100007F", "1B58", "1000", "42", false), at("127.0.0.1", 7000, 1000, Some(42)));
        assert_eq!(proc("7F000001", "1B58", "0", "42", true), at("127.0.0.1", 7000, 0, Some(42)));
        let ipv6 = "00000000000000000000000001000000";
        assert_eq!(proc(ipv6, "1B58", "0", "42", false), at("::1", 7000, 0, Some(42)));
        assert_eq!(proc("0100007F", "1B58", "0", "0", false), None, "a socket that is being closed");
        let line = "LISTEN 0 128 127.0.0.53%lo:53 0.0.0.0:* uid:101 ino:7 sk:1 cgroup:/a <->";
        assert_eq!(ss(line), at("127.0.0.53", 53, 101, Some(7)));
        assert_eq!(ss("LISTEN 0 128 *:7000 *:* ino:7 sk:1"), at("", 7000, 0, Some(7)));
        assert_eq!(sockstat("1001 python3.11 a 77 5 tcp6 ::1:7000 *:*"), at("::1", 7000, 1001, None));
        let mut user = None;
        let told = ["p7", "u501", "f3", "nlocalhost", "n[::1]:7000"];
        let told: Vec<_> = told.iter().filter_map(|line| lsof(line, &mut user)).collect();
        assert_eq!(told, Vec::from_iter(at("::1", 7000, 501, None)));
        for line in ["", "x", "é", "n", "u", "nfoo:99999", "LISTEN 0 128 [::", "1 2 tcp"] {
            assert_eq!((ss(line), sockstat(line), lsof(line, &mut None)), (None, None, None), "{line}");
        }
    }

    #[test]
    fn who_answers_at_an_address() {
        let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let answers =
            |own: &str| loopback.map(|address| at(own, 1, 1, None).is_some_and(|l| l.answers(address)));
        assert_eq!(answers("127.0.0.1"), [true, false]);
        assert_eq!(answers("0.0.0.0"), [true, false]);
        assert_eq!(answers("::"), [true, true]);
        assert_eq!(answers("*"), [true, true]);
        assert_eq!(answers("::ffff:127.0.0.1"), [true, false]);
        assert_eq!(answers("10.0.0.1"), [false, false]);
    }
}
