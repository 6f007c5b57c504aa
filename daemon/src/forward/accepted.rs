//! A local connection that was accepted.

/// A local connection on its way to the far end.
#[derive(Debug)]
pub struct Accepted {
    origin: (String, u16),
}

impl Accepted {
    /// The address and port it comes from, as `direct-tcpip` tells them (RFC 4254 §7.2).
    pub fn origin(&self) -> (String, u16) {
        self.origin.clone()
    }
}
