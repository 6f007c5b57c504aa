//! Linux: the low-water mark of a socket, and reading below it.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::os::fd::AsRawFd;

use rustix::net::RecvFlags;
use tokio::net::TcpStream;

/// From how many waiting bytes on a stream counts as readable (SO_RCVLOWAT, socket(7)). Its end and its errors
/// always do.
pub(super) fn set_low_water(stream: &TcpStream, bytes: usize) -> io::Result<()> {
    let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
    let size = mem::size_of_val(&bytes) as libc::socklen_t;
    // SAFETY: the descriptor is open for as long as `stream` is borrowed, and the option is an int, which
    // `bytes` is for the whole call.
    let set = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            (&raw const bytes).cast(),
            size,
        )
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Appends what is there to `buffer`, however little, as far as its capacity goes. `WouldBlock` for nothing.
pub(super) fn read_now(stream: &TcpStream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    Ok(rustix::net::recv(stream, rustix::buffer::spare_capacity(buffer), RecvFlags::DONTWAIT)?.1)
}
