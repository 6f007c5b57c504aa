//! A name server for one network: it fails until it is told an address, which it then gives for every name.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

/// Where it listens, which is what `resolv.conf` has to name.
pub const AT: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A name server, until it is dropped.
#[derive(Debug)]
pub struct Dns {
    answer: Arc<Mutex<Option<Ipv4Addr>>>,
    failed: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Dns {
    /// Starts one on UDP port 53 of [`AT`], in the network where the calling thread is. It fails every query.
    ///
    /// # Errors
    /// We are not root, or there is one already.
    pub fn failing() -> Result<Dns> {
        let socket = UdpSocket::bind((AT, 53)).context("cannot listen on UDP port 53")?;
        // So that it sees when it is dropped.
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let (answer, failed, stop) = (Arc::default(), Arc::default(), Arc::default());
        let mut dns = Dns { answer, failed, stop, thread: None };
        let (answer, failed, stop) =
            (Arc::clone(&dns.answer), Arc::clone(&dns.failed), Arc::clone(&dns.stop));
        dns.thread = Some(std::thread::spawn(move || {
            let mut query = [0; 512];
            while !stop.load(Ordering::SeqCst) {
                let Ok((length, from)) = socket.recv_from(&mut query) else { continue };
                let address = *answer.lock().unwrap_or_else(PoisonError::into_inner);
                if address.is_none() {
                    failed.fetch_add(1, Ordering::SeqCst);
                }
                if let Some(reply) = reply(&query[..length], address) {
                    let _ = socket.send_to(&reply, from);
                }
            }
        }));
        Ok(dns)
    }

    /// From now on every name has this address.
    pub fn answer(&self, address: Ipv4Addr) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
    }

    /// How many queries failed so far.
    pub fn failed(&self) -> usize {
        self.failed.load(Ordering::SeqCst)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The reply to a query with one question (RFC 1035 §4): a failure, an A record, or no record of that type.
fn reply(query: &[u8], address: Option<Ipv4Addr>) -> Option<Vec<u8>> {
    const SERVFAIL: u8 = 2;
    const A: [u8; 2] = [0, 1];
    let (id, question) = (query.get(..2)?, query.get(12..)?);
    let name = question.iter().position(|&length| length == 0)? + 1;
    let question = question.get(..name + 4)?;
    let address = address.map(|ip| (question[name..name + 2] == A).then_some(ip));
    let answers = u8::from(matches!(address, Some(Some(_))));
    let code = if address.is_none() { SERVFAIL } else { 0 };
    // A response, recursion asked for and available; one question.
    let mut reply = [id, &[0x81, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0], question].concat();
    if let Some(Some(ip)) = address {
        // The name of the question; A, IN, for one second, four bytes.
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        reply.extend(ip.octets());
    }
    Some(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_gets_a_failure_an_address_or_nothing_of_its_kind() {
        let a = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03far\x04test\x00\x00\x01\x00\x01";
        let ip = Ipv4Addr::new(10, 1, 2, 3);
        assert_eq!(reply(a, None).unwrap()[..4], [0x12, 0x34, 0x81, 0x82]);
        assert!(reply(a, Some(ip)).unwrap().ends_with(&[0, 4, 10, 1, 2, 3]));
        let mut aaaa = a.to_vec();
        aaaa[a.len() - 3] = 28;
        assert_eq!(reply(&aaaa, Some(ip)).unwrap()[6..8], [0, 0]);
        assert_eq!(reply(b"short", Some(ip)), None);
    }
}
