//! Standard input and output carried over a socket, on Unix: a thread each way, which block, since nothing else is as
//! fast.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use nbtunnel_proto::client::Raw;
use tokio::sync::oneshot;

/// How much is carried at a time.
const PIECE: usize = 256 << 10;

/// Whoever read our output is gone.
#[derive(Debug)]
pub(crate) struct NobodyReads;

/// Carries both ways until nothing more comes from `connection`, of which `early` came already. The other way ends its
/// half, or is left alone.
///
/// # Errors
/// [`NobodyReads`].
pub(crate) async fn carry(early: Vec<u8>, connection: Raw) -> Result<(), NobodyReads> {
    let socket = UnixStream::from(connection);
    // One that cannot be shared, or cannot block, shows at the first read.
    let _ = socket.set_nonblocking(false);
    if let Ok(upward) = socket.try_clone() {
        std::thread::spawn(move || up(upward));
    }
    let (tell, ended) = oneshot::channel();
    std::thread::spawn(move || tell.send(down(&early, socket)));
    ended.await.unwrap_or(Ok(()))
}

fn up(mut socket: UnixStream) {
    let mut input = io::stdin().lock();
    let mut buffer = vec![0; PIECE];
    while let Ok(count) = read(&mut input, &mut buffer)
        && count > 0
        && socket.write_all(&buffer[..count]).is_ok()
    {}
    let _ = socket.shutdown(Shutdown::Write);
}

fn down(early: &[u8], mut socket: UnixStream) -> Result<(), NobodyReads> {
    let mut output = output().map_err(|_| NobodyReads)?;
    output.write_all(early).map_err(|_| NobodyReads)?;
    let mut buffer = vec![0; PIECE];
    loop {
        match read(&mut socket, &mut buffer) {
            // A reset is an end, too; the daemon knows which.
            Ok(0) | Err(_) => return Ok(()),
            Ok(count) => output.write_all(&buffer[..count]).map_err(|_| NobodyReads)?,
        }
    }
}

fn read(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// Standard output without the buffer that waits for the end of a line.
fn output() -> io::Result<std::fs::File> {
    use std::os::fd::AsFd;
    let output: OwnedFd = io::stdout().as_fd().try_clone_to_owned()?;
    Ok(output.into())
}
