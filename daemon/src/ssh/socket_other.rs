//! No low-water marks here: every byte wakes us.

use std::io;

use tokio::net::TcpStream;

/// Does nothing.
pub(super) fn set_low_water(_stream: &TcpStream, _bytes: usize) -> io::Result<()> {
    Ok(())
}

/// Finds nothing: there is nothing below a mark.
pub(super) fn read_now(_stream: &TcpStream, _buffer: &mut Vec<u8>) -> io::Result<usize> {
    Err(io::ErrorKind::WouldBlock.into())
}
