//! Small TCP servers that stand behind the SSH server: each connection has a thread.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use anyhow::Result;

use crate::net::{Pattern, listener, read};

/// The seed of what [`Server::source`] sends and [`Server::sink`] expects.
pub const SEED: u64 = 42;

/// A TCP server on 127.0.0.1, until it is dropped.
#[derive(Debug)]
pub struct Server {
    port: u16,
    stopping: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    acceptor: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves each connection with `serve`; an error of it ends that connection alone.
    ///
    /// # Errors
    /// No port could be bound.
    pub fn start(serve: impl Fn(TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> Result<Server> {
        let listener = listener()?;
        let port = listener.local_addr()?.port();
        let stopping = Arc::new(AtomicBool::new(false));
        let served = Arc::new(AtomicUsize::new(0));
        let (serve, stop, count) = (Arc::new(serve), Arc::clone(&stopping), Arc::clone(&served));
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let _ = stream.set_nodelay(true);
                count.fetch_add(1, Ordering::SeqCst);
                let serve = Arc::clone(&serve);
                // Detached: it ends with its connection, at the latest with the process.
                std::thread::spawn(move || serve(stream));
            }
        });
        Ok(Server { port, stopping, served, acceptor: Some(acceptor) })
    }

    /// Sends back what comes, and its end too.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn echo() -> Result<Server> {
        Server::start(|mut stream| {
            let mut buffer = vec![0; 64 << 10];
            loop {
                match read(&mut stream, &mut buffer)? {
                    0 => return stream.shutdown(Shutdown::Write),
                    got => stream.write_all(&buffer[..got])?,
                }
            }
        })
    }

    /// Reads a count (eight bytes, big-endian) and sends so many bytes of [`Pattern`].
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn source() -> Result<Server> {
        Server::start(|mut stream| {
            let mut count = [0; 8];
            stream.read_exact(&mut count)?;
            Pattern::new(SEED).write(&mut stream, u64::from_be_bytes(count))
        })
    }

    /// Reads [`Pattern`] to its end and answers with the count of bytes (eight bytes, big-endian) up to the
    /// first wrong one.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn sink() -> Result<Server> {
        Server::start(|mut stream| {
            let (mut pattern, mut count, mut good) = (Pattern::new(SEED), 0_u64, true);
            let mut buffer = vec![0; 64 << 10];
            loop {
                let got = read(&mut stream, &mut buffer)?;
                if got == 0 {
                    return stream.write_all(&count.to_be_bytes());
                }
                if good {
                    let matching = pattern.matching(&buffer[..got]);
                    count += matching as u64;
                    good = matching == got;
                }
            }
        })
    }

    /// Answers every HTTP request with the same page.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn page(html: impl Into<String>) -> Result<Server> {
        let html = html.into();
        Server::start(move |mut stream| {
            let mut request = Vec::new();
            let mut byte = [0; 1];
            while !request.ends_with(b"\r\n\r\n") && request.len() < 16 << 10 {
                if read(&mut stream, &mut byte)? == 0 {
                    return Ok(());
                }
                request.push(byte[0]);
            }
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{html}",
                html.len()
            )
        })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections were accepted so far.
    pub fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which then sees that it should stop.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{http, net, wait};

    #[test]
    fn the_echo_answers_and_hands_on_the_end() {
        let server = Server::echo().unwrap();
        let mut stream = net::connect(server.port(), wait::SOON).unwrap();
        net::echo(&mut stream, b"hello").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(net::read(&mut stream, &mut [0; 8]).unwrap(), 0);
        assert_eq!(server.served(), 1);
    }

    #[test]
    fn source_and_sink_speak_the_same_pattern() {
        let (source, sink) = (Server::source().unwrap(), Server::sink().unwrap());
        let mut from = net::connect(source.port(), wait::SOON).unwrap();
        from.write_all(&300_000_u64.to_be_bytes()).unwrap();
        Pattern::new(SEED).expect(&mut from, 300_000).unwrap();

        let mut to = net::connect(sink.port(), wait::SOON).unwrap();
        Pattern::new(SEED).write(&mut to, 300_000).unwrap();
        to.write_all(b"something else").unwrap();
        to.shutdown(Shutdown::Write).unwrap();
        let mut count = [0; 8];
        to.read_exact(&mut count).unwrap();
        assert_eq!(u64::from_be_bytes(count), 300_000, "the wrong bytes after the good ones do not count");
    }

    #[test]
    fn a_page_is_served_and_gone_after_drop() {
        let server = Server::page("<h1>hello</h1>").unwrap();
        let port = server.port();
        let answer = http::get(port, "/", &[], wait::SOON).unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "<h1>hello</h1>"));
        drop(server);
        // Somebody else may have the port by now.
        let after = http::get(port, "/", &[], wait::SOON);
        assert!(after.is_err() || after.is_ok_and(|answer| answer.body != "<h1>hello</h1>"));
    }
}
