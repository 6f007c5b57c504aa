//! Stands in for the Linux file elsewhere: who is at the other end is not asked, and the random path alone decides.

use std::net::SocketAddr;

/// Nothing is known of whoever comes.
pub(super) fn may_enter(_: SocketAddr, _: SocketAddr) -> bool {
    true
}
