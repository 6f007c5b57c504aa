//! A Unix socket that leads to a TCP port of this machine.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;

/// One that listens until it is dropped.
#[derive(Debug)]
pub struct Door {
    path: PathBuf,
    stopping: Arc<AtomicBool>,
}

impl Door {
    /// Listens at `path` and leads to 127.0.0.1:`port`.
    ///
    /// # Errors
    /// It cannot listen there.
    pub fn to(port: u16, path: &Path) -> Result<Door> {
        let listener = UnixListener::bind(path)?;
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                std::thread::spawn(move || carry(&stream, port));
            }
        });
        Ok(Door { path: path.to_owned(), stopping })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        let _ = UnixStream::connect(&self.path);
    }
}

fn carry(from: &UnixStream, port: u16) -> io::Result<()> {
    let to = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ = copy(&mut &to, &mut &*from);
            from.shutdown(Shutdown::Write)
        });
        let _ = copy(&mut &*from, &mut &to);
        to.shutdown(Shutdown::Write)
    })
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<u64> {
    io::copy(from, to)
}
