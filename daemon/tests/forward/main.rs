//! Forwards over real local sockets, with the far end in the test's own hands: the seam where SSH comes in.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "helpers of tests stand outside of test functions"
)]

mod binding;
mod holding;
mod pumping;
mod seeking;
mod slowness;
#[allow(dead_code, reason = "shared with the test of exhaustion")]
mod world;
