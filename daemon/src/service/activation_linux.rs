//! Sockets that systemd hands over (`sd_listen_fds_with_names(3)`): the control socket, which is its own and is
//! neither bound again nor unlinked by us, and the listeners that an earlier daemon left in its store.

#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::net::{AddressFamily, SocketType, sockopt};

use super::store::Handed;

/// A control socket that was handed over.
pub use nbtunnel_proto::server::Inherited;

/// What was handed to this process.
#[derive(Debug, Default)]
pub struct HandedOver {
    /// Listening Unix stream sockets.
    pub control: Vec<Inherited>,
    /// What the descriptor store kept.
    pub forwards: Handed,
}

/// What was handed to this process; at most once, so that nobody owns a socket twice. What is neither from the
/// store nor a listening Unix stream socket is closed, with a warning.
///
/// To be called first thing in `main`, before any thread is started and any file is opened. What is meant
/// for another process (`LISTEN_PID`) is left alone. Children inherit neither sockets nor variables.
pub fn take() -> HandedOver {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let mut taken = HandedOver::default();
    if TAKEN.swap(true, Ordering::AcqRel) {
        return taken;
    }
    match sd_notify::listen_fds_with_names() {
        Ok(all) => {
            for (number, name) in all {
                // SAFETY: LISTEN_PID is ours, so these descriptors were left open for us by whoever started
                // us; sd_notify has seen each of them open; and `TAKEN` makes us their only owner.
                let socket = unsafe { OwnedFd::from_raw_fd(number) };
                if Handed::is_called(&name) {
                    taken.forwards.push(name, socket);
                } else if listens(&socket) {
                    taken.control.push(socket);
                }
            }
        }
        Err(error) => {
            tracing::warn!(%error, "the sockets that were handed over cannot be used; opening our own");
        }
    }
    forget_variables();
    taken
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
