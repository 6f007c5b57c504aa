//! nbctl.
fn main() {}
