//! The nbtunnel daemon.
fn main() {}
