//! Sockets that systemd opened for us (`sd_listen_fds(3)`). They are its own: neither bound again nor
//! unlinked by us.

#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::net::{AddressFamily, SocketType, sockopt};

/// A socket that was handed over.
pub use nbtunnel_proto::server::Inherited;

/// The listening Unix stream sockets that were handed to this process; at most once, so that nobody owns
/// one twice. Anything else that was handed over is closed, with a warning.
///
/// To be called first thing in `main`, before any thread is started and any file is opened. What is meant
/// for another process (`LISTEN_PID`) is left alone. Children inherit neither sockets nor variables.
pub fn take_listeners() -> Vec<Inherited> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Vec::new();
    }
    let listeners = match sd_notify::listen_fds() {
        // SAFETY: LISTEN_PID is ours, so these descriptors were left open for us by whoever started us;
        // sd_notify has seen each of them open; and `TAKEN` makes us their only owner.
        Ok(numbers) => {
            numbers.map(|number| unsafe { OwnedFd::from_raw_fd(number) }).filter(listens).collect()
        }
        Err(error) => {
            tracing::warn!(%error, "the sockets that were handed over cannot be used; opening our own");
            Vec::new()
        }
    };
    forget_variables();
    listeners
}

fn listens(socket: &OwnedFd) -> bool {
    let fits = || -> rustix::io::Result<bool> {
        Ok(sockopt::socket_domain(socket)? == AddressFamily::UNIX
            && sockopt::socket_type(socket)? == SocketType::STREAM
            && sockopt::socket_acceptconn(socket)?)
    };
    let fits = fits().unwrap_or(false);
    if !fits {
        tracing::warn!("something was handed over that is no listening Unix socket; it is closed");
    }
    fits
}

/// A child of ours that is started with our number by chance would take them for its own.
fn forget_variables() {
    let threads = std::fs::read_dir("/proc/self/task").map(Iterator::count);
    if !threads.is_ok_and(|count| count == 1) {
        return;
    }
    for variable in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
        // SAFETY: no other thread exists that could read the environment meanwhile.
        unsafe { std::env::remove_var(variable) };
    }
}
