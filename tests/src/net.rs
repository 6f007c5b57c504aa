//! Ports that nobody uses, and streams whose every byte is known beforehand.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use socket2::{Domain, Socket, Type};

/// Where ports are looked for: below Linux' ephemeral range (`ip_local_port_range`), so that no outgoing
/// connection takes one that we are about to use.
const LOWEST: u16 = 12_000;
/// Ports are claimed by the block.
const BLOCK: u16 = 500;
const BLOCKS: u16 = 40;

/// The block that this process holds. Its file is locked for as long as the process lives, so that no other
/// test process is given a port between our look at it and the moment when somebody binds it.
#[derive(Debug)]
struct Claim {
    _lock: File,
    first: u16,
    next: u16,
}

/// A TCP port that is free on 127.0.0.1 and, where there is one, on ::1; given to nobody else.
///
/// # Errors
/// None of many was free.
pub fn free_port() -> Result<u16> {
    static CLAIM: Mutex<Option<Claim>> = Mutex::new(None);
    let mut claim = CLAIM.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let held = match claim.as_mut().filter(|held| held.next < BLOCK) {
            Some(held) => held,
            None => {
                // The old block stays claimed: its ports are in use.
                std::mem::forget(claim.take());
                claim.insert(claim_block()?)
            }
        };
        let port = held.first + held.next;
        held.next += 1;
        if is_free(port) {
            return Ok(port);
        }
    }
}

/// Claims a block that no other process holds.
fn claim_block() -> Result<Claim> {
    let dir = std::env::temp_dir();
    for block in 0..BLOCKS {
        let path = dir.join(format!("nbtunnel-test-ports-{block}.lock"));
        // One that belongs to another user is as good as claimed.
        let Ok(lock) = File::options().create(true).append(true).open(&path) else { continue };
        if lock.try_lock().is_ok() {
            return Ok(Claim { _lock: lock, first: LOWEST + block * BLOCK, next: 0 });
        }
    }
    bail!("found no free TCP port from {LOWEST} on: every block in {} is claimed", dir.display())
}

/// A listener on 127.0.0.1 with a port of its own.
///
/// # Errors
/// As [`free_port`], or listening is not possible at all.
pub fn listener() -> Result<TcpListener> {
    loop {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, free_port()?)) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error).context("cannot listen on 127.0.0.1"),
        }
    }
}

/// Whether nobody listens there, as an error if somebody does; by a socket that never listens.
///
/// # Errors
/// Somebody listens there, or it is no address of this machine.
pub fn may_bind(at: SocketAddr) -> std::io::Result<()> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&at.into())
}

/// Whether nobody listens at `port`. Looked at by sockets that never listen and let others have their port: a child
/// between fork and exec, which holds them a moment longer, neither answers there nor is in the way.
fn is_free(port: u16) -> bool {
    let bind = |ip: IpAddr| may_bind(SocketAddr::from((ip, port)));
    let (v4, v6) = (bind(Ipv4Addr::LOCALHOST.into()), bind(Ipv6Addr::LOCALHOST.into()));
    let taken = v6.is_err_and(|e| e.kind() == std::io::ErrorKind::AddrInUse);
    v4.is_ok() && !taken
}

/// Whether this machine has an IPv6 loopback.
pub fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

/// Connects to 127.0.0.1.
///
/// # Errors
/// It was refused, or a time limit could not be set.
pub fn connect(port: u16, patience: Duration) -> Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("cannot connect to 127.0.0.1:{port}"))?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends `bytes` to an echo server and expects them back.
///
/// # Errors
/// Something else came back, or nothing in time.
pub fn echo(stream: &mut TcpStream, bytes: &[u8]) -> Result<()> {
    stream.write_all(bytes).context("cannot send to the echo")?;
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).context("the echo did not answer")?;
    ensure!(back == bytes, "the echo answered something else");
    Ok(())
}

/// Whether a fresh connection to `port` is carried to an echo at its other end.
pub fn echoes(port: u16, patience: Duration) -> bool {
    connect(port, patience).and_then(|mut stream| echo(&mut stream, b"are you there?")).is_ok()
}

/// A prime, so that no buffer size is a multiple of it.
const PERIOD: usize = 65_521;

/// A stream of bytes that depends on `seed`, and tells where it was cut, doubled or swapped.
#[derive(Clone, Debug)]
pub struct Pattern {
    table: Vec<u8>,
    at: usize,
}

impl Pattern {
    /// The pattern of that seed, from its beginning.
    pub fn new(seed: u64) -> Pattern {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let table = (0..PERIOD)
            .map(|_| {
                // xorshift64 (Marsaglia 2003): cheap, and no two seeds look alike.
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[3]
            })
            .collect();
        Pattern { table, at: 0 }
    }

    /// The next bytes, at most `most`.
    pub fn next(&mut self, most: usize) -> &[u8] {
        let from = self.at;
        let to = PERIOD.min(from + most);
        self.at = to % PERIOD;
        &self.table[from..to]
    }

    /// Writes the next `count` bytes.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write(&mut self, to: &mut impl Write, count: u64) -> std::io::Result<()> {
        let mut left = count;
        while left > 0 {
            let piece = self.next(usize::try_from(left).unwrap_or(PERIOD));
            to.write_all(piece)?;
            left -= piece.len() as u64;
        }
        Ok(())
    }

    /// Checks that `bytes` come next.
    pub fn accepts(&mut self, bytes: &[u8]) -> bool {
        self.matching(bytes) == bytes.len()
    }

    /// How many of `bytes`, from their beginning, are those that come next.
    pub fn matching(&mut self, bytes: &[u8]) -> usize {
        let mut good = 0;
        while good < bytes.len() {
            let rest = &bytes[good..];
            let piece = self.next(rest.len());
            if !rest.starts_with(piece) {
                return good + piece.iter().zip(rest).take_while(|(a, b)| a == b).count();
            }
            good += piece.len();
        }
        good
    }

    /// Reads `count` bytes and checks each.
    ///
    /// # Errors
    /// The stream ended early, or a byte is not the one that was sent.
    pub fn expect(&mut self, from: &mut impl Read, count: u64) -> Result<()> {
        let mut buffer = vec![0; 64 << 10];
        let mut left = count;
        while left > 0 {
            let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let got = read(from, &mut buffer[..most])
                .with_context(|| format!("{left} of {count} bytes missing"))?;
            ensure!(got > 0, "the stream ended with {left} of {count} bytes missing");
            ensure!(self.accepts(&buffer[..got]), "a byte among the last {left} of {count} is wrong");
            left -= got as u64;
        }
        Ok(())
    }
}

/// Reads once. A read with a timeout is interrupted by what interrupts no other (signal(7)): by being stopped
/// and going on, for one.
///
/// # Errors
/// Those of `from`, but for an interruption.
pub fn read(from: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match from.read(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_the_same_however_it_is_cut() {
        let mut sent = Vec::new();
        Pattern::new(7).write(&mut sent, 200_001).unwrap();
        assert!(Pattern::new(7).expect(&mut sent.as_slice(), 200_001).is_ok());
    }

    #[test]
    fn a_swapped_a_missing_or_a_foreign_byte_is_seen() {
        let mut sent = Vec::new();
        Pattern::new(7).write(&mut sent, 100_000).unwrap();
        assert!(Pattern::new(8).expect(&mut sent.as_slice(), 100_000).is_err());
        assert!(Pattern::new(7).expect(&mut &sent[1..], 99_000).is_err());
        assert!(Pattern::new(7).expect(&mut &sent[..99_999], 100_000).is_err());
        sent[70_000] ^= 1;
        assert!(Pattern::new(7).expect(&mut sent.as_slice(), 100_000).is_err());
    }

    #[test]
    fn ports_are_free_and_not_given_twice() {
        let (a, b) = (free_port().unwrap(), free_port().unwrap());
        assert_ne!(a, b);
        assert!(is_free(a));
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, a)).unwrap();
        assert!(!is_free(a));
    }

    #[test]
    fn two_processes_never_look_at_the_same_block() {
        // Locks of one file through two descriptors exclude each other as those of two processes do.
        let (a, b) = (claim_block().unwrap(), claim_block().unwrap());
        assert_ne!(a.first, b.first);
        drop(a);
    }
}
