//! A second path between two [`Networks`] on which every packet is late and some are lost: a relay of packets
//! between two TUN devices. Not for tests of throughput.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::netns::{Networks, run};
use crate::{tun, wait};

/// The address at this end of the slow path.
const HERE: &str = "10.98.0.1/24";
/// The address at its far end.
const THERE: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 2);

/// A slow path, until it is dropped.
#[derive(Debug)]
pub struct Delay {
    stop: Option<UnixStream>,
    relay: Option<JoinHandle<Result<()>>>,
}

impl Delay {
    /// Lays a path on which packets need `one_way`, and of which `lost` in a thousand never arrive. Which ones
    /// is the same in every run.
    ///
    /// # Errors
    /// We are not root, or the kernel has no TUN.
    pub fn between(networks: &Networks, one_way: Duration, lost: u32) -> Result<Delay> {
        let lay = |address: &str| -> Result<File> {
            // The last one went with its file, but a child between fork and exec may hold that a moment longer.
            wait::until("there is no slow path yet", wait::SOON, || {
                std::fs::read_to_string("/proc/thread-self/net/dev").is_ok_and(|all| !all.contains("slow:"))
            })?;
            let device = tun::open("slow")?;
            run("ip", &["address", "add", address, "dev", "slow"])?;
            run("ip", &["link", "set", "slow", "up"])?;
            Ok(device)
        };
        let ends = [networks.here.within(|| lay(HERE))??, networks.there(|| lay(&format!("{THERE}/24")))??];
        let (stop, stopped) = UnixStream::pair()?;
        let relay = std::thread::spawn(move || relay(ends, &stopped, one_way, lost));
        Ok(Delay { stop: Some(stop), relay: Some(relay) })
    }

    /// The address of its far end.
    pub fn there(&self) -> IpAddr {
        THERE.into()
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(relay) = self.relay.take() {
            let _ = relay.join();
        }
    }
}

/// A packet on its way: when it is due, in which order it came, to which end it goes.
type Packet = (Instant, u64, usize, Vec<u8>);

fn relay(mut ends: [File; 2], stopped: &UnixStream, one_way: Duration, lost: u32) -> Result<()> {
    let mut under_way: BinaryHeap<Reverse<Packet>> = BinaryHeap::new();
    let (mut count, mut dice) = (0, Dice(42));
    let mut buffer = vec![0; 1 << 16];
    loop {
        let due = under_way.peek().map(|Reverse((due, ..))| due.saturating_duration_since(Instant::now()));
        let due = due.map(Timespec::try_from).transpose().context("a delay is too long")?;
        let mut ready = [
            PollFd::new(&ends[0], PollFlags::IN),
            PollFd::new(&ends[1], PollFlags::IN),
            PollFd::new(stopped, PollFlags::IN),
        ];
        poll(&mut ready, due.as_ref()).context("cannot wait for packets")?;
        let [.., over] = ready.map(|fd| !fd.revents().is_empty());
        if over {
            return Ok(());
        }
        let now = Instant::now();
        for (end, from) in ends.iter_mut().enumerate() {
            while let Ok(length) = from.read(&mut buffer) {
                if dice.roll() >= lost {
                    count += 1;
                    under_way.push(Reverse((now + one_way, count, 1 - end, buffer[..length].to_vec())));
                }
            }
        }
        while under_way.peek().is_some_and(|Reverse((due, ..))| *due <= now) {
            if let Some(Reverse((_, _, end, packet))) = under_way.pop() {
                // A device that is down or full: a lost packet.
                let _ = ends[end].write(&packet);
            }
        }
    }
}

/// xorshift64 (Marsaglia 2003), which decides what is lost.
struct Dice(u64);

impl Dice {
    /// A number below a thousand.
    fn roll(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as u32 % 1000
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::net;

    /// How long a byte needs to the far end and back.
    fn round_trip(networks: &Networks, delay: &Delay) -> Duration {
        let listener = networks.there(|| TcpListener::bind((delay.there(), 0))).unwrap().unwrap();
        let at = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || -> std::io::Result<()> {
            let (mut stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            std::io::copy(&mut stream.try_clone()?, &mut stream).map(drop)
        });
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(wait::SOON)).unwrap();
        net::echo(&mut stream, b"warm").unwrap();
        let began = Instant::now();
        net::echo(&mut stream, b"x").unwrap();
        let took = began.elapsed();
        drop(stream);
        server.join().unwrap().unwrap();
        took
    }

    #[test]
    fn a_packet_is_as_late_as_was_asked_and_arrives_although_others_are_lost() {
        let networks = Networks::enter().unwrap();
        let quick = Delay::between(&networks, Duration::ZERO, 0).unwrap();
        // A machine that is busy with something else may be slow at one of these, not at each.
        let without = (0..5).map(|_| round_trip(&networks, &quick)).min().unwrap();
        drop(quick);
        let slow = Delay::between(&networks, Duration::from_millis(100), 0).unwrap();
        let with = round_trip(&networks, &slow);
        assert!(with >= Duration::from_millis(200) && with > without, "{with:?}, and {without:?} without");
        drop(slow);
        let lossy = Delay::between(&networks, Duration::ZERO, 100).unwrap();
        assert!(round_trip(&networks, &lossy) < wait::SOON);
    }

    #[test]
    fn about_as_much_is_lost_as_was_asked() {
        let mut dice = Dice(42);
        let lost = (0..100_000).filter(|_| dice.roll() < 50).count();
        assert!((4_000..6_000).contains(&lost), "{lost} of 100000, not about 5000");
    }
}
