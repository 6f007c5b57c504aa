//! A TCP relay that makes loopback as long as an ocean: every piece is handed on a fixed time after it came.
//!
//! A stream, not a network: nothing is lost and no rate is limited, so that only the distance is measured.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{Server, wait};

/// How much is read at a time.
const PIECE: usize = 256 << 10;

/// Bytes that may be on their way for each second of delay: four times what loopback carries here.
const RATE: f64 = (2_u64 << 30) as f64;

/// Bytes that may be on their way however short the way.
const LEAST: usize = 16 << 20;

/// A relay on 127.0.0.1, until it is dropped. Connections that are open then stay open.
#[derive(Debug)]
pub struct Relay {
    server: Server,
}

impl Relay {
    /// Carries connections to 127.0.0.1:`to`; a byte and its answer take `round_trip` longer than without it.
    ///
    /// # Errors
    /// It cannot listen.
    pub fn start(to: u16, round_trip: Duration) -> Result<Relay> {
        let one_way = round_trip / 2;
        let server = Server::start(move |near| {
            let far = TcpStream::connect((Ipv4Addr::LOCALHOST, to))?;
            far.set_nodelay(true)?;
            let (back_from, back_to) = (far.try_clone()?, near.try_clone()?);
            let back = std::thread::spawn(move || carry(back_from, back_to, one_way));
            carry(near, far, one_way);
            let _ = back.join();
            Ok(())
        })?;
        Ok(Relay { server })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.server.port()
    }
}

/// What is on its way in one direction.
#[derive(Default)]
struct Way {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    pieces: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    /// No more will come, or nobody takes more.
    over: bool,
}

impl Way {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `ready`, or until it is over.
    fn when(&self, ready: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let waits = |state: &mut State| !state.over && !ready(state);
        self.changed.wait_while(self.state(), waits).unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.state().over = true;
        self.changed.notify_all();
    }
}

/// Carries one direction to its end, and the end too.
fn carry(from: TcpStream, to: TcpStream, delay: Duration) {
    let way = Arc::new(Way::default());
    let room = LEAST.max((RATE * delay.as_secs_f64()) as usize);
    let incoming = Arc::clone(&way);
    let (mut source, mut sink) = (from, to);
    let reader = std::thread::spawn(move || {
        let _ = take_in(&mut source, &incoming, delay, room);
        incoming.end();
    });
    // An error of either side ends this direction; its other end notices by the end of the stream.
    let _ = hand_on(&mut sink, &way);
    way.end();
    let _ = sink.shutdown(Shutdown::Write);
    let _ = reader.join();
}

fn take_in(from: &mut TcpStream, way: &Way, delay: Duration, room: usize) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let mut state = way.when(|state| state.bytes < room);
        if state.over {
            // Nobody takes it: what still comes would fill the sender's buffers for nothing.
            return from.shutdown(Shutdown::Both);
        }
        state.bytes += count;
        state.pieces.push_back((Instant::now() + delay, buffer[..count].to_vec()));
        drop(state);
        way.changed.notify_all();
    }
}

fn hand_on(to: &mut TcpStream, way: &Way) -> io::Result<()> {
    loop {
        let next = way.when(|state| !state.pieces.is_empty()).pieces.pop_front();
        let Some((due, piece)) = next else { return Ok(()) };
        wait::pace(due);
        to.write_all(&piece)?;
        way.state().bytes -= piece.len();
        way.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{self, Pattern};
    use crate::server::SEED;

    #[test]
    fn every_byte_arrives_and_the_end_and_not_before_its_time() {
        let sink = Server::sink().unwrap();
        let round_trip = Duration::from_millis(60);
        let relay = Relay::start(sink.port(), round_trip).unwrap();
        let mut stream = net::connect(relay.port(), wait::SOON).unwrap();
        let began = Instant::now();
        Pattern::new(SEED).write(&mut stream, 40 << 20).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut count = [0; 8];
        stream.read_exact(&mut count).unwrap();
        assert_eq!(u64::from_be_bytes(count), 40 << 20);
        assert!(began.elapsed() >= round_trip);
        assert_eq!(stream.read(&mut count).unwrap(), 0);
    }

    #[test]
    fn a_client_that_leaves_ends_the_connection_behind_it() {
        let echo = Server::echo().unwrap();
        let relay = Relay::start(echo.port(), Duration::ZERO).unwrap();
        let mut stream = net::connect(relay.port(), wait::SOON).unwrap();
        net::echo(&mut stream, b"there").unwrap();
        stream.shutdown(Shutdown::Both).unwrap();
        // The echo ends with its client; only then does our own reading end.
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
        assert!(net::echoes(relay.port(), wait::SOON), "the others go on");
    }
}
