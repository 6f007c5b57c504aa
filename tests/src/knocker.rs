//! Knocks on a port 200 times a second on 127.0.0.1 and on ::1, to see that it is never refused.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::{net, wait};

/// Between two knocks on one address.
const EVERY: Duration = Duration::from_millis(5);

#[derive(Debug, Default)]
struct Counts {
    stop: AtomicBool,
    opened: AtomicUsize,
    refused: AtomicUsize,
    other: AtomicUsize,
}

/// Knocks until it is asked for its count, or dropped.
#[derive(Debug)]
pub struct Knocker {
    counts: Arc<Counts>,
    threads: Vec<JoinHandle<()>>,
}

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knocked {
    /// Connections that opened.
    pub opened: usize,
    /// "Connection refused".
    pub refused: usize,
    /// Other failures.
    pub other: usize,
}

impl Knocker {
    /// Begins to knock on `port`, at 127.0.0.1 and, where this machine has it, at ::1.
    pub fn start(port: u16) -> Knocker {
        let counts = Arc::new(Counts::default());
        let mut addresses: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into()];
        if net::has_ipv6() {
            addresses.push(Ipv6Addr::LOCALHOST.into());
        }
        let threads = addresses
            .into_iter()
            .map(|ip| {
                let counts = Arc::clone(&counts);
                std::thread::spawn(move || knock(SocketAddr::new(ip, port), &counts))
            })
            .collect();
        Knocker { counts, threads }
    }

    /// What was seen so far.
    pub fn so_far(&self) -> Knocked {
        let of = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        Knocked {
            opened: of(&self.counts.opened),
            refused: of(&self.counts.refused),
            other: of(&self.counts.other),
        }
    }

    /// Stops, and checks that nothing was refused or failed otherwise.
    ///
    /// # Errors
    /// A connection was refused or failed otherwise, or hardly any was made.
    pub fn finish(self) -> Result<Knocked> {
        let seen = self.finish_parked()?;
        ensure!(seen.other == 0, "{} connections failed: {seen:?}", seen.other);
        Ok(seen)
    }

    /// Stops, and checks that nothing was refused, where the tunnel was parked meanwhile: then connections
    /// are reset at once, and some see that before they know that they are open.
    ///
    /// # Errors
    /// A connection was refused, or hardly any was made.
    pub fn finish_parked(mut self) -> Result<Knocked> {
        self.stop();
        let seen = self.so_far();
        ensure!(seen.refused == 0, "{} connections were refused: {seen:?}", seen.refused);
        ensure!(seen.opened > 20, "hardly anybody knocked: {seen:?}");
        Ok(seen)
    }

    fn stop(&mut self) {
        self.counts.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Knocker {
    fn drop(&mut self) {
        self.stop();
    }
}

fn knock(at: SocketAddr, counts: &Counts) {
    let mut due = Instant::now();
    while !counts.stop.load(Ordering::SeqCst) {
        match TcpStream::connect_timeout(&at, Duration::from_secs(5)) {
            Ok(stream) => {
                counts.opened.fetch_add(1, Ordering::SeqCst);
                // A reset: one that only closes would count as a request that waits for its answer.
                let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            }
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => {
                counts.refused.fetch_add(1, Ordering::SeqCst);
            }
            Err(_) => {
                counts.other.fetch_add(1, Ordering::SeqCst);
            }
        }
        // After a stall it goes on at its rate, without a burst.
        due = (due + EVERY).max(Instant::now());
        wait::pace(due);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Server;

    #[test]
    fn a_refusal_does_not_go_unseen() {
        let knocker = Knocker::start(net::free_port().unwrap());
        wait::until("it is refused", wait::SOON, || knocker.so_far().refused > 30).unwrap();
        assert!(knocker.finish().unwrap_err().to_string().contains("refused"));
    }

    #[test]
    fn an_open_port_is_counted_as_open() {
        let server = Server::echo().unwrap();
        let knocker = Knocker::start(server.port());
        wait::until("it opens", wait::SOON, || knocker.so_far().opened > 100).unwrap();
        let seen = knocker.so_far();
        // The server is on 127.0.0.1 alone, so whatever knocks on ::1 is refused.
        assert_eq!(seen.refused > 0, net::has_ipv6());
    }
}
