//! No low-water marks here: every byte counts, and there is nothing below a mark to look for.

use std::io;

use tokio::net::TcpStream;

/// Does nothing.
pub(super) fn set(_stream: &TcpStream, _bytes: usize) -> io::Result<()> {
    Ok(())
}

/// Finds nothing.
pub(super) fn read_now(_stream: &TcpStream, _buffer: &mut Vec<u8>) -> io::Result<usize> {
    Err(io::ErrorKind::WouldBlock.into())
}
