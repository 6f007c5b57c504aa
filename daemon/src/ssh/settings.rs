//! How our sessions are set up. Each setting that differs from the library's has its reason beside it.

use std::borrow::Cow;
use std::time::Duration;

use russh::client::Config;
use russh::{Limits, Preferred, SshId};

/// The version line with which we begin (RFC 4253 §4.2).
pub(super) const GREETING: &[u8] = concat!("SSH-2.0-nbtunnel_", env!("CARGO_PKG_VERSION"), "\r\n").as_bytes();

/// The settings of one session, in which `preferred` is spoken; into each channel a server may send `window` bytes
/// before it has to wait.
pub(super) fn settings(preferred: Preferred, window: u32) -> Config {
    Config {
        // What `GREETING` said.
        client_id: SshId::Standard(Cow::Borrowed(concat!("SSH-2.0-nbtunnel_", env!("CARGO_PKG_VERSION")))),
        // A rekey that we start kills a busy session (more than two windows of data in flight count as an
        // attack); servers start theirs in time, and that works. The fields are set one by one because
        // the constructor refuses limits above 1 GiB.
        limits: Limits {
            rekey_write_limit: usize::MAX,
            rekey_read_limit: usize::MAX,
            rekey_time_limit: Duration::from_secs(10 * 365 * 24 * 60 * 60),
        },
        window_size: window,
        maximum_packet_size: 32768,
        preferred,
        // Silence is core's business: it probes, and decides what an unanswered probe means.
        inactivity_timeout: None,
        keepalive_interval: None,
        ..Config::default()
    }
}
