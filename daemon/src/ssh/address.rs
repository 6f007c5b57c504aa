//! Whether an address is one of this machine.

use std::io::ErrorKind::AddrNotAvailable;
use std::net::{SocketAddr, UdpSocket};

/// Whether `address` can be an end of a connection of this machine. Only a clear no counts: a system that is
/// out of sockets says nothing about addresses. Sends nothing; the port is not looked at.
pub(super) fn is_ours(mut address: SocketAddr) -> bool {
    address.set_port(0);
    !matches!(UdpSocket::bind(address), Err(error) if error.kind() == AddrNotAvailable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_ours_and_an_example_of_the_documentation_is_not() {
        assert!(is_ours("127.0.0.1:22".parse().unwrap()));
        // RFC 5737: nobody has this one.
        assert!(!is_ours("192.0.2.1:22".parse().unwrap()));
    }
}
