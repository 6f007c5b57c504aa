//! A local connection that was accepted.
/// stub
#[derive(Debug)]
pub struct Accepted;
