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
    opened: AtomicUsize,
    refused: AtomicUsize,
    other: AtomicUsize,
}

/// Knocks until it is asked for its count, or dropped.
#[derive(Debug)]
pub struct Knocker {
    stop: Arc<AtomicBool>,
    doors: Vec<(SocketAddr, Arc<Counts>)>,
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
        let mut addresses: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into()];
        if net::has_ipv6() {
            addresses.push(Ipv6Addr::LOCALHOST.into());
        }
        let mut knocker = Knocker { stop: Arc::default(), doors: Vec::new(), threads: Vec::new() };
        for ip in addresses {
            let (at, counts) = (SocketAddr::new(ip, port), Arc::<Counts>::default());
            knocker.doors.push((at, Arc::clone(&counts)));
            let stop = Arc::clone(&knocker.stop);
            knocker.threads.push(std::thread::spawn(move || knock(at, &counts, &stop)));
        }
        knocker
    }

    /// What was seen so far, at all addresses together.
    pub fn so_far(&self) -> Knocked {
        let sum = |of: fn(&Counts) -> &AtomicUsize| {
            self.doors.iter().map(|(_, counts)| of(counts).load(Ordering::SeqCst)).sum()
        };
        Knocked {
            opened: sum(|counts| &counts.opened),
            refused: sum(|counts| &counts.refused),
            other: sum(|counts| &counts.other),
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
    /// A connection was refused, or hardly any was made at one of the addresses.
    pub fn finish_parked(mut self) -> Result<Knocked> {
        self.stop();
        let seen = self.so_far();
        ensure!(seen.refused == 0, "{} connections were refused: {seen:?}", seen.refused);
        for (at, counts) in &self.doors {
            let opened = counts.opened.load(Ordering::SeqCst);
            ensure!(opened > 20, "hardly anybody got through the door at {at}: {opened} times, {seen:?}");
        }
        Ok(seen)
    }

    fn stop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
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

fn knock(at: SocketAddr, counts: &Counts, stop: &AtomicBool) {
    let mut due = Instant::now();
    while !stop.load(Ordering::SeqCst) {
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
        // The server is on 127.0.0.1 alone, so whatever knocks on ::1 is refused.
        wait::until("it opens, and is refused where nobody listens", wait::SOON, || {
            let seen = knocker.so_far();
            seen.opened > 100 && (seen.refused > 0) == net::has_ipv6()
        })
        .unwrap();
        assert_eq!(knocker.finish_parked().is_err(), net::has_ipv6(), "a door that never opened goes unseen");
    }
}
